"""Bearer tokens of OpenID Connect: JSON web tokens (RFC 7519) that an issuer has signed.

PyJWT checks signatures and claims. Which algorithms, issuer and audience count is the configuration's choice;
nothing that a token says of itself changes it (RFC 8725).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import exceptions

from scp.config.oidc import OidcGrant, OidcSettings
from scp.web.access.issuer_documents import fetched
from scp.web.access.issuer_keys import IssuerKeys, TokenRefused

# Headers of 32 KB are taken in all; tokens with many groups have 5.
_LONGEST, _LONGEST_NAME = 16_384, 255
_NEEDED = ["exp", "iss", "aud"]
# Types of tokens (RFC 8725 3.11, RFC 9068 2.1): others, as of logouts, are signed with the same keys.
_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")
_REASONS: tuple[tuple[type[exceptions.PyJWTError], str], ...] = (
    (exceptions.ExpiredSignatureError, "it has expired"),
    (exceptions.ImmatureSignatureError, "it is not valid yet"),
    (exceptions.InvalidAudienceError, "it is not for this archive (aud, http.oidc.audience)"),
    (exceptions.InvalidIssuerError, "it is of another issuer (iss, http.oidc.issuer)"),
    (exceptions.InvalidSignatureError, "its signature is wrong"),
    (exceptions.MissingRequiredClaimError, f"it lacks one of {', '.join(_NEEDED)}"),
)


@dataclass(frozen=True, slots=True)
class OpenIdIdentity:
    """Who sent a token, by the claim that the configuration names, and what they are granted, if anything."""

    name: str
    grant: OidcGrant | None


class OpenIdTokens:
    """Checks tokens; any thread may call, and none waits for the issuer."""

    def __init__(self, oidc: Callable[[], OidcSettings], keys: IssuerKeys | None = None) -> None:
        self._oidc, self._keys = oidc, keys or IssuerKeys(fetched)

    def identity(self, token: str) -> OpenIdIdentity:
        """Whose token this is. Raises TokenRefused, and what :meth:`IssuerKeys.key` raises."""
        oidc = self._oidc()
        claims = self._claims(oidc, token)
        if "cnf" in claims:
            raise TokenRefused("it is bound to a key of its sender (cnf), which is not asked for here")
        name = claims.get(oidc.name)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise TokenRefused("it names nobody (http.oidc.name)")
        return OpenIdIdentity(name, oidc.grant_of(claims))

    def _claims(self, oidc: OidcSettings, token: str) -> dict[str, Any]:
        if len(token) > _LONGEST:
            raise TokenRefused(f"it has more than {_LONGEST} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (exceptions.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefused("it is no JSON web token") from error
        algorithm, kid, kind = (header.get(name, "") for name in ("alg", "kid", "typ"))
        if algorithm not in oidc.algorithms:
            raise TokenRefused("its algorithm is none of http.oidc.algorithms")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenRefused("it is no token for access (typ)")
        key = self._keys.key(oidc, str(kid), algorithm)
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=oidc.audience,
                issuer=oidc.issuer,
                leeway=oidc.leeway,
                options={"require": _NEEDED},
            )
        except exceptions.PyJWTError as error:
            told = next((told for kind, told in _REASONS if isinstance(error, kind)), "it is not valid")
            raise TokenRefused(told) from error
        except (ValueError, TypeError, OverflowError) as error:  # of claims such as exp = 1e999
            raise TokenRefused("it is not valid") from error
