"""A small, fast C-STORE SCU on a raw socket, with an Asynchronous Operations Window (PS3.7 D.3.3.3).

It keeps up to ``window`` requests in flight, and takes the answers in whatever order they come. Shared by
measurements and by tests: every byte that goes out can be put together by the caller. As a program:

    python -m bench.window --port 11112 --window 16 FOLDER
    python -m bench.window --port 11112 --window 1 --size 25000 --count 600
"""

from __future__ import annotations

import argparse
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import dcmread

from scp.dimse.wire.messages import NO_DATASET, Value, read_command, write_command

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
RELEASE_RQ = struct.pack(">BxLL", 5, 4, 0)
ABORT = struct.pack(">BxLL", 7, 4, 0)


@dataclass(frozen=True)
class Obj:
    """An object to send."""

    sop_class: str
    instance: str
    syntax: str
    dataset: bytes


def item(kind: int, value: bytes) -> bytes:
    """An item of an association PDU (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(value)) + value


def associate_rq(
    contexts: Sequence[tuple[str, str]],
    *,
    called: str = "ZSCP",
    calling: str = "WINDOW",
    window: tuple[int, int] | None = None,
    roles: Iterable[str] = (),
    pdu_bytes: int = 131_072,
) -> bytes:
    """An A-ASSOCIATE-RQ; ``contexts`` are numbered 1, 3, 5, …, ``window`` is (invoked, performed)."""
    body = struct.pack(">Hxx", 1)
    body += called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += item(0x10, _APPLICATION_CONTEXT)
    for number, (abstract, syntax) in enumerate(contexts):
        names = item(0x30, abstract.encode()) + item(0x40, syntax.encode())
        body += item(0x20, bytes((2 * number + 1, 0, 0, 0)) + names)
    user = item(0x51, struct.pack(">L", pdu_bytes)) + item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    if window is not None:
        user += item(0x53, struct.pack(">HH", *window))
    for uid in roles:
        user += item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\0\1")
    body += item(0x50, user)
    return struct.pack(">BxL", 1, len(body)) + body


def message(
    context: int, command: dict[str, Value], dataset: bytes | None = None, pdu_bytes: int = 131_072
) -> bytes:
    """A DIMSE message as P-DATA-TF PDUs of at most ``pdu_bytes``."""
    kind = NO_DATASET if dataset is None else 0
    parts = [(write_command({**command, "CommandDataSetType": kind}), 1)]
    if dataset is not None:
        parts.append((dataset, 0))
    step, out = pdu_bytes - 6, bytearray()
    for data, bit in parts:
        for at in range(0, max(len(data), 1), step):
            part = data[at : at + step]
            last = 2 if at + step >= len(data) else 0
            out += struct.pack(">BxLLBB", 4, len(part) + 6, len(part) + 2, context, bit | last) + part
    return bytes(out)


def store_rq(obj: Obj, message_id: int, context: int, pdu_bytes: int = 131_072) -> bytes:
    """A whole C-STORE-RQ."""
    command: dict[str, Value] = {
        "CommandField": 0x0001,
        "MessageID": message_id,
        "AffectedSOPClassUID": obj.sop_class,
        "AffectedSOPInstanceUID": obj.instance,
        "Priority": 0,
    }
    return message(context, command, obj.dataset, pdu_bytes)


class Scu:
    """An association.

    ``window`` is asked for, as the requests in flight or as (invoked, performed), and afterwards what was
    granted; ``order`` has the Message IDs as they were answered.
    """

    def __init__(
        self,
        address: tuple[str, int],
        contexts: Sequence[tuple[str, str]],
        *,
        window: int | tuple[int, int] = 1,
        seconds: float = 60.0,
        tls: ssl.SSLContext | None = None,
        **request: object,
    ) -> None:
        self.order: list[int] = []
        self._buffer = b""
        self._contexts = {pair: 2 * number + 1 for number, pair in enumerate(contexts)}
        self.socket = socket.create_connection(address, seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        proposed = window if isinstance(window, tuple) else (window, 1) if window != 1 else None
        self.socket.sendall(associate_rq(contexts, **{"window": proposed, **request}))  # type: ignore[arg-type]
        kind, body = self.pdu()
        if kind != 2:
            raise ConnectionError(f"the association was answered with a PDU of type {kind}: {body.hex()}")
        self.longest, self.granted = _agreed(body)
        self.longest = self.longest or 1 << 20
        self.window = self.granted[0] if self.granted else 1

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU; raises ConnectionError when there is none."""
        head = self._exactly(6)
        return head[0], self._exactly(struct.unpack(">L", head[2:])[0])

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            part = self.socket.recv(1 << 18)
            if not part:
                raise ConnectionError("the node closed the connection")
            self._buffer += part
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def response(self) -> dict[str, Value]:
        """The next message's command set, which has to lie in one PDV; its dataset is passed over."""
        command = read_command(self._value(1))
        if command.get("CommandDataSetType", NO_DATASET) != NO_DATASET:
            self._value(0)
        return command

    def _value(self, kind: int) -> bytes:
        """The last fragment of a command set (1) or a dataset (0)."""
        while True:
            number, body = self.pdu()
            if number != 4 or body[5] & 1 != kind:
                raise ConnectionError(f"a PDU of type {number} out of place")
            if body[5] & 2:
                return body[6:]

    def store(self, objects: Iterable[Obj]) -> list[int]:
        """Send objects, as many at once as the window allows; their statuses in the order given."""
        statuses: dict[int, int] = {}
        count = flying = 0
        for number, data in enumerate(self.prepared(objects), 1):
            self.socket.sendall(data)
            count, flying = number, flying + 1
            if flying == self.window:
                self._settle(statuses)
                flying -= 1
        for _ in range(flying):
            self._settle(statuses)
        return [statuses[number] for number in range(1, count + 1)]

    def prepared(self, objects: Iterable[Obj]) -> Iterator[bytes]:
        """Requests with Message IDs from 1."""
        for number, obj in enumerate(objects, 1):
            yield store_rq(obj, number, self._contexts[obj.sop_class, obj.syntax], self.longest)

    def _settle(self, statuses: dict[int, int]) -> None:
        response = self.response()
        message_id, status = response["MessageIDBeingRespondedTo"], response["Status"]
        if not isinstance(message_id, int) or not isinstance(status, int) or message_id in statuses:
            raise ConnectionError(f"a response that answers nothing: {response}")
        self.order.append(message_id)
        statuses[message_id] = status

    def release(self) -> None:
        """A-RELEASE, answered."""
        self.socket.sendall(RELEASE_RQ)
        kind, _ = self.pdu()
        if kind != 6:
            raise ConnectionError(f"A-RELEASE-RQ was answered with a PDU of type {kind}")
        self.socket.close()

    def __enter__(self) -> Scu:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _agreed(body: bytes) -> tuple[int, tuple[int, int] | None]:
    """Maximum length and window of an A-ASSOCIATE-AC."""
    longest, window = 0, None
    for kind, value in _items(body[68:]):
        if kind == 0x50:
            for inner, data in _items(value):
                if inner == 0x51:
                    longest = struct.unpack(">L", data)[0]
                elif inner == 0x53:
                    window = struct.unpack(">HH", data)
    return longest, window


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


