"""Every request passes here, before any view: who sends it, and what they may do.

A view that forgets to ask cannot let anybody in. What is not named in this module needs a visitor; what
changes something (any method but GET and HEAD) needs an ``admin``, and the session's CSRF token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import compare_digest
from typing import Annotated
from urllib.parse import parse_qs, quote

import anyio
import anyio.lowlevel
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scp.config.http import HttpSettings
from scp.web.access.auditing import AccessAudit
from scp.web.access.headers import guarded, is_forwarded, is_from_elsewhere, is_known_host
from scp.web.access.machine import is_of_this_account
from scp.web.access.sessions import Sessions, Visitor, cookie_name
from scp.web.access.standing import Standing

# For load balancers and Prometheus, which have no login and ask by whatever name.
PROBES = ("/metrics", "/live", "/ready")
LOGIN, LOGOUT, API_SESSION = "/login", "/logout", "/api/session"
API, STATIC = "/api/", "/static/"
_SAFE = ("GET", "HEAD")
# What a viewer may send beside: to leave.
_VIEWERS = (LOGOUT, API_SESSION)
# Of a request; the page sends forms, and edited policies.
_MOST_BYTES, _MOST_FIELDS = 1 << 20, 1000
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class PageAsked:
    """What the gatekeeper found out about a request: for views, as ``request.state.asked``.

    ``stays`` says whether the visitor may still see what is streamed to them. ``form`` has the fields of a
    form that was sent, one value each.
    """

    visitor: Visitor | None
    address: str
    stays: Callable[[], bool]
    form: dict[str, str]


class Gatekeeper:
    """Lets requests through to ``app``, or answers them."""

    def __init__(
        self, app: ASGIApp, http: Callable[[], HttpSettings], sessions: Sessions, audit: AccessAudit
    ) -> None:
        self._app, self._http, self._sessions, self._audit = app, http, sessions, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        given = guarded(send)
        request = Request(scope, receive)
        refused = self._refused_by_headers(request.headers)
        if refused is None:
            body = await _body(request)
            asked = None if body is None else await run_in_threadpool(self._asked, request, body)
            if body is None or asked is None:
                refused = PlainTextResponse("The request is too long.\n", 413)
            else:
                refused = self._refused(request, asked)
                scope.setdefault("state", {})["asked"] = asked
                receive = _again(body, receive)
        if refused is not None:
            await refused(scope, receive, given)
        else:
            await self._let_through(scope, receive, given)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a long answer is broken off where a reload takes away what let its visitor in."""
        stands = self._standing(scope["state"]["asked"].visitor)
        with anyio.CancelScope() as let_in:

            async def sent(message: Message) -> None:
                if message.get("more_body") and not stands():
                    let_in.cancel()
                    await anyio.lowlevel.checkpoint()
                await send(message)

            await self._app(scope, receive, sent)

    def _standing(self, visitor: Visitor | None) -> Standing:
        """A session that ends by itself meanwhile breaks nothing off."""
        name = "" if visitor is None else visitor.name
        user, anybody = self._http().user_named(name), visitor is None
        return Standing(
            self._http,
            lambda: anybody or (self._http().user_named(name) == user if name else not self._http().user),
        )

    def _refused_by_headers(self, headers: Headers) -> Response | None:
        http = self._http()
        if not is_known_host(headers.get("host", ""), http.names):
            told = "This node is not known by that name; use its address, or add the name to http.names.\n"
            return PlainTextResponse(told, 421)
        return None

    def _asked(self, request: Request, body: bytes) -> PageAsked | None:
        """Who asks; None where the form that they sent has more fields than any that is served."""
        fields = _fields(request, body)
        if fields is None:
            return None
        client, server = request.scope.get("client"), request.scope.get("server")
        key = request.cookies.get(cookie_name(self._http()), "")
        if self._http().user:
            visitor = self._sessions.visitor(key) if key else None
            return PageAsked(
                visitor, _host(client), lambda: self._sessions.visitor(key, False) is not None, fields
            )
        near = client is not None and server is not None and is_of_this_account(tuple(client), tuple(server))
        near = near and not is_forwarded(request.headers)
        return PageAsked(
            Visitor("", "viewer") if near else None, _host(client), lambda: not self._http().user, fields
        )

    def _refused(self, request: Request, asked: PageAsked) -> Response | None:
        path, visitor, safe = request.url.path, asked.visitor, request.method in _SAFE
        if not safe and is_from_elsewhere(request.headers):
            return _answer(request, 403, "This request came from the page of another site.")
        if _is_anybodys(request.method, path):
            return None
        if visitor is None:
            return self._unknown(request)
        if safe:
            return None
        if visitor.role != "admin" and path not in _VIEWERS:
            what = f"{request.method} {path[:100]}"
            self._audit.denied(visitor, asked.address, f"{what} needs the role admin")
            return _answer(request, 403, "This needs a user with the role admin.")
        return self._refused_without_token(request, asked, visitor)

    def _refused_without_token(self, request: Request, asked: PageAsked, visitor: Visitor) -> Response | None:
        if _has_token(request, asked, visitor):
            return None
        self._audit.denied(visitor, asked.address, "the session's CSRF token is missing or wrong")
        return _answer(request, 403, _NO_TOKEN)

    def _unknown(self, request: Request) -> Response:
        if not self._http().user:
            return _answer(request, 403, _NOT_YOURS)
        path = request.url.path
        if path.startswith(API) or request.headers.get("accept", "").startswith("text/event-stream"):
            return _answer(request, 401, "Log in: POST name and password to /api/session.")
        wanted = f"{path}?{request.url.query}" if request.url.query else path
        there = f"{LOGIN}?next={quote(wanted if request.method in _SAFE else '/')}"
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"HX-Redirect": LOGIN})
        return RedirectResponse(there, 303)


