"""What rules hold, and what other rules would change: by sums, as the same rules find it object by object."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_index_contract import instance

from scp.archive.archive import Archive
from scp.config.load import judge
from scp.config.settings import Settings
from scp.lifecycle.comparison import compare, try_text
from scp.lifecycle.holdings import holdings
from scp.lifecycle.judging import RuleSet, half_width
from scp.lifecycle.planning import Planner
from scp.node.build import open_archive
from scp.policy.reports import Amount
from scp.policy.stages import fingerprint, step
from scp.policy.wording import stage_in_words

CT_RULE = """
[[policy]]
name = "CT"
match = { Modality = "CT" }
stages = [{ form = "received" }, { form = "htj2k", after = "0s" }, { form = "jpegxl", after = "30d" }]
"""
OTHERS = """
[[policy]]
name = "others"
stages = [{ form = "zstd" }]
"""
KEPT = """
[[retention]]
name = "CT goes"
match = { Modality = "CT" }
after = "3650d"
"""


def settings(text: str, folder: Path) -> Settings:
    found = judge(
        f'[storage]\nurl = "file://{folder}/data"\n[index]\nurl = "sqlite:///{folder}/index.db"\n{text}', {}
    )
    assert found.settings is not None, found.faults
    return found.settings


@pytest.fixture
def in_force(tmp_path: Path) -> Settings:
    return settings(CT_RULE + OTHERS + KEPT, tmp_path)


@pytest.fixture
def archive(in_force: Settings) -> Iterator[Archive]:
    """120 CT objects of up to 60 days in HTJ2K, small and large; 40 MR objects in zstd."""
    opened = open_archive(in_force)
    done = fingerprint(in_force.policy[0].stages[1])
    kept = fingerprint(in_force.policy[1].stages[0])
    now = datetime.now(UTC)
    for number in range(120):
        at = now - timedelta(days=number / 2, seconds=30)
        size = 1000 if number % 3 else 5_000_000
        more = {"received_at": at, "received_size": size, "stored_size": size // 4, "stage": done}
        opened.record_rows([(instance(f"1.1.{number}", **more), {"PatientID": "1", "Modality": "CT"})])
    for number in range(40):
        more = {"received_at": now - timedelta(days=number), "form": "zstd", "stage": kept}
        mr = instance(f"2.1.{number}", "2", "2.1", **more)
        opened.record_rows([(mr, {"PatientID": "2", "Modality": "MR"})])
    yield opened
    opened.close()


def test_each_rule_says_what_it_holds_and_what_comes(archive: Archive, in_force: Settings) -> None:
    found = holdings(archive, in_force)
    ct, others = found.rules
    assert (ct.number, ct.name, ct.match, ct.stages) == (
        1,
        "CT",
        "Modality CT",
        ("received on receive", "htj2k at once", "jpegxl after 30 d"),
    )
    assert (ct.amount.objects, others.amount.objects) == (120, 40)
    assert ct.amount.stored_size == 40 * 1_250_000 + 80 * 250
    assert [(one.form, one.amount.objects) for one in ct.forms] == [("htj2k", 120)]
    due, later = ct.next
    assert (due.stage, due.due, due.amount.objects) == ("jpegxl", None, 60)
    assert (later.stage, later.amount.objects) == ("jpegxl after 30 d", 60)
    oldest = datetime.now(UTC) - timedelta(days=59 / 2, seconds=30)
    assert later.due is not None
    assert abs((later.due - oldest - timedelta(days=30)).total_seconds()) < 60
    assert others.next == ()
    goes, ever = found.retention
    assert (goes.name, goes.after, goes.amount.objects, goes.expired) == ("CT goes", "3650 d", 120, Amount())
    assert (ever.number, ever.amount.objects) == (0, 40)
    assert (found.looked_at, found.total) == (160, 160)


def test_of_many_objects_some_are_looked_at_and_stand_for_all(archive: Archive, in_force: Settings) -> None:
    found = holdings(archive, in_force, most=40)
    assert found.looked_at <= 80 < found.total == 160
    assert sum(rule.amount.objects for rule in found.rules) == pytest.approx(160, abs=16)
    assert sum(one.amount.objects for one in found.retention) == pytest.approx(160, abs=16)


def by_object(archive: Archive, rules: Settings) -> Counter[tuple[str, str]]:
    """Rule, and the stage that is due now, of each object in turn."""
    planner, now = Planner(rules.policy), time.time()
    found: Counter[tuple[str, str]] = Counter()
    for standing in archive.stages.policy_rows(planner.keywords):
        rule = planner.rule(standing, archive.facts)
        asked = step(rule, standing.instance, now).stage
        found[rule.name if rule else "", stage_in_words(asked) if asked else ""] += 1
    return found


@pytest.mark.parametrize(
    "edited",
    [
        CT_RULE + OTHERS,
        OTHERS,
        CT_RULE,
        CT_RULE.replace("30d", "7d") + OTHERS,
        CT_RULE.replace('"CT" }', '"CT", size = ">=1MB" }') + OTHERS,
        CT_RULE.replace('after = "30d"', 'after = "1d", after_access = "20d"') + OTHERS,
        CT_RULE + OTHERS.replace('"zstd"', '"htj2k", effort = 3'),
    ],
)
def test_sums_come_to_what_each_object_comes_to(
    archive: Archive, in_force: Settings, edited: str, tmp_path: Path
) -> None:
    after = settings(edited, tmp_path)
    rules = [RuleSet(one.policy, one.retention) for one in (in_force, after)]
    found = compare(archive, *rules)
    before_by, after_by = by_object(archive, in_force), by_object(archive, after)
    assert found.due_after.objects == sum(count for (_, stage), count in after_by.items() if stage)
    assert found.due_before.objects == sum(count for (_, stage), count in before_by.items() if stage)
    changed = sum(one.amount.objects for one in found.differences)
    assert found.unchanged.objects + changed == 160
    moved = Counter[str]()
    for one in found.differences:
        moved[one.after.rule] += one.amount.objects
        moved[one.before.rule] -= one.amount.objects
    for name in {name for name, _ in before_by | after_by}:
        was = sum(count for (rule, _), count in before_by.items() if rule == name)
        will = sum(count for (rule, _), count in after_by.items() if rule == name)
        assert moved[name] == will - was


def test_the_same_rules_change_nothing(archive: Archive, in_force: Settings) -> None:
    rules = RuleSet(in_force.policy, in_force.retention)
    found = compare(archive, rules, rules)
    assert found.differences == ()
    assert found.unchanged.objects == found.total == 160
    assert (found.other_rule, found.other_stage, found.other_retention) == (Amount(), Amount(), Amount())


def test_an_estimate_says_how_far_it_may_be_off(archive: Archive, in_force: Settings, tmp_path: Path) -> None:
    after = settings(CT_RULE.replace("30d", "7d") + OTHERS + KEPT, tmp_path)
    rules = [RuleSet(one.policy, one.retention) for one in (in_force, after)]
    exact, estimate = compare(archive, *rules), compare(archive, *rules, most=50)
    assert estimate.looked_at < 160 == exact.looked_at == estimate.total
    assert {one.off_by for one in exact.differences} == {0}
    changed = exact.total - exact.unchanged.objects
    guessed = estimate.total - estimate.unchanged.objects
    assert abs(guessed - changed) <= 2 * half_width(guessed * 50 // 160, 50, 160)
    assert all(one.off_by > 0 for one in estimate.differences)


def test_what_the_index_does_not_know_is_uncertain(
    archive: Archive, in_force: Settings, tmp_path: Path
) -> None:
    edited = CT_RULE.replace('Modality = "CT"', 'KVP = "<90"') + OTHERS
    after = settings(edited, tmp_path)
    found = compare(archive, *(RuleSet(one.policy) for one in (in_force, after)))
    assert found.uncertain == 160


def test_a_text_is_tried_or_its_faults_are_told(archive: Archive, in_force: Settings) -> None:
    bad = try_text(archive, in_force, CT_RULE + OTHERS.replace("zstd", "zst"), {})
    assert not bad.usable
    assert [(one.line, one.key) for one in bad.faults] == [(9, "policy[1].stages[0].form")]
    assert bad.comparison is None
    good = try_text(archive, in_force, CT_RULE + OTHERS, {})
    assert good.usable
    assert "retention[CT goes]" in good.changed
    assert good.comparison is not None
    assert good.comparison.other_retention.objects == 120
