"""A small HTTP server for pages that are made at once: few connections, each for one request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import structlog

# More connections at a time are closed at once; one that takes longer is cut off. A scrape takes some 20 ms.
_MOST_CONNECTIONS, _CONNECTION_SECONDS = 16, 10.0

# The header field Accept → status, content type, body.
Page = Callable[[str], tuple[int, str, bytes]]


class PageServer(ThreadingMixIn, TCPServer):
    """Serves pages by their path from a bound socket, in threads."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, pages: Mapping[str, Page]) -> None:
        super().__init__(listening.getsockname(), _PageHandler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.pages = listening, pages
        self._lock = threading.Lock()
        self._open: dict[Any, float] = {}  # connection → when it is cut off, by the monotonic clock
        self.socket.listen(_MOST_CONNECTIONS)
        self._thread = threading.Thread(target=self.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's
        """Whether there is room for one more."""
        with self._lock:
            takes = len(self._open) < _MOST_CONNECTIONS
            if takes:
                self._open[request] = time.monotonic() + _CONNECTION_SECONDS
        return takes

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Twice a second: cut off those that take too long."""
        with self._lock:
            late = [one for one, until in self._open.items() if time.monotonic() > until]
        for one in late:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What ends a connection is the peer's matter, or in the log already."""


class _PageHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: PageServer
    timeout = _CONNECTION_SECONDS
    server_version, sys_version = "zscp", ""

    def do_GET(self) -> None:
        """Answer with a page."""
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            status, content_type, body = page(self.headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - a bug fails one page, and is logged
            structlog.get_logger("zscp").error("page failed", path=self.path[:100], exc_info=error)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self._answer(status, content_type, body)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """An error in one line, which repeats nothing of the request."""
        self.close_connection = True
        self._answer(code, "text/plain; charset=utf-8", f"{HTTPStatus(code).phrase}\n".encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Nothing: scrapes would fill the log."""
