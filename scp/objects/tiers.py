"""Several object stores as one: the first, into which objects are received, and others that stages name.

A key in another store is the object's key with ``@<name>/`` before it. So a key shows in which store the
object is, and an object keeps the rest of its key when it moves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects import files
from scp.objects.folders import make_folder, sync_file, sync_folder
from scp.objects.journal import JournaledStore
from scp.objects.names import in_store, store_of
from scp.objects.store import Availability
from scp.spool import Buffer

_MARK = ".zscp/store"


@dataclass(frozen=True, slots=True)
class Tier:
    """A store beside the first. ``is_there`` says whether its medium is there: an empty mount point is not.

    ``fetch_seconds`` bounds how long a store that is not online may return nothing to waiting readers.
    """

    name: str
    store: JournaledStore
    is_there: Callable[[], bool]
    availability: Availability = "ONLINE"
    fetch_seconds: float = 60.0


class Medium(Protocol):
    """What tells whether the medium of a store beside the first is there, and whose it is."""

    def is_there(self) -> bool:
        """Whether the store has its mark now."""

    def owner(self) -> str:
        """The archive that the store belongs to; empty if its mark does not say, or is missing."""

    def make(self, archive: str = "") -> None:
        """Mark the store as one of an archive. Raises OutOfResources."""


class MediumMark:
    """A file that tells a store's folder from the empty mount point of a medium that is not there."""

    def __init__(self, root: Path, name: str) -> None:
        self._path = root / _MARK
        self._name = name

    def is_there(self) -> bool:
        """Whether the folder has the store's mark now."""
        return self._path.is_file()

    def owner(self) -> str:
        """The archive that the store belongs to; empty if its mark does not say, or is missing."""
        try:
            return "".join(files.note(self._path).split("\n")[1:2])
        except (OSError, ObjectDamaged):
            return ""

    def make(self, archive: str = "") -> None:
        """Mark the folder, made if it is missing, as a store of an archive. Raises OutOfResources."""
        fresh = self._path.with_suffix(".new")
        try:
            make_folder(self._path.parent)
            if not self.is_there() or self.owner() != archive:
                fresh.write_text(f"{self._name}\n{archive}\n", encoding="utf-8")
                sync_file(fresh)
                fresh.replace(self._path)
                sync_folder(self._path.parent)
        except OSError as error:
            raise OutOfResources(f"{self._path} cannot be written: {error.strerror}") from error


