"""What is due by the stages of a policy, and who works on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Select
from test_index_contract import DOE, ROE, instance
from test_index_sql import plan

from scp.index import stages
from scp.index.queue import Lease
from scp.index.sql import SqlIndex
from scp.model import Instance

pytestmark = pytest.mark.quick

NOW = 1_000_000


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    yield index
    index.close()


def lease(holder: str, since: float = 0, until: float = 60) -> Lease:
    """In seconds after NOW."""
    return Lease(holder, *(datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (since, until)))


def due(index: SqlIndex, now: float = NOW, policy: str = "p") -> list[str]:
    return [one.sop_instance_uid for one in index.stages.due(policy, now, 10)]


def held(index: SqlIndex, *uids: str) -> list[Instance]:
    """What is held of these; of one that is not, an instance that was."""
    return [index.newest(uid) or instance(uid) for uid in uids]


def fill(index: SqlIndex, *dues: int, policy: str = "p") -> None:
    for number, when in enumerate(dues):
        index.record(instance(f"1.1.{number}", planned=policy, due=when), DOE)


def test_what_is_due_comes_in_the_order_of_time(index) -> None:
    fill(index, NOW, NOW - 5, NOW + 1, NOW - 9)
    assert due(index) == ["1.1.3", "1.1.1", "1.1.0"]
    assert due(index, policy="other") == []
    assert due(index, NOW + 1) == ["1.1.3", "1.1.1", "1.1.0", "1.1.2"]
    assert index.stages.next_due("p", NOW) == NOW - 9
    assert index.stages.next_due("other", NOW) is None


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_clock_of_the_index_that_differs_counts_once(index, monkeypatch, ahead: int) -> None:
    """Who asks gives the earlier of two times; only claims end by the index's own."""
    monkeypatch.setattr(stages, "ahead", lambda _: ahead)
    fill(index, NOW - 5, NOW + 5)
    assert due(index) == ["1.1.0"]
    assert index.stages.next_due("p", NOW) == NOW - 5
    index.claims.claim(lease("a", max(0, ahead), max(0, ahead) + 60), held(index, "1.1.0"))
    assert due(index) == []
    assert due(index, NOW + 61) == ["1.1.0", "1.1.1"]


def test_what_is_pending_is_nobody_elses(index) -> None:
    index.record(instance("1.1.1", planned="p", due=1, pending=True), DOE)
    assert due(index) == []
    assert index.stages.unplanned("q", [], 10) == []
    assert list(index.stages.policy_rows([])) == []


def test_what_is_claimed_is_left_to_its_owner_until_the_claim_ends(index) -> None:
    fill(index, 1, 2, 3)
    claimed = index.claims.claim(lease("a"), held(index, "1.1.0", "1.1.1"))
    assert sorted(one.sop_instance_uid for one in claimed) == ["1.1.0", "1.1.1"]
    assert due(index) == ["1.1.2"]
    assert index.stages.next_due("p", NOW) == 3  # or its owner would be looked for without a pause
    got = index.claims.claim(lease("b"), held(index, "1.1.0", "1.1.2"))
    assert [one.sop_instance_uid for one in got] == ["1.1.2"]
    index.claims.renew(lease("a", until=120))
    assert due(index, NOW + 60) == ["1.1.2"]
    assert due(index, NOW + 120) == ["1.1.0", "1.1.1", "1.1.2"]
    assert len(index.claims.claim(lease("b", 120, 180), held(index, "1.1.0"))) == 1


def test_the_next_claim_gives_up_the_one_before(index) -> None:
    fill(index, 1, 2)
    index.claims.claim(lease("a"), held(index, "1.1.0"))
    index.claims.claim(lease("a"), held(index, "1.1.1"))
    assert due(index) == ["1.1.0"]
    index.claims.release("a")
    assert due(index) == ["1.1.0", "1.1.1"]


def test_what_failed_is_nobodys_for_a_while(index) -> None:
    fill(index, 1, 2)
    index.claims.claim(lease("a"), held(index, "1.1.0", "1.1.1"))
    index.claims.hold(["1.1.0"], lease("", 600).now)
    index.claims.release("a")
    assert due(index) == ["1.1.1"]
    assert index.claims.claim(lease("a"), held(index, "1.1.0")) == []
    assert due(index, NOW + 600) == ["1.1.0", "1.1.1"]


def test_a_claim_tells_how_the_instance_is_now(index) -> None:
    """Another may have finished it since it was found due."""
    fill(index, 1)
    (found,) = index.stages.due("p", NOW, 10)
    index.change_many([(found, instance("1.1.0", planned="p", due=NOW * 2, form="jpegxl", key="new"))])
    (claimed,) = index.claims.claim(lease("a"), held(index, "1.1.0"))
    assert (claimed.form, claimed.due) == ("jpegxl", NOW * 2)


