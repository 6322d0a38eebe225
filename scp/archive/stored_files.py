"""Where stored files lie: in the object store or, small ones that are pending, in the landing log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import filterfalse, takewhile

from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries
from scp.objects.files import unreadable
from scp.objects.landing import LandingLog
from scp.objects.names import in_store, is_dictionary, is_landed, siblings_prefix, store_of
from scp.objects.part10 import Part10
from scp.objects.store import ObjectStore
from scp.spool import Buffer, sha256


class StoredFiles:
    """The files of an object store and of a landing log, by their keys, whatever an index says of them."""

    def __init__(self, store: ObjectStore, landing: LandingLog | None = None) -> None:
        self.store = store
        self.landing = landing
        self.dictionaries = Dictionaries(store)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """What lies under a key. What took its place may be of any size: that is not read.

        Raises ObjectMissing, ObjectDamaged, ObjectUnavailable.
        """
        if is_landed(key) and self.landing is not None:
            return self.landing.get(key)
        return self.store.get(key, size)

    def unpack(self, data: Buffer, whole: bool = False) -> Part10:
        """A stored file taken apart. Raises ObjectDamaged, DictionaryMissing."""
        return part10.unpack(data, self.dictionaries.by_id, whole=whole)

    def digest(self, key: str, data: Buffer) -> str:
        """The SHA-256 of what lies under a key. Raises ObjectDamaged, ObjectUnavailable."""
        try:
            return sha256(data)
        except OSError as error:
            raise unreadable(key, error) from error

    def has(self, key: str) -> bool:
        """Whether there is a stored file under a key. Raises ObjectUnavailable."""
        try:
            self.get(key) if is_landed(key) else self.store.size(key)
        except ObjectMissing:
            return False
        except ObjectDamaged:
            pass
        return True

    def keys(self) -> Iterator[str]:
        """The keys of all stored files; of an object that is about to move on, both."""
        if self.landing is not None:
            yield from self.landing.keys()
        yield from filterfalse(is_dictionary, self.store.keys())

    def keys_within(self, stores: Iterable[str]) -> Iterator[str]:
        """As :meth:`keys`, of some stores: the first, which the landing log is part of, has no name."""
        for name in stores:
            if not name and self.landing is not None:
                yield from self.landing.keys()
            found = self.store.keys(in_store(name, "")) if name else self._keys_of_the_first()
            yield from filterfalse(is_dictionary, found)

    def _keys_of_the_first(self) -> Iterator[str]:
        """Those of the first store, which come before those of others: one of these may not be there."""
        with suppress(ObjectUnavailable):
            yield from takewhile(lambda key: not store_of(key), self.store.keys())

    def are_there(self) -> bool:
        """Whether any store that is there, or the landing log, holds an object."""
        for name in self.stores():
            with suppress(ObjectUnavailable):
                if next(self.keys_within([name]), None) is not None:
                    return True
        return False

    def stores(self) -> tuple[str, ...]:
        """The names of all stores; the first has none."""
        return ("", *self.store.tiers)

    def is_there(self, store: str) -> bool:
        """Whether a store is configured, and its medium is there."""
        try:
            next(iter(self.store.keys(in_store(store, ""))), None)
        except ObjectUnavailable:
            return False
        return not store or store in self.store.tiers

    def siblings(self, key: str, instance: str) -> Iterator[str]:
        """The keys of all stored forms of an instance in its study, in all stores that are there.

        Where patients share the study and the SOP Instance UID, those of all their objects.
        """
        for store in self.stores():
            with suppress(ObjectUnavailable):
                yield from self.store.keys(siblings_prefix(in_store(store, key), instance))

    def set_aside(self, key: str) -> None:
        """Keep a copy of a file that is not sound, and is about to go, where no key leads to."""
        if not is_landed(key):
            self.store.set_aside(key)
        elif self.landing is not None:
            with suppress(ObjectMissing):
                self.landing.set_aside(key)

    def discard(self, key: str) -> None:
        """Remove a file whose place another durable one has taken."""
        if is_landed(key):
            self.end_landed([key])
        else:
            self.store.delete(key)

    def end_landed(self, keys: Iterable[str]) -> None:
        """Say durably of records of the landing log that their objects are durable elsewhere, or replaced."""
        if self.landing is not None:
            self.landing.settle(keys)

    def close(self) -> None:
        """Let go of the landing log."""
        if self.landing is not None:
            self.landing.close()
