"""How far views look back, over hours, days or months of UTC: what a visitor chooses by a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query

from scp.index.history import Span

# What an operation says of itself that asks the index.
AWAY: dict[int | str, dict[str, Any]] = {503: {"description": "The index does not answer."}}
# The parameter of a view or an operation that goes over time.
ByQuery = Annotated[Span, Query(description="Over hours, days or months of UTC.")]


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """What is looked at ``by`` one of these, and its title; ``steps`` of them before the present one."""

    by: Span
    title: str
    steps: int

    def since(self, now: datetime) -> datetime:
        """When the first one began, of those that are looked at."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self.by == "hour":
            return hour - timedelta(hours=self.steps)
        if self.by == "day":
            return hour.replace(hour=0) - timedelta(days=self.steps)
        months = now.year * 12 + now.month - 1 - self.steps
        return hour.replace(year=months // 12, month=months % 12 + 1, day=1, hour=0)

    def starts(self, since: datetime, now: datetime) -> Iterator[datetime]:
        """When each one began, ``since`` the first."""
        start = since
        while start <= now:
            yield start
            start = self._after(start)

    def _after(self, start: datetime) -> datetime:
        if self.by == "hour":
            return start + timedelta(hours=1)
        if self.by == "day":
            return start + timedelta(days=1)
        return (start + timedelta(days=31)).replace(day=1)


# The index keeps hours of 14 days, and five years by days and months (scp/index/history.py). A page looks at
# fewer: it reads all their rows.
WINDOWS: dict[Span, TimeWindow] = {
    "hour": TimeWindow("hour", "hours of the last three days", 71),
    "day": TimeWindow("day", "days of the last three months", 91),
    "month": TimeWindow("month", "months of the last year", 11),
}
