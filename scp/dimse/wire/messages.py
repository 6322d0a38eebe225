"""DIMSE messages: command sets as bytes and as fields (PS3.7 6.3, Annex E).

A command set is implicit VR little endian and holds a dozen short elements; reading and writing it with
a general dataset library costs more than receiving a small object does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from scp.errors import UnreadableDataset
from scp.spool import Buffer

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_GET_RSP = 0x0010, 0x8010
C_FIND_RQ, C_FIND_RSP = 0x0020, 0x8020
C_MOVE_RQ, C_MOVE_RSP = 0x0021, 0x8021
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
N_ACTION_RQ, N_ACTION_RSP = 0x0130, 0x8130
C_CANCEL_RQ = 0x0FFF
N_SERVICE = 0x0100  # the bit that an N-service has, and C-STORE to C-ECHO have not
RESPONSE = 0x8000  # the bit of Command Field that makes a response
NO_DATASET = 0x0101

Value = int | str

# PS3.7 table E.1-1: number in group 0000 → keyword, VR.
_FIELDS: Mapping[int, tuple[str, str]] = {
    0x0002: ("AffectedSOPClassUID", "UI"),
    0x0003: ("RequestedSOPClassUID", "UI"),
    0x0100: ("CommandField", "US"),
    0x0110: ("MessageID", "US"),
    0x0120: ("MessageIDBeingRespondedTo", "US"),
    0x0600: ("MoveDestination", "AE"),
    0x0700: ("Priority", "US"),
    0x0800: ("CommandDataSetType", "US"),
    0x0900: ("Status", "US"),
    0x0902: ("ErrorComment", "LO"),
    0x1000: ("AffectedSOPInstanceUID", "UI"),
    0x1001: ("RequestedSOPInstanceUID", "UI"),
    0x1002: ("EventTypeID", "US"),
    0x1008: ("ActionTypeID", "US"),
    0x1020: ("NumberOfRemainingSuboperations", "US"),
    0x1021: ("NumberOfCompletedSuboperations", "US"),
    0x1022: ("NumberOfFailedSuboperations", "US"),
    0x1023: ("NumberOfWarningSuboperations", "US"),
    0x1030: ("MoveOriginatorApplicationEntityTitle", "AE"),
    0x1031: ("MoveOriginatorMessageID", "US"),
}
_US, _ELEMENT = struct.Struct("<HHLH"), struct.Struct("<HHL")
_NUMBERS = {keyword: (number, vr) for number, (keyword, vr) in _FIELDS.items()}


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its command set's fields by keyword, its dataset, and the context it came under.

    ``sha256`` is the dataset's, hexadecimal. ``fault`` says why a dataset that came could not be held: it
    was read to its end and dropped, and ``dataset`` is None. ``too_long``: because none of its kind
    is as long.
    """

    context_id: int
    command: Mapping[str, Value]
    dataset: Buffer | None = field(default=None, repr=False)
    sha256: str = field(default="", compare=False)
    fault: str = ""
    too_long: bool = False

    def number(self, keyword: str) -> int:
        """A numeric field; -1 where it is not there."""
        value = self.command.get(keyword, -1)
        return value if isinstance(value, int) else -1

    def text(self, keyword: str) -> str:
        """A textual field; empty where it is not there."""
        value = self.command.get(keyword, "")
        return value if isinstance(value, str) else ""


def read_command(data: bytes | memoryview) -> dict[str, Value]:
    """The fields of a command set; unknown ones are skipped. Raises UnreadableDataset."""
    fields: dict[str, Value] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            group, number, length = _ELEMENT.unpack_from(data, at)
            value = bytes(data[at + 8 : at + 8 + length])
            if group != 0 or len(value) != length:
                raise UnreadableDataset(f"the command set cannot be followed at byte {at}")
            known = _FIELDS.get(number)
            if known and length:
                fields[known[0]] = _read(known[1], value)
            at += 8 + length
    except struct.error:
        raise UnreadableDataset(f"the command set ends within an element, at byte {at}") from None
    if "CommandField" not in fields:
        raise UnreadableDataset("the command set has no Command Field")
    return fields


def _read(vr: str, value: bytes) -> Value:
    if vr == "US":
        return int(struct.unpack("<H", value[:2])[0])
    if vr == "UI":  # whatever its characters, it names an object: no two may become the same
        return value.decode("latin-1").strip(" \0")
    return value.decode("ascii", "replace").strip(" \0")


def write_command(fields: Mapping[str, Value]) -> bytes:
    """A command set with its group length, elements in ascending order."""
    elements = []
    for number, vr, value in sorted((*_NUMBERS[keyword], value) for keyword, value in fields.items()):
        if vr == "US":
            elements.append(_US.pack(0, number, 2, value))
        else:
            encoded = _text(vr, str(value))
            elements.append(_ELEMENT.pack(0, number, len(encoded)) + encoded)
    body = b"".join(elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _text(vr: str, value: str) -> bytes:
    text = value.encode("latin-1" if vr == "UI" else "ascii", "replace")
    return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)
