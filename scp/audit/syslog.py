"""An audit message as a syslog message (RFC 5424), as PS3.15 A.6 and A.7 ask for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from scp.audit.actors import host

_SECURITY = 10  # the facility of security and authorization messages
_NOTICE, _WARNING = 5, 4
_APPLICATION, _MESSAGE_ID = "zscp", "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"  # says that UTF-8 follows (RFC 5424 6.4)
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """A message as XML; ``failed`` makes it a warning."""

    xml: bytes
    at: datetime
    failed: bool = False


def syslog(message: AuditMessage) -> bytes:
    """The header, and the XML as MSG; there is no structured data."""
    priority = _SECURITY * 8 + (_WARNING if message.failed else _NOTICE)
    at = message.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = _NOT_PRINTABLE.sub("", host())[:255] or "-"
    header = f"<{priority}>1 {at} {name} {_APPLICATION} {os.getpid()} {_MESSAGE_ID} - "
    return header.encode("ascii") + _BOM + message.xml


def framed(data: bytes) -> bytes:
    """With its length before it, as over TLS: octet counting (RFC 5425 4.3)."""
    return b"%d %s" % (len(data), data)
