"""Every request for DICOMweb passes here: who sends it, what they may do, how many are answered at a time."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scp import telemetry
from scp.config.dicomweb import WebService
from scp.errors import NotAuthorized, ZscpError, public
from scp.telemetry import RequestEvent
from scp.web.access.auditing import AccessAudit
from scp.web.access.headers import guarded, is_known_host
from scp.web.access.issuer_keys import IssuerAway, KeysAwaited, TokenRefused
from scp.web.access.sessions import Sessions
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.callers import Caller, Callers
from scp.web.dicomweb.desk import DicomWebDesk
from scp.web.dicomweb.faults import Refused, fault, status_of
from scp.web.dicomweb.places import RequestPlaces
from scp.web.dicomweb.routing import Match, Routes
from scp.web.dicomweb.threads import Threads
from scp.web.dicomweb.watched import Watched

# Threads of each service; who waits for one takes none of the page's.
_THREADS: Mapping[WebService, int] = {"find": 4, "get": 8, "store": 4}
_ADMITTED = 2  # at a time: that takes less than a millisecond
_WAITING = 2  # threads, for all who wait for the keys of an issuer; they wait for the same
_SAFE = ("GET", "HEAD", "OPTIONS")
_CHALLENGE = 'Bearer realm="zscp"'
_CSRF_HEADER = "x-csrf-token"
# What scripts of other origins may send and read, beside what every page may (Fetch, 4.10).
_METHODS = ("GET", "HEAD", "POST")
_SENT = ("Accept", "Accept-Encoding", "Authorization", "Content-Type", "If-None-Match", "If-Range", "Range")
_READ = (
    "Content-Length", "Content-Location", "Content-Range", "ETag", "Image-Resolutions", "Location", "Warning"
)  # fmt: skip
_PREFLIGHT_SECONDS = 600


class Gate:
    """DICOMweb as an application, below the path that the configuration gives it."""

    def __init__(self, desk: DicomWebDesk, sessions: Sessions, routes: Routes) -> None:
        self._desk, self._routes = desk, routes
        self._callers, self._audit = Callers(desk.settings, sessions), AccessAudit(desk.trail)
        self._threads = {name: Threads(name, most) for name, most in _THREADS.items()}
        self._admitting, self._waiting = Threads("admitting", _ADMITTED), Threads("waiting", _WAITING)
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
            await self._respond(request, match, event, send)
            return
        except Refused as refused:
            response = fault(refused.status, str(refused), refused.headers)
        except ZscpError as error:
            event.fail(error)
            response = fault(status_of(error), f"{error}.")
        except Exception as error:  # noqa: BLE001 - a bug fails one request, and is logged with its event
            event.fail(error)
            response = fault(500, f"This is a fault of zscp, and stands in its log ({public(error)}).")
        event.answered(response.status_code)
        await response(request.scope, request.receive, send)

    async def _respond(self, request: Request, match: Match, event: RequestEvent, send: Send) -> None:
        """Answer a request that may be answered. Raises Refused, and what its service raises."""
        caller = await self._caller(request, match, event)
        event.add(caller=caller.name or caller.kind, **({"calling_aet": caller.aet} if caller.aet else {}))
        who = (caller.kind, caller.name or caller.address)
        async with self._places.one(who, self._desk.settings().dicomweb.requests):
            watched = Watched(caller, self._desk.settings, event)
            asked = Asked(
                Request(request.scope, watched.receiving(request.receive)),
                self._desk,
                caller,
                match.named,
                self._base(request),
                event,
                self._threads[match.route.may or "find"],
                watched.gone,
            )
            response = await match.route.serve(asked)
            event.answered(response.status_code)
            await self._send(response, asked, watched, send)

    @staticmethod
    async def _send(response: Response, asked: Asked, watched: Watched, send: Send) -> None:
        """Send an answer that has its status: what fails from here on breaks the connection off."""
        try:
            await response(asked.request.scope, asked.request.receive, watched.sending(send))
        except Exception as error:  # noqa: BLE001 - the server closes a connection whose answer has no end
            if not watched.gone.is_set():
                asked.event.fail(error)
        if watched.why:
            asked.event.warn(watched.why)

    async def _caller(self, request: Request, match: Match, event: RequestEvent) -> Caller:
        """Who sends a request that they may make. Raises Refused, whose text quotes nothing of a token."""
        try:
            try:
                return await self._apart(request, match)
            except KeysAwaited as awaited:
                await self._waiting.run(awaited.wait)
                return await self._apart(request, match)
        except KeysAwaited as awaited:
            raise Refused(503, f"Tokens cannot be checked now: {awaited}.") from awaited
        except Refused as refused:
            event.add(reason=str(refused.__cause__ or refused))
            raise

    async def _apart(self, request: Request, match: Match) -> Caller:
        known = self._callers.with_known_token(request)  # which takes no time; a thread would
        if known is not None:
            return self._admitted(request, match, known)
        return await self._admitting.run(lambda: self._admitted(request, match, self._known(request)))

    def _admitted(self, request: Request, match: Match, caller: Caller) -> Caller:
        """One who may make their request. Raises Refused."""
        address = _address(request)
        if caller.barred:
            self._audit.refused(caller.participant(), address, caller.barred)
            raise Refused(403, f"{caller.barred}.")
        try:
            if match.route.may is not None:
                caller.check(match.route.may)
        except NotAuthorized as error:
            self._audit.refused(caller.participant(), address, str(error))
            challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope"'}
            raise Refused(403, f"{error}.", challenge if caller.has_token else None) from error
        if request.method not in _SAFE and not caller.has_sent(request.headers.get(_CSRF_HEADER, "")):
            told = "the session's CSRF token is missing or wrong"
            self._audit.refused(caller.participant(), address, told)
            raise Refused(403, f"T{told[1:]}: send it as {_CSRF_HEADER}.")
        return caller

    def _known(self, request: Request) -> Caller:
        """Who sends a request. RFC 6750 3.1: an error is told where a token was given, else nothing."""
        address = _address(request)
        try:
            caller = self._callers.of(request)
        except IssuerAway as error:  # why is for the log: who asks may be anybody
            self._audit.login("", address, f"the token could not be checked: {error}")
            raise Refused(503, "Tokens cannot be checked now; the node's log says why.") from error
        except TokenRefused as error:
            raise self._refused(address, str(error)) from error
        if caller is not None:
            return caller
        if not request.headers.get("authorization"):
            raise Refused(401, "Send a token: Authorization: Bearer …", {"WWW-Authenticate": _CHALLENGE})
        raise self._refused(address, "it is not known")

    def _refused(self, address: str, why: str) -> Refused:
        """What a token is answered with that is not taken."""
        self._audit.login("", address, f"the token is refused: {why}")
        challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
        return Refused(401, f"The token is refused: {why}.", challenge)

    def _base(self, request: Request) -> str:
        # What Host says was checked: it is an address or a name of this node.
        host, path = request.headers.get("host", ""), self._desk.settings().dicomweb.path
        return f"{request.scope['scheme']}://{host}{path}"


def raw_path(scope: Scope) -> str:
    """A request's path as it was sent, percent-encoded."""
    found: bytes = scope.get("raw_path") or scope["path"].encode()
    return found.partition(b"?")[0].decode("latin-1")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
