"""New stored forms replace old ones, in an order in which a crash loses nothing."""

from __future__ import annotations

import secrets
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from scp.archive.elsewhere import Elsewhere
from scp.archive.pairing import Pairing
from scp.archive.reader import Reader
from scp.archive.records import in_own_file, lacks_only_a_file
from scp.archive.replacement import Change
from scp.archive.stored_files import StoredFiles
from scp.errors import ObjectDamaged, OutOfResources, ZscpError
from scp.index.index import Index
from scp.model import Instance
from scp.objects.names import store_of
from scp.spool import Buffer, sha256

# What is removed later. If an index is away for long, the oldest are left to the next start, as the journal
# names their new files.
_MOST_DUE = 10_000
_STRIPES = 64


class Replacer:
    """Replaces stored forms. A ``pairing`` tells whether the index still belongs to the stores.

    Where other nodes share the stores, the journal also names old files that are to be removed: a recovery
    removes nothing that its own journal does not name, as another node may work on the same object.
    """

    def __init__(
        self,
        files: StoredFiles,
        index: Index,
        reader: Reader,
        pairing: Pairing | None,
        elsewhere: Elsewhere,
    ) -> None:
        self._elsewhere = elsewhere
        self._files = files
        self._index = index
        self._reader = reader
        self._pairing = pairing
        self._due: deque[Change] = deque(maxlen=_MOST_DUE)
        self._moving = tuple(threading.Lock() for _ in range(_STRIPES))

    def replace(self, changes: list[Change]) -> None:
        """Replace old stored forms by new ones.

        Order: the new files are durable → they are read back, if in another store, or only encrypted anew →
        the index names them → that is durable, and it is still the right index → the old files are removed.
        A reader in between sees one of the two. Raises OutOfResources and, for what is read back,
        ObjectDamaged and ObjectUnavailable; then nothing has changed, or the journal names what has.
        """
        files = [(one.after.key, one.data) for one in changes if one.data is not None]
        if files:
            self._files.store.put_many(files)
        moved = [replace(one, data=None) for one in changes if one.data is not None]
        try:
            self._check_arrived(changes)
            self._note_old_files(moved)
            done = self._index.change_many([(change.before, change.after) for change in changes])
        except Exception:
            self._due.extend(moved)  # the index may have changed all the same, and only its answer was lost
            self.withdraw([change.after for change in moved])
            raise
        if not moved:
            self._index.sync()
            return
        changed = [taken for change, taken in zip(changes, done, strict=True) if change.data is not None]
        try:
            self._make_sure()
            self._remove_replaced(moved, changed)
        except Exception:
            self._due.extend(moved)
            raise
        self.remove_replaced()

    def remove_replaced(self) -> None:
        """Remove files that rows no longer name, and that could not be removed before.

        By what rows name now: the same object may have been deleted, or deleted and sent again. A file that
        still cannot be removed is tried again. Raises OutOfResources, also for a record of the landing log
        that cannot be marked: where its object was deleted, it would be taken up again.
        """
        due: list[Change] = []
        with suppress(IndexError):  # each is removed by one thread
            while True:
                due.append(self._due.popleft())
        if not due:
            return
        try:
            self._make_sure()
            self._index.are_named([change.after for change in due])  # so that no COMMIT of one is open
        except Exception:
            self._due.extend(due)
            raise
        fault: Exception | None = None
        for change in due:
            try:
                self._remove_late(change)
            except (OSError, ZscpError) as error:
                self._due.append(change)
                fault = fault if self._files.keeps(change.before.key) else error
        if fault is not None:
            raise fault

    def _make_sure(self) -> None:
        """That rows name new files must be durable, and in the right index. Raises OutOfResources."""
        self._index.sync()
        if fault := self.index_fault():  # another index names the old files: recovery decides
            raise OutOfResources(f"nothing is removed: {fault}")

    def _remove_late(self, change: Change) -> None:
        is_there = self._files.has(change.after.key)
        named = {one.key for one in self._index.named(change.after.sop_instance_uid)}
        if change.after.key in named and not is_there:
            return  # the old file is what is left of the object: fsck finds it
        if not named and is_there and self._files.has(change.before.key):
            self._due.append(change)  # a deletion had taken one of them: the database has lost its rows
            return
        if change.before.key not in {*named, change.after.key}:
            self._files.store.delete(change.before.key)
        self._files.store.settle(change.before.key)
        if change.after.key in named:
            self._files.store.settle(change.after.key)
        else:
            self._files.store.withdraw(change.after.key)

    def _check_arrived(self, changes: list[Change]) -> None:
        """Read back files in another store, and those that only a new key encrypts.

        Raises ObjectDamaged, ObjectMissing, ObjectUnavailable.
        """
        for one in changes:
            elsewhere = store_of(one.after.key) != store_of(one.before.key)
            if one.data is None or not (elsewhere or one.rewrites):
                continue
            if sha256(self._files.get(one.after.key, one.after.stored_size)) != one.after.stored_sha256:
                raise ObjectDamaged(f"{one.after.key} is not what was written; look after that store")

    def _remove_replaced(self, changes: list[Change], taken: list[bool]) -> None:
        """Remove the old files of changed rows, and withdraw the new files of rows that did not change."""
        replaced = [one for one, changed in zip(changes, taken, strict=True) if changed]
        going = [one.before.key for one in replaced if self._may_go(one)]
        self._files.store.delete_many(going)
        for key in going:
            self._files.store.settle(key)
        for change, changed in zip(changes, taken, strict=True):
            if changed:
                self._files.store.settle(change.after.key)
            else:  # another object replaced it meanwhile
                self.withdraw([change.after])

    def _note_old_files(self, changes: list[Change]) -> None:
        """Raises OutOfResources."""
        if self._elsewhere.are_others():
            for one in changes:
                if one.before.key != one.after.key and self._files.keeps(one.before.key):
                    self._files.store.journal_removal(one.before.key)

    def _may_go(self, change: Change) -> bool:
        """Whether an old file may be removed at once; if other nodes are seen at the new one, later."""
        if change.before.key == change.after.key:
            return False
        if not self._elsewhere.are_others():
            return True
        there = self._files.has(change.after.key)
        current = self._index.current(change.after.identity)
        if there and current is not None and current.key == change.after.key:
            return True
        self._due.append(change)
        return False

    def own_file(self, instance: Instance) -> Instance:
        """Give an object of the landing log a file of its own, as it is there.

        Returns its new row. Raises ObjectMissing, ObjectDamaged, OutOfResources.
        """
        # Another thread may do the same now, as another node waits for the object: the journal has one entry
        # for its new key.
        with self._moving[zlib.crc32(instance.sop_instance_uid.encode()) % _STRIPES]:
            instance, data = self._reader.followed(instance, self._landed)
            if data is None:
                return instance
            own = in_own_file(instance, data, secrets.token_hex(4))
            self.replace([Change(instance, replace(own, key=self._files.fresh_key(own.key)), data)])
            return self._index.current(instance.identity) or instance

    def _landed(self, instance: Instance) -> Buffer | None:
        """The record of an object in the landing log; None if it is stored elsewhere."""
        if self._files.keeps(instance.key):
            return None
        if lacks_only_a_file(instance):
            return self._reader.whole(instance)  # also where its dictionary is missing
        self._reader.sound(instance)
        return self._files.get(instance.key)

    def point_to(self, before: Instance, after: Instance) -> bool:
        """Let the index name another stored, proven file of an object, and set the old file aside."""
        changed = self._index.change_many([(before, replace(after, checked=int(time.time())))])[0]
        self._index.sync()
        if changed:
            if self._files.keeps(before.key):
                self._files.set_aside(before.key)
            self._files.discard(before.key)
        return changed

    def withdraw(self, instances: Sequence[Instance]) -> None:
        """Withdraw files whose rows could not be written; if that is unsure, all stay unsettled.

        A row may name one all the same, later too: the server finishes a COMMIT whose connection broke.
        Raises OutOfResources.
        """
        if not instances:
            return
        for instance, named in zip(instances, self._index.are_named(instances), strict=True):
            if not named:
                self._files.store.withdraw(instance.key)

    def index_fault(self, recent: bool = False) -> str:
        """Why other processes may not find the rows that were just recorded; empty if they will.

        See :meth:`scp.archive.pairing.Pairing.fault`. Raises OutOfResources.
        """
        return self._pairing.fault(recent) if self._pairing is not None else ""
