"""What connects to the port and speaks no DICOM, as the log calls it: scans, HTTP, TLS on the plain port."""

from __future__ import annotations

import socket
import ssl

from scp.dimse.wire.pdus import HEADER, misplaced
from scp.dimse.wire.upper_layer import Ended

_HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"CONN", b"DELE", b"TRAC", b"PATC", b"PRI ")
_TLS_HANDSHAKE = b"\x16\x03"  # RFC 8446 5.1
_SECURE = "this port speaks DICOM over TLS"
# OpenSSL's reasons, in words: what is no TLS at all, what is none that RFC 9325 allows, and the alerts
# (RFC 8446 6.2) of a peer that refuses this node's certificate.
_NO_TLS = {
    "HTTP_REQUEST": f"an HTTP request: {_SECURE}",
    "HTTPS_PROXY_REQUEST": f"an HTTP request: {_SECURE}",
    "WRONG_VERSION_NUMBER": f"no TLS, as of a peer that speaks plain DICOM: {_SECURE}",
    "UNSUPPORTED_PROTOCOL": "the peer has neither TLS 1.2 nor TLS 1.3",
    "NO_SHARED_CIPHER": "the peer has no cipher suite that RFC 9325 recommends, or none for this key",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer showed no certificate, which tls.clients requires",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer has neither TLS 1.2 nor TLS 1.3",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer has no cipher suite in common, or wants a certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer requires a certificate; set tls.certificate and tls.key",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of this node's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not accept this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this node's certificate has expired, says the peer",
    "TLSV1_ALERT_DECRYPT_ERROR": "the peer cannot verify this node's signature",
}


def unexpected(header: bytes) -> tuple[int, str]:
    """Reason of the A-ABORT that answers a first PDU with this header, and what it looks like in words."""
    reason, why = misplaced(HEADER.unpack(header)[0])
    if header.startswith(_TLS_HANDSHAKE):
        why = "a TLS handshake: this port speaks plain DICOM"
    elif header.startswith(_HTTP):
        why = "an HTTP request: this port speaks DICOM"
    elif header.startswith(b"SSH-"):
        why = "an SSH client: this port speaks DICOM"
    return reason, why


def shake_hands(sock: socket.socket, seconds: float) -> str:
    """Make the TLS handshake within a time limit, that of the whole negotiation. Raises Ended.

    Returns the version of TLS; an empty text on a plain connection, where there is nothing to do.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return ""
    sock.settimeout(seconds)
    try:
        sock.do_handshake()
    except (OSError, ValueError) as error:
        fault = handshake_fault(error)
        raise Ended("no TLS" if fault else "no request", fault) from error
    return sock.version() or ""


def handshake_fault(error: Exception) -> str:
    """What a failed TLS handshake looks like; empty for a peer that sent nothing, as a port scan does."""
    if isinstance(error, (TimeoutError, ssl.SSLEOFError, ConnectionError)):
        return ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message}"
    reason = str(getattr(error, "reason", None) or error)
    return _NO_TLS.get(reason, f"no TLS that is understood: {reason}")
