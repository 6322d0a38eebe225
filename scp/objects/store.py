"""What an object store is: bytes under keys, durable when put returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    """The plug point; tests/contracts/test_stores.py is its contract.

    Keys are relative paths of ASCII letters, digits, dots, dashes and slashes. What asks about an object may
    raise ObjectUnavailable where it lies on a medium that is not there (:mod:`scp.objects.tiers`).
    """

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """The stores beside the first one, by name, and how readily they give what they hold."""

    def put(self, key: str, *parts: Buffer) -> None:
        """Make ``parts``, one after another, durable and visible under ``key``, all of it or nothing of it.

        It is remembered as unsettled until :meth:`settle`. Raises OutOfResources.
        """

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """As :meth:`put` for each, sharing what waits for the disk; where one fails none is there."""

    def settle(self, key: str) -> None:
        """Forget that ``key`` was put: whatever depends on it is durable too."""

    def withdraw(self, key: str) -> None:
        """Take back what this process put and has not settled, which then counts as settled.

        What lay under ``key`` before, or was put there by another process since, stays: an object that is put
        twice has one key.
        """

    def unsettle(self, key: str) -> None:
        """Remember that ``key``, which is there, is about to go: as if it had been put and not settled."""

    def recover(self) -> Iterator[str]:
        """Keys that were put, and not settled, by a process that is gone.

        Each counts as settled when the next one is asked for. What such a process left unfinished is
        removed.
        """

    def unsettled(self) -> Mapping[str, bool]:
        """What was put and not settled: key → whether the process that did is still there."""

    def set_aside(self, key: str) -> None:
        """Keep what is under ``key`` also where no key leads to: it is about to go, and not sound."""

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
        """Let go of it; what was not settled is left to the next one's recovery."""


def check_size(key: str, found: int, size: int | None) -> None:
    """Raises ObjectDamaged where the size of an object is known, and another than what was found."""
    if size is not None and found != size:
        raise ObjectDamaged(
            f"{key} is not what was written: {found} bytes, and not {size}; restore it from a copy"
        )
