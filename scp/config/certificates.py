"""The certificates of the configuration, and when they expire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509Certificate

# From so many days before a certificate expires, the log and ``zscp check`` warn of it.
SOON_DAYS = 30
_REMEDY = "put a new one there, and reload (SIGHUP)"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One of a file: the key that names the file, whose it is, and when it expires, if that can be read."""

    key: str
    path: str
    name: str
    ends: datetime | None

    def days_left(self, now: datetime) -> float | None:
        """Days until it expires, negative since it has."""
        return None if self.ends is None else (self.ends - now).total_seconds() / 86_400


def read_certificates(key: str, path: str) -> tuple[Certificate, ...]:
    """All in a PEM file; one without an end where the library cannot read what OpenSSL could."""
    if not path:
        return ()
    from cryptography import x509  # noqa: PLC0415 - 40 ms, and only nodes with TLS need it

    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        return tuple(Certificate(key, path, _name(one), one.not_valid_after_utc) for one in found)
    except (OSError, ValueError):
        return (Certificate(key, path, path, None),)


def _name(certificate: X509Certificate) -> str:
    """Its subject, as ``CN=node``."""
    return certificate.subject.rfc4514_string()


def expiry_warnings(certificates: Iterable[Certificate], now: datetime) -> list[str]:
    """A line for each that has expired, expires soon, or cannot be read."""
    return [line for one in certificates if (line := _warning(one, now))]


def _warning(certificate: Certificate, now: datetime) -> str:
    which = f"{certificate.key}: {certificate.name} in {certificate.path}"
    days, ends = certificate.days_left(now), certificate.ends
    if days is None or ends is None:
        return f"{certificate.key}: when {certificate.path} expires cannot be read; see openssl x509 -enddate"
    if days < 0:
        return f"{which} expired on {ends:%Y-%m-%d}, and counts no more; {_REMEDY}"
    if days < SOON_DAYS:
        return f"{which} expires in {int(days)} days, on {ends:%Y-%m-%d}; {_REMEDY}"
    return ""
