"""What an admin should look at, in bounded lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_index_contract import instance

from scp.archive.archive import Archive
from scp.archive.outstanding import outstanding_commitments
from scp.archive.refusal import Refusal, with_refusal
from scp.config.settings import Settings
from scp.lifecycle import attention
from scp.model import Commitment, Reference
from scp.node.build import open_archive

WHEN = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    tables = {
        "storage": {"url": f"file://{tmp_path}/objects", "reserve": 0},
        "index": {"url": f"sqlite:///{tmp_path}/index.db"},
    }
    opened = open_archive(Settings.model_validate(tables))
    yield opened
    opened.close()


def test_damaged_files_say_what_was_wrong_and_when_they_were_read(archive: Archive) -> None:
    for number in range(3):
        one = instance(f"1.1.{number}", fault=f"fault {number}", checked=int(WHEN.timestamp()))
        archive.record_rows([(one, {})])
    archive.record_rows([(instance("1.1.9"), {})])
    found = attention.damaged_objects(archive, 2)
    assert [(one.sop_instance_uid, one.fault, one.checked) for one in found] == [
        ("1.1.0", "fault 0", WHEN),
        ("1.1.1", "fault 1", WHEN),
    ]
    assert len(attention.damaged_objects(archive, None)) == 3


def test_refused_objects_say_what_is_not_done_with_them(archive: Archive) -> None:
    refusal = Refusal("decode", "it ended a process", "openjpeg 2.5")
    archive.record_rows([(with_refusal(instance("1.1.1"), refusal), {})])
    (one,) = attention.refused_objects(archive, 9)
    assert (one.refused, one.reason, one.library) == ("decode", "it ended a process", "openjpeg 2.5")


def test_commitments_that_wait_come_in_their_order(archive: Archive) -> None:
    for number in range(3):
        asked = Commitment(f"1.{number}", "CT1", (Reference("1", "2"),) * number, WHEN, WHEN)
        archive.commitments.add(asked)
    found = outstanding_commitments(archive.commitments, 2)
    assert [(one.transaction_uid, one.instances, one.next_attempt) for one in found] == [
        ("1.0", 0, WHEN),
        ("1.1", 1, WHEN),
    ]


def test_no_more_conflicts_than_were_asked_for(archive: Archive) -> None:
    for number in range(3):
        for patient in ("A", "B"):
            one = instance(f"{number}.{patient}".replace("A", "1").replace("B", "2"), study=str(number))
            archive.record_rows([(one, {"PatientID": patient, "PatientName": patient})])
    assert len(attention.conflicts(archive, 2)) == 2
    assert len(attention.conflicts(archive, None)) == 3


def test_files_that_are_gone_are_told_of_unreadable_objects(archive: Archive) -> None:
    archive.record_rows([(instance("1.1.1", readable=False), {})])
    (one,) = attention.unreadable_objects(archive, 5)
    assert one.fault
