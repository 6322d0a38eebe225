"""A clock that is wrong destroys nothing: it is believed after a day, or when an admin says so."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.archive.trusted_time import NAME, TrustedTime
from scp.config.rules import DEFAULT_POLICY
from scp.config.settings import Settings
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.retention import Retention
from scp.node.build import make_ready, open_archive
from scp.objects.local import LocalStore

pytestmark = pytest.mark.quick

HOUR, DAY = 3600.0, 86_400.0
YEARS = 4 * 365 * DAY
BEGAN = 1.9e9


class Clocks:
    """The system's two: one that may be set, and one that only goes on; and what an index remembers."""

    def __init__(self) -> None:
        self.wall, self.gone = BEGAN, 5.0
        self.remembered: dict[str, str] = {}

    def go(self, seconds: float) -> None:
        self.wall, self.gone = self.wall + seconds, self.gone + seconds

    def start(self, *evidence: float) -> TrustedTime:
        """What a process that starts has."""
        return TrustedTime(self, lambda: [*evidence], lambda: self.wall, lambda: self.gone)

    def run(self, clock: TrustedTime, hours: float) -> float:
        for _ in range(round(hours)):
            self.go(HOUR)
            clock.look()
        return clock.now()

    # As scp.index.self_description.Meta.
    def all(self, recent: bool = False) -> dict[str, str]:
        return dict(self.remembered)

    def put(self, values: Mapping[str, str | None]) -> None:
        self.remembered |= {key: value for key, value in values.items() if value is not None}

    def ahead(self) -> int:
        return 0

    def stamp(self) -> object:
        return None

    def damage(self) -> str:
        return ""

    def is_in_place(self) -> bool:
        return True


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_clock_that_goes_on_is_trusted(clocks: Clocks) -> None:
    clock = clocks.start()
    clock.look()
    assert clocks.run(clock, 100) == clocks.wall
    clocks.go(6 * DAY)  # it was off, or slept
    clocks.start().look()
    assert clocks.start().now() == clocks.wall


@pytest.mark.parametrize("jump", [8 * DAY, 300 * DAY])
def test_a_jump_at_the_start_counts_after_a_day(clocks: Clocks, jump: float) -> None:
    clocks.start().look()
    clocks.wall += jump
    clock = clocks.start()
    assert clock.read().doubt, "before anything was noted"
    clock.look()
    assert clocks.run(clock, 20) == BEGAN + 20 * HOUR
    clock = clocks.start()  # a start in between costs no more than the hour in which it is
    clock.look()
    assert clocks.run(clock, 3) == BEGAN + 23 * HOUR
    assert "1 more hours" in clock.read().doubt
    assert clocks.run(clock, 1) == clocks.wall
    assert clocks.start().read().doubt == ""


def test_a_jump_of_years_waits_for_an_admin(clocks: Clocks) -> None:
    clocks.start().look()
    clocks.wall += YEARS
    clock = clocks.start()
    clock.look()
    assert clocks.run(clock, 100) == BEGAN + 100 * HOUR
    assert "more hours" not in clock.read().doubt
    other = clocks.start()
    assert other.trust().doubt == ""
    clocks.go(11)
    assert (clock.now(), clock.read().doubt) == (clocks.wall, "")
    assert clocks.run(clock, 1) == clocks.wall


def test_a_jump_while_it_runs_is_seen_from_an_hour_on(clocks: Clocks) -> None:
    clock = clocks.start()
    clock.look()
    clocks.run(clock, 1)
    clocks.wall += 1800
    assert clocks.run(clock, 1) == clocks.wall
    clocks.wall += 2 * DAY
    assert clocks.run(clock, 23) == clocks.wall - 2 * DAY
    clocks.wall += 8 * DAY  # once more: the day begins anew
    assert clocks.run(clock, 23) == clocks.wall - 10 * DAY
    clocks.wall -= 10 * DAY
    assert clocks.run(clock, 1) == clocks.wall


