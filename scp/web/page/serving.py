"""The page's HTTP server: uvicorn, in a thread, with bounds on what connections may take."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from scp.config.settings import TlsSettings
from scp.config.tls import server_context
from scp.web.page.rendering import compile_templates

# More connections at a time are closed at once; views run in so many threads.
_MOST_CONNECTIONS, _THREADS = 128, 8
# A connection whose request has not come for so long is closed, and any request ends after so long.
_LOOK_SECONDS, _LONGEST_SECONDS = 10.0, 900.0
# A body that is longer than this has to come at a rate of this much in that time: 52 kbit/s.
_LEAST_BYTES = 64 << 10
_STOP_SECONDS = 5.0


class BoundedProtocol(H11Protocol):
    """A connection that does not wait for ever: uvicorn ends only those that are between two requests."""

    _came = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See asyncio.Protocol."""
        if len(self.connections) >= _MOST_CONNECTIONS:
            transport.close()
            self.transport = transport
            return
        super().connection_made(transport)
        self._stage, self._since = "", self.loop.time()
        self._look()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._came += len(data)
        super().data_received(data)

    def _look(self) -> None:
        """Close the connection where nothing has come of it since the last look."""
        if self.transport.is_closing():
            return
        now, stage = self.loop.time(), self._now_at()
        if stage != self._stage:
            self._stage, self._since = stage, now
        most = _LONGEST_SECONDS if stage.startswith("answer") else _LOOK_SECONDS
        if now - self._since >= most:
            self.transport.abort()
        else:
            self.loop.call_later(_LOOK_SECONDS / 2, self._look)

    def _now_at(self) -> str:
        """What the connection does, and for which request."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            return f"waits {id(cycle)}"
        if not cycle.more_body or cycle.body or self.flow.read_paused or cycle.waiting_for_100_continue:
            return f"answers {id(cycle)}"  # or has yet to take what came: no fault of the client
        return f"reads {id(cycle)} {self._came // _LEAST_BYTES}"


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
            h11_max_incomplete_event_size=32_768,
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
        await self._server.serve(sockets=[self._listening])
