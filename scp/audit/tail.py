"""The last messages of the audit trail, read from the file that it goes to: for looking, not for proof."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from scp.audit.events import AuditOutcome
from scp.config.audit import AuditSettings

# What is read of the file at most: a message has some kilobytes, one with a query up to 25 KB.
_MOST_BYTES = 1 << 20
_DESCRIPTION = "Alert Description"
_PERSON = "1"  # ParticipantObjectTypeCode of a patient

TailFault = Literal["", "no file", "unreadable"]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One message in short: what happened when, ``who`` took part, what it is ``about``, and ``why``.

    Patients are left out: the file names them. ``at`` is as in the message, ISO 8601 with a time zone.
    """

    at: str
    event: str
    kind: str
    failed: bool
    who: tuple[str, ...]
    about: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class AuditTail:
    """The last messages, the newest first. ``unread`` says why there are none, or fewer than asked for.

    ``fault`` is set where nothing could be read: no file is configured, or it cannot be opened.
    """

    to: str
    lines: tuple[AuditLine, ...] = ()
    unread: str = ""
    fault: TailFault = ""


def tail_of(audit: AuditSettings, most: int) -> AuditTail:
    """At most ``most`` of the last messages of the configured trail; of several nodes, of this one."""
    if not audit.to:
        return AuditTail("", (), "there is no audit trail; audit.to names one", "no file")
    if audit.path is None:
        return AuditTail(audit.to, (), "messages go to a collector: look there", "no file")
    try:
        texts, cut = _last_lines(audit.path)
    except FileNotFoundError:
        return AuditTail(audit.to, (), "nothing was recorded yet")
    except OSError as error:
        return AuditTail(
            audit.to, (), f"{audit.path} cannot be read: {error.strerror or error}", "unreadable"
        )
    found, odd = [], 0
    for text in reversed(texts):
        line = _read(text)
        odd += line is None
        if line is not None:
            found.append(line)
        if len(found) == most:
            break
    unread = f"{odd} lines are no audit messages" if odd else ""
    if cut and len(found) < most:
        unread = "; ".join(filter(None, (unread, f"the last {_MOST_BYTES >> 20} MB were read")))
    return AuditTail(audit.to, tuple(found), unread)


def _last_lines(path: Path) -> tuple[list[bytes], bool]:
    """The lines at the end of a file, and whether there are others before them."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(size - _MOST_BYTES, 0)
        file.seek(start)
        lines = file.read(_MOST_BYTES).split(b"\n")
    whole = lines[1:] if start else lines
    return [line for line in whole if line], bool(start)


def _read(text: bytes) -> AuditLine | None:
    """A line of the file; None for what is no message, as the part of one that a full disk left."""
    if b"<!" in text:  # a document type, which zscp never writes: entities could grow without end
        return None
    try:
        message = ElementTree.fromstring(text)  # noqa: S314 - no entities, see above
    except ElementTree.ParseError:
        return None
    event = message.find("EventIdentification")
    if event is None:
        return None
    return AuditLine(
        event.get("EventDateTime", ""),
        _named(event.find("EventID")),
        _named(event.find("EventTypeCode")),
        event.get("EventOutcomeIndicator") != AuditOutcome.SUCCESS.value,
        tuple(_participants(message)),
        tuple(_subjects(message)),
        "; ".join(filter(None, (event.findtext("EventOutcomeDescription", ""), *_descriptions(message)))),
    )


def _named(code: ElementTree.Element | None) -> str:
    return "" if code is None else code.get("originalText", "")


def _participants(message: ElementTree.Element) -> Iterator[str]:
    for one in message.iterfind("ActiveParticipant"):
        name, address = one.get("UserID", ""), one.get("NetworkAccessPointID", "")
        program = one.get("UserName", "")
        yield " ".join(filter(None, (program, name, f"({address})" if address else "")))


def _subjects(message: ElementTree.Element) -> Iterator[str]:
    for one in message.iterfind("ParticipantObjectIdentification"):
        if one.get("ParticipantObjectTypeCode") != _PERSON and (named := one.get("ParticipantObjectID")):
            yield named


def _descriptions(message: ElementTree.Element) -> Iterator[str]:
    for one in message.iterfind(f".//ParticipantObjectDetail[@type='{_DESCRIPTION}']"):
        try:
            yield b64decode(one.get("value", "")).decode("utf-8", "replace")
        except ValueError:
            continue
