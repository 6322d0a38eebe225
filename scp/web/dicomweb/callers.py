"""Who asks by DICOMweb, and what they may do: whoever has a token, a user, or the node's account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from secrets import compare_digest
from typing import TYPE_CHECKING, Literal

from starlette.requests import Request

from scp.audit.actors import operator, peer
from scp.audit.events import Code, Participant
from scp.config.dicomweb import WebService
from scp.config.http import OF_ROLES, digest_of
from scp.config.networks import is_among
from scp.config.peers import Peer
from scp.config.settings import Settings
from scp.errors import NotAuthorized
from scp.model import QueryKey, SyntaxPreference
from scp.policy.preference import preference_of
from scp.web.access.headers import is_forwarded, is_from_elsewhere
from scp.web.access.issuer_keys import IssuerAway
from scp.web.access.machine import is_of_this_account
from scp.web.access.sessions import Sessions, cookie_name

if TYPE_CHECKING:
    from scp.web.access.openid import OpenIdTokens

_SCHEME = "bearer"
_LONGEST_AET = 16  # PS3.5 table 6.2-1
_MOST_KNOWN = 64  # tokens whose caller is remembered, each with the address that it came from
_DOTS = 2  # between header, claims and signature of a JSON web token; a token of [[http.token]] has none


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks: ``may`` are the services that they may use, ``seen`` what an object must have to be seen.

    ``name`` is that of a token, of its sender (openid) or of a user, empty for the account that runs the
    node, and ``peer`` the entry that a token is held to. ``line`` is the entry by which objects are sent:
    that one, or one for where they come from. ``csrf`` must come with what changes something, where a
    browser's session is what lets in. ``issuer`` says whose name it is, if not of the configuration.
    ``barred`` says why they are let in to nothing, though known. ``stays`` says whether what lets them in
    still stands in the configuration as it did.
    """

    name: str
    kind: Literal["token", "openid", "user", "account"]
    address: str
    may: frozenset[WebService]
    peer: Peer | None = None
    csrf: str = ""
    line: Peer | None = None
    issuer: str = ""
    barred: str = ""
    stays: Callable[[], bool] = field(default=lambda: True, compare=False)

    @property
    def has_token(self) -> bool:
        """Whether a bearer token lets them in."""
        return self.kind in ("token", "openid")

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
            "openid": "see what [[http.oidc.grant]] asks of a token, and `may` of it and of its [[peer]]",
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
        return Participant(self.name, True, role, self.issuer, self.name, self.address)


