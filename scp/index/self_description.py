"""What an index says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Meta(Protocol):
    """What an index says of itself, as names and values.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def all(self) -> dict[str, str]:
        """All that is set: the names of :mod:`scp.index.index`, and others."""

    def put(self, values: Mapping[str, str | None]) -> None:
        """Set values, or remove those that are None, in one transaction."""

    def stamp(self) -> object:
        """A value that changes when the index is written to; None if there is no such value."""

    def damage(self) -> str:
        """What this process found the index damaged by, in any operation; empty if nothing."""

    def is_in_place(self) -> bool:
        """Whether opening the index again would give the same one: its file may be removed while open."""
