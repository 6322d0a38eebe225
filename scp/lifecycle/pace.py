"""How fast stages are carried out: a share of a core, and hours of the day."""

from __future__ import annotations

from datetime import datetime

_DAY = 24 * 60


class Pace:
    """``max_cpu`` cores at most, on average; in ``hours`` of local time, as minutes of the day, or always."""

    def __init__(self, max_cpu: float, hours: tuple[int, int] | None = None) -> None:
        self.max_cpu = max_cpu
        self.hours = hours

    def pause(self, cpu: float, wall: float) -> float:
        """Seconds to rest after work that took ``cpu`` seconds of cores and ``wall`` of the clock."""
        return max(0.0, cpu / self.max_cpu - wall)

    def closed_for(self, now: datetime) -> float:
        """Seconds until the hours begin; 0 within them."""
        if self.hours is None:
            return 0.0
        begin, end = self.hours
        minute = now.hour * 60 + now.minute
        if (minute - begin) % _DAY < (end - begin) % _DAY:
            return 0.0
        return (begin - minute) % _DAY * 60.0 - now.second

    @property
    def share_of_day(self) -> float:
        """The fraction of a day that the hours cover."""
        return 1.0 if self.hours is None else (self.hours[1] - self.hours[0]) % _DAY / _DAY
