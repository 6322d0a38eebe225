"""New stored forms are put in the places of old ones: in which order, so that nothing is lost in between."""

from __future__ import annotations

import time
from dataclasses import replace

from scp.archive.pairing import Pairing
from scp.archive.reader import Reader
from scp.archive.records import own_key
from scp.archive.replacement import Change
from scp.archive.stored_files import StoredFiles
from scp.errors import ObjectDamaged, OutOfResources
from scp.index.index import Index
from scp.model import Instance
from scp.objects.names import store_of
from scp.spool import Buffer, sha256


class Replacer:
    """Changes what is stored of objects. A ``pairing`` tells whether the index is still the right one."""

    def __init__(self, files: StoredFiles, index: Index, reader: Reader, pairing: Pairing | None) -> None:
        self._files = files
        self._index = index
        self._reader = reader
        self._pairing = pairing

    def replace(self, changes: list[Change]) -> None:
        """Put new stored forms in the place of old ones.

        They are made durable → read back, where they are in another store → the index names them → that is
        durable, and it is still the right index → the old ones go. A reader in between sees one of the two.
        Raises OutOfResources and, of another store, ObjectDamaged and ObjectUnavailable; then nothing has
        changed, or the journal knows of what has.
        """
        self._files.store.put_many([(one.after.key, one.data) for one in changes if one.data is not None])
        try:
            self._check_arrived(changes)
            done = self._index.change_many([(change.before, change.after) for change in changes])
        except Exception:
            for change in changes:
                if change.data is not None:
                    self.withdraw(change.after)
            raise
        self._index.sync()
        if fault := self.index_fault():  # another index names the old ones: recovery sees to it
            raise OutOfResources(f"nothing is removed: {fault}")
        self._remove_replaced([pair for pair in zip(changes, done, strict=True) if pair[0].data is not None])

    def _check_arrived(self, changes: list[Change]) -> None:
        """Read back what went to another store. Raises ObjectDamaged, ObjectMissing, ObjectUnavailable."""
        for one in changes:
            if one.data is None or store_of(one.after.key) == store_of(one.before.key):
                continue
            if sha256(self._files.get(one.after.key, one.after.stored_size)) != one.after.stored_sha256:
                raise ObjectDamaged(f"{one.after.key} is not what was written; look after that store")

    def _remove_replaced(self, changes: list[tuple[Change, bool]]) -> None:
        """Remove the files of what changed, and take back the new ones of what did not."""
        replaced = [one for one, changed in changes if changed]
        self._files.store.delete_many(one.before.key for one in replaced if one.before.key != one.after.key)
        for change, changed in changes:
            if changed:
                self._files.store.settle(change.after.key)
            else:  # another object has come in its place
                self.withdraw(change.after)

    def own_file(self, instance: Instance) -> Instance:
        """Give an object that lies in the landing log a file of its own, as received.

        Returns it as it is stored now. Raises ObjectMissing, ObjectDamaged, OutOfResources.
        """
        instance, data = self._reader.followed(instance, self._landed)
        if data is None:
            return instance
        self.replace([Change(instance, replace(instance, key=own_key(instance)), data)])
        return self._index.current(instance.identity) or instance

    def _landed(self, instance: Instance) -> Buffer | None:
        """The record of an object in the landing log; None where it lies elsewhere."""
        if self._files.keeps(instance.key):
            return None
        self._reader.sound(instance)
        return self._files.get(instance.key)

    def point_to(self, before: Instance, after: Instance) -> bool:
        """Have the index name another file of an object, stored and proven, and set the old one aside."""
        changed = self._index.change_many([(before, replace(after, checked=int(time.time())))])[0]
        self._index.sync()
        if changed:
            if self._files.keeps(before.key):
                self._files.set_aside(before.key)
            self._files.discard(before.key)
        return changed

    def withdraw(self, instance: Instance) -> None:
        """Take back a file whose row could not be written; while that is unsure it stays unsettled."""
        held = self._index.current(instance.identity)
        if held is None or held.key != instance.key:
            self._files.store.withdraw(instance.key)

    def index_fault(self) -> str:
        """Why what was just recorded may not be found by others; empty where it will be.

        Raises OutOfResources.
        """
        return self._pairing.fault() if self._pairing is not None else ""
