"""The page as an application: views, the login, the gatekeeper before both. This file draws the wiring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version

import anyio
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from scp.config.http import HttpSettings
from scp.errors import ZscpError, public
from scp.web.access.auditing import AccessAudit
from scp.web.access.sessions import Sessions
from scp.web.page.desk import Desk
from scp.web.page.faults import STATUSES
from scp.web.page.gatekeeper import API, PROBES, Gatekeeper
from scp.web.page.login import LoginRoutes
from scp.web.page.rendering import STATIC_FOLDER, Rendering, rendering_of
from scp.web.page.streams import Streams
from scp.web.page.views.table import VIEWS
from scp.web.server import Page

# Scrapes that wait for a disk hold up neither each other for long, nor any view.
_SCRAPES = 4
# So many stored files are read for views at a time; who waits for one takes none of the threads of others.
_READERS = 3
_LONG_LIVED = "public, max-age=31536000, immutable"


def page_app(desk: Desk, probes: dict[str, Page], sessions: Sessions | None = None) -> ASGIApp:
    """The application; ``probes`` are the pages of :data:`PROBES`, as the small server has them.

    ``sessions`` are of its users, where others are to know them, too.
    """

    def http() -> HttpSettings:
        return desk.settings().http

    audit, sessions = AccessAudit(desk.trail), sessions or Sessions(http)
    app = FastAPI(
        title="zscp",
        version=version("zscp"),
        description="What a zscp node receives, keeps and sends. All of it is on the node's page, too.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
    )
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.state.desk, app.state.streams = desk, Streams()
    app.state.readers = anyio.CapacityLimiter(_READERS)
    _, _, name = desk.sources.configured()
    app.state.rendering = Rendering([view.entry for view in VIEWS], name)
    _add_probes(app, probes)
    app.include_router(LoginRoutes(http, sessions, audit).router)
    for view in VIEWS:
        app.include_router(view.router)
    app.mount("/static", _Static(directory=STATIC_FOLDER))
    return Gatekeeper(app, http, sessions, audit)


class _Static(StaticFiles):
    """Files of the package; their addresses change when they do."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """See StaticFiles."""
        answer: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed on
        answer.headers["Cache-Control"] = _LONG_LIVED
        return answer


def _add_probes(app: FastAPI, probes: dict[str, Page]) -> None:
    limiter = anyio.CapacityLimiter(_SCRAPES)
    for path, page in probes.items():
        apart = limiter if path == PROBES[0] else None
        methods = ["GET", "HEAD"]
        app.add_api_route(path, _probe(page, apart), methods=methods, include_in_schema=False)


def _probe(page: Page, apart: anyio.CapacityLimiter | None) -> Callable[[Request], Awaitable[Response]]:
    """Liveness and readiness wait for nothing, so that the event loop answers them by itself."""

    async def answer(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if apart is None:
            status, content_type, body = page(accept)
        else:
            status, content_type, body = await anyio.to_thread.run_sync(page, accept, limiter=apart)
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(body, status, {"Content-Type": content_type, **headers})

    return answer


def _failed(request: Request, error: Exception) -> Response:
    """What zscp raises on purpose says what happened, and what to do."""
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    return _told(request, status, f"{error}.")


def _refused(request: Request, error: Exception) -> Response:
    status, told = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return _told(request, status, told)


def _unfit(request: Request, error: Exception) -> Response:
    """Names what was wrong, and repeats nothing of it."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    return _told(request, 422, told)


def _broken(request: Request, error: Exception) -> Response:
    structlog.get_logger("zscp").error("page failed", path=request.url.path[:100], exc_info=error)
    return _told(request, 500, f"This is a fault of zscp, and stands in its log ({public(error)}).")


def _told(request: Request, status: int, told: str) -> Response:
    if request.url.path.startswith(API):
        return JSONResponse({"detail": told}, status)
    if request.url.path in PROBES:  # nobody was asked who they are, which a page shows
        return PlainTextResponse(f"{told}\n", status)
    return rendering_of(request).page(request, "fault.html", status, fault=told, status=status)


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    ZscpError: _failed,
    HTTPException: _refused,
    RequestValidationError: _unfit,
    Exception: _broken,
}
