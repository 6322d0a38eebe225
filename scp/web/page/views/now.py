"""Now: nodes, workers, open associations, rates, the backlog, and what went wrong last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from scp.index.nodes import NodeState
from scp.metrics.board import OpenAssociation, Trouble
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.rates import Rate, Totals
from scp.web.page.rendering import rendering_of
from scp.web.page.streams import streams_of

router = APIRouter(tags=["now"])
_OPEN = "zscp_associations_open"
_MOST_TROUBLES = 20


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process of this node; ``silent_seconds`` since it said that it is alive, None before it begins."""

    name: str
    silent_seconds: float | None
    associations: int


@dataclass(frozen=True, slots=True)
class AssociationNow:
    """An association that is under way; bytes are those of datasets.

    ``service`` is what the peer asked for last; ``busy`` where that is not answered yet.
    """

    process: str
    name: str
    calling_aet: str
    called_aet: str
    address: str
    since: datetime
    service: str
    busy: bool
    requests: int
    bytes_received: int
    bytes_sent: int
    bytes_received_per_second: float
    bytes_sent_per_second: float


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning or an error of this node's log, ``times`` alike, ``at`` the last time."""

    process: str
    at: datetime
    level: str
    event: str
    reason: str
    about: str
    times: int


@dataclass(frozen=True, slots=True)
class Flow:
    """So much a second, of the last seconds; bytes are those of datasets."""

    requests: float
    bytes_received: float
    bytes_kept: float
    bytes_sent: float


@dataclass(frozen=True, slots=True)
class SinceStart:
    """What this node has counted since it was started."""

    started: datetime
    requests: int
    bytes_received: int
    bytes_kept: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class NowReport:
    """This node, and what it knows of the others that share its archive (``nodes``, itself among them).

    What is pending is for this node to encode; ``index_age_seconds`` says how old that is, and what is said
    of ``nodes``; None where the index has not answered yet. ``associations`` may be fewer than ``open``: of
    very many, not all are listed.
    """

    node: str
    name: str
    at: datetime
    ready: bool
    faults: list[str]
    nodes: list[NodeState]
    index_age_seconds: float | None
    processes: list[ProcessState]
    open: int
    open_limit: int
    associations: list[AssociationNow]
    per_second: Flow
    since_start: SinceStart
    pending_objects: int
    pending_bytes: int
    pending_limit_bytes: int
    troubles: list[Notice]


@dataclass(frozen=True, slots=True)
class RateHistory:
    """Rates of the last ten minutes, the oldest first; ``at`` in seconds since 1970."""

    rates: list[Rate]


def now_report(desk: Desk) -> NowReport:
    """What there is now; waits neither for the index nor for a disk."""
    sources, look = desk.sources, desk.sources.latest()
    _, node, name = sources.configured()
    faults, moment = sources.health.not_ready(), datetime.now(UTC)
    open_by_process = _open_by_process(desk)
    silent = sources.health.silent_seconds()
    age = sources.health.index_age()
    return NowReport(
        node=node,
        name=name,
        at=moment,
        ready=not faults,
        faults=faults,
        nodes=list(look.nodes),
        index_age_seconds=age,
        processes=[ProcessState(one, silent[one], open_by_process.get(one, 0)) for one in silent],
        open=sum(open_by_process.values()),
        open_limit=desk.settings().limits.associations,
        associations=_associations(desk),
        per_second=_flow(desk.rates.now()),
        since_start=_since_start(desk.rates.totals(), sources.started),
        pending_objects=look.pending_objects,
        pending_bytes=look.pending_bytes,
        pending_limit_bytes=sources.disks().backlog,
        troubles=_troubles(desk),
    )


def _open_by_process(desk: Desk) -> dict[str, int]:
    return {
        process: int(one.numbers[0])
        for process, figures in desk.sources.figures.processes().items()
        for one in figures.read()
        if one.metric.name == _OPEN
    }


def _associations(desk: Desk) -> list[AssociationNow]:
    found = [
        _association(desk, process, one)
        for process, figures in desk.sources.figures.processes().items()
        for one in figures.board.associations()
    ]
    return sorted(found, key=lambda one: (one.since, one.name))


def _association(desk: Desk, process: str, one: OpenAssociation) -> AssociationNow:
    received, sent = desk.rates.of(one)
    known = {name: getattr(one, name) for name in one.__slots__ if name not in ("since", "at")}
    return AssociationNow(
        process=process,
        since=_moment(one.since),
        bytes_received_per_second=received,
        bytes_sent_per_second=sent,
        **known,
    )


def _troubles(desk: Desk) -> list[Notice]:
    figures = desk.sources.figures
    found: list[tuple[str, Trouble]] = [
        (process, trouble)
        for process, one in {"supervisor": figures.own, **figures.processes()}.items()
        for trouble in one.board.troubles()
    ]
    found.sort(key=lambda pair: pair[1].at, reverse=True)
    return [
        Notice(process, _moment(one.at), one.level, one.event, one.reason, one.about, one.times)
        for process, one in found[:_MOST_TROUBLES]
    ]


def _flow(rate: Rate) -> Flow:
    return Flow(rate.requests, rate.bytes_received, rate.bytes_kept, rate.bytes_sent)


def _since_start(totals: Totals, started: float) -> SinceStart:
    counted = (totals.requests, totals.bytes_received, totals.bytes_kept, totals.bytes_sent)
    return SinceStart(_moment(started), *counted)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@router.get("/api/now")
def api_now(desk: DeskOf) -> NowReport:
    """What happens now."""
    return now_report(desk)


@router.get("/api/now/history")
def api_history(desk: DeskOf) -> RateHistory:
    """The rates of the last ten minutes, of this node."""
    return RateHistory(desk.rates.history())


@router.get("/", include_in_schema=False)
def page(request: Request, desk: DeskOf) -> HTMLResponse:
    """The page."""
    report, rates = now_report(desk), desk.rates.history()
    return rendering_of(request).page(request, "now.html", now=report, rates=rates)


@router.get("/now/stream", include_in_schema=False)
def stream(request: Request, desk: DeskOf) -> StreamingResponse:
    """The part of the page that changes."""
    rendering = rendering_of(request)

    def part() -> str:
        return rendering.part("now_live.html", now=now_report(desk))

    return streams_of(request).stream(request, "now", part)


@router.get("/now/rates", include_in_schema=False)
def rates_part(request: Request, desk: DeskOf) -> HTMLResponse:
    """The chart of the last ten minutes."""
    part = rendering_of(request).part("now_rates.html", rates=desk.rates.history())
    return HTMLResponse(part)
