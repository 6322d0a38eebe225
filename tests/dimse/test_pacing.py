"""How fast goes what nobody waits for, on a clock of the test's own."""

from __future__ import annotations

import pytest

from scp.dimse.scu.pacing import Throttle

pytestmark = pytest.mark.quick


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_half_of_a_thin_line_is_left() -> None:
    clock = Clock()
    sent = b"".join(Throttle(8.0, clock, clock.wait).paced([bytes(1_000_000), bytes(64)]))
    assert len(sent) == 1_000_064
    assert 1.8 < clock.now - 100 <= 2.001  # 1 MB at 4 Mbit/s; its last piece need not be waited for


def test_time_that_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    throttle = Throttle(8.0, clock, clock.wait)
    clock.now += 1000
    list(throttle.paced([bytes(1_000_000)]))
    assert clock.now - 1100 > 1.8


def test_other_lines_are_not_held_up() -> None:
    clock = Clock()
    list(Throttle(None, clock, clock.wait).paced([bytes(10_000_000)]))
    assert clock.now == 100
