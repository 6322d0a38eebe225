"""The files of stored objects, by their keys: read, listed, and searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import filterfalse, takewhile

from scp.errors import ObjectUnavailable
from scp.objects import part10
from scp.objects.beginning import Beginning, beginnings
from scp.objects.dictionaries import Dictionaries
from scp.objects.files import unreadable
from scp.objects.landed import LandedStore
from scp.objects.names import in_store, is_dictionary, is_object, siblings_prefix, store_of
from scp.objects.part10 import Part10
from scp.spool import Buffer, sha256, xxh3


class StoredFiles:
    """The files of an object store, independent of the index."""

    def __init__(self, store: LandedStore) -> None:
        self.store = store
        self.dictionaries = Dictionaries(store)
        # Methods of the store, for callers that need nothing else of it.
        self.get, self.has, self.keeps = store.get, store.has, store.keeps
        self.set_aside, self.discard, self.fresh_key = store.set_aside, store.delete, store.fresh_key

    @property
    def at_once(self) -> int:
        """How many objects one process does well to read at once; 1 where its cores decide that."""
        return self.store.at_once

    def unpack(self, data: Buffer, whole: bool = False) -> Part10:
        """A stored file taken apart. Raises ObjectDamaged, DictionaryMissing."""
        return part10.unpack(data, self.dictionaries.by_id, whole=whole)

    def unwrapped(self, data: Buffer, whole: bool = False) -> Buffer:
        """The Part 10 file within a stored file. Raises ObjectDamaged, DictionaryMissing."""
        return part10.unwrap(data, self.dictionaries.by_id, is_file=True, whole=whole)

    def dictionary_of(self, key: str, size: int) -> int:
        """The ID of the dictionary that a file of ``size`` bytes needs, 0 for none; its beginning is read.

        Raises as ``get``, and ObjectDamaged.
        """
        return part10.dictionary_id(next(iter(self.store.pieces(key, size)), b""))

    def beginnings(self, key: str, size: int) -> Iterator[Beginning]:
        """See :func:`scp.objects.beginning.beginnings`; raises as ``get`` as well."""
        yield from beginnings(self.store.pieces(key, size), size, self.dictionaries.by_id)

    def digest(self, key: str, data: Buffer) -> str:
        """The SHA-256 of the file under a key. Raises ObjectDamaged, ObjectUnavailable."""
        try:
            return sha256(data)
        except OSError as error:
            raise unreadable(key, error) from error

    def xxh3(self, key: str, data: Buffer) -> str:
        """The XXH3-128 of the file under a key. Raises ObjectDamaged, ObjectUnavailable."""
        try:
            return xxh3(data)
        except OSError as error:
            raise unreadable(key, error) from error

    def rewrite(self, key: str, content: bytes) -> None:
        """Put a file in its own place, as the store now writes it. Raises OutOfResources."""
        self.store.put(key, content)
        self.store.settle(key)

    def keys(self) -> Iterator[str]:
        """The keys of all stored files; an object that is about to move has two."""
        return filterfalse(is_dictionary, self.store.keys())

    def keys_within(self, stores: Iterable[str]) -> Iterator[str]:
        """As :meth:`keys`, of some stores; the first has no name."""
        for name in stores:
            found = self.store.keys(in_store(name, "")) if name else self._keys_of_the_first()
            yield from filterfalse(is_dictionary, found)

    def _keys_of_the_first(self) -> Iterator[str]:
        """The keys of the first store, which come before those of others: others may not be there."""
        with suppress(ObjectUnavailable):
            yield from takewhile(lambda key: not store_of(key), self.store.keys())

    def are_there(self) -> bool:
        """Whether any available store holds an object, landed or in a file; a ``.gitkeep`` is none."""
        for name in self.stores():
            with suppress(ObjectUnavailable):
                if any(is_object(key) or not self.keeps(key) for key in self.keys_within([name])):
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
        """The keys of all stored forms of an instance in its study, in all available stores.

        If patients share the study and the SOP Instance UID, the forms of all their objects.
        """
        for store in self.stores():
            with suppress(ObjectUnavailable):
                yield from self.store.keys(siblings_prefix(in_store(store, key), instance))
