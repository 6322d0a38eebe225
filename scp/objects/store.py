"""What an object store is: bytes under keys, durable when put returns.

An object store has five verbs; docs/decisions/0127 says why no more. What an archive needs beyond them, to
find after a crash what it stored and had not recorded yet, is a journal (:mod:`scp.objects.journal`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from scp.errors import ObjectDamaged
from scp.spool import Buffer

# PS3.3 C.4.23.1.1: at once; from a slow medium; after somebody has brought the medium.
Availability = Literal["ONLINE", "NEARLINE", "OFFLINE"]
AVAILABILITIES: Mapping[str, Availability] = {
    "online": "ONLINE",
    "nearline": "NEARLINE",
    "offline": "OFFLINE",
}


class ObjectStore(Protocol):
    """The plug point; tests/contracts/test_stores.py is its contract, scp/objects/stores.py the table of all.

    Keys are relative paths of ASCII letters, digits, dots, dashes and slashes (:mod:`scp.objects.names`).
    What asks about an object may raise ObjectUnavailable where it lies on a medium that is not there
    (:mod:`scp.objects.tiers`).
    """

    def put(self, key: str, *parts: Buffer) -> None:
        """Make ``parts``, one after another, durable and visible under ``key``, all of it or nothing of it.

        What lay there before is replaced. Raises OutOfResources.
        """

    def get(self, key: str, size: int | None = None) -> Buffer:
        """The object. Raises ObjectMissing, ObjectDamaged where no file lies there, ObjectUnreadable.

        Where its ``size`` is known, an object of another is damaged: what took its place is not read.
        """

    def size(self, key: str) -> int:
        """Its size in bytes. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove it; one that is not there is none."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys with a prefix, in no order."""

    def close(self) -> None:
        """Let go of it."""


def check_size(key: str, found: int, size: int | None) -> None:
    """Raises ObjectDamaged where the size of an object is known, and another than what was found."""
    if size is not None and found != size:
        raise ObjectDamaged(
            f"{key} is not what was written: {found} bytes, and not {size}; restore it from a copy"
        )
