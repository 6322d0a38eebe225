"""HAProxy finds the replicas of a service by name, as from Docker's name server, and notices changes.

The replicas only answer /ready here, and the name server is a few lines: that is all that HAProxy sees of
them in compose.cluster.yml, too.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers_haproxy import HAProxy, replicas
from waiting import until

from .topology import steady_ports

pytestmark = pytest.mark.cluster

_HEADER = struct.Struct(">6H")
_ANSWER, _NO_SUCH_NAME, _TYPE_A = 0x8180, 0x8183, 1


class NameServer:
    """Answers A records of one name (RFC 1035 4.1), whatever is asked about it."""

    def __init__(self, name: str) -> None:
        self.addresses: list[str] = []
        self._name = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                asked, peer = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(asked), peer)
            except OSError:
                return

    def _answer(self, asked: bytes) -> bytes:
        end = asked.index(b"\0", _HEADER.size) + 5  # the name, its type and class
        question, (kind,) = asked[_HEADER.size : end], struct.unpack_from(">H", asked, end - 4)
        known = question.startswith(self._name)
        found = self.addresses if known and kind == _TYPE_A else []
        flags = _ANSWER if known else _NO_SUCH_NAME
        head = _HEADER.pack(int.from_bytes(asked[:2], "big"), flags, 1, len(found), 0, 0)
        record = struct.Struct(">HHHLH4s")  # a pointer to the name in the question
        answers = [record.pack(0xC00C, _TYPE_A, 1, 1, 4, socket.inet_aton(one)) for one in found]
        return head + question + b"".join(answers)


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def test_replicas_are_found_by_name(tmp_path: Path, stack: ExitStack) -> None:
    names = stack.enter_context(closing(NameServer("zscp")))
    dicom, figures, port, http = steady_ports(4)
    for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        replica = ThreadingHTTPServer((address, http), _Ready)
        stack.callback(replica.server_close)
        stack.callback(replica.shutdown)
        threading.Thread(target=replica.serve_forever, daemon=True).start()
    haproxy = HAProxy(tmp_path, replicas(names.port, port, http), dicom, figures)
    names.addresses = ["127.0.0.2", "127.0.0.3"]
    stack.callback(haproxy.kill)
    haproxy.start()
    until(lambda: len(haproxy.up()) == 2, "HAProxy finds both replicas")
    names.addresses.append("127.0.0.4")
    until(lambda: len(haproxy.up()) == 3, "HAProxy finds the third one")
    del names.addresses[0]
    until(lambda: len(haproxy.up()) == 2, "HAProxy forgets the one that is gone", 60)
