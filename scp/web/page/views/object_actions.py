"""What admins do with stored objects, on the page and by the API; the gatekeeper has asked who they are.

Each takes one dataclass: the API's JSON, or the fields of a form. What takes long is answered as a job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from pydantic import StringConstraints, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from scp.audit import messages
from scp.audit.events import Participant
from scp.web.access.auditing import participant, record_use
from scp.web.few_at_once import FewAtOnce
from scp.web.page.desk import DeskOf
from scp.web.page.faults import faults
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.objects.addresses import of_which, query_of
from scp.web.page.objects.reports import Download, DownloadPieces, HoldEntry, JobReport, SendRequest, Which
from scp.web.page.objects.wording import told_of_hold, told_of_release, told_of_send
from scp.web.page.rendering import rendering_of

router = APIRouter()
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_FAULTS = faults(403, 404, 409, 422, 503)
Wanted = TypeVar("Wanted")
_PIECE = 1 << 18
# Each waits for deletions that have the trash locked, however long, in one of eight threads.
_HOLDS = FewAtOnce(2, "the adding of other holds")


@dataclass(frozen=True, slots=True)
class ExportWanted(Which):
    """``syntax`` is ``received``, ``stored``, or a transfer syntax by keyword or UID."""

    syntax: _Text = "received"


@dataclass(frozen=True, slots=True)
class SendWanted(Which):
    """``aet`` is the AE title of a configured peer."""

    aet: _Text = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class VerifyWanted(Which):
    """``deep``: also decode, and compare with what was received."""

    deep: bool = False


@dataclass(frozen=True, slots=True)
class RecompressWanted(Which):
    """``now``: carry out all stages, whatever the age of the object, and try again what was refused."""

    now: bool = False


@dataclass(frozen=True, slots=True)
class ReasonedAction(Which):
    """``reason`` is logged and kept."""

    reason: _Text = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class RestoreWanted(Which):
    """``replace``: other content that was received since then goes to the trash instead.

    The ``uid`` may be the id of an entry of the trash; the level does not matter.
    """

    replace: bool = False


def _who_of(visitor: VisitorOf, asked: AskedOf) -> Participant:
    return participant(visitor, asked.address)


WhoOf = Annotated[Participant, Depends(_who_of)]


def _of_form(kind: type[Wanted], asked: AskedOf) -> Wanted:
    """The fields of a form as what an action takes; checkboxes are on, or not there."""
    try:
        made: Wanted = TypeAdapter(kind).validate_python(dict(asked.form))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    return made


# -- the API ---------------------------------------------------------------------------------------------


@router.post(
    "/api/objects/export",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {}, "application/zip": {}}}, **_FAULTS},
)
def api_export(desk: DeskOf, wanted: ExportWanted, who: WhoOf) -> Response:
    """An image as a DICOM file, or what is in a patient, study or series as a ZIP file.

    What cannot be exported is named in failed.txt within that.
    """
    return _downloaded(desk.objects.export(wanted, who, wanted.syntax))


@router.post("/api/objects/send", responses=_FAULTS)
def api_send(desk: DeskOf, wanted: SendWanted, who: WhoOf) -> SendRequest:
    """Queue objects for a peer; the node sends them at once, and tries again while the peer is away."""
    return desk.objects.send(wanted, who, wanted.aet)


@router.post("/api/objects/hold", responses=_FAULTS)
def api_hold(desk: DeskOf, wanted: ReasonedAction, who: WhoOf) -> HoldEntry:
    """Put something under a legal hold, and what is added to it; it need not be held yet."""
    with _HOLDS.one():
        return desk.objects.hold(wanted, who, wanted.reason)


@router.post("/api/objects/release", responses=_FAULTS)
def api_release(desk: DeskOf, wanted: Which, who: WhoOf) -> list[HoldEntry]:
    """Remove the legal holds of this level and patient on something; these are answered."""
    return desk.objects.release(wanted, who)


@router.post("/api/objects/verify", responses=_FAULTS)
def api_verify(desk: DeskOf, wanted: VerifyWanted, who: WhoOf) -> JobReport:
    """Check stored files, as a job; what was found is noted in the index."""
    return desk.objects.verify(wanted, who, wanted.deep)


@router.post("/api/objects/recompress", responses=_FAULTS)
def api_recompress(desk: DeskOf, wanted: RecompressWanted, who: WhoOf) -> JobReport:
    """Carry out the stages that are due, as a job."""
    return desk.objects.recompress(wanted, who, wanted.now)


@router.post("/api/objects/delete", responses=_FAULTS)
def api_delete(desk: DeskOf, wanted: ReasonedAction, who: WhoOf) -> JobReport:
    """Move objects to the trash, but for those under a hold, as a job."""
    return desk.objects.delete(wanted, who, wanted.reason)


@router.post("/api/objects/restore", responses=_FAULTS)
def api_restore(desk: DeskOf, wanted: RestoreWanted, who: WhoOf) -> JobReport:
    """Bring a study, an image, or an entry by its id back from the trash, as a job."""
    return desk.objects.restore(wanted, who, wanted.replace)


@router.post("/api/objects/jobs/{id}/stop", responses=_FAULTS)
def api_stop(
    desk: DeskOf,
    id: str,  # noqa: A002 - of the path
    visitor: VisitorOf,
    asked: AskedOf,
) -> JobReport:
    """Make a job end soon; what it did stays."""
    report = desk.objects.stop_job(id)
    _, _, node = desk.sources.configured()
    told = f"asked for an end of: {report.job.kind} {report.job.about}"
    record_use(desk.trail, visitor, asked.address, told, messages.node_subject(node))
    return report


# -- the page --------------------------------------------------------------------------------------------


@router.post("/objects/export", include_in_schema=False)
def export(desk: DeskOf, asked: AskedOf, who: WhoOf) -> Response:
    """A download."""
    return api_export(desk, _of_form(ExportWanted, asked), who)


@router.post("/objects/send", include_in_schema=False)
def send(request: Request, desk: DeskOf, asked: AskedOf, who: WhoOf) -> HTMLResponse:
    """Queue objects."""
    wanted = _of_form(SendWanted, asked)
    return _done(request, "Sent", told_of_send(api_send(desk, wanted, who)), wanted)


@router.post("/objects/hold", include_in_schema=False)
def hold(request: Request, desk: DeskOf, asked: AskedOf, who: WhoOf) -> HTMLResponse:
    """Put something under a hold."""
    wanted = _of_form(ReasonedAction, asked)
    return _done(request, "Held", told_of_hold(api_hold(desk, wanted, who)), wanted)


@router.post("/objects/release", include_in_schema=False)
def release(request: Request, desk: DeskOf, asked: AskedOf, who: WhoOf) -> HTMLResponse:
    """Remove holds."""
    wanted = _of_form(Which, asked)
    return _done(request, "Released", told_of_release(api_release(desk, wanted, who), wanted.uid), wanted)


@router.get("/objects/delete", include_in_schema=False)
def delete_page(request: Request, desk: DeskOf, which: Annotated[Which, Depends()]) -> HTMLResponse:
    """What would be deleted: asks for the reason, and whether it is meant."""
    shown: dict[str, Any] = {"which": which, "chosen": desk.objects.chosen(which), "back": of_which(which)}
    return rendering_of(request).page(request, "objects_delete.html", query=query_of(which), **shown)


@router.post("/objects/delete", include_in_schema=False)
def delete(desk: DeskOf, asked: AskedOf, who: WhoOf) -> RedirectResponse:
    """Delete."""
    return _job(api_delete(desk, _of_form(ReasonedAction, asked), who))


@router.post("/objects/restore", include_in_schema=False)
def restore(desk: DeskOf, asked: AskedOf, who: WhoOf) -> RedirectResponse:
    """Restore."""
    return _job(api_restore(desk, _of_form(RestoreWanted, asked), who))


@router.post("/objects/verify", include_in_schema=False)
def verify(desk: DeskOf, asked: AskedOf, who: WhoOf) -> RedirectResponse:
    """Check."""
    return _job(api_verify(desk, _of_form(VerifyWanted, asked), who))


@router.post("/objects/recompress", include_in_schema=False)
def recompress(desk: DeskOf, asked: AskedOf, who: WhoOf) -> RedirectResponse:
    """Recompress."""
    return _job(api_recompress(desk, _of_form(RecompressWanted, asked), who))


@router.post("/objects/jobs/{id}/stop", include_in_schema=False)
def stop(
    desk: DeskOf,
    id: str,  # noqa: A002 - of the path
    visitor: VisitorOf,
    asked: AskedOf,
) -> RedirectResponse:
    """Stop a job."""
    return _job(api_stop(desk, id, visitor, asked))


def _job(report: JobReport) -> RedirectResponse:
    """To the page of a job, which a reload does not ask for again."""
    return RedirectResponse(f"/objects/jobs/{report.job.id}", 303)


def _done(request: Request, title: str, told: str, which: Which) -> HTMLResponse:
    return rendering_of(request).page(
        request, "objects_done.html", done=title, told=told, back=of_which(which)
    )


def _downloaded(file: Download) -> StreamingResponse:
    plain = "".join(one if one.isalnum() or one in "._-" else "_" for one in file.name)
    headers = {"Content-Disposition": f'attachment; filename="{quote(plain)}"'}
    return _ClosedAtItsEnd(file.pieces, file.media_type, headers)


class _ClosedAtItsEnd(StreamingResponse):
    """A download whose pieces are closed when it ends, also where the browser breaks it off.

    Starlette leaves them to the garbage collector, and until that runs they would count as under way.
    """

    def __init__(self, pieces: DownloadPieces, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(_sized(pieces), media_type=media_type, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._pieces.close)


def _sized(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of some size: each takes a thread for a moment."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
