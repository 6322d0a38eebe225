"""OpenID Connect: whose bearer tokens DICOMweb takes, and what each of them may do."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from scp.config.dicomweb import WebServices
from scp.config.networks import is_loopback
from scp.config.tls import check_authority, readable
from scp.config.values import AeTitle, Span, Table, list_of_tables, texts

# Signatures by key pairs (RFC 7518 3.1, RFC 8037). There is neither "none", nor HMAC, whose secret would be
# what the issuer publishes (RFC 8725 2.1).
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
# Claims that are a list in one text, with blanks between (RFC 8693 4.2; "scp" is what Microsoft calls it).
_WITH_BLANKS = ("scope", "scp")
_MOST_LEEWAY = 300
# What it is made with (the extra zscp[oidc]): the distribution, by the name that it is imported by.
_NEEDED = {"jwt": "PyJWT", "httpx2": "httpx2"}


def issuer_url(value: str) -> str:
    """The URL of an issuer, as its tokens have it in ``iss``; empty for none."""
    parts = urlsplit(value)
    if value and (parts.query or parts.fragment or parts.username or not is_protected(value)):
        raise ValueError(
            f'"{value}" is no issuer; write its URL as its tokens have it: "https://login.example.org/realms/x"'
        )
    return value


def is_protected(url: str) -> bool:
    """Whether nobody in between can read or change what a URL leads to: HTTPS, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


Texts = Annotated[tuple[str, ...], BeforeValidator(texts)]
SomeTexts = Annotated[Texts, Field(min_length=1)]


class OidcGrant(Table):
    """What tokens may do whose ``claim`` has one of ``values``.

    ``claim`` is a name, or the names that lead to one within others. With a ``peer`` they are held to what
    that [[peer]] may do and sees, and come from where that may come from.
    """

    claim: SomeTexts = ("scope",)
    values: SomeTexts
    may: WebServices = ("find", "get")
    peer: AeTitle | None = None

    def covers(self, claims: dict[str, Any]) -> bool:
        """Whether a token with these claims has what this asks for."""
        found: Any = claims
        for step in self.claim:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, str):
            found = found.split(" ") if self.claim[-1] in _WITH_BLANKS else [found]
        return isinstance(found, list) and any(one in self.values for one in found if isinstance(one, str))


class OidcSettings(Table):
    """Whose tokens are taken: those of ``issuer``, empty for none, that are for one of ``audience``.

    ``name`` is the claim by which their sender is known in the log and the audit trail. Clocks may differ
    by ``leeway`` seconds. ``ca`` signed the issuer's certificate; empty: one that the system trusts. Of the
    ``grant``s that cover a token the first counts.
    """

    issuer: Annotated[str, AfterValidator(issuer_url)] = ""
    audience: Texts = ()
    name: Annotated[str, Field(min_length=1)] = "sub"
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(texts), Field(min_length=1)] = (
        "RS256", "PS256", "ES256", "ES384", "EdDSA",
    )  # fmt: skip
    leeway: Span = 30
    ca: Annotated[str, AfterValidator(readable), AfterValidator(check_authority)] = ""
    grant: Annotated[tuple[OidcGrant, ...], BeforeValidator(list_of_tables)] = ()

    @field_validator("leeway")
    @classmethod
    def _short(cls, value: int) -> int:
        if value > _MOST_LEEWAY:
            raise ValueError('would take tokens long after their end; write at most "5m"')
        return value

    def grant_of(self, claims: dict[str, Any]) -> OidcGrant | None:
        """What a token with these claims may do."""
        return next((grant for grant in self.grant if grant.covers(claims)), None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """What does not fit together: the key, and what is wrong with it."""
        if self.issuer and not self.audience:
            yield (
                "audience",
                "is empty: name what tokens for this archive have in aud, so that others are refused",
            )
        if self.issuer and not self.grant:
            yield "grant", "there is none, so that no token may do anything; add [[http.oidc.grant]]"
        for number, grant in enumerate(self.grant):
            if "store" in grant.may and grant.peer is None:
                told = '"store" needs a peer: what is stored has its AE title, and a token may have any name'
                yield f"grant[{number}].may", told

    def warnings(self) -> Iterator[str]:
        """What has no effect, a line each."""
        if (self.audience or self.grant) and not self.issuer:
            yield "issuer: without one, audience and grant have no effect"
        if lack := self.lack:
            yield f"issuer: its tokens cannot be checked: {lack}"

    @property
    def lack(self) -> str:
        """What is not installed, with the remedy; empty where nothing is needed, or all is there."""
        missing = [name for module, name in _NEEDED.items() if self.issuer and find_spec(module) is None]
        return (
            f"{', '.join(missing)}: not installed; install the extra oidc (docs/configuration.md)"
            if missing
            else ""
        )
