"""A requester that stores, finds and retrieves objects of any size, and keeps what tells them apart."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from wire.peers import EXPLICIT, STUDY_FIND, STUDY_GET, STUDY_MOVE, identifier, written

from bench import window
from scp.dimse.wire.messages import NO_DATASET, read_command, write_command

from .objects import Bad

Address = tuple[str, int]
_PDV = 100_000
_KEPT = 20 << 20  # of what came; the digest is of all
_COUNTS = ("Completed", "Failed", "Warning")


@dataclass(frozen=True)
class Got:
    """What a C-GET or C-MOVE came to; ``counts`` are completed, failed and with a warning."""

    status: int
    counts: tuple[int, int, int]
    comment: str
    digest: str = ""
    size: int = 0
    data: bytes = field(default=b"", repr=False)  # the last of it

    @property
    def refused(self) -> bool:
        """One sub-operation, which failed, and says why."""
        return self.status in (0xA702, 0xB000) and self.counts[:2] == (0, 1) and bool(self.comment)


def store(address: Address, sent: Bad, seconds: float, calling: str = "WINDOW") -> tuple[int, str]:
    """Status and Error Comment of a C-STORE."""
    with window.Scu(address, [(sent.sop_class, sent.syntax)], seconds=seconds, calling=calling) as scu:
        command = _request(1, sent.sop_class, AffectedSOPInstanceUID=sent.instance, CommandDataSetType=0)
        scu.socket.sendall(_pdv(write_command(command), 3))
        for part, last in _marked(sent.parts):
            scu.socket.sendall(_pdv(part, 2 if last else 0))
        answer = scu.response()
        scu.release()
    return int(answer["Status"]), str(answer.get("ErrorComment", ""))


def _marked(parts: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Pieces that go into a PDU each, and which is the last."""
    held = b""
    for part in parts:
        for at in range(0, len(part), _PDV):
            if held:
                yield held, False
            held = part[at : at + _PDV]
    yield held, True


def _pdv(data: bytes, control: int) -> bytes:
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, 1, control) + data


def _request(field: int, sop_class: str, **more: Any) -> dict[str, Any]:
    return {"CommandField": field, "MessageID": 1, "AffectedSOPClassUID": sop_class, "Priority": 0, **more}


def _wanted(sent: Bad) -> bytes:
    return written(identifier("IMAGE", SOPInstanceUID=sent.instance), EXPLICIT)


def find(address: Address, sent: Bad, seconds: float) -> int:
    """How many instances a C-FIND tells of."""
    with window.Scu(address, [(STUDY_FIND, EXPLICIT)], seconds=seconds) as scu:
        scu.socket.sendall(window.message(1, _request(0x20, STUDY_FIND), _wanted(sent)))
        found = 0
        while scu.response()["Status"] in (0xFF00, 0xFF01):
            found += 1
        scu.release()
    return found


def get(address: Address, sent: Bad, syntax: str, seconds: float) -> Got:
    """A C-GET by a peer that takes one transfer syntax. Raises ConnectionError where it was cut off."""
    contexts = [(sent.sop_class, syntax), (STUDY_GET, EXPLICIT)]
    with window.Scu(address, contexts, roles=[sent.sop_class], seconds=seconds) as scu:
        scu.socket.sendall(window.message(3, _request(0x10, STUDY_GET), _wanted(sent)))
        digest, size, kept = sha256(), 0, bytearray()
        while (command := read_command(scu._value(1)))["CommandField"] != 0x8010 or command[
            "Status"
        ] == 0xFF00:
            if command["CommandField"] == 0x8010:
                continue
            for part in _value(scu):
                digest.update(part)
                size += len(part)
                kept += part
                if len(kept) > 2 * _KEPT:
                    del kept[:-_KEPT]
            scu.socket.sendall(window.message(1, _taken(command)))
        if command["CommandDataSetType"] != NO_DATASET:
            scu._value(0)
        scu.release()
    return Got(*_ended(command), digest.hexdigest() if size else "", size, bytes(kept))


def _value(scu: window.Scu) -> Iterator[bytes]:
    while True:
        kind, body = scu.pdu()
        if kind != 4:
            raise ConnectionError(f"a PDU of type {kind} instead of an object")
        yield body[6:]
        if body[5] & 2:
            return


def _taken(command: dict[str, Any]) -> dict[str, Any]:
    return {
        "CommandField": 0x8001,
        "MessageIDBeingRespondedTo": command["MessageID"],
        "AffectedSOPClassUID": command["AffectedSOPClassUID"],
        "Status": 0,
    }


def move(address: Address, sent: Bad, destination: str, seconds: float) -> Got:
    """A C-MOVE; what arrives is the destination's to tell."""
    with window.Scu(address, [(STUDY_MOVE, EXPLICIT)], seconds=seconds) as scu:
        command = _request(0x21, STUDY_MOVE, MoveDestination=destination)
        scu.socket.sendall(window.message(1, command, _wanted(sent)))
        while (answer := scu.response())["Status"] == 0xFF00:
            pass
        scu.release()
    return Got(*_ended(answer))


def _ended(answer: dict[str, Any]) -> tuple[int, tuple[int, int, int], str]:
    counts = tuple(int(answer.get(f"NumberOf{kind}Suboperations", 0)) for kind in _COUNTS)
    return int(answer["Status"]), counts, str(answer.get("ErrorComment", ""))  # type: ignore[return-value]
