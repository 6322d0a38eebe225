"""What processes count hour by hour, who writes it into the index, and when a disk is full by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from several_nodes import OneNode, die, nodes

from scp.archive.history import ArchiveHistory, disk_forecast
from scp.index.history import MOST_TRAFFIC_ROWS, OTHER, KeptRow, TrafficRow, bounded_traffic
from scp.index.sql import SqlIndex
from scp.lifecycle.history import HistoryKeeper, TrafficWriter
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.metrics.figures import Figures
from scp.metrics.traffic import HOUR, Amounts, TrafficLabel, TrafficTable, total

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STORED = Amounts(1, 0, 1, 100, 100, 40)


class Clock:
    def __init__(self) -> None:
        self.now = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> TrafficTable:
    return TrafficTable(clock)


def label(peer: str, modality: str = "CT") -> TrafficLabel:
    return TrafficLabel("c-store", peer, modality)


class TestTable:
    def test_amounts_add_up_within_the_hour(self, table: TrafficTable, clock: Clock) -> None:
        for _ in range(3):
            table.count(label("CT1"), STORED)
        noon = int(clock.now)
        clock.now += HOUR
        table.count(label("CT1"), STORED)
        assert table.read() == {
            noon: {label("CT1"): Amounts(3, 0, 3, 300, 300, 120)},
            noon + HOUR: {label("CT1"): STORED},
        }
        clock.now += HOUR
        table.count(label("MR1"), STORED)
        assert list(table.read()) == [noon + 2 * HOUR, noon + HOUR]

    def test_a_successor_goes_on_with_what_a_dead_process_counted(self, table: TrafficTable) -> None:
        for peer in ("CT1", "CT2"):
            child = os.fork()
            if not child:
                table.take_up()
                table.count(label(peer), STORED)
                table.count(label("MR1"), STORED)
                os._exit(0)
            os.waitpid(child, 0)
        (found,) = table.read().values()
        assert found == {
            label("CT1"): STORED,
            label("CT2"): STORED,
            label("MR1"): Amounts(2, 0, 2, 200, 200, 80),
        }

    def test_invented_titles_and_modalities_are_bounded(self, table: TrafficTable) -> None:
        known = {f"KNOWN{number}" for number in range(100)}
        for number in range(5000):
            table.count(label(f"A{number}", f"M{number % 100}"), STORED, known)
        for aet in known:
            table.count(label(aet), STORED, known)
        (found,) = table.read().values()
        peers = {one.peer for one in found}
        assert len(found) <= 1000
        assert known < peers
        assert len(peers - known) == 51
        assert OTHER in peers
        assert total([found, {}])[label(OTHER, OTHER)].requests > 2000
        assert sum(one.requests for one in found.values()) == 5100

    def test_odd_labels_are_one_line_each(self, table: TrafficTable) -> None:
        for peer in ("a\nb", "a\x1fb", "a\0b", "ä" * 30, "", "x" * 64):
            table.count(label(peer, "\n"), STORED)
        (found,) = table.read().values()
        assert {one.peer for one in found} == {"a?b", "?" * 16, "", "x" * 16}
        assert found[label("a?b", "?")].requests == 3


def test_what_a_request_counts(figures: Figures) -> None:
    def ended(service: str = "c-store", status: str = "success", **known: Any) -> None:
        counting.request(service, status, 0.1, {"calling_aet": "CT1", **known})

    sizes = {"bytes_received": 100, "bytes_kept": 40, "modality": "CT"}
    ended(outcome="kept", **sizes)
    ended(outcome="duplicate", **sizes)
    ended(status="failure", outcome="OutOfResources", bytes_received=100)
    ended("c-move", destination="WS1")
    (found,) = figures.traffic.read().values()
    assert found == {
        label("CT1"): Amounts(2, 0, 2, 200, 100, 40),
        label("CT1", ""): Amounts(1, 1),
        TrafficLabel("c-move", "CT1", ""): Amounts(1),
    }


def test_rows_beyond_the_bound_are_the_smallest() -> None:
    strangers = [TrafficRow(NOON, "c-find", f"A{n}", "", 1 + n) for n in range(1000)]
    known = TrafficRow(NOON, "c-echo", "CT1", "", 1)
    found = bounded_traffic([*strangers, known], {"CT1"})
    assert len(found) <= MOST_TRAFFIC_ROWS
    assert known in found
    assert strangers[-1] in found
    assert strangers[0] not in found
    assert sum(one.requests for one in found) == 1 + sum(range(1001))


class Counting:
    """A node whose processes have counted, and the task that writes it."""

    def __init__(self, node: OneNode, clock: Clock) -> None:
        figures = NodeFigures()
        for name in ("worker 1", "worker 2"):
            figures.reserve(name)
        self.tables = [one.traffic for one in figures.processes().values()]
        for one in self.tables:
            one._clock = clock
        writer = TrafficWriter(node.archive, figures.all, int(figures.began * 1000), set)
        self.keeper = HistoryKeeper(node.archive, writer, clock)
        self.history = node.archive.history


@pytest.fixture
def both(tmp_path: Path, clock: Clock) -> Iterator[tuple[list[OneNode], list[Counting]]]:
    with nodes(tmp_path, "a", "b") as made:
        yield made, [Counting(one, clock) for one in made]


def test_two_nodes_add_up_and_one_of_them_looks(
    both: tuple[list[OneNode], list[Counting]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, counting_nodes = both
    looked = list[ArchiveHistory]()
    look = ArchiveHistory.look
    monkeypatch.setattr(ArchiveHistory, "look", lambda self: looked.append(self) or look(self))  # type: ignore[func-returns-value]
    for node in counting_nodes:
        for number, one in enumerate(node.tables):
            one.count(label(f"CT{number}"), STORED)
        node.keeper.turn()
        node.keeper.turn()
    by = ("service", "peer", "modality")
    found = counting_nodes[0].history.inbound("hour", by, LONG_AGO)
    assert [(one.peer, one.requests, one.wire_size) for one in found] == [("CT0", 2, 200), ("CT1", 2, 200)]
    first = min(range(2), key=lambda at: made[at].id)
    assert set(looked) == {made[first].archive.history}

    die(made[first], made[1 - first])
    counting_nodes[1 - first].keeper.turn()
    assert looked[-1] is made[1 - first].archive.history


def test_hours_become_days_as_time_passes(both: tuple[list[OneNode], list[Counting]], clock: Clock) -> None:
    node = both[1][min(range(2), key=lambda at: both[0][at].id)]
    for _ in range(20):
        node.tables[0].count(label("CT1"), STORED)
        node.keeper._look_at = 0.0
        node.keeper.turn()
        clock.now += 86_400
    days = node.history.inbound("day", ["start"], LONG_AGO)
    assert [(one.start, one.instances) for one in days] == [
        (NOON.replace(hour=0) + number * DAY, 1) for number in range(20)
    ]
    assert len(node.history.inbound("hour", ["start"], LONG_AGO)) == 15


def test_nothing_is_written_where_nothing_was_counted(
    both: tuple[list[OneNode], list[Counting]], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = both[1][0]
    written = list[int]()
    put = node.history.put_traffic
    monkeypatch.setattr(
        node.history, "put_traffic", lambda *given: written.append(len(given[2])) or put(*given)
    )  # type: ignore[func-returns-value]
    node.tables[0].count(label("CT1"), STORED)
    for _ in range(3):
        node.keeper.turn()
    assert written == [1]


class TestDisk:
    def grown(self, *sizes: int) -> list[KeptRow]:
        days = ((NOON.replace(hour=0) + number * DAY, size) for number, size in enumerate(sizes))
        return [KeptRow(start, "", "", "", "", 1, 2 * size, size) for start, size in days]

    def test_an_even_rate_says_the_day(self) -> None:
        found = disk_forecast("", 100, self.grown(10, 20, 30, 40, 50), NOON)
        assert (found.days, found.daily, found.deviation) == (4, 10.0, 0.0)
        assert found.full == found.earliest == found.latest == NOON + 10 * DAY
        assert found.told == "rests on the growth of 4 days"

    def test_uneven_days_widen_the_span(self) -> None:
        found = disk_forecast("", 100, self.grown(0, 20, 20, 40, 40, 60, 60, 80, 80), NOON)
        assert found.full == NOON + 10 * DAY
        assert found.earliest is not None
        assert found.latest is not None
        assert NOON < found.earliest < found.full < found.latest

    def test_days_that_differ_much_may_as_well_never_fill_it(self) -> None:
        found = disk_forecast("", 100, self.grown(0, 90, 10, 80, 15), NOON)
        assert found.full is not None
        assert found.latest is None
        assert "may as well never come" in found.told

    def test_what_shrinks_never_fills_it(self) -> None:
        found = disk_forecast("", 100, self.grown(50, 40, 30, 20), NOON)
        assert (found.full, found.told) == (None, "what is kept does not grow; rests on the growth of 3 days")

    def test_what_grows_slowly_says_that_it_is_far(self) -> None:
        found = disk_forecast("", 10**9, self.grown(10, 11, 12, 13), NOON)
        assert (found.full, found.told) == (None, "not within 100 years; rests on the growth of 3 days")

    def test_few_days_say_nothing(self) -> None:
        found = disk_forecast("", 100, self.grown(10, 20), NOON)
        assert (found.full, found.days) == (None, 1)
        assert found.told == "a rate needs 3 days of growth, and there are 1"

    def test_days_without_a_look_lie_in_between(self) -> None:
        rows = [row for number, row in enumerate(self.grown(10, 20, 30, 40, 50)) if number not in {1, 2}]
        assert disk_forecast("", 100, rows, NOON).daily == 10.0

    def test_each_store_has_its_disk(self, tmp_path: Path) -> None:
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        for number in range(5):
            rows = [
                KeptRow(None, "CT", "htj2k", store, "CT1", 1, 1, size)
                for store, size in (("", 10 * number), ("cold", 7))
            ]
            index.history.put_kept(NOON + number * DAY, rows)
        history = ArchiveHistory(index.history, {})
        found = history.disks({"": 100, "cold": 5}, NOON + 5 * DAY)
        assert [(one.store, one.daily, one.full) for one in found] == [
            ("", 10.0, NOON + 15 * DAY),
            ("cold", 0.0, None),
        ]
        assert [one.stored_size for one in history.savings(["store"])] == [40, 7]
        index.close()
