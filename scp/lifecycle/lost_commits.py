"""Acknowledged objects that the index has lost again, as a standby took over without the last commits.

Their files are there: in the store, or in this node's landing log. Each process remembers which rows it
committed last, and looks once its connection to the database broke whether they are still there. A database
loses the end of what was committed, so that the newest are looked at first: where some of them are there,
all before these are. What is missing is recorded again from its file, and forwarded again.

Safe beside all that other processes and nodes do, and to stop at any moment; a process that ends meanwhile
forgets what it committed: then ``zscp fsck --repair`` finds it.
"""

from __future__ import annotations

import structlog

from scp.archive.archive import Archive
from scp.archive.safekeeping import TRASH, TRASH_SECONDS
from scp.background.alone import alone
from scp.errors import OutOfResources
from scp.index.committed import CommittedRow
from scp.lifecycle.recovery import Recovered, take_up_file, take_up_record
from scp.metrics import counting
from scp.objects.names import is_landed

LOOK_SECONDS = 5.0
# One that is there may have been recorded again by another process that looks, too.
_ENOUGH = 20
_ALL = "the index lacks nothing that this process committed before"
_MORE = "there may be more: run zscp fsck --repair"


class LostCommits:
    """Looks after what one process committed; :meth:`look` is called every LOOK_SECONDS."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left: list[CommittedRow] = []  # the newest first
        self._seen: list[
            CommittedRow
        ] = []  # the newest of those that were looked at before: perhaps they are gone, too

    def look(self) -> None:
        """Record again what is missing; where the index does not answer, the next look does."""
        try:
            self._left[:0] = reversed(self._archive.doubtful())
            if self._left:
                self._repair()
        except OutOfResources as error:
            structlog.get_logger("zscp").error("the index was not looked at", reason=str(error))

    def _repair(self) -> None:
        missing, reached = self._missing()
        lost = [row for row in reversed(missing) if self._is_recorded_again(row)]
        self._archive.sync()
        self._seen, self._left = (self._left + self._seen)[:_ENOUGH], []
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
        held = 0
        for row in self._left + self._seen:
            if self._is_held(row):
                held += 1
                if held == _ENOUGH:
                    return missing, True
            else:
                missing.append(row)
        return missing, held > 0

    def _is_held(self, row: CommittedRow) -> bool:
        """A landed record becomes a file within seconds: its object is held in any form."""
        found = self._archive.named(row.sop_instance_uid)
        landed = is_landed(row.key)
        return any(
            one.key == row.key or (landed and one.received_sha256 == row.received_sha256) for one in found
        )

    def _is_recorded_again(self, row: CommittedRow) -> bool:
        """Whether the row was lost, and is there again: a file that is gone was replaced, or deleted."""
        archive, found = self._archive, Recovered()
        with alone("not recorded again", key=row.key, remedy="zscp fsck --repair looks at it again"):
            if not archive.files.keeps(row.key):
                take_up_record(archive, row.key, found)
            elif archive.files.has(row.key) and not self._add(row.key):
                take_up_file(archive, row.key, found)
        return self._is_held(row)

    def _add(self, key: str) -> bool:
        """Record an object that is not held, unless it is being deleted."""
        archive = self._archive
        instance, facts = archive.reader.take_up(key)
        if archive.interrupted.held(instance) is not None:
            return False
        with archive.exclusive(TRASH, TRASH_SECONDS):  # nothing is deleted, or replaced by other content
            if archive.files.has(key) and archive.current(instance.identity) is None:
                archive.recorder.record(instance, facts, found=True)
        return True
