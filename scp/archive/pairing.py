"""Whether the index and the stores belong together: both name the archive and a sequence number of the index.

An index may be missing, be an older copy of itself, or belong to another archive. A store may be on a disk
that is not mounted. Nothing is removed because of the result. The result decides whether the index is rebuilt
from the files before any request is served (:mod:`scp.lifecycle.rebuild`), or an admin has to decide.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum

from scp.errors import ConfigurationError, IndexDamaged, IndexUnfit, OutOfResources
from scp.index.index import ARCHIVE, INCARNATION, REBUILD, SEQUENCE, Index
from scp.objects.mark import Mark, StoreMark
from scp.objects.names import in_store
from scp.objects.tiers import Medium


class State(StrEnum):
    """How an index relates to the stores."""

    FITS = "fits"
    NEW = "new"  # neither names an archive yet, and nothing shows that they do not fit
    MISSING = "missing"
    OLDER = "older"
    ASKED = "asked"
    OTHER = "other"
    EMPTY = "empty"


_REBUILT = "the node rebuilds it from the stored files when it starts, and so does: zscp reindex"
_WHY: Mapping[State, str] = {
    State.MISSING: "the stores hold objects, and the index knows nothing of them",
    State.OLDER: "the index is not the one that the stores were paired with last, or is an older copy of it",
    State.ASKED: "a new version of zscp needs what only the files have",
    State.OTHER: "the index belongs to another archive than the object store; check index.url, storage.url",
    State.EMPTY: "the index names objects, and the object store is empty and has no mark of an archive; is"
    " the disk of storage.url mounted? If the objects are given up, remove the index as well",
}

_REBUILDS = (State.MISSING, State.OLDER, State.ASKED)
NO_INDEX = f"{_WHY[State.MISSING]}; {_REBUILT}"
NO_STORE = _WHY[State.EMPTY]


def judge(mark: Mark | None, meta: Mapping[str, str], rows: bool, files: bool) -> State:
    """How an index with this ``meta`` relates to stores with this ``mark``.

    ``rows`` says whether the index names any object; ``files`` whether the stores hold any, which counts only
    if they have no mark.
    """
    if mark is None:
        return _unmarked(meta, rows, files)
    if meta.get(ARCHIVE, mark.archive) != mark.archive:
        return State.OTHER
    behind = int(meta.get(SEQUENCE, "0")) < mark.sequence
    if meta.get(INCARNATION) != mark.index or behind:
        return State.OLDER if rows else State.MISSING
    return State.ASKED if REBUILD in meta else State.FITS


def _unmarked(meta: Mapping[str, str], rows: bool, files: bool) -> State:
    """As :func:`judge`, of stores without a mark: those of an earlier version, and those never written to."""
    if rows and not files:
        return State.EMPTY
    if files and not rows:
        return State.MISSING
    if files and ARCHIVE in meta:
        return State.OLDER  # it was paired with a mark that is gone: it is unknown what it lacks
    return State.ASKED if files and REBUILD in meta else State.NEW


class Pairing:
    """An index and the mark of the first store. ``mediums`` are the marks of the others, by name.

    ``has_files`` says whether any store or the landing log holds anything.
    """

    def __init__(
        self,
        index: Index,
        mark: StoreMark,
        mediums: Mapping[str, Medium],
        has_files: Callable[[], bool],
    ) -> None:
        self._index = index
        self._mark = mark
        self._mediums = mediums
        self._has_files = has_files
        self._stamp: object = None

    def begin(self) -> None:
        """Pair what is new, and mark the media of new stores. Raises ConfigurationError, OutOfResources."""
        mark = self._mark.read()
        self._check_mediums(mark)
        if self.state() is State.FITS and not self._unlisted(mark):
            return
        with self.lock():
            state = self.state()
            if state is State.NEW:
                self.pair()
            elif state is State.FITS:
                self._mark_mediums()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from pairing, or rebuilding the index, meanwhile.

        Those of this store, and those of other nodes that share the index.
        """
        with self._mark.lock(), self._index.exclusive("pairing"):
            yield

    def state(self) -> State:
        """How the index and the stores relate to each other now."""
        rows = self._index.has_keys("")
        mark = self._mark.read()
        return judge(mark, self._index.meta.all(), rows, mark is None and self._has_files())

    def why(self, state: State) -> str:
        """What a state means; empty where all is well."""
        asked = self._index.meta.all().get(REBUILD, "") if state is State.ASKED else ""
        return _WHY.get(state, "") + (f" ({asked})" if asked else "")

    def message(self, state: State) -> str:
        """What a state means, and what to do; empty where all is well."""
        why = self.why(state)
        return f"{why}; {_REBUILT}" if state in _REBUILDS else why

    def require(self) -> None:
        """Check that they fit. Raises IndexUnfit, or ConfigurationError where an admin has to decide."""
        state = self.state()
        if state in (State.OTHER, State.EMPTY):
            raise ConfigurationError(self.message(state))
        if state not in (State.FITS, State.NEW):
            raise IndexUnfit(self.message(state))

    def pair(self, unread: tuple[str, ...] = ()) -> None:
        """Pair index and stores, under a new incarnation; the index first, so that it is never behind."""
        mark, meta = self._mark.read(), self._index.meta.all()
        archive = mark.archive if mark else meta.get(ARCHIVE) or self._owner() or uuid.uuid4().hex
        sequence = 1 + max(mark.sequence if mark else 0, int(meta.get(SEQUENCE, "0")))
        incarnation = uuid.uuid4().hex
        names = {ARCHIVE: archive, INCARNATION: incarnation, SEQUENCE: str(sequence), REBUILD: None}
        self._index.meta.put(names)
        self._index.sync()
        stores = mark.stores if mark else ()
        self._mark.write(Mark(archive, incarnation, sequence, stores, unread))
        self._mark_mediums()

    def advance(self) -> None:
        """Raise the sequence number in both: a copy of the index that was made before is older from now on.

        Raises OutOfResources.
        """
        with self.lock():
            stamp = self._index.meta.stamp()  # first: what is written meanwhile is a reason to advance again
            mark, meta = self._mark.read(), self._index.meta.all()
            if mark is None or meta.get(INCARNATION) != mark.index:
                return  # another index was paired meanwhile
            sequence = 1 + max(mark.sequence, int(meta.get(SEQUENCE, "0")))
            self._index.meta.put({SEQUENCE: str(sequence)})
            self._index.sync()
            self._mark.write(replace(mark, sequence=sequence))
        self._stamp = stamp

    def advance_if_changed(self, always: bool = False) -> None:
        """As :meth:`advance`, if the index was written to since; ``always``: also if that is unknown."""
        stamp = self._index.meta.stamp()
        if (stamp is None and always) or (stamp is not None and stamp != self._stamp):
            self.advance()

    def fault(self, recent: bool = False) -> str:
        """Why the open index must not be used any more; empty if it may. Raises IndexDamaged.

        ``recent``: what the index of a server said of itself a second ago will do.
        """
        if damage := self._index.meta.damage():  # perhaps only in rows that nobody looks at here
            raise IndexDamaged(damage)
        if not self._index.meta.is_in_place():
            return "the index was removed or replaced while it was open"
        if not _mismatch(self._mark.recent(), self._index.meta.all(recent)):
            return ""
        # As they were, if another process paired them just now.
        return _mismatch(self._mark.read(), self._index.meta.all())

    def suspect(self) -> None:
        """Note in the mark that the index was found damaged: the next start checks all of it."""
        mark = self._mark.read()
        if mark is not None:
            self._mark.write(replace(mark, suspect=True))

    def unread(self) -> tuple[str, ...]:
        """Stores that were not there when the index was rebuilt."""
        mark = self._mark.read()
        return mark.unread if mark else ()

    def was_read(self, name: str) -> None:
        """Note that the files of such a store are in the index now."""
        with self.lock():
            mark = self._mark.read()
            if mark is not None:
                self._mark.write(replace(mark, unread=tuple(one for one in mark.unread if one != name)))

    def _unlisted(self, mark: Mark | None) -> list[str]:
        return [name for name in self._mediums if mark is None or name not in mark.stores]

    def _mark_mediums(self) -> None:
        """Mark the folders of new stores; never that of a store whose medium is not there.

        A store is new if the index names nothing in it and the archive's mark never listed it.
        """
        mark = self._mark.read()
        if mark is None:
            return
        for name in self._unlisted(mark):
            medium = self._mediums[name]
            if medium.is_there():
                with suppress(OutOfResources):  # a read-only one keeps its mark without the id
                    medium.make(mark.archive)
            elif self._index.has_keys(in_store(name, "")):
                continue
            else:
                medium.make(mark.archive)
            mark = replace(mark, stores=(*mark.stores, name))
        self._mark.write(mark)

    def _check_mediums(self, mark: Mark | None) -> None:
        for name, medium in self._mediums.items():
            if mark is not None and medium.owner() not in ("", mark.archive):
                raise ConfigurationError(
                    f"[[storage]] {name}: what lies there belongs to another archive; check its url"
                )

    def _owner(self) -> str:
        return next(filter(None, (medium.owner() for medium in self._mediums.values())), "")


def _mismatch(mark: Mark | None, meta: Mapping[str, str]) -> str:
    """Why an index that says this of itself is not the one that was paired with a store of this mark."""
    if mark is None:
        return "the mark of the archive is gone from the object store: is its disk mounted?"
    if meta.get(INCARNATION) != mark.index or int(meta.get(SEQUENCE, "0")) < mark.sequence:
        return "the index is not the one that the object store was paired with last"
    return ""
