"""Health: what is checked, what is damaged, what is yet to be reported or sent, which limits were reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from scp.archive.outstanding import OutstandingCommitment, outstanding_commitments
from scp.audit.tail import AuditTail, tail_of
from scp.identity import Conflict
from scp.model import Instance
from scp.web.exposition import Values, counted, looked_up
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.rendering import rendering_of

router = APIRouter(tags=["health"])
_MOST, _LINES = 50, 20  # of each list; of the audit trail


@dataclass(frozen=True, slots=True)
class Scrubbing:
    """Stored files that are read and checked from time to time.

    ``oldest_check`` is when the file was last read that was not for the longest time; None where nothing is
    stored, or the index has not answered. ``files`` are those that this node has read since its start, by
    result. ``interval_seconds`` 0: nothing is scrubbed.
    """

    interval_seconds: float
    oldest_check: datetime | None
    files: dict[str, int]
    bytes_read: int


@dataclass(frozen=True, slots=True)
class FaultyObject:
    """A stored object, by its SOP Instance UID and study, and what is wrong with it."""

    sop_instance_uid: str
    study_instance_uid: str
    fault: str


@dataclass(frozen=True, slots=True)
class StoreRoom:
    """The disk of a store, in bytes; ``free`` is None where the disk does not answer."""

    store: str
    free: int | None
    reserve: int


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """When the first certificate of a key's file expires."""

    key: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The archive, and this node.

    What is of the archive comes from the index: ``scrubbing.oldest_check``, ``damaged``, ``refused``,
    ``commitments`` and ``forwards`` as it was last looked at; ``damaged_objects``, ``refused_objects`` and
    ``outstanding_commitments``, the first of each, as they are now, and empty where the index does not answer
    (``index_fault``). ``clock_doubt`` says why nothing is deleted by the clock; empty where that is trusted.
    All else is of this node, since its start: limits and errors that were counted, by key and by operation,
    disks, memory in bytes, certificates, and the audit trail if it is a file.
    """

    node: str
    name: str
    at: datetime
    ready: bool
    faults: list[str]
    index_fault: str
    clock_doubt: str
    scrubbing: Scrubbing
    damaged: int
    damaged_objects: list[FaultyObject]
    refused: int
    refused_objects: list[FaultyObject]
    commitments: int
    outstanding_commitments: list[OutstandingCommitment]
    forwards: int
    limits: dict[str, int]
    index_errors: dict[str, int]
    store_errors: dict[str, int]
    restarts: dict[str, int]
    stores: list[StoreRoom]
    memory: int
    memory_limit: int
    certificates: list[CertificateEnd]
    audit: AuditTail


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Studies and patients about which objects contradict each other; of all (``total``) the first."""

    total: int
    conflicts: list[Conflict]


def health_report(desk: Desk) -> HealthReport:
    """The state of the archive and of this node; the index is asked for lists of what is wrong."""
    found = counted(desk.sources.figures.all()) | looked_up(desk.sources)
    look = desk.sources.latest()
    faults = desk.sources.health.not_ready()
    _, node, name = desk.sources.configured()
    lists = _Lists.of(desk)
    held = look.statistics
    return HealthReport(
        node=node,
        name=name,
        at=datetime.now(UTC),
        ready=not faults,
        faults=faults,
        index_fault=lists.fault,
        clock_doubt=look.clock_doubt,
        scrubbing=_scrubbing(desk, found),
        damaged=held.damaged if held is not None else lists.damaged_total,
        damaged_objects=[_faulty(one, one.fault) for one in lists.damaged],
        refused=held.refused if held is not None else lists.refused_total,
        refused_objects=[_faulty(one, one.refused) for one in lists.refused],
        commitments=held.commitments if held is not None else len(lists.commitments),
        outstanding_commitments=lists.commitments,
        forwards=held.send_queue if held is not None else 0,
        limits=_by_label(found["zscp_limit_reached_total"]),
        index_errors=_by_label(found["zscp_index_errors_total"]),
        store_errors=_by_label(found["zscp_store_errors_total"]),
        restarts=_by_label(found["zscp_process_restarts_total"]),
        stores=_stores(found),
        memory=int(found["zscp_memory_bytes"][()][0]),
        memory_limit=int(found["zscp_memory_limit_bytes"][()][0]),
        certificates=_certificates(found["zscp_certificate_end_time_seconds"]),
        audit=tail_of(desk.settings().audit, _LINES),
    )


