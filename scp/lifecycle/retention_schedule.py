"""What rules of retention let go when, day by day: sums of bounded number, however many objects there are."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from scp.index.history import RetentionRow

# Days that are told one by one; those behind them are told by month.
DAYS_AHEAD = 92


class RetentionSchedule:
    """Sums up objects, as of the day that began at or before ``now``, in seconds since 1970."""

    def __init__(self, now: float) -> None:
        self._today = _midnight(now)
        self._sums: dict[tuple[str, datetime | None], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, rule: str, due: float | None, size: int) -> None:
        """An object of so many stored bytes that a rule lets go at a moment; None: that no rule lets go.

        What may have gone already counts as of today.
        """
        known = self._sums[rule, None if due is None else self._start(due)]
        known[0] += 1
        known[1] += size

    def rows(self) -> tuple[RetentionRow, ...]:
        """The sums, in the order of days; what no rule lets go is the last one."""
        last = datetime.max.replace(tzinfo=UTC)
        ordered = sorted(self._sums.items(), key=lambda one: (one[0][1] or last, one[0][0]))
        return tuple(RetentionRow(*key, *sums) for key, sums in ordered)

    def _start(self, due: float) -> datetime:
        try:
            day = max(_midnight(due), self._today)
        except (OverflowError, ValueError):  # beyond the year 9999
            return datetime(9999, 1, 1, tzinfo=UTC)
        return day if day < self._today + timedelta(days=DAYS_AHEAD) else day.replace(day=1)


def _midnight(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