def test_a_process_that_only_reads_sees_a_jump_at_once(clocks: Clocks) -> None:
    """The clock is looked at once an hour, by one process of all."""
    looking, reading = clocks.start(), clocks.start()
    looking.look()
    assert reading.read().doubt == ""
    for _ in range(5):
        clocks.go(HOUR)
        assert reading.read().doubt == ""
        looking.look()
    clocks.wall += 6 * DAY
    assert reading.read().doubt
    assert reading.now() == clocks.wall - 6 * DAY
    clocks.go(60)
    looking.look()
    clocks.go(60)
    assert reading.now() == pytest.approx(clocks.wall - 6 * DAY, abs=HOUR)
    looking.trust()
    clocks.go(60)
    assert reading.now() == clocks.wall


def test_a_machine_that_is_paused_each_night_is_not_doubted_for_ever(clocks: Clocks) -> None:
    """No clock that counts running time tells of it: each morning the time has jumped."""
    clock = clocks.start()
    clock.look()
    behind = []
    for _ in range(30):
        clocks.run(clock, 16)
        clocks.wall += 8 * HOUR
        behind.append(clocks.wall - clock.now())
    assert max(behind) < 4 * DAY


def test_a_clock_that_is_behind_at_first_is_no_jump_afterwards(clocks: Clocks) -> None:
    """A machine without a battery starts in 1970, until it hears of the time."""
    clocks.start().look()
    clocks.wall = 0.0
    clock = clocks.start()
    clock.look()
    assert clock.now() == 0.0
    assert clock.at_least() == BEGAN, "what goes to the trash meanwhile is no older than anything else"
    clocks.run(clock, 1)
    clocks.wall = BEGAN + 2 * HOUR
    assert clock.look().doubt == ""
    assert clock.now() == clocks.wall


def test_a_clock_that_was_set_back_for_good_is_believed(clocks: Clocks) -> None:
    clock = clocks.start()
    clock.look()
    clocks.wall -= 300 * DAY
    clocks.run(clock, 26)
    assert clock.at_least() == clocks.wall
    clocks.wall += 300 * DAY
    assert clock.look().doubt


def test_a_first_start_in_1970_is_forgotten(clocks: Clocks) -> None:
    clocks.wall = 100.0
    clock = clocks.start()
    assert clock.look().now == 100.0
    clocks.wall = BEGAN
    assert clock.look().doubt == ""
    clocks.wall = 100.0
    clocks.remembered = {NAME: '{"trusted": 100.0, "wall": 100.0, "doubt": "", "waited": 0.0}'}
    clocks.wall = BEGAN
    assert clocks.start().look().doubt == "", "what an earlier version noted there"


@pytest.mark.parametrize("hours", [2, 72])
def test_days_in_1970_do_not_make_the_right_time_a_jump(clocks: Clocks, hours: int) -> None:
    """The battery is empty, and nobody tells the time for days."""
    clocks.start().look()
    right = clocks.wall
    clocks.wall = 100.0
    clock = clocks.start()
    clock.look()
    assert clocks.run(clock, hours) < 1e9
    clocks.wall = right + hours * HOUR
    assert clock.look().doubt == ""
    assert clock.now() == clocks.wall


@pytest.mark.parametrize(
    "noted",
    [
        '{"trusted": 1' + "0" * 400 + ', "wall": 1}',
        '{"trusted": Infinity, "wall": 1}',
        '{"trusted": NaN, "wall": 1}',
        '{"trusted": 1.9e9, "wall": 1.9e9, "waited": -1e300}',
        "[]",
        "null",
        "{",
        "[" * 5000,
    ],
)
def test_what_no_look_notes_is_as_if_nothing_were_known(clocks: Clocks, noted: str) -> None:
    clocks.remembered = {NAME: noted}
    clock = clocks.start()
    assert clock.look() == clock.read()
    assert (clock.now(), clock.at_least(), clock.read().doubt) == (BEGAN, BEGAN, "")


def test_nodes_that_look_in_turns_do_not_count_time_twice(clocks: Clocks) -> None:
    one, other = clocks.start(), clocks.start()
    one.look(), other.look()
    clocks.wall += 30 * DAY
    for _ in range(23):
        clocks.go(HOUR / 2)
        one.look()
        clocks.go(HOUR / 2)
        other.look()
    assert one.read().doubt
    assert other.read().doubt
    assert clocks.run(one, 2) == clocks.wall