@dataclass(frozen=True, slots=True)
class _Lists:
    """What the index says now, the first of each; empty with a ``fault`` where it does not answer.

    The totals are counted where no look has told them yet.
    """

    damaged: list[Instance]
    refused: list[Instance]
    commitments: list[OutstandingCommitment]
    fault: str = ""
    damaged_total: int = 0
    refused_total: int = 0

    @classmethod
    def of(cls, desk: Desk) -> _Lists:
        look = desk.sources.latest()
        if look.index_fault:  # to ask it again would let the page wait, too
            return cls([], [], [], look.index_fault)
        archive = desk.archive()
        held, known = look.statistics, archive.integrity
        return cls(
            known.damaged(_MOST) if held is None or held.damaged else [],
            known.refused(_MOST),
            outstanding_commitments(archive.commitments, _MOST) if held is None or held.commitments else [],
            damaged_total=known.count_damaged() if held is None else 0,
            refused_total=known.count_refused() if held is None else 0,
        )


def _faulty(one: Instance, fault: str) -> FaultyObject:
    return FaultyObject(one.sop_instance_uid, one.study_instance_uid, fault)


def _scrubbing(desk: Desk, found: dict[str, Values]) -> Scrubbing:
    oldest = desk.sources.latest().oldest_check
    return Scrubbing(
        desk.sources.disks().scrub_interval,
        None if oldest is None else datetime.fromtimestamp(oldest, UTC),
        _by_label(found["zscp_scrubbed_files_total"]),
        int(next(iter(found["zscp_scrubbed_bytes_total"].values()))[0]),
    )


def _by_label(values: Values) -> dict[str, int]:
    """What was counted, without what never happened."""
    return {labels[0]: int(numbers[0]) for labels, numbers in sorted(values.items()) if numbers[0]}


def _stores(found: dict[str, Values]) -> list[StoreRoom]:
    free = found["zscp_disk_free_bytes"]
    return [
        StoreRoom(labels[0], int(free[labels][0]) if labels in free else None, int(reserve[0]))
        for labels, reserve in found["zscp_disk_reserve_bytes"].items()
    ]


def _certificates(ends: Values) -> list[CertificateEnd]:
    return [
        CertificateEnd(labels[0], datetime.fromtimestamp(end[0], UTC)) for labels, end in sorted(ends.items())
    ]


def conflicts_of(found: Iterable[Conflict]) -> Conflicts:
    """The first conflicts of all."""
    listed = list(found)
    return Conflicts(len(listed), listed[:_MOST])


@router.get("/api/health", responses={503: {"description": "The index does not answer."}})
def api_health(desk: DeskOf) -> HealthReport:
    """The state of the archive and of this node."""
    return health_report(desk)


@router.get("/api/health/conflicts", responses={503: {"description": "The index does not answer."}})
def api_conflicts(desk: DeskOf) -> Conflicts:
    """Studies and patients about which objects contradict each other. Reads large parts of the index."""
    return conflicts_of(desk.archive().conflicts())


@router.get("/health", include_in_schema=False)
def page(request: Request, desk: DeskOf) -> HTMLResponse:
    """The page."""
    return rendering_of(request).page(request, "health.html", health=health_report(desk))


@router.get("/health/conflicts", include_in_schema=False)
def conflicts(request: Request, desk: DeskOf) -> HTMLResponse:
    """The page of conflicts, or the part that the page of health puts in."""
    found = conflicts_of(desk.archive().conflicts())
    if "hx-request" in request.headers:
        return HTMLResponse(rendering_of(request).part("health_conflicts.html", found=found))
    return rendering_of(request).page(request, "health_conflicts_page.html", found=found)