def test_what_another_policy_planned_is_planned_again(index) -> None:
    fill(index, 1, 2, policy="k")
    index.record(instance("2.1.1", "2", "2.1", planned="z", due=5), ROE)
    found = index.stages.unplanned("p", ["Modality", "PatientID", "SOPClassUID"], 10)
    assert [one.attributes["Modality"] for one in found] == ["CT", "CT", "MR"]
    assert found[2].attributes["PatientID"] == "R1"
    assert found[2].attributes["SOPClassUID"] == found[2].instance.sop_class_uid
    assert len(index.stages.unplanned("p", [], 2)) == 2
    index.record(instance("1.1.1", planned="k", due=2, key="moved"), DOE)
    index.stages.plan("p", [(one.instance, 7) for one in found])
    assert due(index) == ["1.1.0", "2.1.1"]
    assert [one.instance.key for one in index.stages.unplanned("p", [], 10)] == ["moved"]


def test_standings_are_all_that_is_settled(index) -> None:
    fill(index, *range(5))
    found = list(index.stages.policy_rows(["StudyDate"], batch=2))
    assert [one.instance.sop_instance_uid for one in found] == [f"1.1.{n}" for n in range(5)]
    assert {one.attributes["StudyDate"] for one in found} == {"20240131"}
    (one,) = index.stages.policy_rows_of(["Modality"], held(index, "1.1.3", "9.9"))
    assert (one.instance.sop_instance_uid, one.attributes) == ("1.1.3", {"Modality": "CT"})


def test_a_retrieve_is_written_down_and_planned_anew(index) -> None:
    fill(index, NOW + 5, NOW + 5)
    index.stages.record_access(held(index, "1.1.1", "9.9"), NOW, 60)
    assert [(one.sop_instance_uid, one.accessed, one.planned) for one in index.all()] == [
        ("1.1.0", 0, "p"),
        ("1.1.1", NOW, ""),
    ]
    (found,) = index.stages.unplanned("p", [], 10)
    index.stages.plan("p", [(found.instance, NOW + 9)])
    index.stages.record_access(held(index, "1.1.1"), NOW + 60, 60)  # so little later it is not worth writing
    assert index.stages.unplanned("p", [], 10) == []
    index.stages.record_access(held(index, "1.1.1"), NOW + 61, 60)
    assert [one.instance.accessed for one in index.stages.unplanned("p", [], 10)] == [NOW + 61]


def test_what_is_retrieved_or_refused_while_it_is_planned_is_planned_once_more(index) -> None:
    fill(index, NOW, NOW, NOW, policy="k")
    found = [one.instance for one in index.stages.unplanned("p", [], 10)]
    index.stages.record_access(held(index, "1.1.1"), NOW, 60)
    index.checks.refuse("1.1.2", found[2].key, "not any more")
    index.stages.plan("p", [(one, NOW) for one in found])
    assert due(index) == ["1.1.0"]
    again = [one.instance for one in index.stages.unplanned("p", [], 10)]
    assert [(one.sop_instance_uid, one.accessed, one.refused) for one in again] == [
        ("1.1.1", NOW, ""),
        ("1.1.2", 0, "not any more"),
    ]
    index.stages.plan("p", [(one, NOW + 9) for one in again])
    assert index.stages.unplanned("p", [], 10) == []


def test_nothing_is_due_for_what_is_refused(index) -> None:
    index.record(instance("1.1.1", planned="p", due=1, refused="not any more"), DOE)
    assert due(index) == []
    assert index.stages.next_due("p", NOW) is None


def test_a_retrieve_while_it_is_encoded_is_not_lost(index) -> None:
    """The new form takes the place, and when a stage is next due is asked again."""
    fill(index, NOW, NOW)
    before = list(index.all())
    index.stages.record_access(held(index, "1.1.1"), NOW, 60)
    after = [replace(one, key=f"{one.key}.new", planned="p", due=NOW + 100) for one in before]
    assert index.change_many(zip(before, after, strict=True)) == [True, True]
    assert [(one.key, one.accessed, one.planned) for one in index.all()] == [
        (after[0].key, 0, "p"),
        (after[1].key, NOW, ""),
    ]


@pytest.mark.parametrize(
    ("statement", "used"),
    [
        (stages.due("p", NOW, NOW, 16), "ix_instance_due (planned=? AND due<?)"),
        (stages.next_due("p", NOW), "ix_instance_due (planned=?)"),
        (stages.unplanned("p", ["Modality"], 500)[0], "ix_instance_due (planned<?)"),
        (stages.unplanned("p", ["Modality"], 500)[1], "ix_instance_due (planned>?)"),
        (stages.policy_rows(["Modality"], 100, 1000), "instance USING INTEGER PRIMARY KEY (rowid>?)"),
    ],
)
def test_each_question_is_answered_from_an_index(index, statement: Select, used: str) -> None:
    planned = plan(index, statement)
    assert used in planned
    assert "SCAN instance" not in planned
    assert "ORDER BY" not in planned
