"""Certificates of the tests' own, made by the cryptography library."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from scp.config.tls import client_context

LASTS = timedelta(days=300)


@dataclass(frozen=True)
class Identity:
    """The paths of a certificate and of its key."""

    certificate: str
    key: str


@cache
def _rsa_key(number: int, bits: int) -> rsa.RSAPrivateKey:
    """Keys are used again, as each takes a tenth of a second."""
    return rsa.generate_private_key(65537, bits)


class Issuer:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "ca", number: int = 0) -> None:
        self._folder, self._name, self._number = folder, _named(name), number
        self._key = _rsa_key(number, 2048)
        made = _builder(self._name, self._key, LASTS, authority=True).issuer_name(self._name)
        self.ca = str(folder / f"{name}.pem")
        _write(Path(self.ca), made.sign(self._key, hashes.SHA256()))

    def signed(
        self, name: str, hosts: tuple[str, ...] = (), lasts: timedelta = LASTS, bits: int = 2048
    ) -> Identity:
        """A certificate with a Common Name, and Subject Alternative Names for ``hosts``."""
        key = _rsa_key(self._number + 1, bits)
        builder = _builder(_named(name), key, lasts, authority=False).issuer_name(self._name)
        if hosts:
            names = x509.SubjectAlternativeName(list(map(_general, hosts)))
            builder = builder.add_extension(names, critical=False)
        made = Identity(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        _write(Path(made.certificate), builder.sign(self._key, hashes.SHA256()))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        Path(made.key).write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        Path(made.key).chmod(0o600)
        return made


@dataclass(frozen=True)
class Authority:
    """An issuer, and what it signed for a node and a peer."""

    issuer: Issuer
    node: Identity
    peer: Identity
    stranger: Identity  # signed by another

    @property
    def ca(self) -> str:
        return self.issuer.ca

    def table(self, **more: Any) -> dict[str, Any]:
        """The node's certificate and key, as the configuration has them."""
        return {"certificate": self.node.certificate, "key": self.node.key, **more}


def authority_in(folder: Path) -> Authority:
    issuer, other = Issuer(folder), Issuer(folder, "other", number=2)
    node = issuer.signed("node", ("127.0.0.1", "localhost"))
    return Authority(issuer, node, issuer.signed("peer"), other.signed("stranger"))


def client(authority: Authority, who: Identity | None) -> ssl.SSLContext:
    """A peer that shows a certificate, or none."""
    return client_context(who.certificate if who else "", who.key if who else "", authority.ca)


def _builder(
    subject: x509.Name, key: rsa.RSAPrivateKey, lasts: timedelta, authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + lasts) - timedelta(days=2))
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    """An address, a DNS name, or ``/name`` for a directory name."""
    if host.startswith("/"):
        return x509.DirectoryName(_named(host[1:]))
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
