"""The HTTP side: where it listens, who may use it, and when the page is served at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from scp.config.dicomweb import WEB_SERVICES, WebService, WebServices
from scp.config.networks import is_loopback
from scp.config.oidc import OidcSettings
from scp.config.users import PasswordHash
from scp.config.values import AeTitle, Span, Switch, Table, list_of_tables, unique

# What one may do on the page: look, or also change something.
Role = Literal["viewer", "admin"]


class HttpUser(Table):
    """Someone who may use the page: ``password`` is the hash of one."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: PasswordHash
    role: Role = "viewer"


# What users of the page may do by DICOMweb.
OF_ROLES: Mapping[Role, frozenset[WebService]] = {
    "viewer": frozenset(("find", "get")),
    "admin": frozenset(WEB_SERVICES),
}
_TOKEN_BYTES = 32


def new_token() -> str:
    """A token that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """What stands in the configuration for a token: SHA-256, hexadecimal.

    It needs no slow hash, as passwords do: nobody tries all 256 bits.
    """
    return sha256(token.encode("utf-8", "replace")).hexdigest()


class ApiToken(Table):
    """A program that may use DICOMweb: ``digest`` is that of its token, as ``zscp token`` prints it.

    It may do what ``may`` has. With a ``peer``, it is held to what that [[peer]] may do and sees, and comes
    from where that may come from.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    may: WebServices = ("find", "get")
    peer: AeTitle | None = None

    @property
    def toml(self) -> str:
        """The table, as it stands in a configuration."""
        keys = self.model_dump(mode="json", exclude_none=True)
        return "\n".join(("[[http.token]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())))


class HttpSettings(Table):
    """Where metrics, health and the page are answered; port 0: nowhere.

    ``names`` are those by which browsers may ask for the page, beside addresses. A session ends ``idle``
    seconds after its last request, and ``session`` seconds after its login.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    page: Literal["auto", "on", "off"] = "auto"
    tls: Switch = False
    names: tuple[str, ...] = ()
    idle: Span = 30 * 60
    session: Span = 12 * 3600
    user: Annotated[
        tuple[HttpUser, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda user: user.name, "user")),
    ] = ()
    token: Annotated[
        tuple[ApiToken, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda token: token.name, "token")),
        AfterValidator(unique(lambda token: token.digest, "digest")),
    ] = ()
    oidc: OidcSettings = OidcSettings()

    @field_validator("idle", "session")
    @classmethod
    def _lasts(cls, value: int) -> int:
        if value < 60:
            raise ValueError('would end sessions at once; write at least "1m"')
        return value

    @property
    def url(self) -> str:
        """Where a browser on this machine, or one that knows the name, finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - any address
        return f"{'https' if self.tls else 'http'}://{self.names[0] if self.names else host}:{self.port}/"

    def user_named(self, name: str) -> HttpUser | None:
        """The user with this name."""
        return next((user for user in self.user if user.name == name), None)

    def token_of(self, secret: str) -> ApiToken | None:
        """Whose token this is."""
        digest = digest_of(secret)
        return next((token for token in self.token if secrets.compare_digest(token.digest, digest)), None)

    def is_admin(self, name: str) -> bool:
        """Whether the user with this name may change something."""
        user = self.user_named(name)
        return user is not None and user.role == "admin"

    @property
    def no_page(self) -> str:
        """Which setting it is that there is no page by; empty where there may be one."""
        if not self.port:
            return "http.port is 0"
        return 'http.page is "off"' if self.page == "off" else self.page_fault

    @property
    def page_fault(self) -> str:
        """Why no page may be served at this address, with the remedy; empty where one may.

        Passwords and patients' data never cross a network as they are, and no stranger sees them.
        """
        known = self.user or self.token or self.oidc.issuer
        if is_loopback(self.host) or (known and self.tls):
            return ""
        lacks = [key for key, given in (("[[http.user]]", known), ("http.tls", self.tls)) if not given]
        return (
            f"the page is not served on {self.host} without {' and '.join(lacks)}; add what is missing, or "
            'write http.host = "127.0.0.1"'
        )
