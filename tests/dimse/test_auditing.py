"""When an association tells the audit trail what it stored: not object by object, and not only at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scp.audit.events import AuditEvent
from scp.dimse import auditing
from scp.dimse.auditing import AssociationAudit

pytestmark = pytest.mark.quick


class Kept:
    """A trail that keeps what it is given."""

    on = True

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


def kept(study: str, outcome: str = "kept") -> Any:
    instance = SimpleNamespace(
        study_instance_uid=study, patient_id="P", issuer_of_patient_id="", sop_class_uid="1.2"
    )
    return SimpleNamespace(outcome=outcome, instance=instance)


def test_many_objects_are_one_message() -> None:
    trail = Kept()
    audit = AssociationAudit(trail)
    for _ in range(1000):
        audit.stored(kept("1.2.3"))
    assert trail.events == []
    audit.flush()
    audit.flush()
    (event,) = trail.events
    assert event.subjects[0].sop_classes == {"1.2": 1000}


def test_what_the_node_had_is_told_apart() -> None:
    trail = Kept()
    audit = AssociationAudit(trail)
    for outcome in ("kept", "replaced", "duplicate", "discarded"):
        audit.stored(kept("1.2.3", outcome))
    audit.flush()
    assert [event.action.value for event in trail.events] == ["C", "U", "R"]
    assert trail.events[2].subjects[0].sop_classes == {"1.2": 2}


def test_many_studies_do_not_wait_for_the_end() -> None:
    trail = Kept()
    audit = AssociationAudit(trail)
    for number in range(300):
        audit.stored(kept(f"1.2.{number}"))
    assert len(trail.events) == 257


def test_a_long_association_does_not_wait_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    monkeypatch.setattr(auditing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    trail = Kept()
    audit = AssociationAudit(trail)
    audit.stored(kept("1.2.3"))
    now[0] += 299
    audit.stored(kept("1.2.3"))
    assert trail.events == []
    now[0] += 2
    audit.stored(kept("1.2.3"))
    assert trail.events[0].subjects[0].sop_classes == {"1.2": 3}


def test_what_is_recorded_after_the_end_is_told_at_once() -> None:
    trail = Kept()
    audit = AssociationAudit(trail)
    audit.stored(kept("1.2.3"))
    audit.end()
    assert len(trail.events) == 1
    audit.stored(kept("1.2.3", "duplicate"))
    assert [event.action.value for event in trail.events] == ["C", "R"]
