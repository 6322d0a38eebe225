"""Who asks by DICOMweb, and what they may do: a program with a token, a user, or the node's account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import compare_digest
from typing import Literal

from starlette.requests import Request

from scp.audit.actors import operator, peer
from scp.audit.events import Code, Participant
from scp.config.http import OF_ROLES, ApiToken, WebService
from scp.config.networks import is_among
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.errors import NotAuthorized
from scp.model import QueryKey, SyntaxPreference
from scp.policy.preference import preference_of
from scp.web.access.headers import is_from_elsewhere
from scp.web.access.machine import is_of_this_account
from scp.web.access.sessions import Sessions, cookie_name

_SCHEME = "bearer"
_LONGEST_AET = 16  # PS3.5 table 6.2-1


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks: ``may`` are the services that they may use, ``seen`` what an object must have to be seen.

    ``name`` is that of a token or a user, empty for the account that runs the node, and ``peer`` the entry
    that a token is held to. ``line`` is the entry by which objects are sent: that one, or one for where they
    come from. ``csrf`` must come with what changes something, where a browser's session is what lets in.
    """

    name: str
    kind: Literal["token", "user", "account"]
    address: str
    may: frozenset[WebService]
    peer: Peer | None = None
    csrf: str = ""
    line: Peer | None = None

    @property
    def preference(self) -> SyntaxPreference:
        """In which transfer syntaxes they are sent objects, and whether with loss (invariant 4)."""
        return preference_of(self.line)

    @property
    def prefers(self) -> tuple[str, ...]:
        """The transfer syntaxes that their entry names, which they take when they take any."""
        return self.line.prefer if self.line is not None else ()

    def has_sent(self, csrf: str) -> bool:
        """Whether a request is of a page of the node: true where no browser's session lets them in."""
        return not self.csrf or compare_digest(csrf.encode("utf-8", "replace"), self.csrf.encode())

    @property
    def seen(self) -> tuple[QueryKey, ...]:
        """For :class:`scp.model.Query`."""
        return self.peer.seen if self.peer is not None else ()

    @property
    def aet(self) -> str:
        """The AE title that they ask as; empty where there is none."""
        return self.peer.aet if self.peer is not None else ""

    @property
    def calling_aet(self) -> str:
        """The calling AE title of what they store: that of their peer, or else made of their name."""
        made = "".join(c if c.isascii() and c.isprintable() and c != "\\" else "_" for c in self.name)
        return self.aet or made[:_LONGEST_AET].strip(" ")

    def check(self, service: WebService) -> None:
        """Raises NotAuthorized for a service that they may not use."""
        if service in self.may:
            return
        remedy = {
            "token": "see `may` of the [[http.token]], and of its [[peer]]",
            "user": "it needs the role admin",
        }
        told = remedy.get(self.kind, "it needs an [[http.token]] that may")
        raise NotAuthorized(f"{self.name or 'the account of the node'} may not {service} by DICOMweb: {told}")

    def participant(self, role: Code | None = None) -> Participant:
        """They, as one who acts, in audit messages."""
        if self.peer is not None:
            return peer(self.peer.aet, self.address, role, True, self.name)
        if not self.name:
            return operator(role)
        return Participant(self.name, True, role, name=self.name, address=self.address)


class Callers:
    """Finds out who sends a request."""

    def __init__(self, settings: Callable[[], Settings], sessions: Sessions) -> None:
        self._settings, self._sessions = settings, sessions

    def is_known_token(self, request: Request) -> bool:
        """Whether a request has a token of the configuration: :meth:`of` then waits for nothing."""
        return self._token(request.headers.get("authorization", "")) is not None

    def of(self, request: Request) -> Caller | None:
        """Who sends a request; None for somebody unknown. Raises NotAuthorized for a peer from elsewhere."""
        found = self._known(request)
        return None if found is None else replace(found, line=found.peer or self._line(found.address))

    def _line(self, address: str) -> Peer | None:
        """The entry for where somebody comes from."""
        settings = self._settings()
        named = map(settings.peer_named, settings.dicomweb.lines)
        return next((one for one in named if one is not None and is_among(address, one.addresses)), None)

    def _known(self, request: Request) -> Caller | None:
        given = request.headers.get("authorization", "")
        if given:
            token = self._token(given)
            return None if token is None else self._of_token(token, _address(request))
        if is_from_elsewhere(request.headers):
            return None  # a browser sends cookies, and is of this machine, whatever page made it ask
        return self._of_user(request) if self._settings().http.user else self._of_account(request)

    def _token(self, given: str) -> ApiToken | None:
        scheme, _, secret = given.partition(" ")
        return self._settings().http.token_of(secret.strip()) if scheme.lower() == _SCHEME else None

    def _of_token(self, token: ApiToken, address: str) -> Caller:
        if token.peer is None:
            return Caller(token.name, "token", address, frozenset(token.may))
        found = self._settings().peer_named(token.peer)
        if found is None:  # the configuration is refused without it
            raise NotAuthorized(f"{token.name} is held to {token.peer}, which is no [[peer]]")
        if found.addresses and not is_among(address, found.addresses):
            raise NotAuthorized(f"{token.name} came from {address}, none of the `addresses` of its [[peer]]")
        return Caller(token.name, "token", address, frozenset(token.may) & frozenset(found.may), found)

    def _of_user(self, request: Request) -> Caller | None:
        key = request.cookies.get(cookie_name(self._settings().http), "")
        visitor = self._sessions.visitor(key) if key else None
        if visitor is None:
            return None
        may = OF_ROLES[visitor.role]
        return Caller(visitor.name, "user", _address(request), may, csrf=visitor.csrf)

    @staticmethod
    def _of_account(request: Request) -> Caller | None:
        client, server = request.scope.get("client"), request.scope.get("server")
        if client is None or server is None or not is_of_this_account(tuple(client), tuple(server)):
            return None
        return Caller("", "account", _address(request), OF_ROLES["viewer"])


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
