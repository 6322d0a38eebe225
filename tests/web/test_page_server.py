"""The HTTP server: garbage and slow clients harm nobody, and connections are bounded."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest
from waiting import until

from scp.dimse.negotiation.listener import bound
from scp.web import server as module
from scp.web.server import PageServer

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    def broken(_: str) -> tuple[int, str, bytes]:
        raise ValueError("a bug")

    listening = bound("127.0.0.1", 0)
    server = PageServer(
        listening, {"/page": lambda accept: (200, "text/plain", accept.encode()), "/broken": broken}
    )
    server.start()
    yield listening.getsockname()
    server.stop()


def got(address: tuple[str, int], path: str = "/page") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers={"Accept": "a/b"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def raw(address: tuple[str, int], sent: bytes) -> bytes:
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_pages_by_their_path(address: tuple[str, int]) -> None:
    assert got(address) == (200, "a/b")
    assert got(address, "/page?x=1") == (200, "a/b")
    assert got(address, "/etc/passwd") == (404, "Not Found\n")
    assert got(address, "/broken") == (500, "Internal Server Error\n")
    assert raw(address, b"HEAD /page HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01\0\0\0\0\xcd" + bytes(205),
        b"\x16\x03\x01\x02\0\x01" * 40,
        b"GET " + b"a" * 70_000,
        b"\n" * 100,
        b"GET /page HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"POST /page HTTP/1.1\r\n\r\n",
        b"<script>\r\n\r\n",
    ],
    ids=["nothing", "DICOM", "TLS", "long line", "empty lines", "many headers", "POST", "no request"],
)
def test_garbage_harms_nothing_and_is_not_repeated(address: tuple[str, int], sent: bytes) -> None:
    assert b"script" not in raw(address, sent)
    assert got(address)[0] == 200


def test_slow_clients_are_cut_off(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECTION_SECONDS", 0.3)
    with socket.create_connection(address, timeout=5) as slow:
        begun = time.monotonic()
        slow.sendall(b"GET /pa")
        assert got(address)[0] == 200
        assert slow.recv(100) == b""  # it did not wait for the rest
        assert time.monotonic() - begun < 2


def test_so_many_connections_and_no_more(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    held = [socket.create_connection(address, timeout=5) for _ in range(16)]
    time.sleep(0.1)
    with socket.create_connection(address, timeout=5) as late:
        assert late.recv(1) == b""
    for one in held:
        one.close()

    def answers() -> bool:
        with suppress(OSError):  # until the server has seen that they are gone
            return got(address)[0] == 200
        return False

    until(answers, "there is room again")
