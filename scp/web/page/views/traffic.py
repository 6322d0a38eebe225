"""Traffic and retention: what came in and went out, what is kept for which rule, and what goes when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from scp.archive.history import (
    INBOUND,
    OUTBOUND,
    HistoryReport,
    ReportBy,
    free_by_store,
)
from scp.index.history import OTHER, Span, TrafficRow, summed_traffic
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.rendering import rendering_of
from scp.web.page.views.retention import RetentionReport, retention_report
from scp.web.page.views.retention import router as retention_router
from scp.web.page.views.windows import AWAY, WINDOWS, ByQuery

router = APIRouter(tags=["traffic"])
router.include_router(retention_router)
_MOST = 50  # of each list, the largest; all others are one more row, "other"
_KEPT_DAYS = 3650


@dataclass(frozen=True, slots=True)
class TrafficSums:
    """What came in, what went out, and all requests, told apart by one thing, as ``zscp stats --by`` does.

    What it is not told apart by is empty. The ``peer`` is who asked; of objects that went out, who got them.
    """

    inbound: list[TrafficRow]
    outbound: list[TrafficRow]
    requests: list[TrafficRow]

    @classmethod
    def of(cls, rows: Iterable[TrafficRow], apart: Callable[[TrafficRow], TrafficRow]) -> TrafficSums:
        """Sums of rows; ``apart`` empties all that these are not told apart by."""
        every = list(rows)
        inbound, outbound, requests = (
            summed_traffic(apart(row) for row in every if services is None or row.service in services)
            for services in (INBOUND, OUTBOUND, None)
        )
        return cls(inbound, outbound, requests)


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """What came in and went out ``since`` then, of all nodes; days and hours are of UTC, sizes in bytes."""

    by: Span
    since: datetime
    over_time: TrafficSums
    by_peer: TrafficSums
    by_modality: TrafficSums
    by_service: TrafficSums
    retention: RetentionReport


def traffic_report(desk: Desk, by: Span) -> TrafficReport:
    """Reads the rows of the window twice, at most 400 for each hour of a node, for each day or each month."""
    history, now = desk.archive().history, datetime.now(UTC)
    since = WINDOWS[by].since(now)
    over_time = history.traffic(by, ["start", "service"], since)
    whole: Span = "hour" if by == "hour" else "month"  # also of days: months are fewer rows
    apart = _largest(history.traffic(whole, ["service", "peer", "modality"], since))
    return TrafficReport(
        by,
        since,
        TrafficSums.of(over_time, lambda row: replace(row, service="")),
        TrafficSums.of(apart, lambda row: replace(row, service="", modality="")),
        TrafficSums.of(apart, lambda row: replace(row, service="", peer="")),
        TrafficSums.of(apart, lambda row: replace(row, peer="", modality="")),
        retention_report(desk),
    )


def _largest(rows: Sequence[TrafficRow]) -> list[TrafficRow]:
    """The same sums, with "other" in the place of all peers and modalities but the largest."""
    kept = {}
    for name in ("peer", "modality"):
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in rows:
            known = sums[getattr(row, name)]
            known[0] += row.wire_size
            known[1] += row.requests
        kept[name] = set(sorted(sums, key=lambda key: sums[key], reverse=True)[:_MOST])
    return [
        replace(
            row,
            peer=row.peer if row.peer in kept["peer"] else OTHER,
            modality=row.modality if row.modality in kept["modality"] else OTHER,
        )
        for row in rows
    ]


@router.get("/api/traffic", responses=AWAY)
def api_traffic(desk: DeskOf, by: ByQuery = "day") -> TrafficReport:
    """What came in and went out over time, by peer, modality and service; what is kept how long."""
    return traffic_report(desk, by)


@router.get("/api/history", responses=AWAY)
def api_history(
    desk: DeskOf,
    by: ReportBy = "day",
    days: Annotated[int, Query(ge=1, le=_KEPT_DAYS, description="Of so many days until now.")] = 30,
) -> HistoryReport:
    """What `zscp stats --by … --days … --json` prints."""
    now = datetime.now(UTC)
    free = free_by_store(desk.settings())
    return desk.archive().history.report(by, now - timedelta(days=days), now, free)


@dataclass(frozen=True, slots=True)
class TrafficLine:
    """What came in and went out of one peer, modality or service, as a table shows it."""

    name: str
    requests: int
    failures: int
    inbound: TrafficRow
    outbound: TrafficRow


_NOTHING = TrafficRow(None, "", "", "")


def _lines(found: TrafficSums, name: str) -> list[TrafficLine]:
    """One line each, the largest first."""
    parts = ({getattr(row, name): row for row in rows} for rows in (found.inbound, found.outbound))
    came, went = parts
    lines = [
        TrafficLine(key, row.requests, row.failures, came.get(key, _NOTHING), went.get(key, _NOTHING))
        for row in found.requests
        for key in [getattr(row, name)]
    ]
    return sorted(lines, key=lambda one: (-one.inbound.wire_size - one.outbound.wire_size, -one.requests))


def _points(found: TrafficReport, now: datetime) -> list[list[float]]:
    """Rows of a chart: each hour, day or month from the first one with traffic, without any as zero."""
    came, went, every = (
        {row.start: row for row in rows}
        for rows in (found.over_time.inbound, found.over_time.outbound, found.over_time.requests)
    )
    first = min((start for start in every if start is not None), default=now)
    return [
        [start.timestamp(), came.get(start, _NOTHING).wire_size, went.get(start, _NOTHING).wire_size]
        for start in WINDOWS[found.by].starts(found.since, now)
        if start >= first
    ]


@router.get("/traffic", include_in_schema=False)
def page(request: Request, desk: DeskOf, by: ByQuery = "day") -> HTMLResponse:
    """The page."""
    found = traffic_report(desk, by)
    tables = [
        (
            "peers",
            "By peer: who sent the request, and who got the objects",
            "peer",
            _lines(found.by_peer, "peer"),
        ),
        ("modalities", "By modality", "modality", _lines(found.by_modality, "modality")),
        ("services", "By service", "service", _lines(found.by_service, "service")),
    ]
    return rendering_of(request).page(
        request,
        "traffic.html",
        traffic=found,
        tables=tables,
        points=_points(found, datetime.now(UTC)),
        windows=WINDOWS.values(),
    )
