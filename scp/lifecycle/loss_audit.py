"""What lossy stages tell the log and the audit trail: each object that was made lossy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from scp.archive.replacement import Change
from scp.audit.actors import operator, this_command, this_process
from scp.audit.events import Action, Participant
from scp.audit.messages import accessed
from scp.audit.studies import StudyCounts, StudyKey
from scp.audit.trail import NO_TRAIL, AuditTrail


@dataclass(frozen=True, slots=True)
class LossAudit:
    """Tells the audit trail what ``who`` made lossy: a message for each study of a batch (PS3.15 A.5.3.6)."""

    trail: AuditTrail = NO_TRAIL
    who: tuple[Participant, ...] = ()

    def lost(self, changes: Iterable[Change]) -> None:
        """Each of the changes put a lossy copy in the place of its original."""
        by_study: defaultdict[StudyKey, list[Change]] = defaultdict(list)
        for change in changes:
            _log(change)
            key = StudyKey(*change.before.identity[1:])
            by_study[key].append(change)
        for key, some in by_study.items() if self.trail.on else ():
            study, patient = StudyCounts(change.before for change in some).subjects(key)
            details = tuple(("Made Lossy", _told(change).encode()) for change in some)
            told = replace(study, details=(*study.details, *details))
            why = "made lossy by a stage of the policy"
            self.trail.record(accessed(Action.UPDATE, self.who, (told, patient), why, ok=True))


def _told(change: Change) -> str:
    """One object that was made lossy: its UID, that of the copy, and what was lost."""
    uids = f"{change.before.sop_instance_uid} kept as {change.after.sop_instance_uid}"
    return f"{uids}: {change.loss.words}" if change.loss else uids


def _log(change: Change) -> None:
    if (loss := change.loss) is not None:
        structlog.get_logger("zscp").info(
            "made lossy",
            sop_instance=change.before.sop_instance_uid,
            copy=change.after.sop_instance_uid,
            rule=change.after.rule,
            loss=loss.words,
            bytes=change.before.stored_size,
            copy_bytes=change.after.stored_size,
        )


NOT_AUDITED = LossAudit()


def by_itself(trail: AuditTrail, aet: str) -> LossAudit:
    """For what the node does by its rules."""
    return LossAudit(trail, (this_process(aet, requestor=True),))


def by_command(trail: AuditTrail) -> LossAudit:
    """For what a person typed."""
    return LossAudit(trail, (operator(), this_command()))
