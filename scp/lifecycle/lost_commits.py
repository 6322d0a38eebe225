"""Acknowledged objects that the index has lost again, as a standby took over without the last commits.

Their files are there: in the store, or in this node's landing log. Each process remembers which rows it
committed last, and looks once its connection to the database broke whether they are still there. A database
loses the end of what was committed, so that the newest are looked at first: where some of them are there,
all before these are. What is missing is recorded again from its file, and forwarded again.

Safe beside all that other processes and nodes do, and to stop at any moment; a process that ends meanwhile
forgets what it committed: then ``zscp fsck --repair`` finds it.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

import structlog

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.archive.safekeeping import TRASH, TRASH_SECONDS
from scp.background.alone import alone
from scp.errors import DuplicateRejected, ObjectMissing, ObjectUnavailable, OutOfResources, Superseded
from scp.index.committed import CommittedRow
from scp.metrics import counting
from scp.model import Facts, Instance

LOOK_SECONDS = 5.0
# One that is there may have been recorded again by another process that looks, too.
_ENOUGH = 20
_ALL = "the index lacks nothing that this process committed before"
# It was deleted, or replaced by other content, meanwhile; or its store is away, and it is looked at later.
_OVER = (ObjectMissing, ObjectUnavailable, DuplicateRejected, Superseded)
_MORE = "there may be more: run zscp fsck --repair"


class LostCommits:
    """Looks after what one process committed; :meth:`look` is called every LOOK_SECONDS."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left: list[CommittedRow] = []  # the newest first
        self._lost: list[CommittedRow] = []  # recorded again, and not told yet
        self._later: list[CommittedRow] = []  # what cannot be looked at now, the oldest first
        self._seen: list[CommittedRow] = []  # the newest that were looked at before, which may be lost later

    def look(self) -> None:
        """Record again what is missing. Raises OutOfResources; then the next look goes on."""
        self._left[:0] = reversed(self._archive.doubtful())
        if self._left:
            self._repair()

    def _repair(self) -> None:
        self._later = []
        missing, reached = self._missing()
        for row in reversed(missing):
            try:
                if self._is_recorded_again(row):
                    self._lost.append(row)
            except OutOfResources:  # perhaps of this one alone: next time it is the last, after all others
                first = [row, *self._later[::-1]]
                self._left = first + [one for one in self._left if one not in first]
                raise
        self._archive.sync()
        lost, self._lost = self._lost, []
        self._seen = (self._left + self._seen)[:_ENOUGH]
        self._left = self._later[::-1]
        if lost:
            counting.count("zscp_lost_commits_total", amount=len(lost))
            structlog.get_logger("zscp").error(
                "the database had lost commits",
                objects=len(lost),
                first=lost[0].key,
                reason="acknowledged objects were missing in the index, and were recorded again; "
                + (_ALL if reached else _MORE),
            )
            self._archive.wake_encoder()

    def _missing(self) -> tuple[list[CommittedRow], bool]:
        """Rows that are not there, or were replaced since, and whether those before them are there."""
        missing: list[CommittedRow] = []
        reached = False
        for _, rows in groupby(self._left + self._seen, attrgetter("run")):
            proofs, reached = 0, False
            for row in rows:
                named = self._archive.named(row.sop_instance_uid)
                if not self._is_held(row, named):
                    missing.append(row)
                    continue
                reached = True
                proofs += any(one.key == row.key for one in named)  # else it may have been sent again
                if proofs == _ENOUGH:
                    break
        return missing, reached

    def _is_held(self, row: CommittedRow, found: list[Instance] | None = None) -> bool:
        """A landed record becomes a file within seconds: its object is held in any form."""
        found = self._archive.named(row.sop_instance_uid) if found is None else found
        landed = not self._archive.files.keeps(row.key)
        return any(
            one.key == row.key or (landed and one.received_sha256 == row.received_sha256) for one in found
        )

    def _is_recorded_again(self, row: CommittedRow) -> bool:
        """Whether the row was lost, and is there again: a file that is gone was replaced, or deleted."""
        remedy = "zscp fsck --repair looks at it again"

        def later(error: Exception) -> None:
            if isinstance(error, ObjectUnavailable):
                self._later.append(row)

        with alone("not recorded again", quiet=_OVER, otherwise=later, key=row.key, remedy=remedy):
            if self._is_there(row.key):
                self._take_up(row.key)
        return self._is_held(row)

    def _is_there(self, key: str) -> bool:
        """Whether a file is there, or a landed record that is not over."""
        files = self._archive.files
        return files.has(key) if files.keeps(key) else self._archive.interrupted.counts(key)

    def _take_up(self, key: str) -> None:
        """No file is removed, as another process may be about to name it."""
        archive = self._archive
        instance, facts = archive.reader.take_up(key)
        held = archive.interrupted.held(instance)
        if held is None:
            self._add(instance, facts)
        elif held.received_at < instance.received_at:
            archive.recorder.record(instance, facts, found=True)
        elif held.received_at == instance.received_at and not archive.files.has(held.key):
            archive.replace([Change(held, instance)])

    def _add(self, instance: Instance, facts: Facts) -> None:
        """Record an object that is not held, unless it is being deleted."""
        archive = self._archive
        with archive.exclusive(TRASH, TRASH_SECONDS):  # nothing is deleted, or replaced by other content
            if not self._is_there(instance.key) or archive.add_row(instance, facts.attributes) is not None:
                return
        sends = archive.recorder.sends(facts)
        archive.send_queue.add(sends)
        archive.recorder.announced(instance, facts, sends)
