"""What the peers of the mixed soak say: whole messages over a raw socket, in bounded time."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from bench import window
from bench.mixed.made import EXPLICIT, IMPLICIT, KINDS, Made
from bench.window import message
from scp.dimse.wire.messages import NO_DATASET, read_command

SECONDS = 60.0  # no answer for so long is a failed request
VERIFICATION = "1.2.840.10008.1.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PENDING, CANCELLED = (0xFF00, 0xFF01), 0xFE00
SINK_AET = "SINK"
_TAGS = {
    "StudyDate": (0x00080020, b"DA"),
    "QueryRetrieveLevel": (0x00080052, b"CS"),
    "SOPInstanceUID": (0x00080018, b"UI"),
    "PatientName": (0x00100010, b"PN"),
    "StudyInstanceUID": (0x0020000D, b"UI"),
    "SeriesInstanceUID": (0x0020000E, b"UI"),
}
Pair = tuple[str, str]


def identifier(**keys: str) -> bytes:
    """A query's identifier in explicit VR little endian."""
    out = b""
    for (tag, vr), text in sorted((_TAGS[keyword], text) for keyword, text in keys.items()):
        value = text.encode() + (b"\0" if vr == b"UI" else b" ") * (len(text) % 2)
        out += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    return out


def contexts_of_kinds(other: bool = False) -> list[Pair]:
    """Each kind in its own transfer syntax, or in another one, that zscp has to convert to."""
    return [(kind.sop_class, kind.other if other else kind.syntax) for kind in KINDS.values()]


class Peer(window.Scu):
    """An association, message by message."""

    def __init__(self, address: tuple[str, int], contexts: Sequence[Pair], **more: Any) -> None:
        super().__init__(address, contexts, seconds=SECONDS, **more)
        self.pairs = {number: pair for pair, number in self._contexts.items()}

    def message(self) -> tuple[int, dict[str, Any], bytes]:
        """Context, command set and dataset of the next message."""
        context, raw = self._fragments(1)
        command = dict(read_command(raw))
        data = b""
        if command.get("CommandDataSetType", NO_DATASET) != NO_DATASET:
            _, data = self._fragments(0)
        return context, command, data

    def _fragments(self, kind: int) -> tuple[int, bytes]:
        parts: list[bytes] = []
        while True:
            number, body = self.pdu()
            if number != 4:
                raise ConnectionError(f"a PDU of type {number} in place of a message: {body.hex()[:40]}")
            if body[5] & 1 != kind:
                raise ConnectionError("command and dataset are out of order")
            parts.append(body[6:])
            if body[5] & 2:
                return body[4], b"".join(parts)

    def ask(
        self, field: int, sop_class: str, data: bytes | None = None, number: int = 1, **more: Any
    ) -> None:
        """Send a request in the first context of its class."""
        context = next(at for (uid, _), at in self._contexts.items() if uid == sop_class)
        command = {"CommandField": field, "MessageID": number, "AffectedSOPClassUID": sop_class, **more}
        self.socket.sendall(message(context, command, data, self.longest))

    def cancel(self, sop_class: str, number: int = 1) -> None:
        context = next(at for (uid, _), at in self._contexts.items() if uid == sop_class)
        command = {"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": number}
        self.socket.sendall(message(context, command))

    def echo(self) -> None:
        self.ask(0x30, VERIFICATION)
        if status := self.message()[1]["Status"]:
            raise ConnectionError(f"C-ECHO was answered {status:04X}")

    def find(self, cancel_after: int = 0, **keys: str) -> tuple[int, list[bytes]]:
        """The final status and the matches' identifiers."""
        self.ask(0x20, FIND, identifier(**keys), Priority=0)
        matches: list[bytes] = []
        while True:
            _, answer, data = self.message()
            if answer["Status"] not in PENDING:
                return int(answer["Status"]), matches
            matches.append(data)
            if len(matches) == cancel_after:
                self.cancel(FIND)

    def move(self, cancel_after: int = 0, **keys: str) -> dict[str, Any]:
        """The final response of a C-MOVE to the sink."""
        self.ask(0x21, MOVE, identifier(**keys), Priority=0, MoveDestination=SINK_AET)
        answers = 0
        while True:
            _, answer, _ = self.message()
            if answer["Status"] not in PENDING:
                return answer
            answers += 1
            if answers == cancel_after:
                self.cancel(MOVE)

    def get(self, cancel_after: int = 0, **keys: str) -> Iterator[tuple[str, str, bytes] | dict[str, Any]]:
        """(SOP Instance UID, transfer syntax, dataset) of each object, and at last the final response.

        An object is answered when the next one is asked for: until then its sub-operation is under way.
        """
        self.ask(0x10, GET, identifier(**keys), Priority=0)
        taken = 0
        while True:
            context, command, data = self.message()
            if command["CommandField"] == 0x8010:
                if command["Status"] not in PENDING:
                    yield command
                    return
                continue
            uid = str(command["AffectedSOPInstanceUID"])
            answer = {
                "CommandField": 0x8001, "MessageIDBeingRespondedTo": command["MessageID"], "Status": 0,
                "AffectedSOPClassUID": command["AffectedSOPClassUID"], "AffectedSOPInstanceUID": uid,
            }  # fmt: skip
            yield uid, self.pairs[context][1], data
            self.socket.sendall(message(context, answer))
            taken += 1
            if taken == cancel_after:
                self.cancel(GET)

    def leave(self) -> None:
        """A-RELEASE; what else still comes is passed over."""
        with suppress(OSError):
            self.socket.sendall(window.RELEASE_RQ)
            while self.pdu()[0] != 6:
                pass
        self.socket.close()


def getter(address: tuple[str, int], calling: str, other: bool = False) -> Peer:
    """An association that may be sent every kind."""
    kinds = contexts_of_kinds(other)
    roles = [uid for uid, _ in kinds]
    return Peer(address, [(GET, EXPLICIT), *kinds], roles=roles, calling=calling)


def querier(address: tuple[str, int], calling: str) -> Peer:
    return Peer(address, [(FIND, EXPLICIT), (MOVE, EXPLICIT), (VERIFICATION, IMPLICIT)], calling=calling)


def request_of(made: Made, data: bytes, number: int, context: int, longest: int) -> bytes:
    """A whole C-STORE-RQ."""
    kind = KINDS[made.kind]
    sent = window.Obj(kind.sop_class, made.instance, kind.syntax, data)
    return window.store_rq(sent, number, context, longest)
