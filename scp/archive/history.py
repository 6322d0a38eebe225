"""What came in, went out and was kept over time, and when a disk will be full."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import mean, stdev
from typing import Literal, get_args

from scp.config.settings import Settings
from scp.index.history import History, KeptBy, KeptRow, Span, TrafficBy, TrafficRow, summed_traffic
from scp.resources.room import free_bytes

# The services by which objects come in, and by which they go out.
INBOUND, OUTBOUND = ("c-store", "stow-rs"), ("c-move", "c-get", "forward")
# The rate at which a disk fills is that of so many days; fewer than LEAST say too little.
RATE_DAYS, LEAST_DAYS = 28, 3
_FAR = 365 * 100  # days

ReportBy = Literal["day", "hour", "month", "peer", "modality", "service", "form", "store"]
OVER_TIME: tuple[Span, ...] = get_args(Span)
REPORTS: tuple[ReportBy, ...] = get_args(ReportBy)
_TRAFFIC_BY: Mapping[ReportBy, TrafficBy] = {
    "day": "start",
    "hour": "start",
    "month": "start",
    "peer": "peer",
    "modality": "modality",
    "service": "service",
}
_KEPT_BY: Mapping[ReportBy, KeptBy] = {
    "day": "start",
    "hour": "start",
    "month": "start",
    "peer": "calling_aet",
    "modality": "modality",
    "form": "form",
    "store": "store",
}


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """When the disk of a store is full at the present rate; its name is empty for the first store.

    ``free`` are the bytes that may still be written. ``daily`` is by how many bytes what is kept in the store
    grew a day, over the last ``days`` days, and ``deviation`` the standard deviation of single days. ``full``
    is the day, between ``earliest`` and ``latest`` with a certainty of some 95 % if the days to come are as
    those were; each is None where it never comes. ``told`` says in words how certain that is.
    """

    store: str
    free: int
    days: int
    daily: float
    deviation: float
    full: datetime | None
    earliest: datetime | None
    latest: datetime | None
    told: str


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """What came in, went out and is kept, ``by`` one thing, since the beginning of a day or hour.

    ``requests`` are of all services, also of those that bring no objects. By hour, day and month, ``kept`` is
    what was kept at its end; else at the last look. What cannot be told apart so is empty. A month begins
    with its first day in UTC.
    """

    by: ReportBy
    since: datetime
    inbound: tuple[TrafficRow, ...]
    outbound: tuple[TrafficRow, ...]
    requests: tuple[TrafficRow, ...]
    kept: tuple[KeptRow, ...]
    disks: tuple[DiskForecast, ...]


class ArchiveHistory:
    """The history of an archive. Months, days and hours are of UTC. Each method raises OutOfResources."""

    def __init__(self, history: History, stores: Mapping[str, str]) -> None:
        self._history, self._stores = history, stores
        self.put_traffic, self.put_kept = history.put_traffic, history.put_kept
        self.fold = history.fold
        self.put_retention, self.retention = history.put_retention, history.retention

    def look(self) -> list[KeptRow]:
        """What is kept now. Reads all rows of the index."""
        return self._history.look(self._stores)

    def traffic(
        self, span: Span, by: Collection[TrafficBy], since: datetime, services: Collection[str] = ()
    ) -> list[TrafficRow]:
        """See :meth:`scp.index.history.History.traffic`."""
        return self._history.traffic(span, by, since, services)

    def inbound(self, span: Span, by: Collection[TrafficBy], since: datetime) -> list[TrafficRow]:
        """What came in."""
        return self.traffic(span, by, since, INBOUND)

    def outbound(self, span: Span, by: Collection[TrafficBy], since: datetime) -> list[TrafficRow]:
        """What went out; by ``peer`` also the requests of those who asked for it to be sent to others."""
        return self.traffic(span, by, since, OUTBOUND)

    def kept(self, span: Span, since: datetime, by: Collection[KeptBy] = ()) -> list[KeptRow]:
        """What was kept at the last look of each hour, day or month; also told apart ``by`` others."""
        return self._history.kept(span, {"start", *by}, since)

    def savings(self, by: Collection[KeptBy]) -> list[KeptRow]:
        """What was kept at the last look of all, with its hour; empty before the first."""
        last = self._history.last_look()
        return [] if last is None else self._history.kept("hour", {"start", *by}, last)

    def report(self, by: ReportBy, since: datetime, now: datetime, free: Mapping[str, int]) -> HistoryReport:
        """What a page or a command shows at once; ``free`` as for :meth:`disks`."""
        span = next((one for one in OVER_TIME if one == by), None)
        traffic, kept = _TRAFFIC_BY.get(by), _KEPT_BY.get(by)
        # One look for all three: there may be hundreds of thousands of rows, of days.
        rows = self.traffic(span or "day", [traffic, "service"], since) if traffic is not None else []
        inbound, outbound, requests = (
            _without_service([row for row in rows if row.service in services], by)
            for services in (INBOUND, OUTBOUND, {row.service for row in rows})
        )
        if span is not None:
            found = self.kept(span, since)
        else:
            found = self.savings([kept]) if kept is not None else []
        disks = tuple(self.disks(free, now))
        return HistoryReport(by, since, inbound, outbound, requests, tuple(found), disks)

    def disks(self, free: Mapping[str, int], now: datetime) -> list[DiskForecast]:
        """When the disk of each store is full; ``free`` are the bytes that may still be written there.

        The day that is not over yet says nothing of a day's growth.
        """
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        found = self.kept("day", now - timedelta(days=RATE_DAYS + 1), ["store"])
        daily = [row for row in found if row.start is not None and row.start < today]
        return [
            disk_forecast(store, free[store], [row for row in daily if row.store == store], now)
            for store in free
        ]


def _without_service(rows: Sequence[TrafficRow], by: ReportBy) -> tuple[TrafficRow, ...]:
    """The sums over all services, in the same order, unless it is these that they are told apart by."""
    return tuple(rows if by == "service" else summed_traffic(replace(row, service="") for row in rows))


def free_by_store(settings: Settings) -> dict[str, int]:
    """The bytes that may still be written to the disk of each store, without its reserve.

    A bucket has no disk, and a disk that does not answer is left out.
    """
    found = dict[str, int]()
    for name, store in settings.stores.items():
        if not store.in_bucket:
            with suppress(OSError):
                found[name] = max(0, free_bytes(settings.folders[name]) - store.reserve)
    return found


def disk_forecast(store: str, free: int, kept: Sequence[KeptRow], now: datetime) -> DiskForecast:
    """When a disk is full by what was ``kept`` on it, a row a day; days without a row are in between.

    Pure. What else is on the disk, as trash, index and what other programs write, is taken to stay as it is.
    """
    sizes = {row.start: row.stored_size for row in kept if row.start is not None}
    rates = _rates(sorted(sizes.items()))
    if len(rates) < LEAST_DAYS:
        told = f"a rate needs {LEAST_DAYS} days of growth, and there are {len(rates)}"
        return DiskForecast(store, free, len(rates), 0.0, 0.0, None, None, None, told)
    daily, deviation = mean(rates), stdev(rates)
    error = 2 * deviation / math.sqrt(len(rates))
    full, earliest, latest = (_day_when(free, now, rate) for rate in (daily, daily + error, daily - error))
    return DiskForecast(
        store,
        free,
        len(rates),
        daily,
        deviation,
        full,
        earliest,
        latest,
        _told(len(rates), daily, full, latest),
    )


def _rates(sizes: Sequence[tuple[datetime, int]]) -> list[float]:
    """By how many bytes what is kept grew on each day; a gap counts as equal days."""
    rates = list[float]()
    for (before, less), (after, more) in pairwise(sizes):
        days = max(1, round((after - before) / timedelta(days=1)))
        rates += [(more - less) / days] * days
    return rates


def _day_when(free: int, now: datetime, rate: float) -> datetime | None:
    if rate <= 0 or free / rate > _FAR:
        return None
    return now + timedelta(days=max(free, 0) / rate)


def _told(days: int, daily: float, full: datetime | None, latest: datetime | None) -> str:
    rests = f"rests on the growth of {days} days"
    if full is None:
        return f"{'not within 100 years' if daily > 0 else 'what is kept does not grow'}; {rests}"
    if latest is None:
        return f"may as well never come, as days differ much; {rests}"
    return rests
