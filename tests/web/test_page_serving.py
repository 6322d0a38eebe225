"""The page's server: bounds on connections, streams, TLS, and the small server where there is no page."""

from __future__ import annotations

import http.client
import importlib.util
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from certificates import Issuer
from desks import PASSWORDS, MadePage, http_settings, users, with_http
from waiting import until

from scp.config.settings import Settings, TlsSettings
from scp.dimse.negotiation.listener import bound
from scp.errors import ConfigurationError
from scp.metrics.counting import NodeFigures
from scp.node import web
from scp.node.web import WebProcess, http_socket, page_lack
from scp.web.page import serving, streams
from scp.web.page.serving import PageService
from scp.web.server import PageServer

pytestmark = pytest.mark.quick

Serving = Callable[..., tuple[str, int]]


@pytest.fixture
def page(tmp_path: Path) -> MadePage:
    return MadePage(http_settings(user=users(anna="admin", victor="viewer")), tmp_path)


@pytest.fixture
def served(page: MadePage) -> Iterator[Serving]:
    services: list[PageService] = []

    def serve(tls: TlsSettings | None = None, end: Callable[[], None] = lambda: None) -> tuple[str, int]:
        listening = bound("127.0.0.1", 0)
        address: tuple[str, int] = listening.getsockname()
        services.append(PageService(listening, page.app, tls, end))
        services[-1].start()
        until(lambda: got(address, "/live", tls=tls)[0] == 200, "the page is served")
        return address

    serve.services = services  # type: ignore[attr-defined]
    yield serve
    for one in services:
        one.stop()


def got(
    address: tuple[str, int], path: str, tls: TlsSettings | None = None, **headers: str
) -> tuple[int, bytes]:
    context = ssl._create_unverified_context() if tls is not None else None
    made = http.client.HTTPSConnection if tls is not None else http.client.HTTPConnection
    given: Any = {"context": context} if context is not None else {}
    connection = made(*address, timeout=20, **given)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionRefusedError:
        return 0, b""
    finally:
        connection.close()


