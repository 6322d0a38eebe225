"""Every request for DICOMweb passes here: who sends it, what they may do, how many are answered at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scp import telemetry
from scp.config.http import WebService
from scp.errors import NotAuthorized, ZscpError, public
from scp.telemetry import RequestEvent
from scp.web.access.auditing import AccessAudit
from scp.web.access.headers import guarded, is_known_host
from scp.web.access.sessions import Sessions
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.callers import Caller, Callers
from scp.web.dicomweb.desk import DicomWebDesk
from scp.web.dicomweb.faults import Refused, fault, status_of
from scp.web.dicomweb.places import RequestPlaces
from scp.web.dicomweb.routing import Match, Routes
from scp.web.dicomweb.threads import Threads

# Threads of each service; who waits for one takes none of the page's.
_THREADS: Mapping[WebService, int] = {"find": 4, "get": 8, "store": 4}
_ADMITTED = 2  # at a time: that takes less than a millisecond
_SAFE = ("GET", "HEAD", "OPTIONS")
_CHALLENGE = 'Bearer realm="zscp"'
_CSRF_HEADER = "x-csrf-token"
# What scripts of other origins may send and read, beside what every page may (Fetch, 4.10).
_METHODS = ("GET", "HEAD", "POST")
_SENT = ("Accept", "Accept-Encoding", "Authorization", "Content-Type", "If-None-Match", "Range")
_READ = ("Content-Length", "Content-Location", "Content-Range", "ETag", "Location", "Warning")
_PREFLIGHT_SECONDS = 600


class Gate:
    """DICOMweb as an application, below the path that the configuration gives it."""

    def __init__(self, desk: DicomWebDesk, sessions: Sessions, routes: Routes) -> None:
        self._desk, self._routes = desk, routes
        self._callers, self._audit = Callers(desk.settings, sessions), AccessAudit(desk.trail)
        self._threads = {name: Threads(name, most) for name, most in _THREADS.items()}
        self._admitting = Threads("admitting", _ADMITTED)
        self._places = RequestPlaces()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        settings = self._desk.settings()
        inner: ASGIApp = self._answered
        if settings.dicomweb.origins:
            inner = CORSMiddleware(
                inner,
                allow_origins=settings.dicomweb.origins,
                allow_methods=_METHODS,
                allow_headers=_SENT,
                expose_headers=_READ,
                max_age=_PREFLIGHT_SECONDS,
            )
        if not is_known_host(Request(scope).headers.get("host", ""), settings.http.names):
            told = "This node is not known by that name; use its address, or add the name to http.names."
            inner = fault(421, told)
        await inner(scope, receive, guarded(send))

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = raw_path(scope).removeprefix(self._desk.settings().dicomweb.path)
        try:
            match = self._routes.find(request.method, path)
        except Refused as refused:
            await fault(refused.status, str(refused), refused.headers)(scope, receive, send)
            return
        address = request.client.host if request.client else ""
        with telemetry.request(match.route.service, address=address) as event:
            await self._one(request, match, event, send)

    async def _one(self, request: Request, match: Match, event: RequestEvent, send: Send) -> None:
        """Answer a request, and note how in its event."""
        try:
            response = await self._response(request, match, event, send)
        except Refused as refused:
            response = fault(refused.status, str(refused), refused.headers)
        except ZscpError as error:
            event.fail(error)
            response = fault(status_of(error), f"{error}.")
        except Exception as error:  # noqa: BLE001 - a bug fails one request, and is logged with its event
            event.fail(error)
            response = fault(500, f"This is a fault of zscp, and stands in its log ({public(error)}).")
        if response is not None:
            event.answered(response.status_code)
            await response(request.scope, request.receive, send)

    async def _response(
        self, request: Request, match: Match, event: RequestEvent, send: Send
    ) -> Response | None:
        """What refuses a request; None once it was answered."""
        if self._callers.is_known_token(request):  # which takes no time; a thread would
            caller = self._admitted(request, match)
        else:
            caller = await self._admitting.run(lambda: self._admitted(request, match))
        if isinstance(caller, Response):
            return caller
        event.add(caller=caller.name or caller.kind, **({"calling_aet": caller.aet} if caller.aet else {}))
        who = (caller.kind, caller.name, caller.address)  # workstations may share a token
        async with self._places.one(who, self._desk.settings().dicomweb.requests):
            gone = threading.Event()
            asked = Asked(
                Request(request.scope, _noticing(request.receive, gone)),
                self._desk,
                caller,
                match.named,
                self._base(request),
                event,
                self._threads[match.route.may or "find"],
                gone,
            )
            response = await match.route.serve(asked)
            event.answered(response.status_code)
            await self._send(response, asked, send)
        return None

    @staticmethod
    async def _send(response: Response, asked: Asked, send: Send) -> None:
        """Send an answer that has its status: what fails from here on breaks the connection off."""
        try:
            await response(asked.request.scope, asked.request.receive, _counting(send, asked.event))
        except Exception as error:  # noqa: BLE001 - the server closes a connection whose answer has no end
            if not asked.gone.is_set():
                asked.event.fail(error)
        if asked.gone.is_set():
            asked.event.warn("the client has closed the connection")

    def _admitted(self, request: Request, match: Match) -> Caller | Response:
        """Who sends a request, if they may; else what they are told."""
        try:
            caller = self._callers.of(request)
        except NotAuthorized as error:
            self._audit.login("", _address(request), public(error))
            return fault(403, f"{error}.")
        if caller is None:
            return self._unknown(request)
        try:
            if match.route.may is not None:
                caller.check(match.route.may)
        except NotAuthorized as error:
            self._audit.refused(caller.participant(), _address(request), str(error))
            challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope"'}
            return fault(403, f"{error}.", challenge if caller.kind == "token" else None)
        if request.method not in _SAFE and not caller.has_sent(request.headers.get(_CSRF_HEADER, "")):
            return fault(403, f"The session's CSRF token is missing or wrong: send it as {_CSRF_HEADER}.")
        return caller

    def _unknown(self, request: Request) -> Response:
        """RFC 6750 3.1: an error is told where a token was given, and nothing where none was."""
        if not request.headers.get("authorization"):
            return fault(401, "Send a token: Authorization: Bearer …", {"WWW-Authenticate": _CHALLENGE})
        self._audit.login("", _address(request), "the token is no [[http.token]]'s")
        return fault(
            401, "The token is not known.", {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
        )

    def _base(self, request: Request) -> str:
        url = request.url
        return f"{url.scheme}://{url.netloc}{self._desk.settings().dicomweb.path}"


def raw_path(scope: Scope) -> str:
    """A request's path as it was sent, percent-encoded."""
    found: bytes = scope.get("raw_path") or scope["path"].encode()
    return found.partition(b"?")[0].decode("latin-1")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _noticing(receive: Receive, gone: threading.Event) -> Receive:
    async def received() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        return message

    return received


def _counting(send: Send, event: RequestEvent) -> Send:
    """Adds up what was sent, for the event."""
    total = 0

    async def counted(message: Message) -> None:
        nonlocal total
        await send(message)
        if message["type"] == "http.response.body":
            total += len(message.get("body", b""))
            event.add(bytes_sent=total)

    return counted
