"""A wall clock for what cannot be undone: a step of the system's clock does not make it jump ahead."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

# More than a clock that is slewed drifts in years of running.
_TOLERANCE_SECONDS = 3600.0


class SteadyClock:
    """Seconds since 1970, never more than an hour ahead of the start and the time that has gone by since.

    A clock that was set ahead by mistake would let all that is in the trash expire at once. One that was
    right to be set ahead is believed at the next start.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._begun = wall() - monotonic()
        self._told = False

    def now(self) -> float:
        """The time; logs once that the system's clock was set ahead."""
        wall, steady = self._wall(), self._begun + self._monotonic()
        if wall <= steady + _TOLERANCE_SECONDS:
            self._told = False
            return wall
        if not self._told:
            self._told = True
            structlog.get_logger("zscp").error(
                "the clock was set ahead",
                seconds=int(wall - steady),
                remedy="nothing is deleted or purged earlier for it; if the clock is right, restart the node",
            )
        return steady
