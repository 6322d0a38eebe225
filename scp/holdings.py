"""What is stored, whatever the policy says of it: read and checked, listed, replaced, removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import filterfalse

from scp.encoding.forms import prove, why_undecodable
from scp.errors import NotReproduced, ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.index.index import Index
from scp.model import Facts, Instance, Provenance
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries, is_dictionary
from scp.objects.landing import LandingLog, is_landed
from scp.objects.part10 import Part10
from scp.objects.store import ObjectStore, beside, siblings_prefix, store_of
from scp.spool import Buffer, sha256
from scp.stored import facts_of_stored, provenance_of
from scp.succession import Change


class Holdings:
    """The objects of a store, and the index that knows them; small ones may lie in a landing log yet.

    Every method that reads an object raises ObjectMissing, ObjectDamaged and ObjectUnavailable.
    """

    def __init__(self, store: ObjectStore, index: Index, landing: LandingLog | None) -> None:
        self.store = store
        self.dictionaries = Dictionaries(store)
        self.index = index
        self.landing = landing

    def stored(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, and its row as it is now. Raises ObjectMissing, ObjectDamaged."""
        return self._read(instance)

    def verify(self, instance: Instance, deep: bool = False) -> str:
        """Check a stored object: its file is what was written and, when ``deep``, reproduces what came.

        Returns, only when ``deep``, why a codestream that is kept as it came is not decoded: mostly nothing.
        Raises ObjectMissing, ObjectDamaged.
        """
        _, file = self._read(instance)
        if not deep:
            return ""
        known = provenance_of(file)
        try:
            prove(file.dataset, file.transfer_syntax, known)
        except NotReproduced as error:
            raise ObjectDamaged(f"{instance.key}: {error}") from error
        return "" if known.restoration else why_undecodable(file.dataset, file.transfer_syntax)

    def provenance(self, instance: Instance) -> Provenance:
        """What the stored file remembers. Raises ObjectMissing, ObjectDamaged."""
        return provenance_of(self._read(instance)[1])

    def facts(self, instance: Instance) -> Facts:
        """What the policy was asked of a stored object when it came. Raises as :meth:`provenance`."""
        return facts_of_stored(self._read(instance)[1])

    def _read(self, instance: Instance) -> tuple[Instance, Part10]:
        """A stored file, checked against the digest of what was written."""
        while True:
            try:
                return instance, self._sound(instance)
            except (ObjectMissing, ObjectDamaged):  # replaced or moved on since it was looked up?
                current = self.index.held(instance.sop_instance_uid)
                if current is None or current.key == instance.key:
                    raise
                instance = current

    def _sound(self, instance: Instance) -> Part10:
        data = self._get(instance.key)
        whole = not instance.stored_sha256 or sha256(data) == instance.stored_sha256
        file = part10.unpack(data, self.dictionaries.by_id) if whole else None
        if file is None or not (instance.stored_sha256 or sha256(file.dataset) == instance.received_sha256):
            raise ObjectDamaged(f"{instance.key} is not what was written; restore it from a copy")
        return file

    def _get(self, key: str) -> Buffer:
        if is_landed(key) and self.landing is not None:
            return self.landing.get(key)
        return self.store.get(key)

    def keys(self) -> Iterator[str]:
        """The keys of all stored files; of an object that is about to move on, both."""
        if self.landing is not None:
            yield from self.landing.keys()
        yield from filterfalse(is_dictionary, self.store.keys())

    def siblings(self, key: str, instance: str) -> Iterator[str]:
        """The keys of all stored forms of an instance in its study, in all stores that are there."""
        for store in ("", *self.store.tiers):
            with suppress(ObjectUnavailable):
                yield from self.store.keys(siblings_prefix(beside(store, key), instance))

    def has(self, key: str) -> bool:
        """Whether there is a stored file under a key. Raises ObjectUnavailable."""
        try:
            self._get(key) if is_landed(key) else self.store.size(key)
        except ObjectMissing:
            return False
        except ObjectDamaged:
            pass
        return True

    def swap(self, changes: list[Change]) -> None:
        """Put new stored forms in the place of old ones.

        They are made durable → read back, where they are in another store → the index names them → that is
        durable → the old ones go. A reader in between sees one of the two. Raises OutOfResources and, of
        another store, ObjectDamaged and ObjectUnavailable; then nothing has changed.
        """
        self.store.put_many(
            [(change.after.key, change.data) for change in changes if change.data is not None]
        )
        try:
            self._check_arrived(changes)
            done = self.index.change_many([(change.before, change.after) for change in changes])
        except Exception:
            for change in changes:
                if change.data is not None:
                    self._withdraw(change.after)
            raise
        self.index.sync()
        for change, changed in zip(changes, done, strict=True):
            if change.data is None:
                continue
            if changed:
                if change.before.key != change.after.key:
                    self._discard(change.before.key)
                self.store.settle(change.after.key)
            else:  # another object has come in its place
                self._withdraw(change.after)

    def _check_arrived(self, changes: list[Change]) -> None:
        for change in changes:
            moved = store_of(change.after.key) != store_of(change.before.key)
            if (
                change.data is not None
                and moved
                and sha256(self._get(change.after.key)) != change.after.stored_sha256
            ):
                raise ObjectDamaged(f"{change.after.key} is not what was written; look after that store")

    def point_to(self, before: Instance, after: Instance) -> bool:
        """Have the index name another file of an object, stored and proven, and set the old one aside."""
        changed = self.index.change_many([(before, replace(after, checked=int(time.time())))])[0]
        self.index.sync()
        if changed and not is_landed(before.key):
            self.store.set_aside(before.key)
            self.store.delete(before.key)
        return changed

    def _withdraw(self, instance: Instance) -> None:
        """Take back a file whose row could not be written; while that is unsure it stays unsettled."""
        held = self.index.held(instance.sop_instance_uid)
        if held is None or held.key != instance.key:
            self.store.delete(instance.key)
            self.store.settle(instance.key)

    def _discard(self, key: str) -> None:
        """Remove a stored form; what landed is freed with its segment."""
        if not is_landed(key):
            self.store.delete(key)

    def close(self) -> None:
        """Let go of store and index."""
        self.index.sync()
        if self.landing is not None:
            self.landing.close()
        self.store.close()
        self.index.close()
