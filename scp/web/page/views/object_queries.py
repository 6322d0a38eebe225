"""What programs ask of stored objects, as JSON: the same reports as the page shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import StringConstraints

from scp.errors import QueryError
from scp.web.access.auditing import participant
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.faults import faults
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.objects.reports import (
    ExplainedObject,
    FoundEntity,
    FoundPage,
    HeaderRows,
    HoldEntry,
    JobReport,
    JobReports,
    Level,
    ObjectFacts,
    TrashEntries,
    Which,
)

router = APIRouter()

MOST = 50  # matches, or entries of the trash, in a page
MOST_ROWS = 100_000  # of a header
_ROWS, _PIXELS = 500, 1024
_LARGEST = 1 << 62  # of a number in a query

_Match = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00=]+=[^\x00]*$")]
Before = Annotated[int | None, Query(ge=0, le=_LARGEST)]
FURTHEST = 10_000  # entries of the trash: to show what comes next, the notes of these are read, too
FirstOf = Annotated[int, Query(ge=0, le=FURTHEST)]
WhichOf = Annotated[Which, Depends()]
Found = TypeVar("Found")


async def apart(request: Request, call: Callable[[], Found]) -> Found:
    """Read a stored file in a thread of those for that, however long it takes."""
    return await anyio.to_thread.run_sync(call, limiter=request.app.state.readers)


def facts_of(desk: Desk, which: Which) -> ObjectFacts:
    """What is meant. Raises ObjectMissing."""
    entities = _entities(desk, which)
    if which.level != "IMAGE" or len(entities) > 1:
        return ObjectFacts(which.level, entities, None)
    return ObjectFacts(which.level, entities, desk.objects.instance(which))


def _entities(desk: Desk, which: Which) -> list[FoundEntity]:
    try:
        return desk.objects.entities(which)
    except QueryError:
        if which.level != "IMAGE":
            raise
        return []  # a UID that no query may name: the index has it all the same (invariant 7)


@router.get("/api/objects", responses=faults(422, 503))
def api_search(
    desk: DeskOf,
    level: Level = "STUDY",
    match: Annotated[list[_Match], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
    before: Before = None,
    most: Annotated[int, Query(ge=1, le=500)] = MOST,
) -> FoundPage:
    """Patients, studies, series or images, those that came last first.

    ``match`` is Keyword=value, as of ``zscp ls --match``, with C-FIND's wildcards, ranges and lists;
    calling_aet=value: only objects that came from this AE title.
    """
    keys = dict(one.split("=", 1) for one in match)
    return desk.objects.search(level, keys, before, most)


@router.get("/api/objects/one", responses=faults(404, 409, 422, 503))
def api_facts(desk: DeskOf, which: WhichOf) -> ObjectFacts:
    """What is meant, and how it is kept; of an image all that the index knows."""
    return facts_of(desk, which)


@router.get("/api/objects/explain", responses=faults(404, 409, 422, 503))
async def api_explain(request: Request, desk: DeskOf, which: WhichOf) -> ExplainedObject:
    """Why an image is kept as it is; its file is read."""
    return await apart(request, lambda: desk.objects.explain(which))


@router.get("/api/objects/header", responses=faults(404, 409, 422, 503))
async def api_header(  # noqa: PLR0913, PLR0917 - who asks for what
    request: Request,
    desk: DeskOf,
    which: WhichOf,
    visitor: VisitorOf,
    asked: AskedOf,
    first: Annotated[int, Query(ge=0, le=MOST_ROWS)] = 0,
    most: Annotated[int, Query(ge=1, le=2000)] = _ROWS,
    whole: bool = False,
) -> HeaderRows:
    """Rows of an image's header; its file is read as far as they take, or ``whole``, and checked then.

    Who asked is in the audit trail.
    """
    who = participant(visitor, asked.address)
    return await apart(request, lambda: desk.objects.header(which, who, first, most, whole))


@router.get(
    "/api/objects/picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **faults(404, 409, 422, 503)},
)
async def api_picture(  # noqa: PLR0913, PLR0917 - who asks for what
    request: Request,
    desk: DeskOf,
    which: WhichOf,
    visitor: VisitorOf,
    asked: AskedOf,
    frame: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    most: Annotated[int, Query(ge=1, le=4096)] = _PIXELS,
    center: Annotated[float | None, Query(ge=-1e12, le=1e12)] = None,
    width: Annotated[float | None, Query(ge=0, le=1e12)] = None,
) -> Response:
    """A frame as PNG, with the window of ``center`` and ``width``, or as the object says; not for diagnosis.

    Who asked is in the audit trail.
    """
    who = participant(visitor, asked.address)
    window = None if center is None or width is None else (center, width)
    png = await apart(request, lambda: desk.objects.picture(which, who, frame, most, window))
    return Response(png, media_type="image/png")


@router.get("/api/objects/holds", responses=faults(409, 503))
def api_holds(desk: DeskOf) -> list[HoldEntry]:
    """All legal holds, the oldest first."""
    return desk.objects.holds()


@router.get("/api/objects/trash", responses=faults(503))
def api_trash(
    desk: DeskOf, first: FirstOf = 0, most: Annotated[int, Query(ge=1, le=500)] = MOST
) -> TrashEntries:
    """What was deleted or replaced, the latest first."""
    return desk.objects.trash(first, most)


@router.get("/api/objects/jobs")
def api_jobs(desk: DeskOf) -> JobReports:
    """The jobs of this node's page: those that wait, that are under way, and the last that ended."""
    return JobReports(desk.objects.jobs())


@router.get("/api/objects/jobs/{id}", responses=faults(404))
def api_job(desk: DeskOf, id: str) -> JobReport:  # noqa: A002 - of the path
    """How far a job is, and what came of it."""
    return desk.objects.job(id)
