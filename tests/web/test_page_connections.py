"""Bounds on connections to the page's port, and who finds room among many that are slow or silent."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import Issuer
from waiting import until

from scp.config.settings import TlsSettings
from scp.dimse.negotiation.listener import bound
from scp.web.page import listening as listening_module
from scp.web.page import serving
from scp.web.page.serving import PageService

pytestmark = pytest.mark.quick

Address = tuple[str, int]


async def _answering(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, /stays after the client has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stays":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def served() -> Iterator[Callable[..., Address]]:
    with ExitStack() as stack:

        def serve(tls: TlsSettings | None = None) -> Address:
            listens = bound("127.0.0.1", 0)
            address: Address = listens.getsockname()
            service = PageService(listens, _answering, tls, lambda: None)
            service.start()
            stack.callback(service.stop)
            until(lambda: service._server.started, "it is served")
            serve.service = service  # type: ignore[attr-defined]
            return address

        yield serve


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Connects from an address of loopback, until the end of the test."""
    with ExitStack() as stack:

        def connected(address: Address, number: int) -> socket.socket:
            source = (f"127.0.0.{number}", 0)
            return stack.enter_context(socket.create_connection(address, 60, source_address=source))

        yield connected


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def answers(address: Address, number: int, context: ssl.SSLContext | None = None) -> bool:
    """Whether one who asks from an address of loopback is answered."""
    source: Any = {"timeout": 60, "source_address": (f"127.0.0.{number}", 0)}
    secured = http.client.HTTPSConnection(*address, context=context, **source)
    connection = secured if context else http.client.HTTPConnection(*address, **source)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def counted(served: Any) -> int:
    return len(served.service._server.server_state.connections)


def test_one_address_leaves_half_of_the_connections_to_others(
    served: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = served()
    monkeypatch.setattr(serving, "_MOST_CONNECTIONS", 6)
    held = [connect(address, 2) for _ in range(6)]
    until(lambda: sum(map(is_closed, held)) == 3, "half of the connections are closed")
    assert answers(address, 1)


def test_one_that_has_fewer_takes_the_place_of_one_that_has_most(
    served: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = served()
    monkeypatch.setattr(serving, "_MOST_CONNECTIONS", 3)
    monkeypatch.setattr(serving, "_SPARED_SECONDS", 1000.0)
    first, *others = [connect(address, number) for number in (2, 3, 3)]
    until(lambda: counted(served) == 3, "all are there")
    held = connect(address, 4)
    until(lambda: sum(map(is_closed, others)) == 1, "one of the address that had two is closed")
    with connect(address, 3) as one_more:
        assert one_more.recv(10) == b"", "no address has more than this one would have"
    assert not is_closed(first)
    assert not is_closed(held)
    first.close()
    until(lambda: answers(address, 5), "there is room again")


def test_one_that_answers_is_spared_before_one_that_waits(
    served: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = served()
    monkeypatch.setattr(serving, "_MOST_CONNECTIONS", 4)
    busy, waits = connect(address, 2), connect(address, 2)
    busy.sendall(b"GET /stays HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert busy.recv(12) == b"HTTP/1.1 200"
    others = [connect(address, 3), connect(address, 4)]
    until(lambda: counted(served) == 4, "all are there")
    assert answers(address, 5)
    assert is_closed(waits)
    assert not any(map(is_closed, others))
    busy.settimeout(60)
    assert busy.recv(1) != b""


@pytest.mark.parametrize("spared", [0.0, 1000.0])
def test_of_many_addresses_the_one_that_has_waited_longest_makes_room(
    served: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, spared: float
) -> None:
    address = served()
    monkeypatch.setattr(serving, "_MOST_CONNECTIONS", 3)
    monkeypatch.setattr(serving, "_SPARED_SECONDS", spared)
    held = []
    for number in (2, 3, 4):
        held.append(connect(address, number))
        until(lambda: counted(served) == len(held), "it is there")
    assert answers(address, 5) == (spared == 0.0)
    assert list(map(is_closed, held)) == [spared == 0.0, False, False]


@pytest.mark.parametrize("flood", [1, 20])
def test_connections_that_never_begin_tls_are_bounded(
    served: Any, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flood: int
) -> None:
    """From one address, and from many: of these, the oldest go first."""
    monkeypatch.setattr(listening_module, "_MOST_UNSECURED", 8)
    certificate = Issuer(tmp_path).signed("archive")
    address = served(TlsSettings(certificate=certificate.certificate, key=certificate.key))
    context = ssl._create_unverified_context()
    silent = [connect(address, 100 + number % flood) for number in range(60)]
    until(lambda: sum(map(is_closed, silent)) >= 52, "most of them are closed")
    assert answers(address, 5, context)
    with ExitStack() as secured:  # these have their handshake behind them, and count no more
        for _ in range(12):
            one = context.wrap_socket(connect(address, 6), server_hostname="archive")
            secured.enter_context(one)
        until(lambda: counted(served) >= 12, "all are secured")
        for number in range(60):
            connect(address, 100 + number % flood)
        assert answers(address, 5, context)


def test_connections_that_come_and_go_leave_nothing(served: Any) -> None:
    address = served()

    def come_and_go(number: int) -> None:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(address, 60, (f"127.0.0.{number}", 0)) as one:
                one.sendall(b"GET / HT")

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(2, 6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers(address, 9)
    until(lambda: counted(served) == 0, "all are gone")
