"""Scrubbing: every stored file is read and checked once in an interval, and repaired where there is a copy.

A query finds the files that are due. A process claims those that it reads, and claims end by themselves, as
for stages. So any number of processes may do this, and be killed. Receiving comes first: scrubbing reads at a
bounded rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from scp.archive.archive import Archive
from scp.archive.repair import repair_from_siblings
from scp.background.alone import UNREAD, alone
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.config.settings import Settings
from scp.errors import ObjectDamaged, ObjectMissing, ObjectRefused, OutOfResources
from scp.index.index import PendingCount
from scp.index.queue import Lease, claimed
from scp.lifecycle.pace import Pace
from scp.metrics import counting
from scp.model import Instance

_BATCH = 16
_AWAY = timedelta(hours=1)  # what cannot be read now is left alone for so long
_LOOK_SECONDS = 300.0
_YIELD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one batch; ``size`` in bytes that were read."""

    read: int = 0
    damaged: int = 0
    repaired: int = 0
    size: int = 0


def check(archive: Archive, instance: Instance) -> str:
    """What is wrong with an object; empty where nothing is. Raises ObjectUnavailable.

    An object whose reading ended processes, or failed again and again, is reported as damaged.
    """
    try:
        archive.verify(instance)
    except (ObjectMissing, ObjectDamaged, ObjectRefused) as error:
        return str(error)
    return ""


def note(archive: Archive, results: Iterable[tuple[Instance, str]]) -> int:
    """Record what checking found, and repair what can be; returns how many were repaired."""
    repaired, told = 0, []
    for instance, fault in results:
        if not fault:
            told.append((instance, ""))
            continue
        log = structlog.get_logger("zscp")
        bound = {"sop_instance": instance.sop_instance_uid, "key": instance.key, "reason": fault}
        if key := _repaired(archive, instance):
            repaired += 1
            log.warning("object repaired", **bound, copy=key)
        else:
            log.error("object damaged", **bound)
            told.append((instance, fault))
    archive.integrity.note(told, time.time())
    return repaired


def _repaired(archive: Archive, instance: Instance) -> str:
    """The key of the copy that took its place, if there is one."""
    with alone("cannot be repaired", quiet=(), through=(), sop_instance=instance.sop_instance_uid):
        return repair_from_siblings(archive, instance)
    return ""


def _count(done: Checked, read: int) -> None:
    found = {
        "sound": read - done.damaged,
        "damaged": done.damaged - done.repaired,
        "repaired": done.repaired,
        "unread": done.read - read,
    }
    for result, number in found.items():
        if number:
            counting.count("zscp_scrubbed_files_total", result, amount=number)
    counting.count("zscp_scrubbed_bytes_total", amount=done.size)


class Scrubber(Task):
    """Checks the objects that were not read for the longest time."""

    name = "scrubbing"
    again = BackOff(30.0)

    def __init__(self, archive: Archive, settings: Callable[[], Settings], owner: str) -> None:
        super().__init__()
        self._archive = archive
        self._settings = settings
        self._owner = f"scrub/{owner}"
        self._waiting = PendingCount(0, 0)

    def turn(self) -> float:
        """One batch, if there is one to do now; how many seconds to rest."""
        settings = self._settings()
        interval = settings.scrub.interval
        if not interval:
            return _LOOK_SECONDS
        if closed := Pace(1.0, settings.lifecycle.hours).closed_for(datetime.now()):
            return min(closed, _LOOK_SECONDS)
        waiting, self._waiting = self._waiting, self._archive.count_pending()
        if self._waiting.instances and self._waiting != waiting:
            return _YIELD_SECONDS  # objects are coming
        started = time.monotonic()
        done = self.round(time.time() - interval)
        if not done.read:
            return _LOOK_SECONDS
        return max(0.0, done.size / settings.scrub.bytes_per_second - (time.monotonic() - started))

    def round(self, since: float) -> Checked:
        """Check one batch of what was not read ``since``. Raises OutOfResources."""
        now = time.time()
        due = self._archive.integrity.due(since, now, _BATCH, self._archive.elsewhere.prefixes())
        if not due:
            return Checked()
        claims, lease = self._archive.claims, Lease.begin(self._owner)
        results: list[tuple[Instance, str]] = []
        tried: list[Instance] = []
        with claimed(claims, lease, due) as mine:
            for one in mine:
                if self.stopping.is_set():
                    break
                tried.append(one)
                quiet = (*UNREAD, OutOfResources)
                with alone("cannot be checked", quiet, through=(), sop_instance=one.sop_instance_uid):
                    results.append((one, check(self._archive, one)))
            read = {one.identity for one, _ in results}
            repaired = note(self._archive, results)
            if away := [one.sop_instance_uid for one in tried if one.identity not in read]:
                claims.hold(away, lease.now + _AWAY)
        damaged = sum(bool(fault) for _, fault in results)
        size = sum(one.stored_size for one, _ in results)
        done = Checked(len(tried), damaged, repaired, size)
        _count(done, len(results))
        return done
