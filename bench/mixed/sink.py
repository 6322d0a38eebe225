"""A destination of C-MOVE that takes each kind in its own transfer syntax, and writes down what came.

python -m bench.mixed.sink PORT FILE
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench import window
from bench.mixed.ledger import Writer
from bench.mixed.made import BY_CLASS
from scp.dimse.wire.messages import read_command

_SECONDS = 120.0


def main() -> None:
    """Until the input ends."""
    port, writer = int(sys.argv[1]), Writer(Path(sys.argv[2]))
    listening = socket.create_server(("127.0.0.1", port), backlog=50)
    threading.Thread(target=_accept, args=(listening, writer), daemon=True).start()
    sys.stdin.read()


def _accept(listening: socket.socket, writer: Writer) -> None:
    while True:
        connection, _ = listening.accept()
        connection.settimeout(_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection, writer), daemon=True).start()


def _serve(connection: socket.socket, writer: Writer) -> None:
    with connection, suppress(OSError):
        _, asked = _pdu(connection)
        connection.sendall(_accepting(asked))
        command, parts = dict[str, Any](), list[bytes]()
        while True:
            kind, body = _pdu(connection)
            if kind != 4:
                if kind == 5:
                    connection.sendall(struct.pack(">BxLL", 6, 4, 0))
                return
            parts.append(body[6:])
            if not body[5] & 2:
                continue
            whole, parts = b"".join(parts), []
            if body[5] & 1:
                command = dict(read_command(whole))
                continue
            uid = str(command["AffectedSOPInstanceUID"])
            writer.write(did="arrived", instance=uid, sha256=sha256(whole).hexdigest())
            answer = {"CommandField": 0x8001, "MessageIDBeingRespondedTo": command["MessageID"], "Status": 0}
            answer |= {"AffectedSOPClassUID": command["AffectedSOPClassUID"], "AffectedSOPInstanceUID": uid}
            connection.sendall(window.message(body[4], answer))


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, size = struct.unpack(">BxL", _exactly(connection, 6))
    return kind, _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return bytes(data)


def _accepting(asked: bytes) -> bytes:
    body = asked[:68] + window.item(0x10, b"1.2.840.10008.3.1.1.1")
    for kind, value in window._items(asked[68:]):  # noqa: SLF001 - of the same benches
        if kind == 0x20:
            items = [(number, text.rstrip(b"\0").decode()) for number, text in window._items(value[4:])]  # noqa: SLF001
            sop_class = next(text for number, text in items if number == 0x30)
            wanted = BY_CLASS[sop_class].syntax if sop_class in BY_CLASS else ""
            result = 0 if (0x40, wanted) in items else 4
            syntax = window.item(0x40, (wanted or items[-1][1]).encode())
            body += window.item(0x21, bytes((value[0], 0, result, 0)) + syntax)
    user = window.item(0x51, struct.pack(">L", 131_072)) + window.item(0x52, b"1.2.826.0.1.3680043.10.1.98")
    body += window.item(0x50, user)
    return struct.pack(">BxL", 2, len(body)) + body


if __name__ == "__main__":
    main()
