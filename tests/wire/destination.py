"""A destination on raw sockets, for what no library's SCP would do."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bench import window
from scp.dimse.wire.messages import read_command

from .peers import EXPLICIT, free_port

# What becomes of an object, by its UID and how often it came: its status, or what is done instead.
Behave = Callable[[str, int], int | str]


class Destination:
    """A destination on raw sockets, which answers in order, or does what it should not.

    ``abort``: an A-ABORT; ``close``: the connection is gone; ``hang``: no answer, ever; ``die``: all
    connections are gone, and nobody listens for ``away`` seconds. It takes ``allowed`` associations at a
    time, and rejects others; ``most`` is the window.
    """

    def __init__(self, behave: Behave, *, most: int = 1, away: float = 0.3, allowed: int = 1_000) -> None:
        self.behave, self.most, self.away, self.allowed = behave, most, away, allowed
        self.seen: Counter[str] = Counter()
        self.taken: set[str] = set()
        self.associations = self.rejected = self._established = 0
        self.longest, self.accepts, self.reads = 16_384, True, True
        self.user = b""
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._over = threading.Event()
        self.port = free_port()
        self._listening = self._listen()

    def _listen(self) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", self.port), backlog=20)
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def die(self, comes_back: bool = True) -> None:
        with self._lock:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            for connection in list(self._connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        if comes_back and not self._over.wait(self.away):
            self._listening = self._listen()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        self._connections.add(connection)
        try:
            with connection, suppress(OSError):
                _, asked = self._pdu(connection)
                with self._lock:
                    self.associations += 1
                    refuse = self._established >= self.allowed
                    self.rejected += refuse
                    self._established += not refuse
                if refuse:
                    connection.sendall(struct.pack(">BxL", 3, 4) + bytes((0, 1, 1, 7)))
                    return
                try:
                    connection.sendall(self._accepting(asked))
                    self._associated(connection)
                finally:
                    self._established -= 1
        finally:
            self._connections.discard(connection)

    def _associated(self, connection: socket.socket) -> None:
        command = b""
        if not self.reads:
            self._over.wait(20)
        while True:
            kind, body = self._pdu(connection)
            if kind != 4:
                if kind == 5:
                    connection.sendall(struct.pack(">BxLL", 6, 4, 0))
                return
            if body[5] & 1:
                command += body[6:]
            elif body[5] & 2:
                if not self._object(connection, body[4], read_command(command)):
                    return
                command = b""

    def _object(self, connection: socket.socket, context: int, command: dict[str, Any]) -> bool:
        uid = command["AffectedSOPInstanceUID"]
        with self._lock:
            self.seen[uid] += 1
            what = self.behave(uid, self.seen[uid])
            if what == 0:
                self.taken.add(uid)
        if isinstance(what, int):
            answer = {
                "CommandField": 0x8001,
                "MessageIDBeingRespondedTo": command["MessageID"],
                "Status": what,
            }
            connection.sendall(window.message(context, answer))
            return True
        if what == "abort":
            connection.sendall(window.ABORT)
        elif what == "hang":
            self._over.wait(20)
        elif what == "die":
            self.die()
        return False

    def _pdu(self, connection: socket.socket) -> tuple[int, bytes]:
        head = connection.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            raise ConnectionError
        return head[0], connection.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL)

    def _accepting(self, asked: bytes) -> bytes:
        body = asked[:68] + window.item(0x10, b"1.2.840.10008.3.1.1.1")
        for kind, value in window._items(asked[68:]):
            if kind == 0x20:
                syntax = window.item(0x40, EXPLICIT.encode())
                result = 0 if self.accepts and syntax in value else 4
                body += window.item(0x21, bytes((value[0], 0, result, 0)) + syntax)
        user = window.item(0x51, struct.pack(">L", self.longest)) + window.item(0x52, b"1.2.3") + self.user
        user += window.item(0x53, struct.pack(">HH", self.most, 1)) if self.most > 1 else b""
        body += window.item(0x50, user)
        return struct.pack(">BxL", 2, len(body)) + body

    def __enter__(self) -> Destination:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.die(comes_back=False)
