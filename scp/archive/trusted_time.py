"""The time that counts for what cannot be undone: a clock that jumped ahead is not believed at once.

The index remembers until when the clock was trusted. A clock that is beyond that by more than the time that
the node ran, and than it may have been off, is doubted: until it has shown that for a day of running, or
an admin says that it is right, the time that counts goes on from where it was (docs/decisions/0233).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import structlog

from scp.index.self_description import Meta

NAME = "clock"  # in Meta
DAY_SECONDS = 86_400.0
# More than a clock that is slewed drifts in years of running, and less than any rule or trash counts in.
_STEP_SECONDS = 3600.0
# A node may be off for so long without any wait: a holiday week. What is kept for 30 days has 23 of them.
_OFF_SECONDS = 7 * DAY_SECONDS
# A node that was off for longer than this has an admin beside it, and a clock that says so is mostly wrong.
_LONGEST_OFF_SECONDS = 366 * DAY_SECONDS
# No node remembered a time before: a clock that shows one has no battery, and has not heard of the time yet.
_EARLIEST = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_READ_SECONDS = 10.0  # how often a process reads what another one has noted

Doubt = Literal["", "ahead", "behind"]
Wall = Callable[[], float]


def steady() -> float:
    """Seconds that go on while the machine is suspended, too, where the system has such a clock (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class ClockState:
    """What the index remembers; times in seconds since 1970.

    ``trusted`` is the time that counted at the last look, and ``wall`` what the clock showed then. It is in
    ``doubt`` since it was seen that ``waited`` seconds of running ago.
    """

    trusted: float
    wall: float
    doubt: Doubt = ""
    waited: float = 0.0

    @property
    def for_long(self) -> bool:
        """Whether only an admin can say that the clock is right."""
        return self.wall - self.trusted > _LONGEST_OFF_SECONDS


@dataclass(frozen=True, slots=True)
class ClockReading:
    """``now`` is the time that counts, ``wall`` what the clock shows; ``doubt`` says why that is not it."""

    now: float
    wall: float
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A state that was ``noted``, and what a process ``found`` of it when it saw it first, at ``gone``.

    ``asked`` is when it last asked for what is noted. Both are times of the steady clock.
    """

    noted: ClockState
    found: ClockState
    gone: float
    asked: float


class TrustedTime:
    """The clock of an archive, as its index remembers it; threads may share it.

    Of the clocks of this node and of the index the one that is behind counts. ``evidence`` gives times that
    the clock had shown before the index remembered any. Every method raises OutOfResources as an index does.
    """

    def __init__(
        self,
        meta: Meta,
        evidence: Callable[[], list[float]] = list,
        wall: Wall | None = None,
        monotonic: Callable[[], float] = steady,
    ) -> None:
        self._meta, self._evidence, self._monotonic = meta, evidence, monotonic
        self._wall = wall or (lambda: time.time() + min(0, meta.ahead()))
        self._looked: float | None = None
        self._seen: _Seen | None = None
        self._told: Doubt = ""

    def now(self) -> float:
        """The time that counts, in seconds since 1970; what is older by it may be destroyed."""
        return self.read().now

    def at_least(self) -> float:
        """When something happens that is destroyed so long after: now, or the latest time that was trusted.

        So a clock that was behind, as that of a machine without a battery is at its start, makes nothing old.
        """
        return max(self._wall(), self._state().trusted)

    def read(self) -> ClockReading:
        """What counts now, as far as other processes have noted it; changes nothing."""
        wall, gone, seen = self._wall(), self._monotonic(), self._seen
        if seen is None or gone - seen.asked > _READ_SECONDS:
            seen = self._seen = self._seen_now(seen, wall, gone)
        return _reading(_judged(seen.found, wall, gone - seen.gone, _STEP_SECONDS))

    def _seen_now(self, before: _Seen | None, wall: float, gone: float) -> _Seen:
        """What is noted now, as this process takes it; another one may have looked since ``before``."""
        noted = self._state()
        if before is not None and noted == before.noted:
            return replace(before, asked=gone)
        # Before this process began, the node may have been off; since then each look is an hour old at most.
        most = _OFF_SECONDS if before is None else 2 * _STEP_SECONDS
        return _Seen(noted, _judged(noted, wall, 0.0, most), gone, gone)

    def look(self) -> ClockReading:
        """As :meth:`read`, and note it. The caller is the only one, or what it noted last is lost.

        A look each hour counts as an hour of running.
        """
        state, wall, gone = self._state(), self._wall(), self._monotonic()
        ran, most = 0.0, _OFF_SECONDS
        if self._looked is not None:
            ran, most = gone - self._looked, _STEP_SECONDS
            ran = max(0.0, min(ran, wall - state.wall))  # another node may have looked, and noted its part
        found = _judged(state, wall, ran, most)
        self._put(found, gone)
        self._tell(found)
        return _reading(found)

    def trust(self) -> ClockReading:
        """Believe the clock as it is now: an admin says that it is right."""
        wall = self._wall()
        self._put(ClockState(wall, wall), self._monotonic())
        return ClockReading(wall, wall)

    def _put(self, state: ClockState, gone: float) -> None:
        if state.trusted >= _EARLIEST:
            self._meta.put({NAME: json.dumps(asdict(state))})
        self._looked, self._seen = gone, _Seen(state, state, gone, gone)

    def _state(self) -> ClockState:
        known, wall = self._meta.all().get(NAME), self._wall()
        if known is not None and (found := _noted(known)) is not None:
            return found
        latest = max((one for one in self._evidence() if one >= _EARLIEST), default=wall)
        return ClockState(min(latest, wall), min(latest, wall))

    def _tell(self, found: ClockState) -> None:
        """Log once, in each process, that the clock is doubted, and once that it is trusted again."""
        log = structlog.get_logger("zscp")
        if found.doubt == "ahead" and self._told != "ahead":
            log.warning("the clock is not trusted", reason=_words(found))
        elif not found.doubt and self._told == "ahead":
            log.info("the clock is trusted again", now=_shown(found.wall))
        self._told = found.doubt


def _noted(text: str) -> ClockState | None:
    """A state that was noted; None for what no look notes, as that of another version."""
    try:
        read = ClockState(**json.loads(text))
        found = ClockState(float(read.trusted), float(read.wall), read.doubt, float(read.waited))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    in_bounds = all(0 <= one < _LATEST for one in (found.trusted, found.wall, found.waited))
    return found if in_bounds and found.trusted >= _EARLIEST else None


def _judged(state: ClockState, wall: float, ran: float, most: float) -> ClockState:
    """What becomes of a state ``ran`` seconds of running later; ``most`` is what a clock may jump ahead."""
    expected = state.trusted + ran
    bound = _STEP_SECONDS if state.doubt == "ahead" else most
    if wall > expected + bound:
        doubt: Doubt = "ahead"
    elif wall < expected - _STEP_SECONDS:
        doubt = "behind"
    else:
        return ClockState(wall, wall)
    # A machine that is paused each night jumps by hours again and again: that is no reason to begin anew.
    jumped = abs(wall - state.wall - ran) > _OFF_SECONDS
    waited = state.waited + ran if state.doubt == doubt and not jumped and wall >= _EARLIEST else 0.0
    found = ClockState(expected, wall, doubt, waited)
    return ClockState(wall, wall) if waited >= DAY_SECONDS and not found.for_long else found


def _reading(found: ClockState) -> ClockReading:
    return ClockReading(min(found.trusted, found.wall), found.wall, _words(found))


def _words(found: ClockState) -> str:
    """Why nothing goes by the clock; empty where it is trusted, or behind: then nothing is old too early."""
    if found.doubt != "ahead":
        return ""
    hours = max(0, round((DAY_SECONDS - found.waited) / 3600))
    until = "" if found.for_long else f" it has shown that for {hours} more hours of running, or"
    return (
        f"the clock shows {_shown(found.wall)}, and the time that zscp has seen go by ends at"
        f" {_shown(found.trusted)}: nothing is deleted, purged or made lossy by the difference until{until}"
        " an admin says that it is right, with zscp clock --trust"
    )


def _shown(moment: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{moment:g} s after 1970"