class TieredStore:
    """The first store and some tiers (:class:`scp.objects.journal.JournaledStore`).

    If the medium of a tier is not there, methods that read from the tier raise ObjectUnavailable, and methods
    that write to it OutOfResources: its objects do not count as missing, and nothing is written in its place.
    """

    def __init__(self, first: JournaledStore, tiers: Sequence[Tier]) -> None:
        self._first = first
        self._tiers = {tier.name: tier for tier in tiers}
        self._queues = {tier.name: _Queue(tier) for tier in tiers if tier.availability != "ONLINE"}

    @property
    def tiers(self) -> Mapping[str, Availability]:
        """See JournaledStore."""
        return {name: tier.availability for name, tier in self._tiers.items()}

    @property
    def at_once(self) -> int:
        """See JournaledStore: as the quickest of all takes them."""
        return max(self._first.at_once, *(tier.store.at_once for tier in self._tiers.values()), 1)

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        store, own = self._writable(key)
        store.put(own, *parts)

    def fresh_key(self, key: str) -> str:
        """See JournaledStore. Raises ObjectUnavailable."""
        store, own = self._named(key)
        return in_store(store_of(key), store.fresh_key(own))

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore. Objects of one store share syncs."""
        done: list[str] = []
        try:
            for name, group in groupby(sorted(objects, key=_store_of_put), key=_store_of_put):
                own = [(in_store("", key), data) for key, data in group]
                store, _ = self._writable(in_store(name, ""))
                store.put_many(own)
                done += [in_store(name, key) for key, _ in own]
        except BaseException:
            for key in done:
                self.withdraw(key)
            raise

    def settle(self, key: str) -> None:
        """See JournaledStore. If the medium is not there, this is left to its next recovery."""
        store, own = self._named(key)
        if self._is_there(key):
            store.settle(own)

    def withdraw(self, key: str) -> None:
        """See JournaledStore. If the medium is not there, this is left to the store's next recovery."""
        store, own = self._named(key)
        if self._is_there(key):
            store.withdraw(own)

    def journal_removal(self, key: str) -> None:
        """See JournaledStore."""
        store, own = self._named(key)
        if self._is_there(key):
            store.journal_removal(own)

    def recover(self) -> Iterator[str]:
        """See JournaledStore; of tiers whose medium is there."""
        yield from self._first.recover()
        for name, tier in self._tiers.items():
            if tier.is_there():
                yield from (in_store(name, key) for key in tier.store.recover())

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore; of tiers whose medium is there."""
        found = dict(self._first.unsettled())
        for name, tier in self._tiers.items():
            if tier.is_there():
                found |= {in_store(name, key): lives for key, lives in tier.store.unsettled().items()}
        return found

    def set_aside(self, key: str) -> None:
        """See JournaledStore."""
        store, own = self._named(key)
        if self._is_there(key):
            store.set_aside(own)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. Raises ObjectUnavailable."""
        store, own = self._readable(key)
        name = store_of(key)
        with self._told(key):
            return self._queues[name].get(own, size) if name in self._queues else store.get(own, size)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Around the reading of an object: what its medium may be to blame for."""
        try:
            yield
        except ObjectMissing:
            self._away_if_offline(key)
            raise
        except OSError as error:
            if not (name := store_of(key)):
                raise
            raise ObjectUnavailable(f"{key} cannot be read from store {name}: {error.strerror}") from error

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore. Raises ObjectUnavailable."""
        store, own = self._readable(key)
        name, found = store_of(key), store.pieces(own, size)
        with self._told(key):
            if name in self._queues:
                found = self._queues[name].pieces(own, found)
            yield from found

    def size(self, key: str) -> int:
        """See ObjectStore. Raises ObjectUnavailable."""
        store, own = self._readable(key)
        try:
            return store.size(own)
        except ObjectMissing:
            self._away_if_offline(key)
            raise

    def delete(self, key: str) -> None:
        """See ObjectStore. An object whose medium is not there stays; fsck finds it."""
        store, own = self._named(key)
        if self._is_there(key):
            store.delete(own)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore. Raises ObjectUnavailable when it reaches a tier that is not there."""
        name = store_of(prefix)
        if not name:
            yield from self._first.keys(prefix)
        for tier in (name,) if name else self._tiers if not prefix else ():
            store, own = self._readable(in_store(tier, in_store("", prefix)))
            yield from (in_store(tier, key) for key in store.keys(own))

    def close(self) -> None:
        """See JournaledStore."""
        self._first.close()
        for tier in self._tiers.values():
            tier.store.close()

    def _named(self, key: str) -> tuple[JournaledStore, str]:
        name = store_of(key)
        if not name:
            return self._first, key
        if name not in self._tiers:
            raise ObjectUnavailable(f"{key} lies in store {name}, and no [[storage]] is called so")
        return self._tiers[name].store, in_store("", key)

    def _is_there(self, key: str) -> bool:
        name = store_of(key)
        return not name or self._tiers[name].is_there()

    def _readable(self, key: str) -> tuple[JournaledStore, str]:
        found = self._named(key)
        if not self._is_there(key):
            raise ObjectUnavailable(f"{key}: the medium of store {store_of(key)} is not there; mount it")
        return found

    def _writable(self, key: str) -> tuple[JournaledStore, str]:
        try:
            return self._readable(key)
        except ObjectUnavailable as error:
            raise OutOfResources(str(error)) from error

    def _away_if_offline(self, key: str) -> None:
        name = store_of(key)
        if name and self._tiers[name].availability == "OFFLINE":
            raise ObjectUnavailable(
                f"{key} is not on the medium of store {name} that is there; bring the other"
            )


def _store_of_put(put: tuple[str, Buffer]) -> str:
    return store_of(put[0])


class _Queue:
    """Reads of a slow store, each in a thread: a store that hangs must not block its readers for ever.

    The limit counts from the time when the store last returned anything, so that many readers may wait for a
    store that serves them one by one. If it has been silent for longer, later readers do not wait at all.
    """

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._changed = threading.Condition()
        self._reading = 0
        self._since = 0.0

    def get(self, key: str, size: int | None = None) -> Buffer:
        """The object. Raises ObjectMissing, ObjectDamaged, ObjectUnavailable, OSError."""
        return self._read(key, lambda: self._tier.store.get(key, size))

    def pieces(self, key: str, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
        """The ``pieces`` of an object; each is waited for as a whole object is. Raises as :meth:`get`."""
        while piece := self._read(key, lambda: next(pieces, b"")):
            yield piece

    def _read(self, key: str, read: Callable[[], Buffer]) -> Buffer:
        found: list[Buffer | Exception] = []
        with self._changed:
            if not self._reading:
                self._since = time.monotonic()
            elif self._left() <= 0:
                raise self._silent(key)
            try:
                threading.Thread(target=self._run, args=(read, found), name="fetch", daemon=True).start()
            except RuntimeError as error:  # no more threads can be started
                raise OutOfResources(f"{key} cannot be fetched: {error}") from error
            self._reading += 1
            while not found and (left := self._left()) > 0:
                self._changed.wait(left)
            if not found:
                raise self._silent(key)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _left(self) -> float:
        return self._since + self._tier.fetch_seconds - time.monotonic()

    def _run(self, read: Callable[[], Buffer], found: list[Buffer | Exception]) -> None:
        try:
            result: Buffer | Exception = read()
        except Exception as error:  # noqa: BLE001 - raised by the waiting reader
            result = error
        with self._changed:
            found.append(result)
            self._reading -= 1
            self._since = time.monotonic()
            self._changed.notify_all()

    def _silent(self, key: str) -> ObjectUnavailable:
        silent = f"store {self._tier.name} has given nothing for {self._tier.fetch_seconds:g} s"
        return ObjectUnavailable(f"{silent}; ask again later for {key}")
