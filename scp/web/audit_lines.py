"""The last messages of an audit trail that is a file: who did what, and no patients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

_BYTES, _MOST = 65_536, 20


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One message (PS3.15 A.5): ``at`` as written, the event's names, who took part, how it ended."""

    at: str
    event: str
    type: str
    who: list[str]
    succeeded: bool
    why: str


def last_lines(path: Path, most: int = _MOST) -> list[AuditLine]:
    """The latest first; what is no message is left out. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _BYTES))
        lines = file.read(_BYTES).splitlines()
    found: list[AuditLine] = []
    for line in reversed(lines):
        if len(found) < most and (read := _read(line)) is not None:
            found.append(read)
    return found


def _read(line: bytes) -> AuditLine | None:
    try:
        message = ET.fromstring(line)  # noqa: S314 - this node's own file, which has no entities
    except ET.ParseError:
        return None
    event = message.find("EventIdentification")
    if event is None:
        return None
    code, kind = event.find("EventID"), event.find("EventTypeCode")
    return AuditLine(
        event.get("EventDateTime", ""),
        code.get("originalText", "") if code is not None else "",
        kind.get("originalText", "") if kind is not None else "",
        [who for one in message.iter("ActiveParticipant") if (who := _who(one.attrib))],
        event.get("EventOutcomeIndicator") == "0",
        event.findtext("EventOutcomeDescription", ""),
    )


def _who(attributes: dict[str, str]) -> str:
    """A participant by name and address; processes by what they run."""
    name = attributes.get("AlternativeUserID", "").removeprefix("AETITLES=") or attributes.get("UserName", "")
    address = attributes.get("NetworkAccessPointID", "")
    shown = name or attributes.get("UserID", "")
    return f"{shown} ({address})" if address else shown
