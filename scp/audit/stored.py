"""What was stored by one sender, counted by study until it is told (PS3.15 A.5.3.7)."""

from __future__ import annotations

from scp.audit import messages
from scp.audit.events import Action, Participant
from scp.audit.studies import StudyCounts
from scp.audit.trail import AuditTrail
from scp.model import Kept, KeptOutcome

# What became of an object says whether the receiver had it (PS3.15 table A.5.3.7-1).
_ACTIONS: dict[KeptOutcome, Action] = {
    "kept": Action.CREATE,
    "replaced": Action.UPDATE,
    "duplicate": Action.READ,
    "discarded": Action.READ,
}


class StoredCounts:
    """Counts objects; which study a refused one is of is not known."""

    def __init__(self) -> None:
        self._stored: dict[Action, StudyCounts] = {}
        self._failed, self._why = 0, ""

    def add(self, kept: Kept) -> int:
        """An object was kept, or was held already; how many studies there are with what became of it."""
        counts = self._stored.setdefault(_ACTIONS[kept.outcome], StudyCounts())
        counts.add(kept.instance)
        return len(counts)

    def refused(self, why: str) -> None:
        """An object was refused."""
        self._failed, self._why = self._failed + 1, why

    def record(self, trail: AuditTrail, who: tuple[Participant, ...]) -> None:
        """Tell of all of them: a message for each study, and one for all that were refused."""
        for action, counts in self._stored.items():
            for key in counts:
                trail.record(messages.transferred(action, who, counts.subjects(key)))
        if self._failed and trail.on:
            why = f"{self._failed} objects were not stored; the last: {self._why}"
            unknown = (messages.study("", {}), messages.patient(""))
            trail.record(messages.transferred(Action.CREATE, who, unknown, why))
