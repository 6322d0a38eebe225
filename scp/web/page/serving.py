"""The page's HTTP server: uvicorn, in a thread, with bounds on what connections may take."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread
import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from scp.config.networks import origin
from scp.config.settings import TlsSettings
from scp.config.tls import server_context
from scp.web.page.listening import BoundedListening
from scp.web.page.rendering import compile_templates

# So many connections at a time, and half as many of one address; views run in so many threads.
_MOST_CONNECTIONS, _THREADS = 128, 8
# One that has answered nothing for so long may be closed for that of an address which has fewer.
_SPARED_SECONDS = 1.0
# A connection whose request has not come for so long is closed. So is one whose answer stands still, as its
# client takes nothing of it, or as no more of it is made. An answer that goes on may take hours: a large
# study over a thin line does.
_LOOK_SECONDS, _STALL_SECONDS, _LONGEST_SECONDS = 10.0, 120.0, 900.0
# A body that is longer than this has to come at a rate of this much in that time: 52 kbit/s.
_LEAST_BYTES = 64 << 10
# More of a request's line and headers is refused; so are more requests that come before one is answered.
_LONGEST_HEAD, _MOST_PIPELINED = 32_768, 8
_STOP_SECONDS = 5.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection that neither waits nor holds without a bound.

    uvicorn ends only those that are between two requests, and takes heads of any length.
    """

    _came = _head = 0
    _untold = 0  # bytes since the parser told of anything
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See asyncio.Protocol."""
        self.origin = _origin(transport)
        if not self._finds_room():
            transport.close()
            self.transport = transport
            return
        super().connection_made(transport)
        _send_at_once(transport)
        self.app = self._counting(self.app)
        self._stage, self._since, self._sent = "", self.loop.time(), 0
        self._look()

    def _finds_room(self) -> bool:
        """Whether this connection may stay; another one may be closed for it."""
        others: list[Any] = [one for one in self.connections if not one.transport.is_closing()]
        held = Counter(one.origin for one in others)
        if held[self.origin] >= (_MOST_CONNECTIONS + 1) // 2:
            return False
        if len(others) < _MOST_CONNECTIONS:
            return True
        given_up = self._given_up(others, held)
        if given_up is not None:
            given_up.transport.abort()
        return given_up is not None

    def _given_up(self, others: Sequence[BoundedProtocol], held: Counter[str]) -> BoundedProtocol | None:
        """Of the address that has most, one that does least; None where the new one has no better claim."""
        now, most = self.loop.time(), max(held.values())
        one = max((each for each in others if held[each.origin] == most), key=lambda each: each.idleness(now))
        _, seconds = one.idleness(now)
        more = most - held[self.origin]
        return one if more > 1 or (more == 1 and seconds >= _SPARED_SECONDS) else None

    def idleness(self, now: float) -> tuple[int, float]:
        """The more, the less is lost with it: it waits, reads or answers; and for how many seconds."""
        stage = self._now_at()
        kind = ("answers", "reads", "waits").index(stage.partition(" ")[0])
        return kind, now - self._since if kind else 0.0

    def _counting(self, app: ASGIApp) -> ASGIApp:
        """The same, with its messages counted that have gone out."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            self._running = getattr(receive, "__self__", None)  # `cycle` is the one that came last

            async def sent(message: Message) -> None:
                await send(message)
                self._sent += 1

            await app(scope, receive, sent)
            self._since = self.loop.time()

        return counted

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._came += len(data)
        self._untold += len(data)
        super().data_received(data)
        if self._untold > 2 * _LONGEST_HEAD:  # a name without an end, which the parser holds
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol; uvicorn tells the request of it that came last alone."""
        if (cycle := self._running) is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    # What the parser tells of. What is raised here is answered with 400, and ends the connection.

    def on_message_begin(self) -> None:
        """A request begins. Raises ValueError for one too many."""
        self._head = self._untold = 0
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise ValueError("more requests than are held")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its target came. Raises ValueError for one that is too long."""
        self._grows(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came, or a trailer. Raises ValueError for one that is too long."""
        self._grows(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of its body came."""
        self._untold = 0
        super().on_body(body)

    def _grows(self, size: int) -> None:
        self._untold, self._head = 0, self._head + size + 4
        if self._head > _LONGEST_HEAD:
            raise ValueError("the head of a request is too long")

    def _look(self) -> None:
        """Close the connection where nothing has come of it since the last look."""
        if self.transport.is_closing():
            return
        now, stage = self.loop.time(), self._now_at()
        if stage != self._stage:
            self._stage, self._since = stage, now
        if now - self._since >= self._patience(stage):
            self.transport.abort()
        else:
            self.loop.call_later(_LOOK_SECONDS / 2, self._look)

    def _patience(self, stage: str) -> float:
        if not stage.startswith("answer"):
            return _LOOK_SECONDS
        return _STALL_SECONDS if self.transport.get_write_buffer_size() else _LONGEST_SECONDS

    def _now_at(self) -> str:
        """What the connection does, for which request, and how much has come and gone of it."""
        cycle = self._running
        if cycle is None or cycle.response_complete:
            return f"waits {id(cycle)}"
        came = self._came // _LEAST_BYTES
        if cycle.more_body and not (cycle.body or self.flow.read_paused or cycle.waiting_for_100_continue):
            return f"reads {id(cycle)} {came}"
        # The answer, or what came of the body and is yet to be taken, which is no fault of the client.
        return f"answers {id(cycle)} {came} {self._sent} {self.transport.get_write_buffer_size()}"


def _send_at_once(transport: asyncio.Transport) -> None:
    """Send the body of a short answer though its head is yet to be acknowledged, which takes a client 40 ms.

    asyncio asks for that only where a socket names its protocol, as those that come of ours do not.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _origin(transport: asyncio.Transport) -> str:
    """What counts as one address: see :func:`scp.config.networks.origin`."""
    peer = transport.get_extra_info("peername")
    return origin(peer[0]) if isinstance(peer, tuple) else ""


class PageService:
    """Serves an application on a bound socket; ``end`` is called if that ends by itself.

    With ``tls``, HTTPS with the node's own certificate; nobody is asked for one. Raises ValueError where that
    cannot be used.
    """

    def __init__(
        self, listening: socket.socket, app: ASGIApp, tls: TlsSettings | None, end: Callable[[], None]
    ) -> None:
        self._listening, self._end = listening, end
        self._context = server_context(tls.certificate, tls.key, "", "none") if tls is not None else None
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(_LOOK_SECONDS),
            timeout_graceful_shutdown=1,
            ssl_context_factory=self._secured if self._context is not None else None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _secured(self, _config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        if self._context is None:
            raise RuntimeError("there is no certificate")
        return self._context

    def start(self) -> None:
        """Serve, in a thread; another one prepares what pages are made of."""
        self._thread.start()
        threading.Thread(target=compile_templates, name="templates", daemon=True).start()

    def renew(self, tls: TlsSettings) -> None:
        """Use the certificate that its files have now. Raises OSError, also as ssl.SSLError."""
        if self._context is not None:
            self._context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - it is logged, and the process is started again
            structlog.get_logger("zscp").error("page server failed", exc_info=error)
        if not self._server.should_exit:
            self._end()

    async def _serve(self) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        with self._listening:
            await self._server.serve(sockets=[BoundedListening(self._listening, self._secured_ones)])

    def _secured_ones(self) -> set[int]:
        """The file descriptors of connections whose TLS handshake is over, or that need none."""
        held: Any = self._server.server_state.connections
        return {one.transport.get_extra_info("socket").fileno() for one in held}
