"""Peers: who is configured, who was seen, what each may do, what waits for it, and whether it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import StringConstraints

from scp.audit import messages
from scp.config.peers import SERVICES
from scp.web.access.auditing import record_use
from scp.web.access.sessions import Visitor
from scp.web.few_at_once import FewAtOnce
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.rendering import rendering_of
from scp.web.page.streams import streams_of
from scp.web.reports import Echoed, PeerRow

router = APIRouter(tags=["peers"])
_MOST = 500
# Each waits for a peer that may be silent: for 15 s at most, in one of eight threads.
_ECHOES = FewAtOnce(2, "a C-ECHO to other peers")
_FAULTS: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such [[peer]]."},
    503: {"description": "Others are being asked."},
}
_IN_WORDS = {
    "echo": "C-ECHO",
    "store": "store",
    "find": "query",
    "move": "retrieve by C-MOVE",
    "get": "retrieve by C-GET",
    "commit": "ask for storage commitment",
}


@dataclass(frozen=True, slots=True)
class PeerTraffic:
    """The associations that an AE title has open now; bytes are those of datasets."""

    calling_aet: str
    associations: int
    bytes_received_per_second: float
    bytes_sent_per_second: float


@dataclass(frozen=True, slots=True)
class PeersReport:
    """Peers, under the names of ``zscp peers --json``: at most 500, and ``left_out`` others.

    ``objects``, ``last`` and ``queue`` of a peer are of the archive, as they were looked up last: not yet
    where ``looked`` is false, and perhaps long ago where there is a ``fault``. ``contact`` and ``traffic``
    are of this node, since its start and now.
    """

    node: str
    name: str
    at: datetime
    peers: list[PeerRow]
    left_out: int
    traffic: list[PeerTraffic]
    looked: bool
    fault: str


@dataclass(frozen=True, slots=True)
class AskedPeer:
    """Which peer is to be asked, by its AE title."""

    aet: Annotated[str, StringConstraints(min_length=1, max_length=16)]


def peers_report(desk: Desk) -> PeersReport:
    """What is known of peers; waits neither for the index nor for a peer."""
    _, node, name = desk.sources.configured()
    known = desk.admin.peers.known()
    return PeersReport(
        node,
        name,
        datetime.now(UTC),
        list(known.rows[:_MOST]),
        max(len(known.rows) - _MOST, 0),
        _traffic(desk),
        known.looked,
        known.fault,
    )


def _traffic(desk: Desk) -> list[PeerTraffic]:
    sums: dict[str, tuple[int, float, float]] = {}
    for figures in desk.sources.figures.processes().values():
        for one in figures.board.associations():
            count, received, sent = sums.get(one.calling_aet, (0, 0.0, 0.0))
            rates = desk.rates.of(one)
            sums[one.calling_aet] = count + 1, received + rates[0], sent + rates[1]
    return [PeerTraffic(aet, *sums[aet]) for aet in sorted(sums)]


def rights_in_words(row: PeerRow) -> str:
    """What a peer may do, such as ``may query and retrieve by C-GET; comes by DICOM from 10.1.0.0/16``."""
    if not row.may:
        return "may do nothing" if row.configured else "is refused: it is no [[peer]]"
    services = [_IN_WORDS[name] for name in SERVICES if name in row.may]
    everything = len(services) == len(SERVICES)
    told = [f"may {'use every service' if everything else _listed(services)}"]
    by = f"comes by {_listed(row.by, 'or')}" if row.by else "cannot come: no port is for it"
    told.append(f"{by} from {_listed(row.comes_from, 'or')}" if row.comes_from else by)
    if row.moves_to is not None and "move" in row.may:
        told.append(f"sends by C-MOVE to {_listed(row.moves_to, 'or') or 'nobody'} only")
    told += [f"sees only {key} {_listed(wanted, 'or')}" for key, wanted in row.sees.items()]
    return "; ".join(told)


def _listed(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def echo(desk: Desk, aet: str, visitor: Visitor, address: str) -> Echoed:
    """Ask a peer, as this visitor. Raises DestinationUnknown, OutOfResources."""
    with _ECHOES.one():
        found = desk.admin.peers.echo(aet)
    told = f"C-ECHO to {aet}: {found.fault or 'it answers'}"
    record_use(desk.trail, visitor, address, told, messages.node_subject(f"{aet}@{found.address}"))
    return found


@router.get("/api/peers")
def api_peers(desk: DeskOf) -> PeersReport:
    """The peers of the configuration, and other AE titles that were seen."""
    return peers_report(desk)


@router.post("/api/peers/echo", responses=_FAULTS)
def api_echo(peer: AskedPeer, desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> Echoed:
    """Send a C-ECHO to a peer of the configuration."""
    return echo(desk, peer.aet, visitor, asked.address)


def _page(request: Request, desk: Desk, echoed: Echoed | None = None) -> HTMLResponse:
    report = peers_report(desk)
    return rendering_of(request).page(
        request, "peers.html", report=report, echoed=echoed, rights=rights_in_words, path="/peers"
    )


@router.get("/peers", include_in_schema=False)
def page(request: Request, desk: DeskOf) -> HTMLResponse:
    """The page."""
    return _page(request, desk)


@router.get("/peers/stream", include_in_schema=False)
def stream(request: Request, desk: DeskOf) -> StreamingResponse:
    """The part of the page that changes: contact, rates, and what waits."""
    rendering = rendering_of(request)

    def part() -> str:
        return rendering.part("peers_live.html", report=peers_report(desk))

    return streams_of(request).stream(request, "peers", part)


@router.post("/peers/echo", include_in_schema=False)
def echo_form(request: Request, desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> HTMLResponse:
    """Ask a peer, and show the page with what it answered."""
    return _page(request, desk, echo(desk, asked.form.get("aet", ""), visitor, asked.address))
