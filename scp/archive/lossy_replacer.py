"""A proven lossy copy takes the place of its original, which goes to the trash (docs/decisions/0212).

Order: the copy's file is durable → the index names it → that is durable → the trash has the original, with
a durable note → its row is removed → that is durable → its file is removed from its place. A copy that keeps
the UID replaces its original's row; the trash then has the original before its file is removed. Whenever the
process dies, the original is in its place, or in the trash with its copy recorded. What is done twice gives
the same SOP Instance UID, and is stored once.
"""

from __future__ import annotations

from dataclasses import replace

from scp.archive.recorder import Recorder
from scp.archive.replacement import Change
from scp.archive.replacer import Replacer
from scp.archive.safekeeping import Safekeeping, entry_id, made_lossy
from scp.archive.stored_files import StoredFiles
from scp.errors import (
    DuplicateRejected,
    HoldUnreadable,
    ObjectDamaged,
    ObjectMissing,
    OutOfResources,
    Superseded,
)
from scp.index.index import Index
from scp.model import Instance
from scp.spool import sha256


class LossyReplacer:
    """Puts lossy copies in the place of their originals."""

    def __init__(
        self,
        files: StoredFiles,
        index: Index,
        replacer: Replacer,
        recorder: Recorder,
        safekeeping: Safekeeping | None,
    ) -> None:
        self._files = files
        self._index = index
        self._replacer = replacer
        self._recorder = recorder
        self._safekeeping = safekeeping

    def replace(self, change: Change) -> None:
        """Put one copy in its place. The caller has claimed the original.

        Raises DuplicateRejected where the original is under a hold or promised by now, Superseded where it
        was replaced or deleted, ObjectMissing, ObjectDamaged, HoldUnreadable, OutOfResources: then it stays.
        """
        if change.facts is None or change.data is None or self._safekeeping is None:
            raise ValueError("no lossy copy")
        copy = change.after
        self._files.store.put(copy.key, change.data)
        try:
            self._check(change)
            self._recorder.record_copy(copy, change.facts)
        except BaseException:
            self._replacer.withdraw([copy])
            raise
        self._index.sync()
        if fault := self._replacer.index_fault():
            raise OutOfResources(f"nothing is removed: {fault}")
        self._files.store.settle(copy.key)
        if copy.identity != change.before.identity:
            self._put_away(change.before, copy, self._safekeeping)

    def _check(self, change: Change) -> None:
        """That the copy's file arrived, and the original is still what it was made of."""
        copy = change.after
        if sha256(self._files.get(copy.key, copy.stored_size)) != copy.stored_sha256:
            raise ObjectDamaged(f"{copy.key} is not what was written; look after that store")
        self._current(change.before)

    def _current(self, original: Instance) -> Instance:
        current = self._index.current(original.identity)
        if current is None or current.received_sha256 != original.received_sha256:
            raise Superseded(f"{original.sop_instance_uid} was replaced or deleted meanwhile")
        if self._index.commitments.promises.covers(original.sop_instance_uid):
            raise DuplicateRejected(f"a storage commitment was answered for {original.sop_instance_uid}")
        if self._index.send_queue.waits_for(original.identity):
            raise DuplicateRejected(f"{original.sop_instance_uid} is yet to be sent to a peer")
        return current

    def _put_away(self, original: Instance, copy: Instance, safekeeping: Safekeeping) -> None:
        """Move the original to the trash, or remove the copy where that may not be."""
        try:
            with safekeeping.replacing(original):
                current = self._current(original)
                entry = made_lossy(current, copy, safekeeping.clock())
                begun = safekeeping.trash.begin([replace(entry, id=entry_id(current, current.key))])
                if not begun:
                    raise ObjectMissing(f"{current.key} is not there")
                if not self._index.commitments.promises.forget(current):
                    for one in filter(safekeeping.trash.in_place, begun):  # never the only file of it
                        safekeeping.trash.drop(one)
                    raise DuplicateRejected(f"a storage commitment was answered for {current.key}")
                self._index.sync()
                for one in begun:
                    safekeeping.trash.take(one)
                    safekeeping.trash.mark(one, "gone")
        except (DuplicateRejected, HoldUnreadable, ObjectMissing):
            self._take_back(original, copy, safekeeping)
            raise

    def _take_back(self, original: Instance, copy: Instance, safekeeping: Safekeeping) -> None:
        """Remove a copy, unless its original is in the trash.

        Where a claim ran out, another node did the same: then the row is of the copy that was recorded last.
        """
        with safekeeping.trash.lock():
            held = self._index.current(original.identity)
            if held is None or held.received_sha256 != original.received_sha256:
                went = safekeeping.trash.entries()
                if any(
                    (one.identity, one.lossy_copy) == (original.identity, copy.sop_instance_uid)
                    for one in went
                ):
                    return
            self._remove(copy)

    def _remove(self, copy: Instance) -> None:
        self._index.forget(copy.sop_instance_uid, copy.key)
        self._index.sync()
        self._files.discard(copy.key)
