"""The audit trail as the configuration has it: where messages go, and who they say is their source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from scp.config.tls import check_authority, readable
from scp.config.values import Bytes, Table

_FILE, _UDP, _TLS = "file://", "syslog+udp", "syslog+tls"
_SYSLOG = re.compile(rf"({re.escape(_UDP)}|{re.escape(_TLS)})://(\[[^\]]+\]|[^/:\[\]]+)(?::(\d+))?")
# RFC 5426 3.3, RFC 5425 4.1.
_PORTS = {_UDP: 514, _TLS: 6514}


def _place(text: str) -> str:
    """Where messages go. Raises ValueError."""
    if text.startswith(_FILE):
        path = Path(text.removeprefix(_FILE))
        if path.is_absolute() and path.name and path.parent.is_dir():
            return text
        raise ValueError(
            f'"{text}" is no file in a folder that is there; write file:///var/log/zscp/audit.xml'
        )
    found = _SYSLOG.fullmatch(text)
    if text and (found is None or not 0 < int(found[3] or 1) < 65_536):
        raise ValueError(
            f'"{text}" is no place for an audit trail; write file:///path, syslog+udp://host:514 or '
            'syslog+tls://host:6514, or "" for none'
        )
    return text


class AuditSettings(Table):
    """Where the audit trail goes (PS3.15 A.5); ``to`` is empty for none.

    ``queue`` is the bytes of messages that wait in each process while the collector is away.
    """

    to: Annotated[str, AfterValidator(_place)] = ""
    source: str = ""
    site: str = ""
    ca: Annotated[str, AfterValidator(readable), AfterValidator(check_authority)] = ""
    queue: Annotated[Bytes, Field(ge=65_536)] = 16 * 10**6

    @property
    def path(self) -> Path | None:
        """The file; None where it goes elsewhere."""
        return Path(self.to.removeprefix(_FILE)) if self.to.startswith(_FILE) else None

    @property
    def collector(self) -> tuple[str, int] | None:
        """Host and port of the syslog server; None where there is none."""
        found = _SYSLOG.fullmatch(self.to)
        return (found[2].strip("[]"), int(found[3] or _PORTS[found[1]])) if found else None

    @property
    def secure(self) -> bool:
        """Whether it goes over TLS."""
        return self.to.startswith(_TLS)
