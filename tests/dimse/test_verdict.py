"""What is committed, and with which reason not."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from scp.dimse import verdict
from scp.dimse.verdict import judge
from scp.errors import ObjectDamaged, ObjectMissing, OutOfResources
from scp.model import Commitment, Reference

pytestmark = pytest.mark.quick

CT, PRIVATE, STANDARD = "1.2.840.10008.5.1.4.1.1.2", "1.3.6.1.4.1.99999.7.1", "1.2.840.10008.5.1.4.31"
NOON = datetime(2026, 7, 27, 12, tzinfo=UTC)


def _held(uid: str) -> SimpleNamespace:
    """``lossy`` is a lossy copy under the UID of its original, ``copy`` one under a UID of its own."""
    original = {"lossy": "lossy", "copy": "other"}.get(uid, "")
    return SimpleNamespace(sop_class_uid=CT, sop_instance_uid=uid, lossy_of=original)


class Archive:
    """Holds what is given, by UID; verifying raises what stands there."""

    def __init__(self, **held: Exception | None) -> None:
        self._held = held
        self.read: list[str] = []
        self.elsewhere = SimpleNamespace(brought=lambda one: one)  # there are no other nodes
        self.promised: list[str] = []
        self.commitments = SimpleNamespace(promises=SimpleNamespace(add=self.promised.extend))

    def named(self, uid: str) -> Any:
        if uid == "unanswered":
            raise OutOfResources("the index does not answer")
        if uid == "shared":  # of two patients
            return [_held(one) for one in ("sound", "damaged")]
        return [_held(uid)] if uid in self._held else []

    def verify(self, held: Any) -> None:
        self.read.append(held.sop_instance_uid)
        fault = self._held[held.sop_instance_uid]
        if fault is not None:
            raise fault


def asked(*references: tuple[str, str], duplicate: bool = False, at: datetime = NOON) -> Commitment:
    named = tuple(Reference(*one) for one in references)
    return Commitment("1.2", "CTROOM1", named, at, at, duplicate=duplicate)


@pytest.mark.parametrize(
    ("sop_class", "instance", "reason"),
    [
        (CT, "sound", 0),
        (CT, "damaged", 0x0110),
        (CT, "gone", 0x0110),
        (CT, "shared", 0x0110),
        (CT, "unreadable", 0x0110),
        (CT, "other", 0x0112),
        (PRIVATE, "other", 0x0112),
        (STANDARD, "other", 0x0122),
        (PRIVATE, "sound", 0x0119),
        (STANDARD, "sound", 0x0119),
        (CT, "unanswered", 0x0213),
        (CT, "busy", 0x0213),
    ],
)
def test_reasons(sop_class: str, instance: str, reason: int) -> None:
    archive: Any = Archive(
        sound=None,
        damaged=ObjectDamaged("changed"),
        gone=ObjectMissing("no file"),
        unreadable=OSError(5, "Input/output error"),
        busy=OutOfResources("no room"),
    )
    judged = judge(archive, asked((sop_class, instance)), True, lambda: False)
    assert judged is not None
    told = judged.information("ZSCP")
    if reason:
        assert [(one.sop_instance_uid, why) for one, why in judged.failed] == [(instance, reason)]
        assert (judged.command["EventTypeID"], judged.committed) == (2, ())
        assert "ReferencedSOPSequence" not in told
        assert "RetrieveAETitle" not in told
        assert told.FailedSOPSequence[0].FailureReason == reason
    else:
        assert [one.sop_instance_uid for one in judged.committed] == [instance]
        assert (judged.command["EventTypeID"], judged.failed) == (1, ())
        assert "FailedSOPSequence" not in told
        assert told.RetrieveAETitle == "ZSCP"


def test_what_is_kept_with_loss_under_its_own_uid_is_not_what_was_sent() -> None:
    """A copy with a UID of its own is an object as any other, and its original is not held."""
    archive: Any = Archive(lossy=None, copy=None)
    judged = judge(archive, asked((CT, "lossy"), (CT, "copy"), (CT, "other")), True, lambda: False)
    assert judged is not None
    assert [one.sop_instance_uid for one in judged.committed] == ["copy"]
    assert [(one.sop_instance_uid, why) for one, why in judged.failed] == [
        ("lossy", 0x0110),
        ("other", 0x0112),
    ]


def test_what_is_promised_is_noted_before_it_is_looked_at() -> None:
    """From then on no stage makes it lossy; what is not held is not noted, whatever a peer names."""
    archive: Any = Archive(sound=None, damaged=ObjectDamaged("changed"))
    noted: list[str] = []
    look = archive.verify
    archive.verify = lambda held: (noted.append(held.sop_instance_uid in archive.promised), look(held))
    wanted = [(CT, "sound"), (CT, "x"), (CT, "damaged")]
    assert judge(archive, asked(*wanted), True, lambda: False) is not None
    assert noted == [True, True]
    assert sorted(archive.promised) == ["damaged", "sound"]


def test_without_a_note_nothing_is_promised() -> None:
    archive: Any = Archive(sound=None)

    def full(_: Any) -> None:
        raise OutOfResources("no room")

    archive.commitments.promises.add = full
    judged = judge(archive, asked((CT, "sound")), True, lambda: False)
    assert judged is not None
    assert judged.failed == ((Reference(CT, "sound"), 0x0213),)


def test_private_classes_where_they_are_not_stored() -> None:
    archive: Any = Archive()
    judged = judge(archive, asked((PRIVATE, "other")), False, lambda: False)
    assert judged is not None
    assert judged.failed == ((Reference(PRIVATE, "other"), 0x0122),)


def test_a_duplicate_transaction_commits_nothing() -> None:
    archive: Any = Archive(sound=None)
    judged = judge(archive, asked((CT, "sound"), duplicate=True), True, lambda: False)
    assert judged is not None
    assert judged.failed == ((Reference(CT, "sound"), 0x0131),)
    assert archive.read == []


def test_every_reference_stands_in_the_report_in_order() -> None:
    archive: Any = Archive(a=None, b=None)
    wanted = [(CT, "b"), (CT, "x"), (CT, "a"), (CT, "b")]
    judged = judge(archive, asked(*wanted), True, lambda: False)
    assert judged is not None
    assert [one.sop_instance_uid for one in judged.committed] == ["b", "a", "b"]
    assert [one.sop_instance_uid for one, _ in judged.failed] == ["x"]


def test_it_stops_where_nobody_is_to_be_told() -> None:
    archive: Any = Archive(a=None)
    assert judge(archive, asked((CT, "a"), (CT, "a")), True, lambda: len(archive.read) == 1) is None
    assert archive.read == ["a"]


def test_what_was_acknowledged_a_moment_ago_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another process, whose row follows: all that is missing is waited for once."""
    archive: Any = Archive()
    pauses: list[float] = []

    def passes(seconds: float) -> None:
        pauses.append(seconds)
        archive._held |= {"a": None, "b": None}

    monkeypatch.setattr(verdict, "time", SimpleNamespace(sleep=passes))
    request = asked((CT, "a"), (CT, "x"), (CT, "b"), (CT, "y"), at=datetime.now(UTC))
    judged = judge(archive, request, True, lambda: False)
    assert judged is not None
    assert [one.sop_instance_uid for one in judged.committed] == ["a", "b"]
    assert len(pauses) == 1


def test_a_request_of_long_ago_is_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged before it came has had its row for long, or never gets one."""
    archive: Any = Archive()
    pauses: list[float] = []
    monkeypatch.setattr(verdict, "time", SimpleNamespace(sleep=pauses.append))
    judged = judge(archive, asked((CT, "x")), True, lambda: False)  # it came at NOON
    assert judged is not None
    assert pauses == []
