"""Purging: entries of the trash are removed for good.

Order, for each batch: the files are erased → that is told the audit trail, which has handed it over → the
notes are removed. A note whose file is gone is all that a process leaves that dies in between: the next purge
tells of it, for the first or the second time, and removes it. So nothing is destroyed that is told nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import TypeVar

import structlog

from scp.archive.safekeeping import is_kept
from scp.background.alone import alone
from scp.lifecycle.auditing import DeletionAudit
from scp.objects.holds import Holds
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed

T = TypeVar("T")
# An audit trail in a file takes a batch within milliseconds. A collector that is away has its queue
# (docs/decisions/0141), and holds up no purge: after one wait that was in vain there is no other.
_AUDIT_SECONDS = 1.0
_STAYS = "they stay in the trash, and the next purge tries again; see to the disk, or remove them by hand"


def batches(wanted: Iterable[T], size: int) -> Iterator[list[T]]:
    """``size`` of them at a time; the last are fewer."""
    rest = iter(wanted)
    while batch := list(islice(rest, size)):
        yield batch


class Purge:
    """Removes entries of a ``trash``, but for those that ``holds`` keep; it may be used once."""

    def __init__(self, trash: Trash, holds: Holds, audit: DeletionAudit) -> None:
        self._trash, self._holds, self._audit = trash, holds, audit
        self._waits = True
        self._stuck: list[tuple[Trashed, Exception]] = []
        self._damaged: list[tuple[str, str]] = []

    def damaged(self, where: str, fault: str) -> None:
        """A note could not be read: its object stays, and that is told once."""
        self._damaged.append((where, fault))

    def entries(self, wanted: Iterable[Trashed], at_once: int) -> list[Trashed]:
        """Remove them, locking the trash for ``at_once`` of them; one that cannot be removed stays.

        Returns those that are gone. Raises OutOfResources, ObjectDamaged if a hold cannot be read.
        """
        gone: list[Trashed] = []
        try:
            for batch in batches(wanted, at_once):
                with self._trash.lock():
                    self._purge(batch, gone)
        finally:
            self._tell()
        return gone

    def _purge(self, batch: list[Trashed], gone: list[Trashed]) -> None:
        holds, erased = self._holds.all(), list[Trashed]()  # a hold may have come before the lock
        try:
            for one in batch:
                with self._alone(one):
                    if not is_kept(holds, one):
                        self._trash.erase(one)
                        erased.append(one)
        finally:  # what is destroyed is told, whatever becomes of the others
            self._audit.purged(erased)
            gone += erased
        self._waits = self._waits and self._audit.trail.handed_over(_AUDIT_SECONDS)
        log = structlog.get_logger("zscp")
        for one in erased:
            with self._alone(one):
                self._trash.forget(one)
            log.info("purged", sop_instance=one.sop_instance_uid, reason=one.reason, bytes=one.size)

    def _alone(self, one: Trashed) -> AbstractContextManager[None]:
        return alone("", quiet=(Exception,), otherwise=lambda error: self._stuck.append((one, error)))

    def _tell(self) -> None:
        """Log what stays though it should go: one line of each kind, however many there are."""
        log = structlog.get_logger("zscp")
        if self._stuck:
            one, error = self._stuck[0]
            told = {"first": one.key, "entry": one.id, "reason": str(error), "remedy": _STAYS}
            log.error("not purged", objects=len(self._stuck), **told)
        if self._damaged:
            where, fault = self._damaged[0]
            told = {"first": where, "reason": fault, "remedy": "zscp fsck lists them"}
            log.error("notes of the trash cannot be read", notes=len(self._damaged), **told)
