"""Whose a token is, by a configuration: for an admin who wonders why one is refused."""

from __future__ import annotations

from dataclasses import dataclass

from scp.config.settings import Settings
from scp.web.access.issuer_keys import IssuerAway, KeysAwaited, TokenRefused
from scp.web.access.sessions import Sessions
from scp.web.dicomweb.callers import Callers


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Who is let in by a token, by [[http.token]] or [http.oidc], and to what; or the ``fault`` of it."""

    name: str = ""
    by: str = ""
    may: tuple[str, ...] = ()
    peer: str = ""
    fault: str = ""


def whose(settings: Settings, secret: str, address: str) -> TokenOwner:
    """Whose a token is that comes from ``address``; an issuer is asked for its keys."""
    callers = Callers(lambda: settings, Sessions(lambda: settings.http))
    try:
        try:
            found = callers.of_secret(secret, address)
        except KeysAwaited as awaited:
            awaited.wait()
            found = callers.of_secret(secret, address)
    except (TokenRefused, IssuerAway, KeysAwaited) as error:
        return TokenOwner(fault=f"It lets nobody in: {error}.")
    if found is None:
        return TokenOwner(
            fault="It lets nobody in: it is no [[http.token]]'s, and no JSON web token of an issuer."
        )
    if found.barred:
        return TokenOwner(fault=f"It lets nobody in: {found.barred}.")
    by = {"token": "http.token", "openid": "http.oidc"}[found.kind]
    return TokenOwner(found.name, by, tuple(sorted(found.may)), found.aet)
