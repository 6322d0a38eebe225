"""What ``zscp stats --by`` and ``--chart`` print and draw of a history that is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from scp.cli.history_output import sparkline
from scp.cli.main import app
from scp.config.settings import Settings
from scp.index.history import KeptRow, TrafficRow
from scp.lifecycle.retention_schedule import DAYS_AHEAD, RetentionSchedule
from scp.node.build import open_archive

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
MB = 10**6


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line of an archive with a history of four days."""
    monkeypatch.chdir(tmp_path)
    archive = open_archive(Settings())
    for number in range(4):
        start = TODAY - number * DAY
        rows = [
            TrafficRow(start, "c-store", "CT1", "CT", 10, 0, 10, 10 * MB, 10 * MB, 11 * MB),
            TrafficRow(start, "c-move", "WS1", "CT", 0, 0, 4, MB, 4 * MB, 2 * MB),
            TrafficRow(start, "c-find", "WS\x1b1", "", 3, 1),
        ]
        archive.history.put_traffic("a", 1, rows)
        held = 10 * (4 - number)
        kept = [KeptRow(None, "CT", "htj2k", "", "CT1", held, held * MB, held * MB // 4)]
        kept.append(KeptRow(None, "$O\x1b$", "htj2k", "", "CT1"))
        archive.history.put_kept(start, kept)
    archive.close()

    def run(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return run


def test_days_with_small_bars(run: Callable[..., Result]) -> None:
    lines = run("stats", "--by", "day", "--days", "2").stdout.splitlines()
    today = next(line for line in lines if f"{TODAY:%Y-%m-%d}" in line)
    cells = [cell.strip() for cell in today.split("│")[1:-1]]
    assert cells == [
        f"{TODAY:%Y-%m-%d}", "13", "1", "10", "10.0 MB", "4", "1.0 MB", "40", "40.0 MB", "10.0 MB", "25.0 %",
    ]  # fmt: skip
    assert "   in ███" in lines
    assert " kept ▅▆█" in lines
    assert lines[-1].startswith("Disk of the first store: ")


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("peer", "│ CT1 │ 40 │  │ 40 │ 40.0 MB │  │  │ 40 │ 40.0 MB │ 10.0 MB │ 25.0 % │"),
        ("modality", "│ CT │ 40 │  │ 40 │ 40.0 MB │ 16 │ 4.0 MB │ 40 │ 40.0 MB │ 10.0 MB │ 25.0 % │"),
        ("service", "│ c-find │ 12 │ 4 │  │  │  │  │"),
        ("form", "│ htj2k │ 40 │ 40.0 MB │ 10.0 MB │ 25.0 % │"),
        ("store", "│ first │ 40 │ 40.0 MB │ 10.0 MB │ 25.0 % │"),
    ],
)
def test_sums_by(run: Callable[..., Result], by: str, told: str) -> None:
    shown = run("stats", "--by", by).stdout
    rows = ["│ " + " │ ".join(c.strip() for c in row.split("│")[1:-1]) + " │" for row in shown.splitlines()]
    assert told in rows
    assert "\x1b" not in shown


def test_json_has_the_names_of_the_facade(run: Callable[..., Result]) -> None:
    found = json.loads(run("stats", "--by", "hour", "--days", "1", "--json").stdout)
    assert list(found) == ["by", "since", "inbound", "outbound", "requests", "kept", "disks"]
    assert found["inbound"][-1] == {
        "start": TODAY.isoformat(),
        "service": "",
        "peer": "",
        "modality": "",
        "requests": 10,
        "failures": 0,
        "instances": 10,
        "wire_size": 10 * MB,
        "received_size": 10 * MB,
        "stored_size": 11 * MB,
    }
    (disk,) = found["disks"]
    assert (disk["store"], disk["days"]) == ("", 2)


def test_the_chart_shows_days_and_modalities(run: Callable[..., Result], tmp_path: Path) -> None:
    run("stats", "--chart", "savings.svg", "--chart", "savings.png")
    texts = [one.text for one in ElementTree.parse("savings.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "Kept: 10.0 MB of 40.0 MB that were received" in texts
    assert "Traffic on the wire: 40.0 MB in, 4.0 MB out" in texts
    assert {"CT", "25 %", "$O\\x1b$"} <= set(texts)
    assert (tmp_path / "savings.png").stat().st_size > 10_000


def test_what_cannot_be_shown_is_told(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "day, hour, month, peer" in run("stats", "--by", "patient", status=2).output
    assert ".svg or .png" in run("stats", "--chart", "savings.gif", status=2).output
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install '.[charts]'" in str(run("stats", "--chart", "savings.svg", status=1).exception)


def test_a_new_archive_says_who_writes_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_archive(Settings()).close()
    shown = CliRunner().invoke(app, ["stats", "--by", "day"]).stdout
    assert "There are no figures yet; a node that runs writes them every minute." in shown


def test_bars() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert len(sparkline(range(1000))) == 60


def test_a_schedule_is_by_day_and_far_ahead_by_month() -> None:
    now = (TODAY + timedelta(hours=5)).timestamp()
    schedule = RetentionSchedule(now)
    schedule.add("old", now - 1e9, 5)
    schedule.add("old", now, 5)
    schedule.add("old", now + 86_400, 7)
    schedule.add("", None, 9)
    schedule.add("old", 1e14, 1)
    for number in range(400):
        schedule.add("far", now + (DAYS_AHEAD + number) * 86_400, 1)
    found = schedule.rows()
    assert [(one.rule, one.start, one.instances, one.stored_size) for one in found[:2]] == [
        ("old", TODAY, 2, 10),
        ("old", TODAY + DAY, 1, 7),
    ]
    far = [one for one in found if one.rule == "far"]
    assert sum(one.instances for one in far) == 400
    assert 13 <= len(far) <= 15
    assert all(one.start is not None and one.start.day == 1 for one in far)
    assert (found[-1].rule, found[-1].start, found[-1].stored_size) == ("", None, 9)
