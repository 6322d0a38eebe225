"""What connects to the port and speaks no DICOM, as the log calls it: scans, HTTP, TLS on the plain port."""

from __future__ import annotations

import ssl

from scp.dimse.wire.pdus import HEADER, misplaced
from scp.dimse.wire.upper_layer import Ended

_HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"CONN", b"DELE", b"TRAC", b"PATC", b"PRI ")
_TLS_HANDSHAKE = b"\x16\x03"  # RFC 8446 5.1
_SECURE = "this port speaks DICOM over TLS"
# OpenSSL's reasons for what is no TLS at all.
_NO_TLS = {
    "HTTP_REQUEST": f"an HTTP request: {_SECURE}",
    "HTTPS_PROXY_REQUEST": f"an HTTP request: {_SECURE}",
    "WRONG_VERSION_NUMBER": f"no TLS, as of a peer that speaks plain DICOM: {_SECURE}",
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


def shake_hands(sock: ssl.SSLSocket, seconds: float) -> None:
    """Make the TLS handshake within a time limit, that of the whole negotiation. Raises Ended."""
    sock.settimeout(seconds)
    try:
        sock.do_handshake()
    except (OSError, ValueError) as error:
        fault = handshake_fault(error)
        raise Ended("no TLS" if fault else "no request", fault) from error


def handshake_fault(error: Exception) -> str:
    """What a failed TLS handshake looks like; empty for a peer that sent nothing, as a port scan does."""
    if isinstance(error, (TimeoutError, ssl.SSLEOFError, ConnectionError)):
        return ""
    return _NO_TLS.get(str(getattr(error, "reason", "")), str(error))
