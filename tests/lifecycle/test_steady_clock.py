"""A clock that is set ahead or back deletes nothing before its time."""

from __future__ import annotations

from scp.lifecycle.steady_clock import SteadyClock

DAY = 86_400.0


class Clocks:
    """The system's two: one that may be set, and one that only goes on."""

    def __init__(self) -> None:
        self.wall, self.gone = 1e9, 5.0

    def go(self, seconds: float) -> None:
        self.wall, self.gone = self.wall + seconds, self.gone + seconds


def test_a_step_ahead_is_not_believed_and_one_back_is() -> None:
    clocks = Clocks()
    clock = SteadyClock(lambda: clocks.wall, lambda: clocks.gone)
    clocks.go(30 * DAY)
    assert clock.now() == 1e9 + 30 * DAY
    clocks.wall += DAY
    clocks.go(60)
    assert clock.now() == 1e9 + 30 * DAY + 60
    clocks.wall -= 2 * DAY
    assert clock.now() == clocks.wall
    clocks.wall += DAY
    clocks.go(10)
    assert clock.now() == clocks.wall


def test_small_steps_and_a_new_start_are_believed() -> None:
    clocks = Clocks()
    clock = SteadyClock(lambda: clocks.wall, lambda: clocks.gone)
    clocks.wall += 1800
    assert clock.now() == clocks.wall
    clocks.wall += DAY
    assert clock.now() < clocks.wall
    assert SteadyClock(lambda: clocks.wall, lambda: clocks.gone).now() == clocks.wall
