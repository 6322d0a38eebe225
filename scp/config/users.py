"""The users that peers may name when they associate: names, and passcodes as argon2 hashes.

Passwords of the page's users (:mod:`scp.config.http`) are hashed in the same way.
"""

from __future__ import annotations

from typing import Annotated

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError
from pydantic import AfterValidator, Field

from scp.config.values import Table

# 19 MiB and two passes: what OWASP recommends for argon2id. To verify one takes 33 ms of a core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def hashed(passcode: str) -> str:
    """What stands in the configuration for a passcode."""
    return _HASHER.hash(passcode)


def _is_hash(text: str) -> str:
    try:
        extract_parameters(text)
    except InvalidHashError:
        raise ValueError("is no argon2 hash; `zscp passcode` makes one") from None
    return text


# The hash of a passcode or password, as ``zscp passcode`` prints it.
PasswordHash = Annotated[str, AfterValidator(_is_hash)]


def is_of(hashed_one: str, secret: bytes) -> bool:
    """Whether a secret is the one that was hashed."""
    try:
        return _HASHER.verify(hashed_one, secret)
    except Argon2Error:
        return False


class User(Table):
    """A user by ``name``; without a ``passcode``, the hash of one, the name alone is enough."""

    name: Annotated[str, Field(min_length=1)]
    passcode: PasswordHash | None = None

    def shows(self, passcode: bytes) -> bool:
        """Whether a passcode is this user's."""
        return self.passcode is None or is_of(self.passcode, passcode)