def entered(address: tuple[str, int], name: str) -> str:
    """The cookie of a session."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    body = json.dumps({"name": name, "password": PASSWORDS[name]})
    connection.request("POST", "/api/session", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    return str(answer.getheader("Set-Cookie")).partition(";")[0]


def test_a_slow_request_is_cut_off_and_holds_up_nobody(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_LOOK_SECONDS", 0.4)
    address = served()
    with socket.create_connection(address, timeout=20) as silent, socket.create_connection(address) as slow:
        slow.settimeout(20)
        slow.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert got(address, "/live")[0] == 200
        assert silent.recv(10) == b""
        assert is_cut_off(slow)
    with socket.create_connection(address, timeout=20) as half:
        half.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=")
        assert is_cut_off(half)


def is_cut_off(connection: socket.socket) -> bool:
    """Whether nothing but the end comes."""
    try:
        return connection.recv(10_000) == b""
    except ConnectionError:
        return True


def test_short_answers_wait_for_no_acknowledgement(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = serving.BoundedProtocol.connection_made, list[int]()

    def noted(connection: serving.BoundedProtocol, transport: Any) -> None:
        made(connection, transport)
        told.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(serving.BoundedProtocol, "connection_made", noted)
    served()
    assert told
    assert all(told)


@pytest.mark.parametrize("takes", [True, False])
def test_an_answer_ends_where_the_client_takes_nothing_of_it_and_not_before(
    monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    monkeypatch.setattr(serving, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(serving, "_STALL_SECONDS", 60.0 if takes else 0.4)
    monkeypatch.setattr(serving, "_LONGEST_SECONDS", 3.0)
    ended = threading.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun = time.monotonic()
        # uvicorn drops what is sent after the connection has ended
        while time.monotonic() - begun < (4.5 if takes else 60.0) and not ended.is_set():
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            await anyio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})

    listening = bound("127.0.0.1", 0)
    service = PageService(listening, endless, None, lambda: None)
    service.start()
    try:
        until(lambda: service._server.started, "it is served")
        with socket.create_connection(listening.getsockname(), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            if not takes:
                cycles = service._server.server_state.connections
                until(lambda: not cycles, "the connection is cut off")
                return
            last = b""
            while not last.endswith(b"0\r\n\r\n"):
                got_now = client.recv(1 << 20)
                assert got_now, "the answer was cut off"
                last = (last + got_now)[-10:]
    finally:
        ended.set()
        service.stop()


def test_liveness_waits_for_no_view(served: Serving, page: MadePage) -> None:
    """All threads of views may wait for the index."""
    ends = threading.Event()
    page.app._app.add_api_route("/api/waits", lambda: ends.wait(20))  # type: ignore[attr-defined]
    address = served()
    cookie = entered(address, "victor")
    waiting = [
        threading.Thread(target=got, args=(address, "/api/waits"), kwargs={"Cookie": cookie})
        for _ in range(12)
    ]
    for one in waiting:
        one.start()
    try:
        for path in ("/live", "/ready", "/metrics"):
            began = time.monotonic()
            assert got(address, path)[0] == 200
            assert time.monotonic() - began < 15
    finally:
        ends.set()
        for one in waiting:
            one.join()


def test_now_changes_by_itself_until_the_session_ends(
    served: Serving, page: MadePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "EVERY_SECONDS", 0.05)
    address = served()
    connection = http.client.HTTPConnection(*address, timeout=20)
    headers = {"Cookie": entered(address, "victor"), "Accept": "text/event-stream"}
    connection.request("GET", "/now/stream", headers=headers)
    answer = connection.getresponse()
    assert str(answer.getheader("Content-Type")).startswith("text/event-stream")
    assert read_until(answer, b"event: now")
    page.figures.of("worker 2").board.show("2-1", "CT7", "ZSCP", "10.0.0.7")
    assert read_until(answer, b"CT7")
    page.settings = with_http(page.settings, user=page.settings.http.user[:1])  # victor is gone
    assert not read_until(answer, b"never sent")
    assert got(address, "/now/stream", Cookie=headers["Cookie"], Accept=headers["Accept"])[0] == 401


def read_until(answer: http.client.HTTPResponse, what: bytes) -> bool:
    """Whether a line with this comes before the end."""
    while line := answer.readline():
        if what in line:
            return True
    return False


def test_streams_are_bounded(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_MOST", 1)
    address = served()
    cookie = entered(address, "victor")
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("GET", "/now/stream", headers={"Cookie": cookie})
    assert read_until(connection.getresponse(), b"event: now")
    status, text = got(address, "/now/stream", Cookie=cookie)
    assert status == 503
    assert b"Too many pages are open" in text


def test_https_with_the_nodes_certificate_which_may_change(served: Serving, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    first, second = issuer.signed("archive"), issuer.signed("archive2")
    tls = TlsSettings(certificate=first.certificate, key=first.key)
    address = served(tls)
    assert shown(address) == Path(first.certificate).read_text(encoding="ascii").splitlines()[1]
    service: PageService = served.services[0]  # type: ignore[attr-defined]
    service.renew(TlsSettings(certificate=second.certificate, key=second.key))
    assert shown(address) == Path(second.certificate).read_text(encoding="ascii").splitlines()[1]
    with pytest.raises(OSError, match="No such file"):
        service.renew(TlsSettings.model_construct(certificate=first.certificate, key="/nowhere"))
    assert got(address, "/live", tls=tls)[0] == 200


def shown(address: tuple[str, int]) -> str:
    """The first line of the certificate that a server shows."""
    return ssl.get_server_certificate(address).splitlines()[1]


def test_a_server_that_ends_by_itself_ends_its_process(page: MadePage) -> None:
    ended = threading.Event()
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, page.app, None, ended.set)
    listening.close()  # so that nothing can be served
    service.start()
    assert ended.wait(20)


# -- with and without a page --------------------------------------------------------------------------------


def process_of(settings: Settings) -> WebProcess:
    with bound("127.0.0.1", 0) as listening:
        return WebProcess(settings, lambda: None, listening, NodeFigures(), lambda: None)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra web is not installed."""
    there = importlib.util.find_spec
    monkeypatch.setattr(web, "find_spec", lambda name: None if name == "fastapi" else there(name))


def settings_in(folder: Path, **http: Any) -> Settings:
    return Settings.model_validate({"storage": {"url": f"file://{folder}"}, "http": {"port": 1, **http}})


def test_there_is_a_page_where_the_extra_is(tmp_path: Path) -> None:
    assert page_lack(settings_in(tmp_path)) == ""
    assert isinstance(process_of(settings_in(tmp_path))._server, PageService)


@pytest.mark.usefixtures("bare")
def test_without_the_extra_there_are_metrics_and_health(tmp_path: Path) -> None:
    assert "install the extra web" in page_lack(settings_in(tmp_path))
    process = process_of(settings_in(tmp_path))
    assert isinstance(process._server, PageServer)
    assert process._server.pages.keys() == {"/metrics", "/live", "/ready"}
    with pytest.raises(ConfigurationError, match="install the extra web"):
        http_socket(settings_in(tmp_path, page="on"))


@pytest.mark.parametrize("http", [{"page": "off"}, {"host": "0.0.0.0"}])
def test_where_there_may_be_no_page_there_is_the_rest(tmp_path: Path, http: dict[str, Any]) -> None:
    assert page_lack(settings_in(tmp_path, **http))
    assert isinstance(process_of(settings_in(tmp_path, **http))._server, PageServer)
