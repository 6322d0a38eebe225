"""What an index says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Meta(Protocol):
    """What an index says of itself, as names and values.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def all(self, recent: bool = False) -> dict[str, str]:
        """All that is set, by the names of :mod:`scp.index.index`; ``recent``: on a server, a second ago."""

    def put(self, values: Mapping[str, str | None]) -> None:
        """Set values, or remove those that are None, in one transaction."""

    def ahead(self) -> int:
        """How many seconds the clock of the index's server is ahead of this node's; 0 where it has none."""

    def stamp(self) -> object:
        """A value that changes with each write but this process's :meth:`put` and heartbeats; or None."""

    def damage(self) -> str:
        """What this process found the index damaged by, in any operation; empty if nothing."""

    def is_in_place(self) -> bool:
        """Whether opening the index again would give the same one: its file may be removed while open."""


@dataclass(frozen=True, slots=True)
class NamesIndexed:
    """What :meth:`scp.index.index.Index.index_names` comes to.

    ``fault`` says why names that begin with a wildcard are not found by an index; ``again`` is after how many
    seconds to call it again.
    """

    fault: str
    again: float