_NO_TOKEN = "The session's CSRF token is missing or wrong; load the page again, and repeat."  # noqa: S105
_NOT_YOURS = (
    "Without users, this page is for the account that runs the node, and for root, on the node's own "
    "machine. Add a [[http.user]] to the configuration (zscp passcode hashes a password), and log in."
)


def _is_anybodys(method: str, path: str) -> bool:
    """Whether nobody need be known for a request: who logs in, and what the form for it looks like."""
    return path == LOGIN or path.startswith(STATIC) or (path == API_SESSION and method != "DELETE")


def _has_token(request: Request, asked: PageAsked, visitor: Visitor) -> bool:
    given = request.headers.get(CSRF_HEADER) or asked.form.get(CSRF_FIELD, "")
    return bool(visitor.csrf) and compare_digest(given.encode("utf-8", "replace"), visitor.csrf.encode())


def _answer(request: Request, status: int, told: str) -> Response:
    if request.url.path.startswith(API):
        return JSONResponse({"detail": told}, status)
    return PlainTextResponse(f"{told}\n", status)


def _host(client: tuple[str, int] | None) -> str:
    return client[0] if client else ""


async def _body(request: Request) -> bytes | None:
    """The body of a request; None where it is longer than any that is served, or breaks off."""
    if request.method in _SAFE:
        return b""
    found = bytearray()
    with suppress(ClientDisconnect):
        async for chunk in request.stream():
            found += chunk
            if len(found) > _MOST_BYTES:
                return None
        return bytes(found)
    return None


def _fields(request: Request, body: bytes) -> dict[str, str] | None:
    """The fields of a form, empty where none was sent; None where it has more than any that is served."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
        return {}
    try:
        parsed = parse_qs(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        return None
    return {name: values[-1] for name, values in parsed.items()}


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read once more, then whatever comes."""
    left = [body]

    async def given() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return given


def _asked_of(request: Request) -> PageAsked:
    asked: PageAsked = request.state.asked
    return asked


def _visitor_of(request: Request) -> Visitor:
    visitor = _asked_of(request).visitor
    if visitor is None:  # no route asks for one where the gatekeeper lets anybody through
        raise RuntimeError(f"{request.url.path} was reached without a visitor")
    return visitor


# The parameters of a view that takes who asks, and what else is known of the request.
AskedOf = Annotated[PageAsked, Depends(_asked_of)]
VisitorOf = Annotated[Visitor, Depends(_visitor_of)]
