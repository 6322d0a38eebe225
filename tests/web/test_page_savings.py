"""Savings, traffic and retention on the page and in the API, of a made history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from desks import MadePage, http_settings, users

from scp.archive.archive import Archive
from scp.config.rules import RetentionRule
from scp.index.history import KeptRow, RetentionRow, TrafficRow
from scp.index.sql import SqlIndex
from scp.objects.local import LocalStore
from scp.web.page.views.windows import WINDOWS
from scp.web.plans import PlanGroup, PlanLook, PlanMeasured, PlanReport

pytestmark = pytest.mark.quick

MB = 1_000_000
NOW = datetime.now(UTC)
HOUR = NOW.replace(minute=0, second=0, microsecond=0)
SCRIPT = "<b>CT1</b>"
NODES = ("0123456789ab", "ba9876543210")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(LocalStore(tmp_path / "data"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), ())
    yield made
    made.close()


@pytest.fixture
def page(tmp_path: Path, archive: Archive) -> MadePage:
    """Two nodes have received 4 MB and 1 MB from a CT in this hour, and one has sent 2 MB."""
    for node, amount in zip(NODES, (4, 1), strict=True):
        came = TrafficRow(HOUR, "c-store", SCRIPT, "CT", amount, 0, amount, amount * MB, amount * MB, MB)
        archive.history.put_traffic(node, 1, [came])
    went = TrafficRow(HOUR, "c-move", "VIEWER", "CT", 0, 0, 2, 2 * MB, 4 * MB, MB)
    asked = TrafficRow(HOUR, "c-find", "VIEWER", "", 7, 3)
    archive.history.put_traffic(NODES[1], 2, [went, asked])
    kept = [
        KeptRow(None, "CT", "htj2k", "", SCRIPT, 5, 8 * MB, 2 * MB),
        KeptRow(None, "MR", "zstd", "deep", "", 1, 1 * MB, 1 * MB),
    ]
    archive.history.put_kept(HOUR, kept)
    return MadePage(http_settings(user=users(victor="viewer")), tmp_path, archive)


def asked(page: MadePage, path: str) -> Any:
    answer = page.entered("victor").get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_savings_are_told_by_all_that_tells_them_apart(page: MadePage) -> None:
    found = asked(page, "/api/savings?by=hour")
    assert datetime.fromisoformat(found["looked_at"]) == HOUR
    assert [(one["received_size"], one["stored_size"]) for one in found["kept"]] == [(9 * MB, 3 * MB)]
    told = {
        key: {one[name]: one["stored_size"] for one in found[key]}
        for key, name in (
            ("by_modality", "modality"),
            ("by_calling_aet", "calling_aet"),
            ("by_form", "form"),
            ("by_store", "store"),
        )
    }
    assert told == {
        "by_modality": {"CT": 2 * MB, "MR": MB},
        "by_calling_aet": {SCRIPT: 2 * MB, "": MB},
        "by_form": {"htj2k": 2 * MB, "zstd": MB},
        "by_store": {"": 2 * MB, "deep": MB},
    }
    text = page.entered("victor").get("/savings").text
    assert "33.3 % of what was received" in text
    assert "&lt;b&gt;CT1&lt;/b&gt;" in text
    assert SCRIPT not in text


def test_traffic_of_two_nodes_adds_up(page: MadePage) -> None:
    found = asked(page, "/api/traffic?by=day")
    (came,), (went,), (every,) = (found["over_time"][key] for key in ("inbound", "outbound", "requests"))
    assert (came["instances"], came["wire_size"], went["wire_size"]) == (5, 5 * MB, 2 * MB)
    assert (every["requests"], every["failures"]) == (12, 3)
    assert datetime.fromisoformat(came["start"]) == HOUR.replace(hour=0)
    peers = {one["peer"]: one["wire_size"] for one in found["by_peer"]["inbound"]}
    assert peers == {SCRIPT: 5 * MB}
    assert {one["service"] for one in found["by_service"]["requests"]} == {"c-store", "c-move", "c-find"}
    text = page.entered("victor").get("/traffic").text
    assert "5.0 MB" in text
    assert SCRIPT not in text


def test_what_stats_prints_is_the_same(page: MadePage, archive: Archive) -> None:
    """The command prints this report: ``cli/history_output.py``."""
    found = asked(page, "/api/history?by=month&days=1")
    report = archive.history.report("month", NOW - timedelta(days=1), NOW, {})
    assert list(found) == list(report.__slots__)
    assert [one["wire_size"] for one in found["inbound"]] == [one.wire_size for one in report.inbound]
    assert datetime.fromisoformat(found["kept"][0]["start"]) == HOUR.replace(hour=0, day=1)
    assert page.entered("victor").get("/api/history?by=patient").status_code == 422
    assert page.entered("victor").get("/savings?by=year").status_code == 422


def test_a_month_is_that_of_its_last_look(archive: Archive) -> None:
    for day, size in ((1, 10), (17, 30), (31, 20)):
        start = datetime(2026, 10, day, 5, tzinfo=UTC)
        archive.history.put_kept(start, [KeptRow(None, "CT", "zstd", "", "", 1, size, size)])
    archive.history.put_kept(
        datetime(2026, 11, 2, tzinfo=UTC), [KeptRow(None, "CT", "zstd", "", "", 1, 7, 7)]
    )
    found = archive.history.kept("month", datetime(2026, 10, 1, tzinfo=UTC))
    assert [(one.start, one.stored_size) for one in found] == [
        (datetime(2026, 10, 1, tzinfo=UTC), 20),
        (datetime(2026, 11, 1, tzinfo=UTC), 7),
    ]


@pytest.mark.parametrize(
    ("by", "first", "count"),
    [
        ("hour", datetime(2026, 2, 26, 3, tzinfo=UTC), 72),
        ("day", datetime(2025, 11, 30, tzinfo=UTC), 92),
        ("month", datetime(2025, 4, 1, tzinfo=UTC), 12),
    ],
)
def test_a_window_begins_with_a_whole_step(by: Any, first: datetime, count: int) -> None:
    now = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    window = WINDOWS[by]
    assert window.since(now) == first
    starts = list(window.starts(first, now))
    assert len(starts) == len(set(starts)) == count
    assert starts[-1] <= now


def test_a_chart_has_hours_without_traffic_as_zero(page: MadePage, archive: Archive) -> None:
    early = TrafficRow(HOUR - timedelta(hours=5), "c-store", "CT1", "CT", 1, 0, 1, 500, 500, 500)
    archive.history.put_traffic(NODES[0], 3, [early])
    text = page.entered("victor").get("/traffic?by=hour").text
    figure = text[text.index("<figure") : text.index("</figure>")]
    values = [part.split('"')[0] for part in figure.split('class="number" data-value="')[1:]]
    assert values[:12] == ["500", "0"] + ["0"] * 8 + [str(5 * MB), str(2 * MB)]
    assert set(values[12:]) <= {"0"}, "hours that have begun since HOUR was made"
    assert 'data-by="hour"' in figure
    assert f"{HOUR:%Y-%m-%d %H:00}" in figure


def test_of_many_peers_the_largest_are_told_and_the_others_together(page: MadePage, archive: Archive) -> None:
    rows = [TrafficRow(HOUR, "c-store", f"P{n}", "CT", 1, 0, 1, 100 + n, 1, 1) for n in range(200)]
    archive.history.put_traffic(NODES[0], 9, rows)
    peers = asked(page, "/api/traffic?by=hour")["by_peer"]["inbound"]
    assert len(peers) == 50 - 1 + 1  # the viewer's is one of the largest, too, and sends nothing
    assert sum(one["instances"] for one in peers) == 205
    assert "other" in {one["peer"] for one in peers}


def test_retention_tells_how_long_and_when(page: MadePage, archive: Archive) -> None:
    rules = (
        RetentionRule.model_validate({"name": "ct", "match": {"Modality": ["CT"]}, "after": "365d"}),
        RetentionRule.model_validate({"name": "old", "after": "10d", "delete": "when full"}),
    )
    page.settings = page.settings.model_copy(update={"retention": rules})
    assert asked(page, "/api/retention")["looked_at"] is None
    assert "was not looked at yet" in page.entered("victor").get("/traffic").text
    soon = datetime(2027, 1, 1, tzinfo=UTC)
    rows = [RetentionRow("ct", soon, 3, 30), RetentionRow("ct", soon + timedelta(days=1), 1, 5)]
    archive.history.put_retention(NOW, [*rows, RetentionRow("", None, 2, 7)])
    found = asked(page, "/api/retention")
    assert [(one["name"], one["after"], one["after_seconds"], one["delete"]) for one in found["rules"]] == [
        ("ct", "365 d", 365 * 86_400, "always"),
        ("old", "10 d", 10 * 86_400, "when full"),
        ("", "for ever", None, "never"),
    ]
    assert [(one["instances"], one["stored_size"]) for one in found["rules"]] == [(4, 35), (0, 0), (2, 7)]
    assert datetime.fromisoformat(found["rules"][0]["first"]) == soon
    assert found["schedule_total"] == 3
    text = page.entered("victor").get("/traffic").text
    assert "2027-01-02" in text
    assert "Modality CT" in text


def test_what_came_under_a_rule_that_is_gone_since_the_last_look_is_told(
    page: MadePage, archive: Archive
) -> None:
    rule = RetentionRule.model_validate({"name": "new name", "after": "365d"})
    page.settings = page.settings.model_copy(update={"retention": (rule,)})
    soon = datetime(2027, 1, 1, tzinfo=UTC)
    archive.history.put_retention(NOW, [RetentionRow("old name", soon, 3, 30), RetentionRow("", None, 2, 7)])
    found = asked(page, "/api/retention")["rules"]
    assert [(one["number"], one["name"], one["instances"]) for one in found] == [
        (1, "new name", 0),
        (0, "old name", 3),
        (0, "", 2),
    ]
    assert "renamed or removed since" in page.entered("victor").get("/traffic").text


def planned(page: MadePage, look: PlanLook) -> None:
    page.app._app.state.desk = replace(page.desk, plan=lambda: look)  # type: ignore[attr-defined]


def test_the_plan_is_told_with_when_it_was_looked_up(page: MadePage) -> None:
    measured = PlanMeasured(8, 8 * MB, 4 * MB, 2 * MB, 1.5)
    group = PlanGroup("rule", "CT", "zstd", "jpegxl", 40, 40 * MB, 20 * MB, 7.5, 10 * MB, {}, measured)
    nothing = PlanGroup("rule", "", "zstd", "jpegxl", 2, MB, MB, None, None, {}, measured)
    look = PlanLook(PlanReport(NOW, 45, 42, 30.0, (group, nothing)), took_seconds=3.0)
    planned(page, look)
    found = asked(page, "/api/plan")["plan"]
    assert list(found) == ["at", "looked_at", "objects", "seconds", "groups"]
    assert found["groups"][0]["saved"] == 10 * MB
    text = page.entered("victor").get("/savings").text
    assert "10.0 MB" in text
    assert "not known" in text
    assert "hx-get" not in text


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (PlanLook(running=True), "It is being looked up"),
        (PlanLook(fault="<the index is locked>"), "It could not be looked up: &lt;the index is locked&gt;"),
        (PlanLook(), "It was not looked up yet"),
    ],
)
def test_a_plan_that_is_not_there_says_why(page: MadePage, look: PlanLook, told: str) -> None:
    planned(page, look)
    for path in ("/savings", "/savings/plan"):
        text = page.entered("victor").get(path).text
        assert told in text
        assert ('hx-get="/savings/plan"' in text) == look.running


def test_without_the_index_both_views_say_so(page: MadePage) -> None:
    page.archive = None
    for path in ("/savings", "/traffic", "/api/savings", "/api/traffic", "/api/history", "/api/retention"):
        answer = page.entered("victor").get(path)
        assert answer.status_code == 503
        assert "the index cannot be used: it is away" in answer.text
