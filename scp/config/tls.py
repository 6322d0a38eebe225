"""TLS as the configuration has it: certificate, key, and whose certificates count (PS3.15 B.1)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any


def server_context(certificate: str, key: str, ca: str) -> ssl.SSLContext:
    """For associations that peers open; with ``ca`` they must show a certificate that it signed.

    TLS 1.2 or later with forward secrecy, Python's own choice, which is within BCP 195. Raises
    ValueError, which names the file and the remedy.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _identify(context, certificate, key)
    if ca:
        _trust(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(certificate: str, key: str, ca: str) -> ssl.SSLContext:
    """For associations to peers: they must show a certificate that ``ca`` signed. Raises ValueError.

    Its name is not compared with the address: a hospital's own authority signs for modalities by
    whatever name they have, and peers are configured by address. Where a peer has ``certificate_name``, that
    is compared (:func:`names_of`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    _trust(context, ca)
    if certificate:
        _identify(context, certificate, key)
    return context


def names_of(connection: socket.socket) -> frozenset[str]:
    """The names in the certificate of who is at the other end, in lower case; none without TLS.

    These are its Subject Alternative Names (RFC 5280 4.2.1.6), and its Common Name, which is all that the
    certificates of many modalities have.
    """
    found: Any = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not found:
        return frozenset()
    subject = [pair for part in found.get("subject", ()) for pair in part]
    alternatives = found.get("subjectAltName", ())
    names = [value for key, value in subject if key == "commonName"] + [value for _, value in alternatives]
    return frozenset(name.casefold() for name in names)


def readable(path: str) -> str:
    """A path that can be opened, or an empty text for none. Raises ValueError."""
    if path:
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f'"{path}" cannot be read: {reason}; give the path of a PEM file') from error
    return path


def check_identity(certificate: str, key: str) -> None:
    """Whether a certificate and a key can be used together; both or none. Raises ValueError."""
    if bool(certificate) != bool(key):
        have, lack = ("certificate", "key") if certificate else ("key", "certificate")
        raise ValueError(f"{have} is given without {lack}; set both for TLS, or neither")
    if certificate:
        _identify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


def check_authority(ca: str) -> str:
    """A file of certificates, or an empty text for none. Raises ValueError."""
    if ca:
        _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca)
    return ca


def _identify(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        # Without a password given, OpenSSL would ask for one on the terminal of a service.
        context.load_cert_chain(readable(certificate), readable(key), password=lambda: b"")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise ValueError(f"{key} is not the key of {certificate}; give the one that is") from error
        raise ValueError(
            f"{certificate} and {key} cannot be read as PEM files, the key without a password "
            f"({error.reason or error})"
        ) from error


def _trust(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(readable(ca))
    except ssl.SSLError as error:
        reason = error.reason or error
        raise ValueError(f"{ca} holds no certificates; give a PEM file of them ({reason})") from error
