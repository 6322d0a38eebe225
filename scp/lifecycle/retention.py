"""Retention: what its rules allow is deleted, study by study, and the trash is purged in due time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scp.archive.archive import Archive
from scp.archive.safekeeping import is_under_hold
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.alone import alone
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.config.rules import RetentionRule
from scp.config.settings import Settings
from scp.index.attributes import RULED_BY
from scp.index.history import RetentionRow
from scp.index.index import PolicyRow
from scp.lifecycle.auditing import by_itself
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.retention_schedule import RetentionSchedule
from scp.model import Facts, Instance, Query, QueryKey
from scp.objects.names import store_of
from scp.objects.stores import places
from scp.policy.retention import ExpiredStudies, ExpiredStudy, excess_of, going
from scp.policy.rules import choose

# How often: trash and watermarks; and rules, which count in days (20 million rows take minutes to look at).
_LOOK_SECONDS, _DAY = 3600.0, 86_400.0
_OF_THE_INSTANCE = ("calling_aet", "transfer_syntax", "size")

Usage = Callable[[Path], tuple[int, int]]


def disk_usage(path: Path) -> tuple[int, int]:
    """Bytes used and in all of the file system that a path is on."""
    found = shutil.disk_usage(path)
    return found.total - found.free, found.total


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The studies to delete now, how many instances only holds keep back, and what may go when.

    What is under a hold is not in the ``schedule``.
    """

    studies: tuple[ExpiredStudy, ...]
    held: int = 0
    schedule: tuple[RetentionRow, ...] = ()


class Retention(Task):
    """Carries out ``settings().retention``, and purges the trash."""

    name = "retention"
    again = BackOff(_LOOK_SECONDS)

    def __init__(
        self,
        archive: Archive,
        settings: Callable[[], Settings],
        usage: Usage = disk_usage,
        trail: AuditTrail = NO_TRAIL,
    ) -> None:
        super().__init__()
        self._archive = archive
        self._settings = settings
        self._usage = usage
        self._deletion = Deletion(archive, places(settings()), by_itself(trail, settings().node.aet))
        self._looked = 0.0

    def turn(self) -> float:
        """See :class:`scp.background.loop.Task`; of several nodes, one does it at a time."""
        with self._archive.exclusive("retention", wait=False) as alone:
            if alone:
                self.round(self._archive.clock.look().now)
        return _LOOK_SECONDS

    def reconfigured(self) -> None:
        """The rules may have changed: look at them in the next turn."""
        self._looked = 0.0

    def round(self, now: float) -> None:
        """Finish what was begun, purge what is old, and delete what may go. Raises OutOfResources.

        ``now`` is the time that counts (:mod:`scp.archive.trusted_time`), in seconds since 1970.
        """
        try:
            self._deletion.resume()
            self._delete_due(now)
        finally:  # whatever failed: this may be what makes room for it
            if not self.stopping.is_set():
                storage, at = self._settings().storage, max(now, self._archive.clock.now())
                self._deletion.purge(at - storage.trash, at - storage.originals)

    def _delete_due(self, now: float) -> None:
        if now < self._looked + _DAY and self._excess() <= 0:
            return
        plan = self.plan(now)
        self._archive.history.put_retention(datetime.fromtimestamp(now, UTC), plan.schedule)
        for study in plan.studies:
            if self.stopping.is_set():
                return
            self._delete(study)
        self._looked = now

    def plan(self, now: float) -> RetentionPlan:
        """What the rules allow to be deleted at ``now``. Raises OutOfResources."""
        if not self._settings().retention:
            return RetentionPlan(())
        studies, held, holds = ExpiredStudies(), 0, self._deletion.holds.all()
        schedule = RetentionSchedule(now)
        for standing in self._archive.stages.policy_rows(self._keywords()):
            one, rule = standing.instance, self._rule(standing)
            is_held = rule is not None and is_under_hold(holds, one)
            if rule is not None and not is_held:
                schedule.add(rule.name, one.received_at.timestamp() + rule.after, one.stored_size)
            elif rule is None:
                schedule.add("", None, one.stored_size)
            part = _expired(one, rule, now)
            if part is not None and is_held:
                held, part = held + 1, None
            # By study and patient; an object that names no study cannot go with one.
            studies.add(one.identity[1:], part if one.study_instance_uid else None)
        return RetentionPlan(tuple(going(studies.whole(), self._excess())), held, schedule.rows())

    def _excess(self) -> int:
        """Bytes to free. What is in the trash counts as free: it will be, when it is purged.

        Not so originals of lossy copies, which stay for long.
        """
        storage = self._settings().storage
        if storage.high_watermark is None:
            return 0
        used, total = self._usage(storage.path)
        entries = self._deletion.trash.entries()
        trashed = sum(one.size for one in entries if not one.lossy_copy and not store_of(one.key))
        return excess_of(used - trashed, total, storage.high_watermark, storage.low_watermark)

    def _rule(self, standing: PolicyRow) -> RetentionRule | None:
        one, rules = standing.instance, self._settings().retention
        if self._unknown():
            with alone("cannot be judged", sop_instance=one.sop_instance_uid):
                return choose(rules, self._archive.facts(one))
            return None  # it stays, and so does its study
        facts = Facts(standing.attributes, one.received_transfer_syntax, one.received_size, one.calling_aet)
        return choose(rules, facts)

    def _keywords(self) -> tuple[str, ...]:
        asked = dict.fromkeys(key for rule in self._settings().retention for key in rule.match)
        return tuple(key for key in asked if key in RULED_BY)

    def _unknown(self) -> bool:
        """Whether a rule asks what the index does not know."""
        keys = {key for rule in self._settings().retention for key in rule.match}
        return any(key not in RULED_BY and key not in _OF_THE_INSTANCE for key in keys)

    def _delete(self, study: ExpiredStudy) -> None:
        """Delete a study, unless something has come to it since it was planned."""
        key = QueryKey("StudyInstanceUID", "UI", study.study)
        patient = (study.patient_id, study.issuer)
        shared = self._archive.instances(Query("STUDY", "STUDY", (key,)))
        instances = [one for one in shared if (one.patient_id, one.issuer_of_patient_id) == patient]
        if len(instances) == study.instances and not any(one.pending for one in instances):
            # Without room, too, the purge at the end of the round may make some; the next round tries again.
            with alone("study not deleted", quiet=(), through=(), study=study.study):
                self._deletion.delete(instances, study.rule)


def _expired(one: Instance, rule: RetentionRule | None, now: float) -> ExpiredStudy | None:
    """What a study has by one of its objects, if that may go by now."""
    received = one.received_at.timestamp()
    if rule is None or received + rule.after > now:
        return None
    full = rule.delete == "when full"
    room = 0 if store_of(one.key) else one.stored_size
    patient = (one.patient_id, one.issuer_of_patient_id)
    return ExpiredStudy(one.study_instance_uid, rule.name, 1, one.stored_size, received, room, full, *patient)
