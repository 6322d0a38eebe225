"""Deleting: into the trash, out of the index, out of its place; back again; and for good.

Order: claimed → linked into the trash with a note → the row goes → that is durable → the file's place is
cleared → noted as gone. Killed in between, :meth:`Deletion.resume` finishes it. No row is ever without a
file.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog

from scp.archive.archive import Archive
from scp.archive.safekeeping import Safekeeping, is_under_hold, trashed
from scp.background.alone import alone
from scp.errors import (
    DuplicateRejected,
    ObjectMissing,
    ObjectUnavailable,
)
from scp.identity import Identity
from scp.index.queue import Lease, claimed
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.trash import Trashed

_BATCH = 100  # what a batch does is over well before its claim ends


@dataclass(frozen=True, slots=True)
class Removal:
    """UIDs of what was ``deleted``, what is ``held``, and what is ``left``: worked on, or unreadable.

    ``keys`` are where what was deleted lay.
    """

    deleted: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Deletion:
    """Deletes from an archive whose objects lie below ``roots``, by the names of its stores."""

    def __init__(self, archive: Archive, roots: Mapping[str, Path]) -> None:
        self._archive = archive
        self._safekeeping = Safekeeping(roots)
        self.trash = self._safekeeping.trash
        self.holds = self._safekeeping.holds
        self._owner = f"deletion/{uuid.uuid4().hex}"

    def delete(self, instances: Iterable[Instance], reason: str) -> Removal:
        """Move objects to the trash, but for those under a hold. Raises OutOfResources."""
        removals = []
        rest = iter(instances)
        while batch := list(islice(rest, _BATCH)):
            with self.trash.lock():
                removals.append(self._delete(batch, reason))
        return Removal(
            tuple(uid for one in removals for uid in one.deleted),
            tuple(uid for one in removals for uid in one.held),
            tuple(uid for one in removals for uid in one.left),
            tuple(key for one in removals for key in one.keys),
        )

    def _delete(self, batch: list[Instance], reason: str) -> Removal:
        wanted = {one.identity for one in batch}
        for instance in batch:
            self._settle(instance)
        now = time.time()
        lease = Lease.begin(self._owner)
        # Claimed: no stage puts another file in the place of what goes.
        with claimed(self._archive.claims, lease, batch) as mine:
            found = [one.instance for one in self._archive.stages.policy_rows_of((), mine)]
            holds = self.holds.all()
            held = {one.identity for one in found if is_under_hold(holds, one)}
            going = [one for one in found if one.identity not in held]
            begun = self.trash.begin(trashed(one, reason, now) for one in going)
            for entry in begun:
                self._archive.forget(entry.sop_instance_uid, entry.key)
            gone = self._finish(begun)
            self._archive.forget_decoded(going)
        deleted = {one.identity for one in gone}
        left = wanted - deleted - held
        return Removal(_uids(deleted), _uids(held), _uids(left), tuple(one.key for one in gone))

    def _settle(self, instance: Instance) -> None:
        """Give what is pending a file in its form: what landed has none of its own."""
        current = self._archive.current(instance.identity)
        if current is not None and current.pending:
            # Nor does a lack of room for it keep the others: it stays pending, and is left.
            with alone("cannot be encoded", through=(), sop_instance=instance.sop_instance_uid):
                self._archive.replace([self._archive.encode(current)])

    def _finish(self, begun: list[Trashed]) -> list[Trashed]:
        """Clear the places of objects whose rows are gone; those that went (see :meth:`_stays`)."""
        self._archive.sync()
        gone = [one for one in begun if not self._stays(one)]
        log = structlog.get_logger("zscp")
        for one in gone:
            self.trash.take(one)
            self.trash.mark(one, "gone")
            log.info(
                "deleted",
                sop_instance=one.sop_instance_uid,
                study=one.study_instance_uid,
                reason=one.reason,
                bytes=one.size,
            )
        return gone

    def _stays(self, one: Trashed) -> bool:
        """Whether an object got another form while it went, from a stage whose claim had run out."""
        held = self._archive.current(one.identity)
        if held is None or held.key == one.key or held.received_sha256 != one.received_sha256:
            return False
        if not self._is_there(held):
            return False  # then what is on its way into the trash is all there is
        self.trash.take(one)
        self.trash.drop(one)
        return True

    def _is_there(self, held: Instance) -> bool:
        try:
            return self._archive.files.has(held.key)
        except ObjectUnavailable:
            return False

    def interrupted(self) -> list[Trashed]:
        """What a process that died had begun."""
        if not self.trash.exists():
            return []
        with self.trash.lock():  # nobody that lives is about it
            return [one for one in self.trash.entries() if one.state != "gone"]

    def resume(self) -> int:
        """Finish what a process that died had begun; returns how many objects that were."""
        if not self.trash.exists():
            return 0
        with self.trash.lock():
            self.trash.tidy()
            entries, holds = self.trash.entries(), self.holds.all()
            going = [one for one in entries if one.state == "going" and not self._put_back(one, holds)]
            for one in going:
                if self.trash.in_place(one):  # one that was sent again since then stays
                    self._archive.forget(one.sop_instance_uid, one.key)
            gone = self._finish(going)
            back = [one for one in entries if one.state == "back"]
            for one in back:
                with alone("cannot be restored", quiet=(), key=one.key):
                    self._return(one)
        return len(gone) + len(back)

    def _put_back(self, one: Trashed, holds: list[Hold]) -> bool:
        """Whether an object came under a hold since its deletion was begun, and is in its place again."""
        if not any(hold.covers(one.uids) for hold in holds) or not self._is_named(one):
            return False
        with suppress(ObjectMissing):  # its place was not cleared yet
            self.trash.put_back(one)
        self.trash.drop(one)
        return True

    def _is_named(self, one: Trashed) -> bool:
        """Whether the index names the file that an object went with."""
        return any(held.key == one.key for held in self._archive.named(one.sop_instance_uid))

    def restore(self, entries: Iterable[Trashed], replace: bool = False) -> Iterator[Trashed]:
        """Bring objects back, each given when it is there.

        With ``replace`` other content that was sent since then goes to the trash in its place. Where the same
        content was sent again, it is back already.
        Raises ObjectMissing, ObjectDamaged, and DuplicateRejected where other content is held and stays.
        """
        for one in entries:
            held = self._archive.current(one.identity)
            if replace and held is not None and held.received_sha256 != one.received_sha256:
                self.delete([held], "replaced by what was restored from the trash")
            with self.trash.lock():
                held = self._archive.current(one.identity)
                if held is not None and held.key != one.key and held.received_sha256 == one.received_sha256:
                    self._archive.verify(held)
                    self.trash.drop(one)
                    yield one
                    continue
                if held is not None and held.key != one.key:
                    raise DuplicateRejected(
                        f"{one.sop_instance_uid} is held with other content, which was sent since then; "
                        "restore it with --replace, unless the other is under a hold"
                    )
                self._return(self.trash.mark(one, "back"))
            yield one

    def _return(self, one: Trashed) -> None:
        self.trash.put_back(one)
        if not self._is_named(one):
            instance, facts = self._archive.reader.read_back(one.key)
            if self._archive.current(instance.identity) is not None:
                raise DuplicateRejected(f"{one.sop_instance_uid} is held; delete that one first")
            self._archive.record_rows([(instance, facts.attributes)])
            self._archive.sync()
        self.trash.drop(one)

    def purge(self, before: float) -> list[Trashed]:
        """Remove for good what went to the trash before then, in seconds since 1970."""
        return self.purge_entries(one for one in self.trash.entries() if one.at <= before)

    def purge_entries(self, entries: Iterable[Trashed]) -> list[Trashed]:
        """Remove some for good, but for those that are yet on their way, or under a hold by now."""
        log, holds = structlog.get_logger("zscp"), self.holds.all()
        gone = (one for one in entries if one.state == "gone")
        old = [one for one in gone if not any(hold.covers(one.uids) for hold in holds)]
        with self.trash.lock() if old else nullcontext():
            for one in old:
                self.trash.drop(one)
                log.info("purged", sop_instance=one.sop_instance_uid, reason=one.reason, bytes=one.size)
        return old


def _uids(identities: Iterable[Identity]) -> tuple[str, ...]:
    return tuple(one.sop_instance_uid for one in identities)
