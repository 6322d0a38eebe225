"""Objects: searched as by C-FIND, from the patient down to the image; what an object is, and looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydicom.config import IGNORE
from pydicom.uid import UID

from scp.errors import OutOfResources, QueryError, ZscpError
from scp.model import CALLING_AET, LEVELS, UNIQUE_KEYS
from scp.syntaxes import BY_UID, Content
from scp.web.page.desk import DeskOf
from scp.web.page.faults import STATUSES
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.objects.addresses import address, below, of_match, of_which, query_of
from scp.web.page.objects.reports import FoundEntity, Which
from scp.web.page.rendering import rendering_of
from scp.web.page.views import object_actions, object_queries
from scp.web.page.views.object_queries import (
    FURTHEST,
    MOST,
    MOST_ROWS,
    Before,
    FirstOf,
    WhichOf,
    apart,
    facts_of,
)

router = APIRouter(tags=["objects"])
router.include_router(object_queries.router)
router.include_router(object_actions.router)

# The fields of the search form beside the level and the dates: attribute, and what it is called.
_FIELDS = (
    ("PatientName", "Patient's name"),
    ("PatientID", "Patient ID"),
    ("AccessionNumber", "Accession number"),
    ("Modality", "Modality"),
    ("StudyDescription", "Study description"),
    (CALLING_AET, "Came from AE title"),
)
# The columns of matches, by level: attribute, and title.
_COLUMNS = {
    "PATIENT": (
        ("PatientID", "Patient ID"),
        ("PatientBirthDate", "born"),
        ("NumberOfPatientRelatedStudies", ">studies"),
    ),
    "STUDY": (
        ("PatientName", "name"),
        ("PatientID", "Patient ID"),
        ("ModalitiesInStudy", "modalities"),
        ("StudyDescription", "description"),
        ("NumberOfStudyRelatedSeries", ">series"),
    ),
    "SERIES": (
        ("Modality", "modality"),
        ("SeriesDescription", "description"),
        ("BodyPartExamined", "body part"),
    ),
    "IMAGE": (("SOPInstanceUID", "SOP Instance UID"), ("SOPClassUID", "SOP class")),
}
# What the link of a match says.
_NAMES = {"PATIENT": "PatientName", "STUDY": "StudyDate", "SERIES": "SeriesNumber", "IMAGE": "InstanceNumber"}


# -- the page --------------------------------------------------------------------------------------------


@router.get("/objects", include_in_schema=False)
def page(request: Request, desk: DeskOf) -> HTMLResponse:
    """The search form, and what it finds: at first the studies that came last."""
    given = {key: value[:128] for key, value in request.query_params.items()}
    level = next((one for one in LEVELS if one == given.get("level")), "STUDY")
    keys = {name: value for name, _ in _FIELDS if (value := given.get(name, "").strip())}
    if dates := _dates(given.get("from", ""), given.get("to", "")):
        keys["StudyDate"] = dates
    found, fault, status = None, "", 200
    try:
        found = desk.objects.search(level, keys, _number(given.get("before", "")), MOST)  # type: ignore[arg-type]
    except (QueryError, OutOfResources) as error:
        fault, status = f"{error}.", _status(error)
    shown = {
        "found": found,
        "fault": fault,
        "given": given,
        "level": level,
        "fields": _FIELDS,
        "levels": LEVELS,
    }
    more = address("/objects", **{**given, "before": found.following}) if found and found.following else ""
    return rendering_of(request).page(request, "objects.html", status, more=more, **shown, **_naming())


@router.get("/objects/one", include_in_schema=False)
def one(request: Request, desk: DeskOf, which: WhichOf, before: Before = None) -> HTMLResponse:
    """A patient, study, series or image: what it is, what is in it, and what can be done with it."""
    facts = facts_of(desk, which)
    shown: dict[str, Any] = {"facts": facts, "which": which, "peers": desk.settings().peer}
    shown |= {"more": "", "inside": None}
    if len(facts.entities) == 1 and (level := below(which.level)) is not None:
        keys = _exact(facts.entities[0], which)
        inside = desk.objects.search(level, keys, before, MOST)
        shown["inside"] = replace(inside, hits=[hit for hit in inside.hits if _agrees(hit, keys)])
        if inside.following:
            shown["more"] = address("/objects/one", **query_of(which), before=inside.following)
    given = request.query_params
    picked = {name: given.get(name, "")[:32] for name in ("frame", "center", "width")}
    shown["picture"] = address(
        "/objects/picture", **query_of(which), **{k: v for k, v in picked.items() if v}
    )
    return rendering_of(request).page(
        request, "objects_one.html", picked=picked, syntaxes=_syntaxes(), **shown, **_naming()
    )


def _exact(found: FoundEntity, which: Which) -> dict[str, str]:
    keys = {UNIQUE_KEYS[which.level]: which.uid}
    return {key: found.attributes.get(key, "") for key in ("PatientID", "IssuerOfPatientID")} | keys


def _agrees(hit: FoundEntity, keys: dict[str, str]) -> bool:
    """Whether a match is in it: a search takes a Patient ID for a pattern, and an empty one for any."""
    return all(hit.attributes.get(key, "") == value for key, value in keys.items())


@router.get("/objects/explain", include_in_schema=False)
async def explain(request: Request, desk: DeskOf, which: WhichOf) -> HTMLResponse:
    """Why it is kept as it is: the page, or the part that the page of the image puts in."""
    found = await apart(request, lambda: desk.objects.explain(which))
    rendering, shown = rendering_of(request), {"found": found, "which": which, **_naming()}
    if "hx-request" in request.headers:
        return HTMLResponse(rendering.part("objects_explain.html", **shown))
    return rendering.page(request, "objects_explain_page.html", **shown)


@router.get("/objects/header", include_in_schema=False)
async def header(  # noqa: PLR0913, PLR0917 - who asks for what
    request: Request,
    desk: DeskOf,
    which: WhichOf,
    visitor: VisitorOf,
    asked: AskedOf,
    first: Annotated[int, Query(ge=0, le=MOST_ROWS)] = 0,
    whole: bool = False,
) -> HTMLResponse:
    """The header, so many rows at a time."""
    found = await object_queries.api_header(request, desk, which, visitor, asked, first, whole=whole)
    following = first + len(found.rows)
    goes_on = found.more and found.rows
    all_of_it = {"whole": "true"} if whole else {}
    more = address("/objects/header", **query_of(which), first=following, **all_of_it) if goes_on else ""
    return rendering_of(request).page(
        request, "objects_header.html", found=found, which=which, more=more, **_naming()
    )


router.add_api_route("/objects/picture", object_queries.api_picture, methods=["GET"], include_in_schema=False)


@router.get("/objects/holds", include_in_schema=False)
def holds(request: Request, desk: DeskOf) -> HTMLResponse:
    """All legal holds."""
    return rendering_of(request).page(request, "objects_holds.html", holds=desk.objects.holds(), **_naming())


@router.get("/objects/trash", include_in_schema=False)
def trash(request: Request, desk: DeskOf, first: FirstOf = 0) -> HTMLResponse:
    """What was deleted or replaced."""
    found = desk.objects.trash(first, MOST)
    following = first + MOST
    more = address("/objects/trash", first=following) if following < min(found.count, FURTHEST) else ""
    return rendering_of(request).page(request, "objects_trash.html", found=found, more=more, **_naming())


@router.get("/objects/jobs", include_in_schema=False)
def jobs(request: Request, desk: DeskOf) -> HTMLResponse:
    """All jobs."""
    return rendering_of(request).page(request, "objects_jobs.html", jobs=desk.objects.jobs())


@router.get("/objects/jobs/{id}", include_in_schema=False)
def job(request: Request, desk: DeskOf, id: str) -> HTMLResponse:  # noqa: A002 - of the path
    """A job, as a page, or the part of it that changes."""
    found = desk.objects.job(id)
    if "hx-request" in request.headers:
        return HTMLResponse(rendering_of(request).part("objects_job.html", found=found))
    return rendering_of(request).page(request, "objects_job_page.html", found=found)


def _naming() -> dict[str, Any]:
    """What templates of matches need to name them, and to lead to them."""
    return {
        "address": address,
        "of_match": of_match,
        "of_which": of_which,
        "query_of": query_of,
        "columns": _COLUMNS,
        "names": _NAMES,
        "syntax": _named,
    }


def _named(uid: str) -> str:
    """A transfer syntax by its keyword, another UID of the standard by its name; any other text as it is."""
    row = BY_UID.get(uid)
    return row.keyword if row is not None else UID(uid, IGNORE).name


def _syntaxes() -> list[str]:
    """Transfer syntaxes that somebody may want a file in: those that are encoded here."""
    return [row.keyword for row in BY_UID.values() if row.form or row.content is Content.NATIVE]


def _status(error: ZscpError) -> int:
    return next(code for kind, code in STATUSES.items() if isinstance(error, kind))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _dates(first: str, last: str) -> str:
    """Two dates of a form, 2026-11-29, as a range of C-FIND."""
    first, last = (one.replace("-", "") for one in (first, last))
    return f"{first}-{last}" if first or last else ""
