"""The trash of an archive: that of each of its stores (:mod:`scp.objects.trashed`)."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from scp.objects.bucket import Bucket
from scp.objects.names import store_of
from scp.objects.trash_bucket import BucketCan
from scp.objects.trash_folder import FolderCan
from scp.objects.trashed import STATES, State, Trashed, not_written


class Can(Protocol):
    """The trash of one store; its writers hold the lock of the first store's.

    Keys of entries are those of the archive: :func:`scp.objects.names.in_store`.
    """

    def is_settled(self) -> bool:
        """See Trash. Raises OutOfResources."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep other writers of its folder away. Raises OutOfResources."""

    def notes(
        self, states: Collection[State] = STATES, until: float = math.inf
    ) -> Iterator[tuple[str, Trashed | str | None]]:
        """Where each note lies, and its entry, or what is wrong; None: its state changed meanwhile.

        Notes of entries in other ``states`` are not read, and those that were written after ``until``, in
        seconds since 1970, need not be.
        """

    def latest(self, most: int) -> tuple[int, list[Trashed]]:
        """How many entries there are, and at most so many of those whose notes were written last.

        No other note is read.
        """

    def begin(self, wanted: list[Trashed]) -> list[Trashed]:
        """See Trash; each has an id."""

    def state_of(self, one: Trashed) -> State | None:
        """The state of the entry with an id, if there is one, and its file is there."""

    def in_place(self, one: Trashed) -> bool:
        """See Trash."""

    def begin_of(self, one: Trashed, most: int) -> bytes:
        """See Trash."""

    def take(self, one: Trashed) -> None:
        """See Trash."""

    def put_back(self, one: Trashed) -> None:
        """See Trash."""

    def mark(self, one: Trashed, state: State) -> Trashed:
        """See Trash."""

    def erase(self, one: Trashed) -> None:
        """See Trash."""

    def forget(self, one: Trashed) -> None:
        """See Trash."""

    def tidy(self) -> None:
        """See Trash."""


class Trash:
    """The trash of some stores, each given by its name, empty for the first, and its folder or bucket.

    Entries in a store that is not there stay as they are until it is there again. ``alone`` is a lock among
    all nodes that share the stores. ``clock`` gives the time by which what dead processes left is old, in
    seconds since 1970.
    """

    def __init__(
        self,
        places: Mapping[str, Path | Bucket],
        alone: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cans = {name: _can_in(place, clock) for name, place in places.items()}
        self._alone = alone

    def is_settled(self) -> bool:
        """Whether nothing is unfinished, and nothing is to be tidied; it reads no note, and needs no lock."""
        return all(can.is_settled() for can in self._cans.values())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from deleting, restoring, purging or changing holds meanwhile."""
        with self._cans[""].lock(), self._alone():
            yield

    def entries(
        self,
        states: Collection[State] = STATES,
        until: float = math.inf,
        damaged: Callable[[str, str], object] = lambda _where, _fault: None,
    ) -> list[Trashed]:
        """The entries in some states, in the order of their deletion.

        Only of objects that were deleted ``until`` then, in seconds since 1970; of those, one whose state has
        changed since may be left out. ``damaged`` is called as :meth:`unreadable` tells, for each such note.
        """
        wanted = []
        for where, one in self._notes(states, until):
            if isinstance(one, str):
                damaged(where, one)
            elif one is not None and one.at <= until:
                wanted.append(one)
        return sorted(wanted, key=lambda one: (one.at, one.id))

    def _notes(
        self, states: Collection[State] = STATES, until: float = math.inf
    ) -> Iterator[tuple[str, Trashed | str | None]]:
        """See Can; a note that names an object of another store than its own is damaged, too."""
        for name, can in self._cans.items():
            for where, one in can.notes(states, until):
                foreign = isinstance(one, Trashed) and store_of(one.key) != name
                yield where, not_written("it names an object of another store") if foreign else one

    def latest(self, first: int, most: int) -> tuple[list[Trashed], int]:
        """At most ``most`` entries from ``first`` on, the latest first, and how many there are in all.

        The notes of older ones are not read: the trash may have as many entries as the archive has objects.
        """
        found = [can.latest(first + most) for can in self._cans.values()]
        read = [one for _, some in found for one in some]
        ordered = sorted(read, key=lambda one: (one.at, one.id), reverse=True)
        return ordered[first : first + most], sum(count for count, _ in found)

    def unreadable(self) -> Iterator[tuple[str, str]]:
        """Where damaged notes lie, with the reason. Their objects are neither restored nor purged."""
        return ((where, fault) for where, fault in self._notes() if isinstance(fault, str))

    def begin(self, wanted: Iterable[Trashed]) -> list[Trashed]:
        """Begin to delete some objects, with durable entries; objects without a file are left out.

        One with an id that the trash has already, from a process that died, is not put there again.
        """
        known, named = list[Trashed](), list[Trashed]()
        for one in wanted:
            state = self._can(one).state_of(one) if one.id else None
            if state in {"going", "gone"}:
                known.append(replace(one, state=state))
            else:  # one that is being restored keeps its entry
                named.append(one if one.id and state is None else replace(one, id=uuid.uuid4().hex))
        begun = [
            one
            for name, can in self._cans.items()
            for one in can.begin([each for each in named if store_of(each.key) == name])
        ]
        return known + begun

    def in_place(self, one: Trashed) -> bool:
        """Whether the entry's own file is still in its place: an object that was sent again has another."""
        return self._can(one).in_place(one)

    def begin_of(self, one: Trashed, most: int) -> bytes:
        """At most so many first bytes of an entry's file, as it lies there. Raises ObjectMissing, OSError."""
        return self._can(one).begin_of(one, most)

    def take(self, one: Trashed) -> None:
        """Remove an object's file from its place, unless another file is there by now."""
        self._can(one).take(one)

    def put_back(self, one: Trashed) -> None:
        """Put an object into its place again, durably. Raises ObjectMissing."""
        self._can(one).put_back(one)

    def mark(self, one: Trashed, state: State) -> Trashed:
        """Change the state of an entry, durably."""
        return self._can(one).mark(one, state)

    def drop(self, one: Trashed) -> None:
        """Remove an entry and its file; the note is removed last, so that no file is left without one."""
        self.erase(one)
        self.forget(one)

    def erase(self, one: Trashed) -> None:
        """Remove the file of an entry, whose note stays; it may be gone already."""
        self._can(one).erase(one)

    def forget(self, one: Trashed) -> None:
        """Remove the note of an entry whose file is gone."""
        self._can(one).forget(one)

    def tidy(self) -> None:
        """Remove files whose note was never written, if the objects are still in their places."""
        for can in self._cans.values():
            can.tidy()

    def _can(self, one: Trashed) -> Can:
        return self._cans[store_of(one.key)]


def _can_in(place: Path | Bucket, clock: Callable[[], float]) -> Can:
    return FolderCan(place) if isinstance(place, Path) else BucketCan(place, clock)
