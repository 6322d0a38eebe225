"""DICOMweb before the page, on one port. This file draws the wiring."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from scp.web.access.sessions import Sessions
from scp.web.dicomweb.capabilities import capabilities
from scp.web.dicomweb.desk import DicomWebDesk
from scp.web.dicomweb.gate import Gate, raw_path
from scp.web.dicomweb.routes import ROUTES
from scp.web.dicomweb.routing import Routes


class DicomWebBefore:
    """What is below dicomweb.path goes to DICOMweb, and all else to ``page``.

    ``sessions`` are those of the page: its users may use DICOMweb, too.
    """

    def __init__(self, page: ASGIApp, desk: DicomWebDesk, sessions: Sessions) -> None:
        self._page, self._desk = page, desk
        self._gate = Gate(desk, sessions, Routes(ROUTES, capabilities(ROUTES)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        base = self._desk.settings().dicomweb.path
        path = raw_path(scope) if scope["type"] == "http" else ""
        inner = self._gate if base and (path == base or path.startswith(f"{base}/")) else self._page
        await inner(scope, receive, send)
