"""What is due, and when: pure functions of rule, instance and clock."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from objects import SECONDARY_CAPTURE, WHEN

from scp.config.rules import PolicyRule, Stage
from scp.errors import ObjectMissing, ObjectRefused, ObjectUnavailable, OutOfResources
from scp.index.index import PolicyRow
from scp.index.packing import DICTIONARY_UNKNOWN
from scp.lifecycle.pace import Pace
from scp.lifecycle.planning import Planner
from scp.model import Facts, Instance
from scp.policy.stages import NEVER, Step, asks_for_access, fingerprint, fingerprint_of, step

pytestmark = pytest.mark.quick

DAY = 86_400
RECEIVED = int(WHEN.timestamp())


def rule(*stages: dict[str, Any], name: str = "rule", **match: str) -> PolicyRule:
    table = {"name": name, "stages": list(stages), "match": match}
    return PolicyRule.model_validate(table, by_alias=True, by_name=False)


def held(**others: Any) -> Instance:
    empty = "study_instance_uid series_instance_uid key form transfer_syntax stored_sha256 received_sha256"
    fields: dict[str, Any] = dict.fromkeys(empty.split(), "")
    fields |= {"sop_class_uid": SECONDARY_CAPTURE, "sop_instance_uid": "1.2.3", "received_at": WHEN}
    fields |= {"received_transfer_syntax": "1.2.840.10008.1.2.1", "stored_size": 40, "received_size": 100}
    return Instance(**{**fields, "calling_aet": "CT1", "rule": "rule", **others})


AGED = rule({"form": "htj2k"}, {"after": "30d", "form": "jpegxl"}, {"after": "60d", "form": "jpeg2000"})
FAST, SMALL, SMALLER = AGED.stages


@pytest.mark.parametrize(
    ("done", "days", "expected"),
    [
        (FAST, 0, Step(None, RECEIVED + 30 * DAY)),
        (FAST, 29.9, Step(None, RECEIVED + 30 * DAY)),
        (FAST, 30.1, Step(SMALL, RECEIVED + 30 * DAY)),
        (FAST, 90, Step(SMALLER, RECEIVED + 60 * DAY)),  # of two the last: no work is done in vain
        (SMALL, 40, Step(None, RECEIVED + 60 * DAY)),
        (SMALL, 61, Step(SMALLER, RECEIVED + 60 * DAY)),
        (SMALLER, 90, Step(None, NEVER)),
        (SMALLER, 1, Step(None, NEVER)),  # done before its time, it is not undone
        (Stage(forms=("rle",)), 1, Step(FAST, RECEIVED)),  # kept by another policy
        (Stage(forms=("rle",)), 40, Step(SMALL, RECEIVED + 30 * DAY)),
        (FAST, inf, Step(SMALLER, RECEIVED + 60 * DAY)),
    ],
)
def test_the_last_stage_whose_time_has_come(done: Stage, days: float, expected: Step) -> None:
    assert step(AGED, held(stage=fingerprint(done)), RECEIVED + days * DAY) == expected


def test_a_clock_that_is_behind_asks_for_what_applies_at_once() -> None:
    assert step(AGED, held(stage="other"), RECEIVED - DAY) == Step(FAST, RECEIVED)


def test_nothing_is_brought_back_to_where_it_would_wait() -> None:
    waits = rule({"form": "received"}, {"after": "30d", "form": "jpegxl"})
    assert step(waits, held(stage="other"), RECEIVED) == Step(None, RECEIVED + 30 * DAY)
    for_good = rule({"form": "received"})
    assert step(for_good, held(stage="other"), RECEIVED) == Step(for_good.stages[0], RECEIVED)


DENSE = rule({"form": "htj2k", "dictionary": True}, {"after": "30d", "form": "jpegxl", "dictionary": True})
KEPT = fingerprint(DENSE.stages[0])


@pytest.mark.parametrize(
    ("one", "newest", "packs"),
    [
        ({"dictionary": 0}, 7, True),
        ({"dictionary": 5}, 7, True),  # an older one
        ({"dictionary": DICTIONARY_UNKNOWN}, 7, True),
        ({"dictionary": 7}, 7, False),
        ({"dictionary": 5, "dictionary_tried": 7}, 7, False),  # not again
        ({"dictionary": 5, "dictionary_tried": 7}, 8, True),
        ({"dictionary": 0}, 0, False),  # there is none
        ({"dictionary": 0, "stored_size": 5 << 20}, 7, False),  # too large for any
        ({"dictionary": 0, "refused": "decode"}, 7, False),
    ],
)
def test_what_was_kept_without_the_newest_dictionary_is_packed_anew(
    one: dict[str, Any], newest: int, packs: bool
) -> None:
    found = step(DENSE, held(stage=KEPT, **one), RECEIVED + DAY, lambda _: newest)
    assert (found.packs, found.stage) == (packs, DENSE.stages[0] if packs else None)
    assert found.due == RECEIVED if packs else found.due > RECEIVED


def test_a_stage_that_is_due_goes_before_packing_anew() -> None:
    one = held(stage=KEPT)
    assert step(DENSE, one, RECEIVED + 31 * DAY, lambda _: 7) == Step(DENSE.stages[1], RECEIVED + 30 * DAY)
    assert step(None, one, RECEIVED, lambda _: 7) == Step(None, NEVER)
    bare = rule({"form": "htj2k", "dictionary": True, "wrap": "none"})
    assert not step(bare, held(stage=fingerprint(bare.stages[0])), RECEIVED, lambda _: 7).packs


def test_a_dictionary_makes_no_other_stage() -> None:
    """A rule that begins to ask for dictionaries, or ends to, has nothing encoded again."""
    without = rule({"form": "htj2k"}, {"after": "30d", "form": "jpegxl"})
    assert step(DENSE, held(stage=fingerprint(without.stages[0])), RECEIVED).stage is None
    found = step(without, held(stage=KEPT, dictionary=7), RECEIVED)
    assert found == Step(without.stages[0], RECEIVED, packs=True)
    assert step(without, held(stage=KEPT, dictionary=DICTIONARY_UNKNOWN), RECEIVED).stage is None
    # Where a rule has both as stages of its own, each has its time.
    both = rule({"form": "htj2k"}, {"after": "30d", "form": "htj2k", "dictionary": True})
    first = held(stage=fingerprint(both.stages[0]))
    assert step(both, first, RECEIVED + DAY, lambda _: 7) == Step(None, RECEIVED + 30 * DAY)
    assert step(both, first, RECEIVED + 31 * DAY, lambda _: 7) == Step(both.stages[1], RECEIVED + 30 * DAY)


def test_without_a_rule_it_stays() -> None:
    assert step(None, held()) == Step(None, NEVER)


def test_what_an_earlier_version_kept_is_settled_where_the_rule_still_applies() -> None:
    behind = rule({"form": "received"}, {"after": "0s", "form": "htj2k"})
    assert step(behind, held(), RECEIVED) == Step(None, NEVER)
    assert step(behind, held(rule="another"), RECEIVED).stage == behind.stages[1]
    assert step(AGED, held(), RECEIVED + 31 * DAY).stage == SMALL


def days(count: float) -> int:
    return RECEIVED + int(count * DAY)


BY_ACCESS = rule({"form": "htj2k"}, {"after": "10d", "after_access": "5d", "form": "jpegxl"})


@pytest.mark.parametrize(
    ("accessed", "due"),
    [(0, days(10)), (days(4), days(10)), (days(9), days(14)), (days(40), days(45))],
)
def test_a_stage_by_access_waits_for_both(accessed: int, due: int) -> None:
    """Since the last retrieve, and since the receive: one that was never retrieved counts from that."""
    fresh = held(stage=fingerprint(BY_ACCESS.stages[0]), accessed=accessed)
    assert step(BY_ACCESS, fresh, due - 1) == Step(None, due)
    assert step(BY_ACCESS, fresh, due) == Step(BY_ACCESS.stages[1], due)
    only = rule({"form": "htj2k"}, {"after_access": "5d", "form": "jpegxl"})
    assert step(only, fresh, RECEIVED).due == max(accessed, RECEIVED) + 5 * DAY
    done = held(stage=fingerprint(BY_ACCESS.stages[1]), accessed=accessed)
    assert step(BY_ACCESS, done, inf) == Step(None, NEVER)  # it is not undone


def test_the_next_one_due_may_be_a_later_one() -> None:
    by_access, by_age = {"after_access": "30d", "form": "jpegxl"}, {"after": "40d", "form": "jpeg2000"}
    late = rule({"form": "htj2k"}, by_access, by_age)
    fresh = held(stage=fingerprint(late.stages[0]), accessed=days(20))
    assert step(late, fresh, days(30)) == Step(None, days(40))
    assert step(late, fresh, days(41)).stage == late.stages[2]


def returning(form: dict[str, Any], *stages: dict[str, Any]) -> PolicyRule:
    later = {"after": "30d", "form": "jpegxl"}
    table = {"name": "rule", "stages": [{"form": "htj2k"}, *(stages or (later,))], "on_access": form}
    return PolicyRule.model_validate(table, by_alias=True, by_name=False)


@pytest.mark.parametrize("form", [{}, {"form": "htj2k"}, {"form": "rle"}])
def test_a_retrieve_brings_back_for_a_while(form: dict[str, Any]) -> None:
    """Once; then it stays for as long as it is retrieved, and goes the same way again."""
    comes_back = returning(form | {"keep_for": "7d"})
    small, back = comes_back.stages[1], comes_back.on_access
    assert back is not None
    old = held(stage=fingerprint(small))
    assert step(comes_back, old, days(40)) == Step(None, NEVER)
    retrieved = replace(old, accessed=days(40))
    assert step(comes_back, retrieved, days(41)) == Step(back, 0)  # before all else that is due
    assert step(comes_back, retrieved, days(47)) == Step(None, NEVER)  # too late: nobody waits for it
    brought = replace(retrieved, stage=fingerprint(back))
    assert step(comes_back, brought, days(46)) == Step(None, days(47))
    assert step(comes_back, replace(brought, accessed=days(45)), days(47)) == Step(None, days(52))
    assert step(comes_back, brought, days(47)) == Step(small, days(47))
    again = replace(brought, stage=fingerprint(small))
    assert step(comes_back, again, days(47)) == Step(None, NEVER)


def test_what_is_in_no_later_stage_has_nowhere_to_come_back_from() -> None:
    comes_back = returning({"form": "rle"})
    fresh = held(stage=fingerprint(comes_back.stages[0]), accessed=days(3))
    assert step(comes_back, fresh, days(3)) == Step(None, days(30))
    assert step(comes_back, fresh, days(31)).stage == comes_back.stages[1]


@pytest.mark.parametrize(
    ("stages", "exactness"),
    [
        ([{"after": "1d", "form": "rle"}], 0),
        ([{"after_access": "30d", "form": "rle"}], 3600),
        ([{"after_access": "1h", "form": "rle"}], 360),
        ([{"after_access": "1s", "form": "rle"}], 1),
    ],
)
def test_how_exactly_retrieves_are_written_down(stages: list[dict[str, Any]], exactness: int) -> None:
    assert asks_for_access([AGED, rule({"form": "htj2k"}, *stages)]) == exactness
    assert asks_for_access([returning({"keep_for": "50s"})]) == 5


def test_fingerprints_tell_results_apart_and_nothing_else() -> None:
    stage = Stage(forms=("jpegxl",), effort=3)
    assert fingerprint(stage) == fingerprint(Stage(forms=("jpegxl",), effort=3, after="60s", wrap=None))
    for other in (
        {"effort": 4},
        {"forms": ("jpegls",)},
        {"keep": "smallest"},
        {"wrap": "none"},
        {"level": 3},
    ):
        assert fingerprint(stage) != fingerprint(stage.model_copy(update=other))
    one, another = rule({"form": "htj2k"}), rule({"form": "htj2k"}, name="another")
    assert fingerprint_of([one]) == fingerprint_of([another])
    assert fingerprint_of([AGED, one]) != fingerprint_of([one, AGED])
    assert fingerprint_of([one]) != fingerprint_of([rule({"form": "htj2k"}, Modality="CT")])


# ---- which rule, from what the index knows ----


def unread(_: Instance) -> Facts:
    raise AssertionError("the index knows enough")


def standing(instance: Instance, **attributes: str) -> PolicyRow:
    return PolicyRow(instance, attributes)


def test_the_index_tells_which_rule_applies() -> None:
    ct, large = (
        rule({"form": "rle"}, name="ct", Modality="CT"),
        rule({"form": "rle"}, name="large", size=">50"),
    )
    named = rule({"form": "rle"}, name="named", calling_aet="MR*", transfer_syntax="Explicit*")
    planner = Planner([ct, large, named])
    assert planner.keywords == ("Modality",)
    small = held(received_size=10)
    assert planner.rule(standing(held(), Modality="CT"), unread) is ct
    assert planner.rule(standing(held(), Modality="MR"), unread) is large
    assert planner.rule(standing(small, Modality="MR"), unread) is None
    assert planner.rule(standing(held(received_size=10, calling_aet="MR7"), Modality="MR"), unread) is named


def test_a_file_is_read_only_for_what_the_index_does_not_hold() -> None:
    contrast = rule({"form": "rle"}, name="contrast", Modality="CT", ContrastBolusAgent="I*")
    planner = Planner([contrast, rule({"form": "rle"}, name="else")])
    assert planner.keywords == ("Modality",)
    assert planner.rule(standing(held(), Modality="MR"), unread).name == "else"
    read: list[Instance] = []

    def facts(one: Instance) -> Facts:
        read.append(one)
        return Facts({"Modality": "CT", "ContrastBolusAgent": one.calling_aet}, "", 0)

    assert planner.rule(standing(held(calling_aet="IOPAMIDOL"), Modality="CT"), facts) is contrast
    assert planner.rule(standing(held(), Modality="CT"), facts).name == "else"
    assert len(read) == 2


@pytest.mark.parametrize(
    "error",
    [
        ObjectUnavailable("the store is away"),
        ObjectMissing("restored tomorrow"),
        OutOfResources("no memory for it"),
        OSError(28, "No space left on device"),
        MemoryError(),
    ],
)
def test_what_cannot_be_looked_into_now_is_planned_for_later(error: Exception) -> None:
    """No room for a moment, or a store that was away, and no stage ever came."""

    def read(_: Instance) -> Facts:
        raise error

    planner = Planner([rule({"form": "rle"}, ContrastBolusAgent="I*")])
    now = time.time()
    assert now < planner.next_due(standing(held()), read) < now + 2 * 3600
    assert planner.step(standing(held()), read, now)[1].stage is None
    assert planner.lacked == (["no memory for it"] * 2 if isinstance(error, OutOfResources) else [])


def test_what_is_refused_is_not_planned() -> None:
    def read(_: Instance) -> Facts:
        raise ObjectRefused("processes died of it")

    planner = Planner([rule({"form": "rle"}, ContrastBolusAgent="I*")])
    assert planner.next_due(standing(held()), read) == NEVER


# ---- pace ----


@pytest.mark.parametrize(
    ("hours", "clock", "seconds"),
    [
        (None, "12:00", 0),
        ((19 * 60, 6 * 60), "19:00", 0),
        ((19 * 60, 6 * 60), "23:59", 0),
        ((19 * 60, 6 * 60), "05:59", 0),
        ((19 * 60, 6 * 60), "06:00", 13 * 3600),
        ((19 * 60, 6 * 60), "18:59", 60),
        ((60, 120), "01:30", 0),
        ((60, 120), "02:00", 23 * 3600),
    ],
)
def test_hours(hours: tuple[int, int] | None, clock: str, seconds: float) -> None:
    now = datetime.strptime(clock, "%H:%M")
    assert Pace(1.0, hours).closed_for(now) == seconds
    assert Pace(1.0, hours).closed_for(now + timedelta(seconds=30)) == max(0, seconds - 30)


def test_rest_makes_up_for_work() -> None:
    assert Pace(0.5).pause(cpu=2, wall=2) == 2
    assert Pace(1.0).pause(cpu=2, wall=2) == 0
    assert Pace(4.0).pause(cpu=2, wall=1) == 0
    assert Pace(1.0, (19 * 60, 7 * 60)).share_of_day == 0.5
