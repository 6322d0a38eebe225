"""The trash of a store that is a bucket: two objects each in ``.trash``.

``<id>.dcm`` is a copy of the stored object; ``<id>.<state>.json`` is the note. So a
listing tells what is unfinished, and what is old, and no other note is read for that. While the state changes
there are two notes: the later state counts. A bucket has no locks: writers have the one that the index gives
(docs/decisions/0147).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from heapq import nlargest

from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects.bucket import AT_ONCE, Bucket, Found
from scp.objects.names import has_token, in_store
from scp.objects.notes import BucketNotes
from scp.objects.trashed import FOLDER, STATES, UNFINISHED, State, Trashed, not_written, trashed_in

_FILE = ".dcm"
# A copy whose note is missing for so long, by any clock, was left by a process that died.
_LEFT_SECONDS = 86_400
# How far the clocks of a node and of the server may differ: what is younger than that is read, and compared.
_CLOCK_SECONDS = 3600
_NOTES: dict[str, State] = {f"{state}.json": state for state in STATES}


@dataclass(frozen=True, slots=True)
class _Listed:
    """The state of each entry, and when it was noted, by its id; and what dead processes may have left.

    That is keys of notes of an earlier state, and copies without a note.
    """

    states: dict[str, State]
    written: dict[str, float]
    before: list[str]
    alone: list[Found]


class BucketCan:
    """The trash of a bucket (:class:`scp.objects.trash.Can`); what is old is so by the ``clock``."""

    def __init__(self, bucket: Bucket, clock: Callable[[], float] = time.time) -> None:
        self._bucket, self._clock = bucket, clock
        self._notes = BucketNotes(bucket, FOLDER)

    def is_settled(self) -> bool:
        """See Can."""
        found = self._listed()
        return not self._left(found) and all(state not in UNFINISHED for state in found.states.values())

    def lock(self) -> AbstractContextManager[None]:
        """See Can: that of the index is enough."""
        return nullcontext()

    def notes(
        self, states: Collection[State] = STATES, until: float = math.inf
    ) -> Iterator[tuple[str, Trashed | str | None]]:
        """See Can: a listing tells when a note was written, and its object was deleted before that."""
        listed = self._listed()
        names = [
            _name(one, state)
            for one, state in listed.states.items()
            if state in states and listed.written[one] <= until + _CLOCK_SECONDS
        ]
        with ThreadPoolExecutor(AT_ONCE, "trash") as pool:
            yield from zip(map(self._notes.where, names), pool.map(self._read, names), strict=True)

    def latest(self, most: int) -> tuple[int, list[Trashed]]:
        """See Can."""
        listed = self._listed()
        chosen = nlargest(most, listed.states, listed.written.__getitem__)
        with ThreadPoolExecutor(AT_ONCE, "trash") as pool:
            read = list(pool.map(self._read, [_name(one, listed.states[one]) for one in chosen]))
        return len(listed.states), [one for one in read if isinstance(one, Trashed)]

    def begin(self, wanted: list[Trashed]) -> list[Trashed]:
        """See Can: copied → the note is durable."""
        begun = []
        for one in wanted:
            with suppress(ObjectMissing):
                self._bucket.copy(self._place(one), self._file(one))
                self._note(one)
                begun.append(one)
        return begun

    def state_of(self, one: Trashed) -> State | None:
        """See Can."""
        with suppress(ObjectMissing):
            self._bucket.look(self._file(one))
            for state in reversed(STATES):
                with suppress(ObjectMissing):
                    self._notes.read(_name(one.id, state))
                    return state
        return None

    def in_place(self, one: Trashed) -> bool:
        """See Can: a key with a token is put once, so what is there is what was copied.

        Of another key, the ETags tell; where they depend on the parts of an upload, or are no digests, what
        came first does. Where an S3 server encrypts with a key of its own they tell nothing, and the object
        stays.
        """
        try:
            copy, there = self._bucket.look(self._file(one)), self._bucket.look(self._place(one))
        except ObjectMissing:
            return False
        if copy.size != there.size:
            return False
        if has_token(one.key) or copy.etag == there.etag:
            return True
        told = "-" not in copy.etag + there.etag and self._bucket.kind.etags_are_digests
        return not told and there.modified < copy.modified

    def begin_of(self, one: Trashed, most: int) -> bytes:
        """See Can."""
        return bytes(self._bucket.first_part(self._file(one), most)[1][:most])

    def take(self, one: Trashed) -> None:
        """See Can."""
        if self.in_place(one):
            self._bucket.delete(self._place(one))

    def put_back(self, one: Trashed) -> None:
        """See Can."""
        with suppress(ObjectMissing):
            self._bucket.look(self._place(one))
            return  # restored before, or sent again: the same key is the same object
        try:
            self._bucket.copy(self._file(one), self._place(one))
        except ObjectMissing:
            raise ObjectMissing(f"{one.key} was purged from the trash; restore it from a copy") from None

    def mark(self, one: Trashed, state: State) -> Trashed:
        """See Can."""
        marked = replace(one, state=state)
        self._note(marked)
        if state != one.state:
            self._notes.remove([_name(one.id, one.state)])
        return marked

    def erase(self, one: Trashed) -> None:
        """See Can."""
        self._bucket.delete(self._file(one))

    def forget(self, one: Trashed) -> None:
        """See Can."""
        self._notes.remove([_name(one.id, one.state)])

    def tidy(self) -> None:
        """See Can. The original of a copy without a note is in its place: it is removed after the note."""
        for key in self._left(self._listed()):
            self._bucket.delete(key)

    def _left(self, found: _Listed) -> list[str]:
        """The keys of what dead processes left: a copy that another one is making has no note yet."""
        if not found.alone:
            return found.before
        old = self._clock() - _LEFT_SECONDS
        return found.before + [one.key for one in found.alone if one.modified.timestamp() < old]

    def _listed(self) -> _Listed:
        states: dict[str, list[State]] = {}
        written: dict[str, float] = {}
        copies: dict[str, Found] = {}
        noted: set[str] = set()
        for found in self._bucket.list(FOLDER):
            name, _, kind = found.key.removeprefix(f"{FOLDER}/").partition(".")
            if f".{kind}" == _FILE:
                copies[name] = found
                continue
            noted.add(name)
            if kind in _NOTES:
                states.setdefault(name, []).append(_NOTES[kind])
                written[name] = max(written.get(name, 0.0), found.modified.timestamp())
        latest = {name: max(some, key=STATES.index) for name, some in states.items()}
        before = [_name(name, one) for name, some in states.items() for one in some if one != latest[name]]
        alone = [one for name, one in copies.items() if name not in noted]
        return _Listed(latest, written, [f"{FOLDER}/{name}.json" for name in before], alone)

    def _note(self, one: Trashed) -> None:
        self._notes.write(_name(one.id, one.state), one.note)

    def _read(self, name: str) -> Trashed | str | None:
        known, _, state = name.partition(".")
        try:
            return trashed_in(self._notes.read(name), id=known, state=state)
        except ObjectMissing:
            return None
        except ObjectDamaged as error:
            return not_written(error)

    def _file(self, one: Trashed) -> str:
        return f"{FOLDER}/{one.id}{_FILE}"

    def _place(self, one: Trashed) -> str:
        return in_store("", one.key)


def _name(entry: str, state: State) -> str:
    return f"{entry}.{state}"