def test_an_index_that_remembers_nothing_goes_by_what_else_it_knows(clocks: Clocks) -> None:
    assert clocks.start().look().doubt == ""
    clocks.remembered = {NAME: "of another version"}
    assert clocks.start(BEGAN - DAY, BEGAN - 400 * DAY).read().doubt == ""
    found = clocks.start(BEGAN - 10 * DAY).look()
    assert (found.now, bool(found.doubt)) == (BEGAN - 10 * DAY, True)
    clocks.remembered.clear()
    assert clocks.start(BEGAN + DAY).look().doubt == "", "that may be of a clock that was ahead"


def test_of_two_clocks_the_one_that_is_behind_counts(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "ahead", lambda: -int(YEARS))
    assert TrustedTime(clocks).look().wall == pytest.approx(time.time() - YEARS, abs=60)
    monkeypatch.setattr(clocks, "ahead", lambda: int(YEARS))
    assert TrustedTime(clocks).look().wall == pytest.approx(time.time(), abs=60)


# ---- On an archive ----


@pytest.fixture
def archive(tmp_path: Path, clocks: Clocks) -> Iterator[Archive]:
    clocks.wall = time.time()
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    clock = TrustedTime(index.meta, list, lambda: clocks.wall, lambda: clocks.gone)
    archive = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY, Options(clock=clock))
    yield archive
    archive.close()


def settings_in(tmp_path: Path, **tables: Any) -> Settings:
    rules = [{"name": "old", "after": "1y"}]
    plain = {"storage": {"url": f"file://{tmp_path}/objects", "trash": "30d"}, "retention": rules}
    return Settings.model_validate(plain | tables)


def test_a_clock_years_ahead_neither_purges_nor_deletes(
    archive: Archive, clocks: Clocks, tmp_path: Path
) -> None:
    task = Retention(archive, lambda: settings_in(tmp_path))
    held = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    gone = archive.ingest(received(bundled_file("MR_small.dcm"))).instance
    task.turn()
    deletion = Deletion(archive, {"": tmp_path / "objects"})
    deletion.delete([gone], "by hand")
    clocks.wall += YEARS
    for _ in range(30):
        task.turn()
        clocks.go(HOUR)
    assert [one.sop_instance_uid for one in deletion.trash.entries()] == [gone.sop_instance_uid]
    assert archive.current(held.identity) is not None
    archive.clock.trust()
    clocks.go(DAY)
    task.turn()
    (entry,) = deletion.trash.entries()
    assert entry.sop_instance_uid == held.sop_instance_uid, "the other one was purged, and this one deleted"


def test_what_a_clock_in_1970_puts_into_the_trash_stays_for_its_time(
    archive: Archive, clocks: Clocks, tmp_path: Path
) -> None:
    right = clocks.wall
    task = Retention(archive, lambda: settings_in(tmp_path, retention=[]))
    one = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    task.turn()
    clocks.wall = 100.0
    deletion = Deletion(archive, {"": tmp_path / "objects"})
    deletion.delete([one], "by hand")
    clocks.wall = right + HOUR
    clocks.gone += HOUR
    task.turn()
    assert len(deletion.trash.entries()) == 1


@pytest.mark.parametrize("in_trash", [True, False])
def test_an_index_that_was_made_again_does_not_believe_a_clock_years_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_trash: bool
) -> None:
    """The index was lost, and the machine's clock with it; what was received, or deleted, tells the time."""
    url = f"file://{tmp_path}/objects"
    settings = Settings.model_validate(
        {"storage": {"url": url}, "index": {"url": f"sqlite:///{tmp_path}/index.db"}}
    )
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "first")
    sent = replace(received(bundled_file("CT_small.dcm")), received_at=datetime.now(UTC))
    one = archive.ingest(sent).instance
    if in_trash:
        Deletion(archive, {"": tmp_path / "objects"}).delete([one], "by hand")
    archive.close()
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + YEARS)
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "second")
    assert archive.clock.read().doubt
    Retention(archive, lambda: settings_in(tmp_path)).turn()
    trash = Deletion(archive, {"": tmp_path / "objects"}).trash.entries()
    assert (len(trash), archive.index.counts().instances) == (int(in_trash), int(not in_trash))
    archive.close()
