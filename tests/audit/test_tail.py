"""The last messages of the audit trail's file, in short, and why there are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from scp.audit import events, messages, tail
from scp.audit.actors import peer
from scp.audit.events import Action, AuditEvent, AuditOutcome, AuditSource, Participant
from scp.audit.rendering import to_xml
from scp.audit.tail import tail_of
from scp.config.audit import AuditSettings

pytestmark = pytest.mark.quick

NODE = Participant("123", name="zscp", address="host1")


def alert(why: str, number: int = 0) -> AuditEvent:
    who = (NODE, peer("CT1", "10.0.0.1"))
    made = messages.alert(events.NODE_AUTHENTICATION, who, messages.node_subject("10.0.0.1"), why)
    return AuditEvent(
        made.event,
        made.action,
        made.participants,
        made.subjects,
        made.type,
        made.outcome,
        at=datetime(2026, 11, 29, 12, 0, number, tzinfo=UTC),
    )


@pytest.fixture
def audit(tmp_path: Path) -> AuditSettings:
    return AuditSettings(to=f"file://{tmp_path}/audit.xml")


def write(audit: AuditSettings, *lines: bytes) -> None:
    assert audit.path is not None
    audit.path.write_bytes(b"".join(line + b"\n" for line in lines))


def xml(event: AuditEvent) -> bytes:
    return to_xml(event, AuditSource("ZSCP"))


def test_the_newest_come_first_and_say_what_happened(audit: AuditSettings) -> None:
    write(audit, *(xml(alert(f"no. {number} <é>", number)) for number in range(5)))
    found = tail_of(audit, 2)
    assert [one.why for one in found.lines] == ["no. 4 <é>", "no. 3 <é>"]
    first = found.lines[0]
    assert (first.at, first.event, first.kind, first.failed) == (
        "2026-11-29T12:00:04.000+00:00",
        "Security Alert",
        "Node Authentication",
        True,
    )
    assert first.who == ("zscp 123 (host1)", "CT1 (10.0.0.1)")
    assert first.about == ("10.0.0.1",)
    assert found.unread == ""


def test_patients_are_left_out(audit: AuditSettings) -> None:
    subjects = (messages.study("1.2.3", {}), messages.patient("SECRET-ID", "issuer"))
    write(audit, xml(messages.accessed(Action.DELETE, (NODE,), subjects, "by hand", ok=True)))
    (one,) = tail_of(audit, 9).lines
    assert (one.about, one.why, one.failed) == (("1.2.3",), "by hand", False)
    assert "SECRET" not in str(one)


def test_what_is_no_message_is_passed_over_and_told(audit: AuditSettings) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "bb">]><AuditMessage>&b;</AuditMessage>'
    write(audit, xml(alert("kept")), b"<AuditMessage><Eve", bomb, b"<other/>")
    found = tail_of(audit, 9)
    assert [one.why for one in found.lines] == ["kept"]
    assert found.unread == "3 lines are no audit messages"


def test_only_the_end_of_a_large_file_is_read(audit: AuditSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [xml(alert(f"no. {number}")) for number in range(20)]
    write(audit, *lines)
    monkeypatch.setattr(tail, "_MOST_BYTES", 3 * len(lines[-1]))
    found = tail_of(audit, 9)
    assert [one.why for one in found.lines] == ["no. 19", "no. 18"]
    assert "MB were read" in found.unread


@pytest.mark.parametrize(
    ("to", "told"), [("", "no audit trail"), ("syslog+udp://collector:514", "look there")]
)
def test_without_a_file_it_is_said_where_to_look(to: str, told: str) -> None:
    found = tail_of(AuditSettings(to=to), 9)
    assert (found.to, found.lines) == (to, ())
    assert told in found.unread


def test_before_anything_was_recorded(audit: AuditSettings) -> None:
    assert tail_of(audit, 9).unread == "nothing was recorded yet"


def test_a_success_is_none_that_failed(audit: AuditSettings) -> None:
    made = messages.alert(
        events.SOFTWARE_CONFIGURATION, (NODE,), messages.node_subject("n"), "x", AuditOutcome.SUCCESS
    )
    write(audit, xml(made))
    assert not tail_of(audit, 1).lines[0].failed
