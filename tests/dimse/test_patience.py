"""How long a destination is waited for, on a clock of the test's own."""

from __future__ import annotations

import pytest

from scp.background.back_off import BackOff
from scp.dimse.patience import Patience

pytestmark = pytest.mark.quick


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tries(patience: Patience, clock: Clock, took: float = 0.0, progress: int = 0) -> list[float]:
    """The pauses that are made, each try taking so long and failing."""
    pauses: list[float] = []
    while (pause := patience.pause(progress, len(pauses))) is not None:
        pauses.append(pause)
        clock.now += pause + took
        assert len(pauses) < 1000
    return pauses


def test_pauses_grow_and_end() -> None:
    clock = Clock()
    pauses = tries(Patience(60, clock), clock)
    assert pauses[:7] == [0, 0.5, 1, 2, 4, 8, 8]
    assert 59 < sum(pauses) <= 61
    assert len(pauses) < 14


@pytest.mark.parametrize("took", [1.0, 40.0, 300.0])
def test_tries_that_take_long(took: float) -> None:
    """A second one is made however long the first took; more only within the time."""
    clock = Clock()
    pauses = tries(Patience(60, clock), clock, took)
    assert len(pauses) >= 2
    assert clock.now - 100 <= 60 + 2 * took + 8


def test_progress_begins_anew() -> None:
    clock = Clock()
    patience = Patience(60, clock)
    for progress in range(1, 100):
        assert patience.pause(progress, 0) == 0
        assert patience.pause(progress, 1) == 0.5
        clock.now += 59


def test_one_association_of_several_does_not_hammer() -> None:
    """The others make progress all the time; its own tries count."""
    clock = Clock()
    patience = Patience(60, clock)
    pauses = [patience.pause(attempt, attempt) for attempt in range(8)]
    assert pauses == [0, 0.5, 1, 2, 4, 8, 8, 8]


def test_none_is_wanted() -> None:
    assert Patience(0, Clock()).pause(5, 0) is None


def test_pauses_of_queues() -> None:
    assert [BackOff(30, 3600).after(n) for n in (0, 1, 2, 7, 5000)] == [30, 60, 120, 3600, 3600]
    assert BackOff(7200, 3600).after(3) == 7200
