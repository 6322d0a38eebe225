"""What comes over one connection of the page's server: heads without an end, pipelined requests, chunks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest
from waiting import until

from scp.dimse.negotiation.listener import bound
from scp.web.page.serving import PageService

pytestmark = pytest.mark.quick

HEAD = b"POST /body HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Answering:
    """Answers with the body of a request; on /waits when the client has gone, or it is told to."""

    def __init__(self) -> None:
        self.gone, self.begun, self.paths = 0, 0, list[str]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        body, message = b"", await receive()
        while message["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
            message = await receive()
        if scope["path"] == "/waits":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone += 1
        self.paths.append(scope["path"])
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(app: Any) -> Iterator[tuple[str, int]]:
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, app, None, lambda: None)
    service.start()
    try:
        until(lambda: service._server.started, "it is served")
        yield listening.getsockname()
    finally:
        service.stop()


@pytest.fixture
def app() -> Answering:
    return Answering()


@pytest.fixture
def address(app: Answering) -> Iterator[tuple[str, int]]:
    with serving(app) as found:
        yield found


def told(address: tuple[str, int], *sent: bytes, until_there: bytes = b"") -> bytes:
    """What is answered until the connection ends, or ``until_there`` has come."""
    found = b""
    with socket.create_connection(address, timeout=30) as one, suppress(ConnectionError):
        for each in sent:
            one.sendall(each)
        while (got := one.recv(1 << 16)) and not (until_there and until_there in found + got):
            found += got
        found += got
    return found


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n",
        b"GET /" + b"a" * 300_000,
        b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 4000,
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 300_000,
        b"GET / HTTP/1.1\r\n" + b"X" * 300_000,
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 300_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Many: 1\r\n" * 4000,
    ],
)
def test_a_head_has_an_end(address: tuple[str, int], app: Answering, head: bytes) -> None:
    assert told(address, head)[:12] in (b"", b"HTTP/1.1 400")
    assert b"200" in told(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", until_there=b"\r\n\r\n")


@pytest.mark.parametrize(
    "odd",
    [
        b"\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        b"* / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_no_request_is_refused(address: tuple[str, int], odd: bytes) -> None:
    assert told(address, odd).startswith(b"HTTP/1.1 400")


def test_pipelined_requests_are_answered_in_their_order(address: tuple[str, int], app: Answering) -> None:
    requests = [b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d" % (n, n) for n in range(5)]
    found = told(address, b"".join(requests), until_there=b"\r\n\r\n04")
    assert [found.count(b"\r\n\r\n%02d" % n) for n in range(5)] == [1] * 5
    assert app.paths == [f"/{n}" for n in range(5)]


def test_pipelined_requests_are_bounded(address: tuple[str, int], app: Answering) -> None:
    assert b"HTTP/1.1 400" in told(address, b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    assert app.begun < 10


def test_who_goes_is_told_to_the_request_that_runs(address: tuple[str, int], app: Answering) -> None:
    with socket.create_connection(address) as one:
        one.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: app.begun == 1, "the first of them runs")
    until(lambda: app.gone == 1, "it is told")


def test_a_body_of_tiny_chunks_holds_up_nobody(address: tuple[str, int]) -> None:
    """They took 0.7 s of the one thread for each 256 KB."""
    size = 40_000
    sent = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * size + b"0\r\n\r\n"
    assert told(address, sent, until_there=b"x" * size).endswith(b"x" * size)


def test_leave_is_given_when_the_body_is_asked_for(app: Answering) -> None:
    asked = threading.Event()

    async def refusing(_scope: Any, _receive: Any, send: Any) -> None:
        await anyio.sleep(0)
        asked.set()
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    expecting = HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with serving(refusing) as address:
        assert told(address, expecting, until_there=b"\r\n\r\n").startswith(b"HTTP/1.1 403")
    with serving(app) as address, socket.create_connection(address, timeout=30) as one:
        one.sendall(expecting)
        assert one.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"ab")
        assert one.recv(1000).startswith(b"HTTP/1.1 200")
