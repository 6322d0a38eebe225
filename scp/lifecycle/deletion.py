"""Deletion: objects go to the trash, their rows and files are removed; restoring; purging for good.

Order: claimed → linked into the trash with a note → the row is removed → that is durable → the file is
removed from its place → noted as gone. If the process dies in between, :meth:`Deletion.resume` finishes the
work. No row is ever without a file.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from scp.archive.archive import Archive
from scp.archive.safekeeping import TRASH, TRASH_SECONDS, Safekeeping, is_kept, is_under_hold, trashed
from scp.background.alone import alone
from scp.errors import (
    DuplicateRejected,
    ObjectMissing,
    ObjectUnavailable,
)
from scp.identity import Identity
from scp.index.queue import Lease, claimed
from scp.lifecycle.auditing import DeletionAudit, Done
from scp.lifecycle.purging import Purge, batches
from scp.lifecycle.settling import settle
from scp.lifecycle.undo_loss import undo_loss
from scp.model import Instance, Query, QueryKey
from scp.objects.bucket import Bucket
from scp.objects.holds import Hold
from scp.objects.trashed import GONE, UNFINISHED, Trashed

_NOT_AUDITED = DeletionAudit()
_BATCH = 100  # for so many objects together the trash is locked, and the index synced


def _together(_: Trashed) -> AbstractContextManager[None]:
    """What fails for one of them ends the work on all."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Removal:
    """UIDs of objects that were ``deleted``, are under a hold (``held``), or ``left``: in use, or unreadable.

    ``keys`` are those of the deleted files.
    """

    deleted: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Deletion:
    """Deletes from an archive whose stores are given by their names, as their folders or buckets."""

    def __init__(
        self, archive: Archive, places: Mapping[str, Path | Bucket], audit: DeletionAudit = _NOT_AUDITED
    ) -> None:
        self._archive, self._audit = archive, audit
        lock = partial(archive.exclusive, TRASH, TRASH_SECONDS)
        self._safekeeping = Safekeeping(places, lock, archive.clock.at_least, archive.clock.now)
        self.trash = self._safekeeping.trash
        self.holds = self._safekeeping.holds
        self._owner = f"deletion/{uuid.uuid4().hex}"

    def delete(self, instances: Iterable[Instance], reason: str) -> Removal:
        """Move objects to the trash, but for those under a hold. Raises OutOfResources."""
        removals = list(self.delete_in(batches(instances, _BATCH), reason))
        return Removal(
            tuple(uid for one in removals for uid in one.deleted),
            tuple(uid for one in removals for uid in one.held),
            tuple(uid for one in removals for uid in one.left),
            tuple(key for one in removals for key in one.keys),
        )

    def delete_in(self, portions: Iterable[list[Instance]], reason: str) -> Iterator[Removal]:
        """As :meth:`delete`, by portions: what came of one is told before the next is taken."""
        done = Done()
        try:
            for portion in portions:
                with self.trash.lock():
                    removal = self._delete(portion, reason, done)
                yield removal
        finally:
            self._audit.done(done, self._holds_any, reason)

    def _delete(self, batch: list[Instance], reason: str, done: Done) -> Removal:
        wanted = {one.identity for one in batch}
        for instance in batch:
            settle(self._archive, instance)  # one in the landing log has no file of its own
        now = self._safekeeping.clock()
        lease = Lease.begin(self._owner)
        # Claimed, so that no stage replaces the file of an object that is being deleted.
        with claimed(self._archive.claims, lease, batch) as mine:
            found = [one.instance for one in self._archive.stages.policy_rows_of((), mine)]
            holds = self.holds.all()
            held = {one.identity for one in found if is_under_hold(holds, one)}
            going = [one for one in found if one.identity not in held]
            done.held += (one for one in found if one.identity in held)
            begun = self.trash.begin(trashed(one, reason, now) for one in going)
            gone: list[Trashed] = []
            try:
                self._finish(begun, begun, gone)
            finally:
                deleted = {one.identity for one in gone}
                done.gone += (one for one in going if one.identity in deleted)
            self._archive.forget_decoded(going)
        left = wanted - deleted - held
        return Removal(_uids(deleted), _uids(held), _uids(left), tuple(one.key for one in gone))

    def _holds_any(self, study: str, patient_id: str, issuer: str) -> bool:
        """Whether anything of a patient's study is held."""
        key = QueryKey("StudyInstanceUID", "UI", study)
        named = self._archive.instances(Query("STUDY", "STUDY", (key,))) if study else []
        return any((one.patient_id, one.issuer_of_patient_id) == (patient_id, issuer) for one in named)

    def _finish(
        self,
        begun: list[Trashed],
        rows: Iterable[Trashed],
        gone: list[Trashed],
        around: Callable[[Trashed], AbstractContextManager[None]] = _together,
    ) -> None:
        """Remove the ``rows``, then the files of all; ``gone`` gets each that went (see :meth:`_stays`).

        The file of each is removed in a context of its own, which may keep an error from the others.
        """
        for one in rows:
            self._archive.forget(one.sop_instance_uid, one.key)
        self._archive.sync()
        log = structlog.get_logger("zscp")
        for one in begun:
            with around(one):
                if self._stays(one):
                    continue
                self.trash.take(one)
                self.trash.mark(one, "gone")
                gone.append(one)
                log.info(
                    "deleted",
                    sop_instance=one.sop_instance_uid,
                    study=one.study_instance_uid,
                    reason=one.reason,
                    bytes=one.size,
                )

    def _stays(self, one: Trashed) -> bool:
        """Whether an object got another form during its deletion, from a stage whose claim had run out."""
        held = self._archive.current(one.identity)
        if held is None or held.key == one.key or held.received_sha256 != one.received_sha256:
            return False
        if not self._is_there(held):
            return False  # then the file on its way into the trash is the only one
        self.trash.take(one)
        self.trash.drop(one)
        return True

    def _is_there(self, held: Instance) -> bool:
        try:
            return self._archive.files.has(held.key)
        except ObjectUnavailable:
            return False

    def interrupted(self) -> list[Trashed]:
        """Deletions and restorations that a process had begun when it died."""
        if self.trash.is_settled():
            return []
        with self.trash.lock():  # no living process works on them
            return self.trash.entries(UNFINISHED)

    def resume(self) -> int:
        """Finish what a process that died had begun; returns how many objects that were."""
        if self.trash.is_settled():  # asked first: who deletes, restores or holds waits for the lock
            return 0
        with self.trash.lock():
            self.trash.tidy()
            entries, holds = self.trash.entries(UNFINISHED), self.holds.all()
            going, rows, gone = list[Trashed](), list[Trashed](), list[Trashed]()
            for one in (each for each in entries if each.state == "going"):
                with _each_alone(one):
                    if not self._put_back(one, holds):
                        rows += [one] if self.trash.in_place(one) else []  # sent again since then, it stays
                        going.append(one)
            try:
                self._finish(going, rows, gone, _each_alone)
            finally:
                self._audit.resumed(gone, self._holds_any)
            back = [one for one in entries if one.state == "back"]
            for one in back:
                with _each_alone(one):
                    self._return(one)
        return len(gone) + len(back)

    def _put_back(self, one: Trashed, holds: list[Hold]) -> bool:
        """Keep an object that may not go since its deletion began; whether it is back in its place.

        It came under a hold; or a stage makes it lossy, and it was promised, or its copy deleted, meanwhile.
        """
        is_held = any(hold.covers(one.uids) for hold in holds)
        if not self._is_named(one) or not (is_held or (one.lossy_copy and self._needs_original(one))):
            return False
        with suppress(ObjectMissing):  # its place was not cleared yet
            self.trash.put_back(one)
        self.trash.drop(one)
        if one.lossy_copy:
            self._remove_copy(one)
        return True

    def _needs_original(self, one: Trashed) -> bool:
        """Whether an original stays. If not, its row goes, in one transaction with the look at promises."""
        if not any(held.lossy_of == one.sop_instance_uid for held in self._archive.named(one.lossy_copy)):
            return True
        rows = (held for held in self._archive.named(one.sop_instance_uid) if held.key == one.key)
        return not all(map(self._archive.commitments.promises.forget, rows))

    def _is_named(self, one: Trashed) -> bool:
        """Whether the index names the file of an object in the trash."""
        return any(held.key == one.key for held in self._archive.named(one.sop_instance_uid))

    def restore(self, entries: Iterable[Trashed], replace: bool = False) -> Iterator[Trashed]:
        """Restore objects, and yield each one when it is back.

        With ``replace``, other content that was received since then goes to the trash instead; so does the
        lossy copy of an original. Where the same content was received again, the object is back already.
        Raises ObjectMissing, ObjectDamaged, and DuplicateRejected where other content is held and stays, or
        where only a hold on its lossy copy keeps an original, which nothing would keep outside the trash.
        """
        back: list[Trashed] = []
        try:
            for one in entries:
                self._restore(one, replace)
                back.append(one)
                yield one
        finally:
            self._audit.restored(back)

    def _restore(self, one: Trashed, replace: bool) -> None:
        held = self._archive.current(one.identity)
        replace = replace or (bool(one.lossy_copy) and held is not None and bool(held.lossy_of))
        if replace and held is not None and held.received_sha256 != one.received_sha256:
            self.delete([held], "replaced by what was restored from the trash")
        with self.trash.lock():
            holds = self.holds.all() if one.lossy_copy else []
            if is_kept(holds, one) and not any(hold.covers(one.uids) for hold in holds):
                raise DuplicateRejected(
                    f"{one.sop_instance_uid} is in the trash under the legal hold on its lossy copy "
                    f"{one.lossy_copy}; hold it, too, with zscp hold add, and restore it then"
                )
            held = self._archive.current(one.identity)
            if held is not None and held.key != one.key and held.received_sha256 == one.received_sha256:
                self._archive.verify(held)
                self.trash.drop(one)
                return
            if held is not None and held.key != one.key:
                raise DuplicateRejected(
                    f"{one.sop_instance_uid} is held with other content, which was sent since then; "
                    "restore it with --replace, unless the other is under a hold"
                )
            self.trash.begin_of(one, 1)  # a purge that died may have left the note alone
            self._return(self.trash.mark(one, "back"))

    def _return(self, one: Trashed) -> None:
        self.trash.put_back(one)
        if not self._is_named(one):
            instance, facts = self._archive.reader.read_back(one.key)
            if self._archive.current(instance.identity) is not None:
                raise DuplicateRejected(f"{one.sop_instance_uid} is held; delete that one first")
            self._archive.record_rows([(instance, facts.attributes)])
            self._archive.sync()
        if one.lossy_copy:
            undo_loss(self._archive, one.identity)
            self._remove_copy(one)
        self.trash.drop(one)

    def _remove_copy(self, original: Trashed) -> None:
        """Move the lossy copy of a restored original to the trash. The caller has locked it."""
        named = self._archive.named(original.lossy_copy)
        copies = [held for held in named if held.lossy_of == original.sop_instance_uid]
        copies = [held for held in copies if held.identity[1:] == original.identity[1:]]
        if copies:
            done, reason = Done(), "its original was restored from the trash"
            self._delete(copies, reason, done)
            self._audit.done(done, self._holds_any, reason)

    def add_hold(self, hold: Hold) -> None:
        """Put something under a hold. The caller has locked the trash: nothing is deleted meanwhile."""
        self.holds.add(hold)
        self._audit.hold_added(hold)

    def remove_holds(self, holds: Iterable[Hold]) -> None:
        """Remove some holds."""
        for one in holds:
            self.holds.remove([one])
            self._audit.hold_removed(one)

    def purge(
        self, before: float, originals_before: float, among: Iterable[Trashed] | None = None
    ) -> list[Trashed]:
        """Remove for good what went to the trash until ``before``, in seconds since 1970.

        Originals of lossy copies have a time of their own. ``among`` are those that are meant; None: all.
        """
        purge, until = self._purge(), max(before, originals_before)
        found = self.trash.entries(GONE, until, purge.damaged) if among is None else among
        due = (one for one in found if one.at <= (originals_before if one.lossy_copy else before))
        return purge.entries(self._purgeable(due), _BATCH)

    def purge_entries(self, entries: Iterable[Trashed]) -> list[Trashed]:
        """Remove entries for good, but for those not fully deleted yet, or under a hold by now.

        A hold on a lossy copy holds its original, too. One that cannot be removed stays, which is logged.
        """
        return self._purge().entries(self._purgeable(entries), _BATCH)

    def _purge(self) -> Purge:
        return Purge(self.trash, self.holds, self._audit)

    def _purgeable(self, entries: Iterable[Trashed]) -> Iterator[Trashed]:
        holds = self.holds.all()
        return (one for one in entries if one.state == "gone" and not is_kept(holds, one))


def _each_alone(one: Trashed) -> AbstractContextManager[None]:
    """Around what is left to do for an entry: one that fails stays as it is, and the next round tries it."""
    return alone("trash not settled", quiet=(), key=one.key, entry=one.id)


def _uids(identities: Iterable[Identity]) -> tuple[str, ...]:
    return tuple(one.sop_instance_uid for one in identities)