def of_files(folder: Path) -> list[Obj]:
    """The Part 10 files below a folder, their dataset streams untouched."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        meta = dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta
        start = 144 + int(meta.FileMetaInformationGroupLength)
        uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
        found.append(Obj(*map(str, uids), path.read_bytes()[start:]))  # type: ignore[call-arg]
    return found


def made_up(count: int, size: int) -> list[Obj]:
    """Objects of ``size`` bytes that are one comment, in explicit VR little endian."""
    objects = []
    for number in range(count):
        uid = f"2.25.{time.time_ns()}.{number}"
        head = b"".join(
            struct.pack("<HH", group, element)
            + b"UI"
            + struct.pack("<H", len(text) + len(text) % 2)
            + text.encode()
            + b"\0" * (len(text) % 2)
            for group, element, text in (
                (0x0008, 0x0016, SECONDARY_CAPTURE),
                (0x0008, 0x0018, uid),
                (0x0020, 0x000D, "2.25.1"),
                (0x0020, 0x000E, "2.25.1.1"),
            )
        )
        rest = max(size - len(head) - 12, 2) & ~1
        data = head + struct.pack("<HH2sxxL", 0x0020, 0x4000, b"UT", rest) + b"x" * rest
        objects.append(Obj(SECONDARY_CAPTURE, uid, EXPLICIT, data))
    return objects


def main() -> None:
    """Send, and say how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11112)
    parser.add_argument("--aet", default="ZSCP")
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--size", type=int, default=25_000)
    asked = parser.parse_args()
    objects = of_files(asked.folder) if asked.folder else made_up(asked.count, asked.size)
    contexts = list(dict.fromkeys((one.sop_class, one.syntax) for one in objects))
    with Scu((asked.host, asked.port), contexts, window=asked.window, called=asked.aet) as scu:
        started = time.perf_counter()
        statuses = scu.store(objects)
        took = time.perf_counter() - started
        granted = scu.window
        scu.release()
    size = sum(len(one.dataset) for one in objects)
    print(
        f"{len(objects)} objects, {size / 1e6:.1f} MB, window {granted}: {took:.2f} s, "
        f"{len(objects) / took:.0f}/s, {size / took / 1e6:.0f} MB/s, "
        f"{len(statuses) - statuses.count(0)} refused"
    )


if __name__ == "__main__":
    main()
