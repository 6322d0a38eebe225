"""Logging in and out: a form for people, and the same for programs at /api/session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import StringConstraints

from scp.config.http import HttpSettings, Role
from scp.web.access.auditing import AccessAudit
from scp.web.access.passwords import Passwords, RefusedLogin
from scp.web.access.sessions import Sessions, Visitor, cookie_name
from scp.web.page.faults import ApiFault
from scp.web.page.gatekeeper import API_SESSION, LOGIN, LOGOUT, AskedOf
from scp.web.page.rendering import rendering_of

_Text = Annotated[str, StringConstraints(max_length=1024)]


@dataclass(frozen=True, slots=True)
class Credential:
    """Who wants to log in."""

    name: _Text
    password: _Text


@dataclass(frozen=True, slots=True)
class SessionState:
    """Who asks; ``csrf`` goes into the header field X-CSRF-Token of each request that changes something.

    ``name`` and ``csrf`` are empty where there are no users, and the account of the node itself asks.
    """

    name: str
    role: Role
    csrf: str


class LoginRoutes:
    """The routes of logging in and out, in ``router``."""

    def __init__(self, http: Callable[[], HttpSettings], sessions: Sessions, audit: AccessAudit) -> None:
        self._http, self._sessions, self._audit = http, sessions, audit
        self._passwords = Passwords(http)
        self.router = router = APIRouter(tags=["session"])
        router.add_api_route(LOGIN, self.form, methods=["GET"], include_in_schema=False)
        router.add_api_route(LOGIN, self.log_in, methods=["POST"], include_in_schema=False)
        router.add_api_route(LOGOUT, self.log_out, methods=["POST"], include_in_schema=False)
        faults: dict[int | str, dict[str, type]] = {
            status: {"model": ApiFault} for status in (401, 403, 429, 503)
        }
        router.add_api_route(
            API_SESSION,
            self.session,
            methods=["GET"],
            response_model=SessionState,
            responses={401: faults[401]},
        )
        router.add_api_route(
            API_SESSION, self.api_log_in, methods=["POST"], response_model=SessionState, responses=faults
        )
        router.add_api_route(
            API_SESSION,
            self.api_log_out,
            methods=["DELETE"],
            status_code=204,
            responses={status: faults[status] for status in (401, 403)},
        )

    # -- for people --------------------------------------------------------------------------------------

    def form(self, request: Request, asked: AskedOf, next: str = "/") -> Response:  # noqa: A002 - of the URL
        """The form; who is known already goes on."""
        if asked.visitor is not None or not self._http().user:
            return RedirectResponse(_local(next), 303)
        return rendering_of(request).page(request, "login.html", next=_local(next), fault="", name="")

    def log_in(self, request: Request, asked: AskedOf) -> Response:
        """What the form sends."""
        name, there = asked.form.get("name", ""), _local(asked.form.get("next", "/"))
        begun = self._begun(name, asked.form.get("password", ""), asked.address)
        if isinstance(begun, RefusedLogin):
            shown = {"next": there, "fault": _told(begun), "name": name[:64]}
            rendered = rendering_of(request).page(request, "login.html", code=_status(begun), **shown)
            return _with_pause(rendered, begun)
        answer = RedirectResponse(there, 303)
        self._put_cookie(answer, begun[0])
        return answer

    def log_out(self, request: Request, asked: AskedOf) -> Response:
        """End the session."""
        self._end(request, asked)
        answer, http = RedirectResponse(LOGIN, 303), self._http()
        answer.delete_cookie(cookie_name(http), path="/", secure=http.tls, httponly=True, samesite="strict")
        return answer

    # -- for programs ------------------------------------------------------------------------------------

    def session(self, asked: AskedOf) -> SessionState:
        """Who asks."""
        if asked.visitor is None:
            raise HTTPException(401, "Log in: POST name and password to this address.")
        return SessionState(asked.visitor.name, asked.visitor.role, asked.visitor.csrf)

    def api_log_in(self, credential: Credential, asked: AskedOf) -> Response:
        """Log in: the answer sets the session's cookie."""
        begun = self._begun(credential.name, credential.password, asked.address)
        if isinstance(begun, RefusedLogin):
            return _with_pause(JSONResponse({"detail": _told(begun)}, _status(begun)), begun)
        key, visitor = begun
        answer = JSONResponse({"name": visitor.name, "role": visitor.role, "csrf": visitor.csrf})
        self._put_cookie(answer, key)
        return answer

    def api_log_out(self, request: Request, asked: AskedOf) -> None:
        """Log out."""
        self._end(request, asked)

    # -- both --------------------------------------------------------------------------------------------

    def _begun(self, name: str, password: str, address: str) -> tuple[str, Visitor] | RefusedLogin:
        found = self._passwords.check(name, password, address)
        if isinstance(found, RefusedLogin):
            known = name if self._http().user_named(name) is not None else ""
            self._audit.login(known, address, found.why)
            return found
        self._audit.login(found.name, address)
        return self._sessions.begin(found)

    def _put_cookie(self, answer: Response, key: str) -> None:
        http = self._http()
        answer.set_cookie(cookie_name(http), key, path="/", secure=http.tls, httponly=True, samesite="strict")

    def _end(self, request: Request, asked: AskedOf) -> None:
        if asked.visitor is not None and asked.visitor.name:
            self._sessions.end(request.cookies.get(cookie_name(self._http()), ""))
            self._audit.logout(asked.visitor, asked.address)


def _local(path: str) -> str:
    """A path of this page, or its first: nothing that leads elsewhere."""
    plain = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if plain else "/"


def _told(refused: RefusedLogin) -> str:
    again = f"; try again in {refused.wait:.0f} s" if refused.wait else ""
    return f"{refused.why[:1].upper()}{refused.why[1:]}{again}."


def _status(refused: RefusedLogin) -> int:
    return 429 if refused.wait else 401


def _with_pause(answer: Response, refused: RefusedLogin) -> Response:
    if refused.wait:
        answer.headers["Retry-After"] = f"{refused.wait:.0f}"
    return answer
