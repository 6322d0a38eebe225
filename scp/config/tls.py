"""TLS as the configuration has it: certificate, key, and whose certificates count (PS3.15 B.12)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Literal

ClientCertificates = Literal["required", "optional", "none"]
_VERIFY: dict[ClientCertificates, ssl.VerifyMode] = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
# For TLS 1.2, those that RFC 9325 4.2 recommends, the strongest first; all of TLS 1.3 have their properties.
# Level 2: keys of 2048 bits (RSA) or 224 (EC) at least, and no SHA-1 (RFC 9325 4.5).
_SUITES = (
    "@SECLEVEL=2:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)


def server_context(
    certificate: str, key: str, ca: str, clients: ClientCertificates = "required"
) -> ssl.SSLContext:
    """For associations that peers open; with ``ca``, ``clients`` says who must show what it signed.

    Raises ValueError, which names the file and the remedy.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _identify(context, certificate, key)
    if ca and clients != "none":
        _trust(context, ca)
        context.verify_mode = _VERIFY[clients]
    return context


def client_context(certificate: str, key: str, ca: str, check_host: bool = False) -> ssl.SSLContext:
    """For associations to peers: they must show a certificate that ``ca`` signed. Raises ValueError.

    With ``check_host`` it must be of the host or address that was connected to (RFC 9525). Without, the
    caller compares its names (:func:`names_of`).
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_host
    _trust(context, ca)
    if certificate:
        _identify(context, certificate, key)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    """TLS by BCP 195 (RFC 8996, RFC 9325): 1.2 and 1.3, forward secrecy, no compression or renegotiation."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # No tickets: for hours, they would admit by a certificate that has expired since. Associations are long,
    # so that a handshake each costs little. TLS 1.2 has sessions by id, too, which OpenSSL ends after 300 s.
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
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
    return frozenset(name.casefold() for name in names if isinstance(name, str))


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
        _identify(_context(ssl.PROTOCOL_TLS_SERVER), certificate, key)


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
        reason = str(error.reason or error)
        if "KEY_VALUES_MISMATCH" in reason:
            raise ValueError(f"{key} is not the key of {certificate}; give the one that is") from error
        if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_MD_TOO_WEAK"):
            raise ValueError(
                f"{certificate} is too weak ({reason}): 2048 bits (RSA) or 256 (EC), and SHA-256, at least"
            ) from error
        raise ValueError(
            f"{certificate} and {key} cannot be read as PEM files, the key without a password ({reason})"
        ) from error


def _trust(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(readable(ca))
    except ssl.SSLError as error:
        reason = error.reason or error
        raise ValueError(f"{ca} holds no certificates; give a PEM file of them ({reason})") from error
