"""Which instances a path names: those that its sender sees, as a C-MOVE of the same UIDs finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from scp.errors import QueryError
from scp.index.watch import Watch
from scp.model import LEVELS, UNIQUE_KEYS, Instance, Query, QueryKey
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.retrieve.conditions import same, tag_of

_LEVELS = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
# So many instances are looked up at a time; of the others only numbers are held.
PAGE = 500


class Named:
    """The instances of a path, in the order of a C-MOVE, some at a time; nothing of the index is held."""

    def __init__(self, asked: Asked) -> None:
        """Looks them up. Raises Refused (404) where there are none, OutOfResources."""
        self._asked = asked
        self._pages = asked.desk.archive().pages
        self.numbers: list[int] = []
        self._query: Query | None = None
        self._few = _by_sop_instance(asked)
        if not self._few:
            with suppress(QueryError):  # UIDs that are none, and name nothing
                query = _query(asked)
                self.numbers, self._query = self._pages.numbers(query, self._watch()), query
        self._first = self._few or self._some(0, PAGE)
        if not self._first:
            raise Refused(404, "Nothing that is held, and that you may see, has these UIDs.")

    def _watch(self) -> Watch:
        return Watch(self._asked.desk.settings().query.seconds, self._asked.check)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._few) or len(self.numbers)

    @property
    def first(self) -> Instance:
        """The first; of one SOP Instance UID that several patients have, mostly the one that came last."""
        return self._first[0]

    def middle(self, most: int) -> list[Instance]:
        """At most ``most`` of them, from the one in the middle on."""
        return self._few[:most] or self._some(len(self.numbers) // 2, most)

    def pages(self) -> Iterator[list[Instance]]:
        """All of them, as they are held when their turn comes."""
        yield self._first
        for at in range(PAGE, len(self.numbers), PAGE):
            yield self._some(at, PAGE)

    def _some(self, at: int, most: int) -> list[Instance]:
        if self._query is None:
            return []
        return self._pages.instances(self.numbers[at : at + most], self._query)


def named_with_digest(asked: Asked) -> tuple[Named, str]:
    """Which instances are meant, and a digest of all of their files: it changes when any is replaced."""
    named = Named(asked)
    return named, tag_of(one for page in named.pages() for one in same(page))


def _query(asked: Asked) -> Query:
    named = {_LEVELS[name]: uid for name, uid in asked.named.items() if name in _LEVELS}
    if any("\\" in uid for uid in named.values()):
        raise QueryError("a path names one UID at each level")
    level = max(named, key=LEVELS.index)
    keys = tuple(QueryKey(UNIQUE_KEYS[each], "UI", uid) for each, uid in named.items())
    return Query("STUDY", level, keys, seen=asked.caller.seen)


def _by_sop_instance(asked: Asked) -> list[Instance]:
    """The instances of a SOP Instance UID, in a tenth of a millisecond, where a query takes four.

    It may be none that a query may name: the index has it all the same (invariant 7). Who sees only a part of
    the archive needs a query.
    """
    uid = asked.named.get("instance")
    if uid is None or asked.caller.seen:
        return []
    wanted = (asked.named.get("study"), asked.named.get("series"))
    found = asked.desk.archive().named(uid)
    return [one for one in found if (one.study_instance_uid, one.series_instance_uid) == wanted]
