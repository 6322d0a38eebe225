"""A comparison of codecs on some of what is stored (``zscp advise --stored``): begun, followed, ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from scp.audit import messages
from scp.web.access.auditing import record_use
from scp.web.access.sessions import Visitor
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.rendering import rendering_of
from scp.web.reports import AdviceReport

router = APIRouter()
_SECONDS, _LEAST, _MOST = 60.0, 10.0, 3600.0
_RUNS = "A comparison runs already; wait for its end, or end it."
# matplotlib writes its styles into the picture. Nothing else in it may act, wherever it is opened.
_CHART_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True, slots=True)
class WantedAdvice:
    """For how many seconds codecs are to be compared, about."""

    seconds: Annotated[float, Field(ge=_LEAST, le=_MOST)] = _SECONDS


def _start(desk: Desk, seconds: float, visitor: Visitor, address: str) -> None:
    if not desk.admin.advice.start(seconds):
        raise HTTPException(409, _RUNS)
    _record(desk, visitor, address, f"comparison of codecs begun, for {seconds:g} s")


def _cancel(desk: Desk, visitor: Visitor, address: str) -> None:
    desk.admin.advice.cancel()
    _record(desk, visitor, address, "comparison of codecs ended")


def _record(desk: Desk, visitor: Visitor, address: str, what: str) -> None:
    _, _, node = desk.sources.configured()
    record_use(desk.trail, visitor, address, what, messages.node_subject(node))


@router.get("/api/policy/advice")
def api_advice(desk: DeskOf) -> AdviceReport:
    """How far the comparison of codecs on some of what is stored is, and what it found."""
    return desk.admin.advice.report()


_RUNNING: dict[int | str, dict[str, Any]] = {409: {"description": _RUNS}}


@router.post("/api/policy/advice", responses=_RUNNING)
def api_start(wanted: WantedAdvice, desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> AdviceReport:
    """Begin to compare codecs: this takes a core, and changes nothing."""
    _start(desk, wanted.seconds, visitor, asked.address)
    return desk.admin.advice.report()


@router.post("/api/policy/advice/cancel")
def api_cancel(desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> AdviceReport:
    """End the comparison that runs, if one does."""
    _cancel(desk, visitor, asked.address)
    return desk.admin.advice.report()


@router.get("/policy/advice", include_in_schema=False)
def part(request: Request, desk: DeskOf, visitor: VisitorOf) -> HTMLResponse:
    """The part of the page that a comparison changes."""
    report = desk.admin.advice.report()
    return HTMLResponse(rendering_of(request).part("policy_advice.html", advice=report, visitor=visitor))


@router.get("/policy/advice.svg", include_in_schema=False)
def chart(desk: DeskOf) -> Response:
    """The chart of the last comparison."""
    found = desk.admin.advice.report().chart
    if not found:
        raise HTTPException(404)
    return Response(found, 200, {"Content-Security-Policy": _CHART_POLICY}, "image/svg+xml")


@router.post("/policy/advice", include_in_schema=False)
def start_form(desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> Response:
    """Begin to compare."""
    _start(desk, _seconds(asked.form.get("seconds", "")), visitor, asked.address)
    return RedirectResponse("/policy#advice", 303)


@router.post("/policy/advice/cancel", include_in_schema=False)
def cancel_form(desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> Response:
    """End the comparison."""
    _cancel(desk, visitor, asked.address)
    return RedirectResponse("/policy#advice", 303)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST <= seconds <= _MOST:
        raise HTTPException(422, f"The comparison takes {_LEAST:g} to {_MOST:g} seconds.")
    return seconds
