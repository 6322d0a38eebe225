"""The users that peers may name when they associate: names, and passcodes as argon2 hashes."""

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


class User(Table):
    """A user by ``name``; without a ``passcode``, the hash of one, the name alone is enough."""

    name: Annotated[str, Field(min_length=1)]
    passcode: Annotated[str, AfterValidator(_is_hash)] | None = None

    def shows(self, passcode: bytes) -> bool:
        """Whether a passcode is this user's."""
        if self.passcode is None:
            return True
        try:
            return _HASHER.verify(self.passcode, passcode)
        except Argon2Error:
            return False
