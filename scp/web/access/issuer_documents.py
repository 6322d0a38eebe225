"""What an issuer publishes of itself (OpenID Connect Discovery): where its keys are, and these."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx2
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from scp.config.oidc import OidcSettings, is_protected
from scp.config.tls import client_context
from scp.web.access.issuer_keys import IssuerFault, IssuerKey

_DESCRIPTION = "/.well-known/openid-configuration"
# Of both documents together, and of one: issuers have some 2 KB, and some ten keys.
_SECONDS, _MOST_BYTES, _MOST_KEYS = 10.0, 256 << 10, 100
# Of RSA, in bits (RFC 7518 3.3); larger ones take long to check by.
_LEAST_RSA, _MOST_RSA = 2048, 8192
_OF_RSA = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
# By type and curve (RFC 7518 6, RFC 8037 2): what a key may check.
_ALGORITHMS: Mapping[tuple[str, str], frozenset[str]] = {
    ("RSA", ""): _OF_RSA,
    ("EC", "P-256"): frozenset(("ES256",)),
    ("EC", "P-384"): frozenset(("ES384",)),
    ("EC", "P-521"): frozenset(("ES512",)),
    ("OKP", "Ed25519"): frozenset(("EdDSA",)),
}
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")


def fetched(oidc: OidcSettings) -> tuple[IssuerKey, ...]:
    """The issuer's keys, as it publishes them now. Raises IssuerFault.

    It takes 10 s at most, but for the resolver of the system. No redirect is followed.
    """
    try:
        return asyncio.run(_fetched(oidc))
    except TimeoutError as error:
        raise IssuerFault(f"the issuer did not answer within {_SECONDS:.0f} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise IssuerFault(
            f"the issuer cannot be asked: {str(error)[:200] or type(error).__name__}"
        ) from error


async def _fetched(oidc: OidcSettings) -> tuple[IssuerKey, ...]:
    verify: ssl.SSLContext | bool = client_context("", "", oidc.ca, check_host=True) if oidc.ca else True
    # Proxies of the environment are for others; what goes to this machine in the clear goes nowhere else.
    through = oidc.issuer.startswith("https:")
    async with (
        asyncio.timeout(_SECONDS),
        httpx2.AsyncClient(verify=verify, timeout=_SECONDS, trust_env=through) as client,
    ):
        description = await _document(client, oidc.issuer.rstrip("/") + _DESCRIPTION)
        if description.get("issuer") != oidc.issuer:
            raise IssuerFault(
                "the issuer describes another one than http.oidc.issuer; compare them letter by letter"
            )
        where = description.get("jwks_uri")
        if not isinstance(where, str) or not _is_as_protected(where, oidc.issuer):
            raise IssuerFault("the issuer names no address by HTTPS for its keys (jwks_uri)")
        keys = tuple(keys_of(await _document(client, where)))
    if not keys:
        raise IssuerFault("the issuer has no key that can be used")
    return keys


def _is_as_protected(where: str, issuer: str) -> bool:
    """Whether keys come by HTTPS, or in the clear from this machine, where the issuer is on it, too."""
    try:
        return is_protected(where) and (where.startswith("https:") or issuer.startswith("http:"))
    except ValueError:
        return False


async def _document(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object, within bounds. Raises IssuerFault, and what httpx2 raises."""
    body = bytearray()
    # Not compressed: what is unpacked would need a bound of its own.
    async with client.stream(
        "GET", url, headers={"Accept": "application/json", "Accept-Encoding": "identity"}
    ) as answer:
        if answer.status_code != 200:
            raise IssuerFault(f"{url} is answered with the status {answer.status_code}")
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > _MOST_BYTES:
                raise IssuerFault(f"{url} is answered with more than {_MOST_BYTES >> 10} KB")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise IssuerFault(f"{url} is answered with what is no JSON") from error
    if not isinstance(found, dict):
        raise IssuerFault(f"{url} is answered with JSON that is no object")
    return found


def keys_of(document: Mapping[str, Any]) -> Iterator[IssuerKey]:
    """The keys for signatures in a set of JSON web keys (RFC 7517); others are passed over."""
    listed = document.get("keys")
    for one in listed[:_MOST_KEYS] if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("use", "sig") == "sig":
            algorithms = _algorithms(one)
            key = _public_key(one, algorithms)
            if key is not None:
                kid = one.get("kid")
                yield IssuerKey(kid if isinstance(kid, str) else "", algorithms, key)


def _algorithms(jwk: Mapping[str, Any]) -> frozenset[str]:
    """What a key may check: what its type is for, or of that what it says itself."""
    kind = (str(jwk.get("kty")), str(jwk.get("crv", "")))
    able = _ALGORITHMS.get(kind, frozenset())
    return able & {jwk["alg"]} if isinstance(jwk.get("alg"), str) else able


def _public_key(jwk: Mapping[str, Any], algorithms: Iterable[str]) -> Any | None:
    """None for a key that cannot be used; a private part that somebody published by mistake is left out."""
    algorithm = next(iter(algorithms), None)
    if algorithm is None:
        return None
    try:
        found: Any = PyJWK({name: jwk[name] for name in _PUBLIC if name in jwk}, algorithm).key
    except (PyJWTError, ValueError, TypeError):
        return None
    return found if algorithm not in _OF_RSA or _LEAST_RSA <= found.key_size <= _MOST_RSA else None
