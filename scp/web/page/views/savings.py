"""Savings: received against kept, when disks are full, and what the next stages of the policy would save."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from scp.archive.history import DiskForecast, free_by_store
from scp.index.history import KeptRow, Span
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.rendering import rendering_of
from scp.web.page.views.windows import AWAY, WINDOWS, ByQuery
from scp.web.plans import PlanLook

router = APIRouter(tags=["savings"])


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """The archive, all nodes together; but disks are those that this node writes to.

    ``kept`` is what was kept at the end of each hour, day or month ``since`` then, as far as a node looked.
    The other rows are of the last look, in the hour ``looked_at`` (None: there was none yet): at most 200 of
    each. Sizes are in bytes.
    """

    by: Span
    since: datetime
    kept: list[KeptRow]
    looked_at: datetime | None
    by_modality: list[KeptRow]
    by_calling_aet: list[KeptRow]
    by_form: list[KeptRow]
    by_store: list[KeptRow]
    disks: list[DiskForecast]
    plan: PlanLook


def savings_report(desk: Desk, by: Span) -> SavingsReport:
    """What compression saves; of the index this reads at most 26,000 rows of the history."""
    history, now = desk.archive().history, datetime.now(UTC)
    since = WINDOWS[by].since(now)
    by_store = history.savings(["store"])
    return SavingsReport(
        by,
        since,
        history.kept(by, since),
        by_store[0].start if by_store else None,
        _largest(history.savings(["modality"])),
        _largest(history.savings(["calling_aet"])),
        _largest(history.savings(["form"])),
        by_store,
        history.disks(free_by_store(desk.settings()), now),
        desk.plan(),
    )


def _largest(rows: list[KeptRow]) -> list[KeptRow]:
    return sorted(rows, key=lambda row: -row.received_size)


@router.get("/api/savings", responses=AWAY)
def api_savings(desk: DeskOf, by: ByQuery = "day") -> SavingsReport:
    """Received against kept, when disks are full, and what the policy's next stages would save."""
    return savings_report(desk, by)


@router.get("/api/plan")
def api_plan(desk: DeskOf) -> PlanLook:
    """What `zscp plan --json` prints, as it was last looked up. Asks for a new look where that is old."""
    return desk.plan()


@router.get("/savings", include_in_schema=False)
def page(request: Request, desk: DeskOf, by: ByQuery = "day") -> HTMLResponse:
    """The page."""
    found = savings_report(desk, by)
    return rendering_of(request).page(
        request, "savings.html", savings=found, plan=found.plan, windows=WINDOWS.values()
    )


@router.get("/savings/plan", include_in_schema=False)
def plan(request: Request, desk: DeskOf) -> HTMLResponse:
    """The part of the page that changes when a look at the policy has ended."""
    return HTMLResponse(rendering_of(request).part("savings_plan.html", plan=desk.plan()))
