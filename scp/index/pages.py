"""Pages of matches for people who look: the newest first, some at a time, with what is kept of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scp.index.watch import Watch
from scp.model import Instance, Query

MOST_COUNTED = 1000  # matches: beyond that a person narrows the search anyway


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One match: keyword → text as in a C-FIND response, and its ``number``, which grows with arrival."""

    number: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Matches, the newest first. ``following`` is the number before which the next page begins; None: none.

    ``count`` is how many matches there are in all; None where these are more than :data:`MOST_COUNTED`.
    """

    entries: tuple[PageEntry, ...]
    following: int | None
    count: int | None


@dataclass(frozen=True, slots=True)
class KeptSum:
    """How much of an entity, by its ``number``, is kept in one form; sizes in bytes.

    ``pending`` objects are yet to be encoded, and the files of ``damaged`` ones were damaged or missing when
    they were last read. ``store`` is empty for the first.
    """

    number: int
    form: str
    transfer_syntax: str  # at rest
    store: str
    instances: int
    received_size: int
    stored_size: int
    pending: int
    damaged: int


class Pages(Protocol):
    """What an index answers to people. Every method raises OutOfResources, and what the watch raises."""

    def page(
        self,
        query: Query,
        most: int,
        before: int | None,
        watch: Watch,
        skip: int = 0,
        ranks: Mapping[str, int] | None = None,
    ) -> Page:
        """At most ``most`` matches of a query whose number is below ``before``; None: from the newest on.

        The first ``skip`` of them are left out. ``ranks`` are as in Index.find. Of sequences only the items
        that match are told; where a key asks for some, fewer matches than there are numbers for may be left.
        Raises :class:`scp.errors.QueryError` as :meth:`scp.index.index.Index.find` does.
        """

    def sums(
        self, level: str, numbers: Sequence[int], stores: Mapping[str, str], watch: Watch
    ) -> list[KeptSum]:
        """What is kept of entities of a level; ``stores`` is as in Index.statistics."""

    def numbers(self, query: Query, watch: Watch) -> list[int]:
        """The numbers of all instances that a retrieve names, as Index.instances finds and sorts them.

        Some bytes each, where the instances themselves take a thousand. Raises QueryError as that does.
        """

    def instances(self, numbers: Sequence[int], query: Query) -> list[Instance]:
        """The instances of some of the :meth:`numbers` of a query, in that order, not too many for one query.

        What is no longer held is left out, and what the query does not find: the number of a removed instance
        may be that of another one meanwhile.
        """

    def order(self, query: Query, most: int) -> list[str]:
        """The SOP Instance UIDs of a query's instances, in order; none where these are more than ``most``.

        Raises QueryError.
        """

    def mark(self) -> object | None:
        """A value for :meth:`is_now`; None where there is none. The first one may have to wait for others."""

    def is_now(self, mark: object | None) -> bool:
        """Whether no row has changed since a mark, by whatever process; it opens nothing.

        False where that is not known at once.
        """