class Callers:
    """Finds out who sends a request."""

    def __init__(self, settings: Callable[[], Settings], sessions: Sessions) -> None:
        self._settings, self._sessions = settings, sessions
        self._lock = threading.Lock()
        self._tokens: OpenIdTokens | None = None
        # What tokens were found to be by some settings, by their digests.
        self._held_by: tuple[Settings, dict[tuple[str, str], Caller]] = (settings(), {})

    def with_known_token(self, request: Request) -> Caller | None:
        """Who sends a request with a token of the configuration, which is found without a wait; else None."""
        secret, address = _secret(request.headers.get("authorization", "")), _address(request)
        if not secret:
            return None
        settings, held = self._settings(), self._held_by
        if held[0] is not settings:
            held = self._held_by = settings, {}
        name = digest_of(secret), address
        if (known := held[1].get(name)) is None and settings.http.token_of(secret) is not None:
            found = self.of_secret(secret, address)
            known = None if found is None else self._with_line(found)
            # What a reload has changed meanwhile is not remembered of the settings before.
            if known is not None and self._settings() is settings and len(held[1]) < _MOST_KNOWN:
                held[1][name] = known
        return known

    def of(self, request: Request) -> Caller | None:
        """Who sends a request; None for somebody unknown.

        Raises what :meth:`OpenIdTokens.identity` raises.
        """
        found = self._known(request)
        return None if found is None else self._with_line(found)

    def _with_line(self, found: Caller) -> Caller:
        return replace(found, line=found.peer or self._line(found.address))

    def _line(self, address: str) -> Peer | None:
        """The entry for where somebody comes from."""
        settings = self._settings()
        named = map(settings.peer_named, settings.dicomweb.lines)
        return next((one for one in named if one is not None and is_among(address, one.addresses)), None)

    def _known(self, request: Request) -> Caller | None:
        given = request.headers.get("authorization", "")
        if given:
            secret = _secret(given)
            return self.of_secret(secret, _address(request)) if secret else None
        if is_from_elsewhere(request.headers):
            return None  # a browser sends cookies, and is of this machine, whatever page made it ask
        return self._of_user(request) if self._settings().http.user else self._of_account(request)

    def of_secret(self, secret: str, address: str) -> Caller | None:
        """Who sends a token; None where it is none that is known. Raises as :meth:`of` does."""
        http = self._settings().http
        token = http.token_of(secret)
        if token is not None:

            def stands() -> bool:
                return token in self._settings().http.token

            return self._held(Caller(token.name, "token", address, frozenset(token.may)), token.peer, stands)
        if http.oidc.issuer and secret.count(".") == _DOTS:
            return self._of_openid(secret, address)
        return None

    def _of_openid(self, secret: str, address: str) -> Caller:
        oidc = self._settings().http.oidc
        if oidc.lack:
            raise IssuerAway(oidc.lack)
        found = self._openid().identity(secret)
        grant = found.grant

        def stands() -> bool:
            return self._settings().http.oidc == oidc

        may: Iterable[WebService] = grant.may if grant is not None else ()
        caller = Caller(found.name, "openid", address, frozenset(may), issuer=oidc.issuer)
        return self._held(caller, grant.peer if grant is not None else None, stands)

    def _openid(self) -> OpenIdTokens:
        with self._lock:
            if self._tokens is None:
                # It is an extra, and imported where tokens of an issuer are taken.
                from scp.web.access.openid import OpenIdTokens  # noqa: PLC0415

                self._tokens = OpenIdTokens(lambda: self._settings().http.oidc)
            return self._tokens

    def _held(self, caller: Caller, aet: str | None, stands: Callable[[], bool]) -> Caller:
        """One with a token, held to the [[peer]] of this AE title, if there is one."""
        if aet is None:
            return replace(caller, stays=stands)
        found = self._settings().peer_named(aet)
        if found is None:  # the configuration is refused without it
            return replace(caller, barred=f"{caller.name} is held to {aet}, which is no [[peer]]")
        if found.addresses and not is_among(caller.address, found.addresses):
            told = f"{caller.name} came from {caller.address}, none of the `addresses` of its [[peer]]"
            return replace(caller, peer=found, barred=told)

        def stays() -> bool:
            return stands() and self._settings().peer_named(aet) == found

        return replace(caller, may=caller.may & frozenset(found.may), peer=found, stays=stays)

    def _of_user(self, request: Request) -> Caller | None:
        key = request.cookies.get(cookie_name(self._settings().http), "")
        visitor = self._sessions.visitor(key) if key else None
        if visitor is None:
            return None
        user = self._settings().http.user_named(visitor.name)

        def stays() -> bool:
            return self._settings().http.user_named(visitor.name) == user

        may = OF_ROLES[visitor.role]
        return Caller(visitor.name, "user", _address(request), may, csrf=visitor.csrf, stays=stays)

    def _of_account(self, request: Request) -> Caller | None:
        client, server = request.scope.get("client"), request.scope.get("server")
        if client is None or server is None or is_forwarded(request.headers):
            return None
        if not is_of_this_account(tuple(client), tuple(server)):
            return None

        def stays() -> bool:
            return not self._settings().http.user

        return Caller("", "account", _address(request), OF_ROLES["viewer"], stays=stays)


def _secret(given: str) -> str:
    """The token of an Authorization; empty where it has none."""
    scheme, _, secret = given.partition(" ")
    return secret.strip() if scheme.lower() == _SCHEME else ""


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
