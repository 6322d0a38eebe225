"""What the history of every index has to do, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import select
from test_index_contract import DOE, KINDS, PLACES, ROE, instance

from scp.background.progress import Silent
from scp.index import sql_history_folding
from scp.index.databases import Database
from scp.index.dialect import reads
from scp.index.history import (
    DAYS_ARE_KEPT,
    HOURS_ARE_KEPT,
    MOST_KEPT_ROWS,
    MOST_TRAFFIC_ROWS,
    OTHER,
    History,
    KeptRow,
    RetentionRow,
    TrafficBy,
    TrafficRow,
)
from scp.index.move import move
from scp.index.schema import TRAFFIC
from scp.index.sql import SqlIndex

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Database:
    return PLACES[request.param](tmp_path, True)


@pytest.fixture
def opener(place: str | Database) -> Callable[[], SqlIndex]:
    return partial(SqlIndex.open, place)


@pytest.fixture
def index(opener: Callable[[], SqlIndex]) -> Iterator[SqlIndex]:
    index = opener()
    yield index
    index.close()


def stored(start: datetime, peer: str = "CT1", modality: str = "CT", count: int = 1) -> TrafficRow:
    amounts = (count, 0, count, 100 * count, 100 * count, 40 * count)
    return TrafficRow(start, "c-store", peer, modality, *amounts)


def asked(start: datetime, peer: str = "WS1", count: int = 1) -> TrafficRow:
    return TrafficRow(start, "c-find", peer, "", count, count // 2)


def kept(start: datetime | None, modality: str, form: str, count: int, aet: str = "CT1") -> KeptRow:
    return KeptRow(start, modality, form, "", aet, count, 100 * count, 30 * count)


class TestTraffic:
    def test_sums_by_what_is_asked(self, index: SqlIndex) -> None:
        rows = [stored(NOON), stored(NOON, "MR1", "MR", 3), asked(NOON, count=4)]
        index.history.put_traffic("a", 1, [*rows, stored(NOON + HOUR, count=2)])
        traffic = index.history.traffic
        assert traffic("hour", ["start"], NOON + HOUR) == [
            replace(stored(NOON + HOUR, "", "", 2), service="")
        ]
        assert traffic("hour", ["peer"], NOON, ["c-store"]) == [
            replace(stored(NOON, "CT1", "", 3), start=None, service=""),
            replace(stored(NOON, "MR1", "", 3), start=None, service=""),
        ]
        assert traffic("day", ["start", "service"], NOON + HOUR) == [
            TrafficRow(MIDNIGHT, "c-find", "", "", 4, 2),
            stored(MIDNIGHT, "", "", 6),
        ]
        assert traffic("hour", [], NOON) == [TrafficRow(None, "", "", "", 10, 2, 6, 600, 600, 240)]

    def test_writing_again_counts_once(self, index: SqlIndex) -> None:
        for count in (1, 2, 2):
            index.history.put_traffic("a", 1, [stored(NOON, count=count)])
        assert index.history.traffic("hour", ["start", "service", "peer", "modality"], NOON) == [
            stored(NOON, count=2)
        ]

    def test_nodes_and_runs_add_up(self, opener: Callable[[], SqlIndex]) -> None:
        indexes = [opener(), opener()]
        for node, run, index in (("a", 1, indexes[0]), ("a", 2, indexes[0]), ("b", 1, indexes[1])):
            index.history.put_traffic(node, run, [stored(NOON, count=5)])
        for index in indexes:
            (found,) = index.history.traffic("hour", ["service", "peer"], NOON)
            assert (found.requests, found.instances, found.wire_size) == (15, 15, 1500)
            index.close()

    def test_old_hours_become_days_with_the_same_sums(self, index: SqlIndex) -> None:
        for node in ("a", "b"):
            for hour in range(48):
                index.history.put_traffic(
                    node, 1, [stored(MIDNIGHT + hour * HOUR), asked(MIDNIGHT + hour * HOUR)]
                )
        by: list[TrafficBy] = ["start", "service", "peer", "modality"]
        before = index.history.traffic("day", by, LONG_AGO)
        assert [one.requests for one in before] == [48] * 4
        for number in range(4):  # days that are over are summed up while their hours are there
            index.history.fold(MIDNIGHT + number * DAY + 4 * HOUR)
            assert index.history.traffic("day", by, LONG_AGO) == before
        assert len(index.history.traffic("hour", ["start"], LONG_AGO)) == 48
        later = [stored(MIDNIGHT + DAY)]  # while hours are there, the day is made of them again
        index.history.put_traffic("b", 2, later)
        index.history.fold(MIDNIGHT + 5 * DAY)
        assert index.history.traffic("day", by, LONG_AGO)[3].requests == 49
        index.history.put_traffic("b", 2, [stored(MIDNIGHT + DAY, count=0)])
        index.history.fold(MIDNIGHT + DAY + HOURS_ARE_KEPT)
        assert index.history.traffic("day", by, LONG_AGO) == before
        assert len(index.history.traffic("hour", ["start"], LONG_AGO)) == 24  # those of the second day
        late = [stored(MIDNIGHT + 5 * HOUR)]  # of a node that was away
        index.history.put_traffic("c", 1, late)
        for _ in range(2):
            index.history.fold(MIDNIGHT + DAY + HOURS_ARE_KEPT)
            first = index.history.traffic("day", by, LONG_AGO)[1]
            assert (first.service, first.requests) == ("c-store", 49)

    def test_days_are_removed_in_the_end(self, index: SqlIndex) -> None:
        index.history.put_traffic("a", 1, [stored(NOON)])
        index.history.put_kept(NOON, [kept(NOON, "CT", "htj2k", 1)])
        last = MIDNIGHT + DAYS_ARE_KEPT
        index.history.fold(last)
        assert index.history.traffic("day", [], LONG_AGO)[0].requests == 1
        assert index.history.traffic("hour", ["start"], LONG_AGO) == []
        assert len(index.history.kept("day", ["start"], LONG_AGO)) == 1
        index.history.fold(last + DAY)
        assert index.history.traffic("day", ["start"], LONG_AGO) == []
        assert index.history.kept("day", ["start"], LONG_AGO) == []

    def test_a_day_of_invented_titles_is_bounded(self, index: SqlIndex) -> None:
        for hour in range(24):
            start = MIDNIGHT + hour * HOUR
            strangers = [stored(start, f"A{hour}-{number}") for number in range(50)]
            index.history.put_traffic("a", 1, [*strangers, stored(start, "CT1", count=1000)])
        index.history.fold(NOON + DAY + HOURS_ARE_KEPT)
        found = index.history.traffic("day", ["peer"], LONG_AGO)
        assert len(found) <= MOST_TRAFFIC_ROWS
        sums = {one.peer: one.requests for one in found}
        assert (sums["CT1"], sum(sums.values())) == (24_000, 24_000 + 24 * 50)
        assert sums[OTHER] == 24 * 50 - (len(found) - 2)


class TestMonths:
    BY: ClassVar[list[TrafficBy]] = ["start", "service", "peer", "modality"]
    FEBRUARY, MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 4))

    @pytest.fixture
    def history(self, index: SqlIndex) -> History:
        """Two nodes have counted on each day from the middle of January to the 4th of March."""
        for node in ("a", "b"):
            for number in range(50):
                start = MIDNIGHT - number * DAY
                index.history.put_traffic(node, 1, [stored(start), asked(start, count=2)])
        return index.history

    def test_a_month_is_the_sum_of_its_days(self, history: History) -> None:
        wanted = [
            (begun, service, requests * count)
            for begun, count in ((datetime(2026, 1, 1, tzinfo=UTC), 18), (self.FEBRUARY, 28), (self.MARCH, 4))
            for service, requests in (("c-find", 4), ("c-store", 2))
        ]
        for now in (NOON, NOON + DAY, self.APRIL + DAY, NOON + DAY):  # the last one: a clock is set back
            found = history.traffic("month", self.BY, LONG_AGO)
            assert [(one.start, one.service, one.requests) for one in found] == wanted
            assert history.traffic("month", [], LONG_AGO)[0].instances == 100
            assert history.traffic("month", ["peer"], LONG_AGO, ["c-store"])[0].requests == 100
            history.fold(now)
        late = [stored(NOON + 2 * HOUR, count=7)]
        history.put_traffic("b", 1, late)
        assert history.traffic("month", self.BY, self.MARCH)[1].requests == 8
        history.fold(NOON + DAY)
        assert history.traffic("month", self.BY, self.MARCH)[1].requests == 8 + 7

    def test_a_month_counts_from_the_day_that_is_asked_for(self, history: History) -> None:
        for _ in range(2):
            found = history.traffic("month", ["start"], self.FEBRUARY + 10 * DAY + HOUR, ["c-store"])
            assert [(one.start, one.requests) for one in found] == [(self.FEBRUARY, 36), (self.MARCH, 8)]
            found = history.traffic("month", ["start"], MIDNIGHT - DAY, ["c-store"])
            assert [(one.start, one.requests) for one in found] == [(self.MARCH, 4)]
            history.fold(NOON + DAY)

    def test_a_month_that_is_over_is_few_rows(self, history: History) -> None:
        for number in range(28):
            strangers = [stored(self.FEBRUARY + number * DAY, f"A{number}-{n}") for n in range(30)]
            history.put_traffic("c", 1, strangers)
        history.fold(NOON)
        found = history.traffic("month", self.BY, self.FEBRUARY)
        assert len([one for one in found if one.start == self.FEBRUARY]) <= MOST_TRAFFIC_ROWS
        assert sum(one.requests for one in found if one.service == "c-store") == 28 * (30 + 2) + 8
        assert OTHER in {one.peer for one in found}

    def test_what_comes_late_counts_from_the_next_time_on(self, history: History) -> None:
        history.fold(NOON)
        history.put_traffic("c", 1, [stored(self.FEBRUARY + 5 * HOUR, count=9)])
        for _ in range(2):
            history.fold(NOON)
            found = history.traffic("month", ["start"], self.FEBRUARY, ["c-store"])
            assert [one.requests for one in found] == [56 + 9, 8]

    def test_a_node_that_knows_no_months_goes_on_beside(
        self, history: History, index: SqlIndex, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history.fold(NOON)
        months = select(TRAFFIC.c.start).where(TRAFFIC.c.span == "month")
        with reads(index._engine) as connection:
            starts = connection.execute(months).scalars().all()
        assert starts
        first_day = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
        assert max(starts) < first_day  # that node takes all rows that begin within a day for a part of it
        history.put_traffic("c", 1, [stored(self.FEBRUARY + 5 * HOUR, count=9)])
        with monkeypatch.context() as before:
            before.setattr(sql_history_folding, "_fold_months", lambda *_: None)
            history.fold(NOON)
        history.fold(NOON)
        found = history.traffic("month", ["start"], self.FEBRUARY, ["c-store"])
        assert [one.requests for one in found] == [56 + 9, 8]

    def test_months_go_with_their_days(self, history: History) -> None:
        history.fold(NOON)
        history.fold(self.FEBRUARY + 10 * DAY + DAYS_ARE_KEPT)
        found = history.traffic("month", ["start"], LONG_AGO, ["c-store"])
        assert [(one.start, one.requests) for one in found] == [(self.FEBRUARY, 36), (self.MARCH, 8)]
        history.fold(self.APRIL + DAYS_ARE_KEPT)
        assert history.traffic("month", ["start"], LONG_AGO) == []

    def test_what_was_kept_in_a_month_is_that_of_its_last_day(self, index: SqlIndex) -> None:
        for begun, count in ((self.FEBRUARY, 1), (self.FEBRUARY + 20 * DAY, 2), (MIDNIGHT, 3), (NOON, 4)):
            both = [kept(None, "CT", "htj2k", count), kept(None, "MR", "received", 9)]
            index.history.put_kept(begun, both)
        for since in (LONG_AGO, self.FEBRUARY, self.FEBRUARY + 20 * DAY + HOUR):
            found = index.history.kept("month", ["start", "modality"], since)
            assert [(one.start, one.modality, one.instances) for one in found] == [
                (self.FEBRUARY, "CT", 2),
                (self.FEBRUARY, "MR", 9),
                (self.MARCH, "CT", 4),
                (self.MARCH, "MR", 9),
            ]
        assert len(index.history.kept("month", ["start"], self.FEBRUARY + 21 * DAY)) == 1
        assert index.history.kept("month", ["start"], self.APRIL) == []


class TestKept:
    def test_the_last_look_of_an_hour_and_of_a_day_counts(self, index: SqlIndex) -> None:
        put = index.history.put_kept
        assert index.history.last_look() is None
        put(NOON, [kept(None, "CT", "htj2k", 1), kept(None, "US", "htj2k", 9)])
        put(NOON, [kept(None, "CT", "htj2k", 2), kept(None, "CT", "received", 1, "CT2")])
        put(NOON + HOUR, [kept(None, "CT", "htj2k", 3)])
        assert index.history.last_look() == NOON + HOUR
        hours = index.history.kept("hour", ["start", "modality"], NOON)
        assert [(one.start, one.instances) for one in hours] == [(NOON, 3), (NOON + HOUR, 3)]
        assert index.history.kept("day", ["start", "modality", "form", "calling_aet"], MIDNIGHT) == [
            kept(MIDNIGHT, "CT", "htj2k", 3)
        ]

    def test_a_look_is_what_is_held(self, index: SqlIndex) -> None:
        for number in range(3):
            index.record(instance(f"1.1.{number}", calling_aet=f"CT{number % 2}"), DOE)
        index.record(instance("2.1", "2", "2.1", form="received", key="@cold/2.1.dcm"), ROE)
        found = sorted(index.history.look({"@cold/": "cold"}), key=repr)
        assert found == [
            KeptRow(None, "CT", "htj2k", "", "CT0", 2, 200, 80),
            KeptRow(None, "CT", "htj2k", "", "CT1", 1, 100, 40),
            KeptRow(None, "MR", "received", "cold", "CTROOM1", 1, 100, 40),
        ]

    def test_a_look_of_many_senders_is_bounded(self, index: SqlIndex) -> None:
        many = [kept(None, "CT", "htj2k", 1, f"A{number}") for number in range(1000)]
        index.history.put_kept(NOON, [*many, kept(None, "MR", "htj2k", 500, "MR1")])
        found = index.history.kept("day", ["start", "modality", "calling_aet"], MIDNIGHT)
        assert len(found) == MOST_KEPT_ROWS
        assert sum(one.instances for one in found) == 1500
        assert kept(MIDNIGHT, "MR", "", 500, "MR1") in found


def test_what_may_go_when(index: SqlIndex) -> None:
    assert index.history.retention() == (None, [])
    rows = [
        RetentionRow("", None, 5, 50),
        RetentionRow("old", MIDNIGHT + DAY, 2, 20),
        RetentionRow("older", MIDNIGHT, 1, 10),
    ]
    for at in (NOON, NOON + HOUR):
        index.history.put_retention(at, rows)
        assert index.history.retention() == (at, [rows[2], rows[1], rows[0]])
    index.history.put_retention(NOON, [])
    assert index.history.retention() == (None, [])


def test_modalities_of_series(index: SqlIndex) -> None:
    index.record(instance("1.1.1"), DOE)
    index.record(instance("2.1.1", "2", "2.1"), ROE)
    wanted = ["1.1", "2.1", "", *(f"9.{number}" for number in range(1200))]
    assert index.history.modalities(wanted) == {"1.1": "CT", "2.1": "MR"}
    assert index.history.modalities([]) == {}


def test_a_copy_of_the_index_has_the_history(place: str | Database, tmp_path: Path) -> None:
    index = SqlIndex.open(place)
    index.history.put_traffic("a", 1, [stored(NOON), asked(NOON)])
    index.history.put_kept(NOON, [kept(None, "CT", "htj2k", 2)])
    index.history.put_retention(NOON, [RetentionRow("", None, 5, 50)])
    index.close()
    target = Database(f"sqlite:///{tmp_path}/copy/index.db")
    copied = move(Database.at(place), target, Silent())
    assert [copied[name].rows for name in ("traffic", "kept", "retention")] == [2, 2, 1]
    again = SqlIndex.open(target)
    assert again.history.traffic("hour", ["service"], NOON)[0].requests == 1
    again.close()
