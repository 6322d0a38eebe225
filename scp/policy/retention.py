"""Which studies may go: a pure function of what is known of their instances, the rules and the clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ExpiredStudy:
    """A patient's study that its rules let go.

    ``size`` in stored bytes, of which ``room`` are in the first store. ``received`` is when its newest
    instance was, in seconds since 1970.
    """

    study: str
    rule: str
    instances: int
    size: int
    received: float
    room: int = 0
    when_full: bool = False  # only where there is need for room
    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)


class ExpiredStudies:
    """What may go, study by study: a study goes as a whole, or it stays as a whole."""

    def __init__(self) -> None:
        self._found: dict[Hashable, ExpiredStudy | None] = {}  # None: the study stays

    def add(self, study: Hashable, part: ExpiredStudy | None) -> None:
        """A further part of a study; None for one that stays."""
        if study not in self._found:
            self._found[study] = part
        elif (known := self._found[study]) is not None:
            self._found[study] = part and _joined(known, part)

    def whole(self) -> Iterator[ExpiredStudy]:
        """Those all of whose parts may go."""
        return (one for one in self._found.values() if one is not None)


def _joined(one: ExpiredStudy, other: ExpiredStudy) -> ExpiredStudy:
    """What two parts of a study come to: it waits for its newest instance, and for the need of any."""
    return replace(
        one,
        instances=one.instances + other.instances,
        size=one.size + other.size,
        room=one.room + other.room,
        received=max(one.received, other.received),
        when_full=one.when_full or other.when_full,
    )


def going(studies: Iterable[ExpiredStudy], excess: int) -> list[ExpiredStudy]:
    """Those that go now: all that need no reason, and the oldest others until ``excess`` bytes are free."""
    oldest_first = sorted(studies, key=lambda one: (one.when_full, one.received, one.study))
    chosen = []
    for one in oldest_first:
        if one.when_full and (excess <= 0 or not one.room):
            continue
        chosen.append(one)
        excess -= one.room
    return chosen


def excess_of(used: int, total: int, high: float | None, low: float | None) -> int:
    """Bytes to free, down to the low mark, where more than the high one is used; marks are parts of 1."""
    if high is None or used <= high * total:
        return 0
    return int(used - (high if low is None else min(low, high)) * total)
