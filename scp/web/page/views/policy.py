"""Policy: what each rule holds, and an edited configuration: tried, saved, taken up by the node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import StringConstraints

from scp.config.load import ConfigurationFault
from scp.config.saving import MOST_BYTES, ConfigurationText, SavedText, digest_of, with_unix_ends
from scp.config.splicing import with_policy
from scp.errors import ConfigurationError, OutOfResources
from scp.policy.reports import Holdings, PolicyTrial
from scp.web.access.auditing import participant
from scp.web.access.sessions import Visitor
from scp.web.few_at_once import FewAtOnce
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.gatekeeper import AskedOf, VisitorOf
from scp.web.page.rendering import rendering_of
from scp.web.page.views import policy_advice
from scp.web.reports import PolicySaved

router = APIRouter(tags=["policy"])
router.include_router(policy_advice.router)
# A trial takes 0.6 s of a core, and as long as a reload when it is saved.
_TRIALS = FewAtOnce(1, "the trial of another edited policy")
_AROUND = 2  # lines that are shown before and after one that has a fault
_ADMINS = "The configuration may hold passwords: this needs a user with the role admin."
_Answers = dict[int | str, dict[str, Any]]
_AWAY: _Answers = {503: {"description": "Not known yet; or the index does not answer; or another is tried."}}
_FILE: _Answers = {
    403: {"description": "Only admins read the configuration."},
    409: {"description": "The file cannot be read."},
}

_Text = Annotated[str, StringConstraints(max_length=MOST_BYTES)]
_Digest = Annotated[str, StringConstraints(max_length=64)]


@dataclass(frozen=True, slots=True)
class EditedText:
    """The text of an edited configuration file."""

    text: _Text


@dataclass(frozen=True, slots=True)
class EditedFile:
    """An edited text that is to be saved; ``digest`` is that of the file which was read.

    ``tried`` is the digest that the trial of this text gave: what was not tried is not saved.
    """

    text: _Text
    digest: _Digest
    tried: _Digest


@dataclass(frozen=True, slots=True)
class FaultPlace:
    """A fault, and the lines of the text around it with their numbers."""

    fault: ConfigurationFault
    lines: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Editor:
    """What an admin edits: ``text``, of the ``file`` as it is; None where it cannot be read (``fault``).

    ``digest`` is that of the file which was edited.
    """

    file: ConfigurationText | None
    text: str = ""
    digest: str = ""
    trial: PolicyTrial | None = None
    saved: PolicySaved | None = None
    fault: str = ""

    @property
    def faults(self) -> list[FaultPlace]:
        """What is wrong with the text, with its place."""
        of = self.saved.saved.faults if self.saved else self.trial.faults if self.trial else ()
        return list(fault_places(self.text, of))


def fault_places(text: str, faults: Iterable[ConfigurationFault]) -> Iterable[FaultPlace]:
    """Each fault with the lines around it; none where it stands on no line."""
    lines = text.split("\n")
    for fault in faults:
        first, last = max(fault.line - _AROUND, 1), min(fault.line + _AROUND, len(lines))
        shown = range(first, last + 1) if fault.line else ()
        yield FaultPlace(fault, [(number, lines[number - 1]) for number in shown])


def save(desk: Desk, edited: EditedFile, visitor: Visitor, address: str) -> PolicySaved:
    """Save an edited text that was tried, as this visitor."""
    if edited.tried != digest_of(with_unix_ends(edited.text)):
        return PolicySaved(SavedText("not tried", "this text was not tried: try it, then save it"))
    with _TRIALS.one():
        return desk.admin.policy.save(edited.text, edited.digest, participant(visitor, address))


def trial_of(desk: Desk, text: str) -> PolicyTrial:
    """What an edited text would change."""
    with _TRIALS.one():
        return desk.admin.policy.try_text(text)


def _status(done: PolicySaved) -> int:
    return 200 if done.saved.outcome in ("saved", "unchanged") else 409


# -- for programs -------------------------------------------------------------------------------------------


@router.get("/api/policy/rules", responses=_AWAY)
def api_rules(desk: DeskOf) -> Holdings:
    """What each rule holds, of the archive, as it was counted last; of the rules of this node."""
    found = desk.admin.policy.holdings()
    if found.value is None:
        raise OutOfResources(found.fault or "it is being counted what the rules hold; ask again soon")
    return found.value


@router.get("/api/policy/file", responses=_FILE)
def api_file(desk: DeskOf, visitor: VisitorOf) -> ConfigurationText:
    """The configuration file of this node, for admins."""
    if visitor.role != "admin":
        raise HTTPException(403, _ADMINS)
    return desk.admin.policy.read()


@router.post("/api/policy/try", responses=_AWAY)
def api_try(edited: EditedText, desk: DeskOf) -> PolicyTrial:
    """Check an edited configuration, and compare its rules with those in force. Changes nothing."""
    return trial_of(desk, edited.text)


@router.post("/api/policy/save", responses={**_AWAY, 409: {"model": PolicySaved}})
def api_save(
    edited: EditedFile, desk: DeskOf, visitor: VisitorOf, asked: AskedOf, answer: Response
) -> PolicySaved:
    """Save an edited configuration that was tried; the node reads it again. Status 409: not saved."""
    done = save(desk, edited, visitor, asked.address)
    answer.status_code = _status(done)
    return done


# -- for people ---------------------------------------------------------------------------------------------


def _read(desk: Desk, visitor: Visitor) -> Editor | None:
    """The editor with the file as it is; None for who may not edit."""
    if visitor.role != "admin":
        return None
    try:
        file = desk.admin.policy.read()
    except ConfigurationError as error:
        return Editor(None, fault=str(error))
    return Editor(file, file.text, file.digest)


def _page(request: Request, desk: Desk, editor: Editor | None, status: int = 200) -> HTMLResponse:
    held, advice = desk.admin.policy.holdings(), desk.admin.advice.report()
    return rendering_of(request).page(
        request, "policy.html", status, held=held, advice=advice, editor=editor, path="/policy"
    )


@router.get("/policy", include_in_schema=False)
def page(request: Request, desk: DeskOf, visitor: VisitorOf) -> HTMLResponse:
    """The page."""
    return _page(request, desk, _read(desk, visitor))


@router.get("/policy/rules", include_in_schema=False)
def rules_part(request: Request, desk: DeskOf) -> HTMLResponse:
    """What the rules hold, for a page that was opened before that was known."""
    held = desk.admin.policy.holdings()
    return HTMLResponse(rendering_of(request).part("policy_rules.html", held=held))


@router.post("/policy/try", include_in_schema=False)
def try_form(request: Request, desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> HTMLResponse:
    """Try the text of the editor."""
    text = with_unix_ends(asked.form.get("text", ""))
    return _tried(request, desk, visitor, text, asked.form.get("digest", ""))


@router.post("/policy/advice/try", include_in_schema=False)
def try_advice(request: Request, desk: DeskOf, visitor: VisitorOf) -> HTMLResponse:
    """Try the policy that a comparison proposes, within the configuration file."""
    file, found = desk.admin.policy.read(), desk.admin.advice.report()
    policy = found.advice.get("policy", "") if found.advice else ""
    if not policy:
        raise HTTPException(409, "No comparison of codecs has proposed a policy.")
    return _tried(request, desk, visitor, with_policy(file.text, policy), file.digest)


def _tried(request: Request, desk: Desk, visitor: Visitor, text: str, digest: str) -> HTMLResponse:
    known = _read(desk, visitor)
    editor = Editor(known.file if known else None, text, digest, trial_of(desk, text))
    return _page(request, desk, editor)


@router.post("/policy/save", include_in_schema=False)
def save_form(request: Request, desk: DeskOf, visitor: VisitorOf, asked: AskedOf) -> HTMLResponse:
    """Save the text of the editor."""
    given = [asked.form.get(name, "") for name in ("text", "digest", "tried")]
    edited = EditedFile(with_unix_ends(given[0]), *given[1:])
    done = save(desk, edited, visitor, asked.address)
    known = _read(desk, visitor)
    saved = done.saved.outcome in ("saved", "unchanged")
    digest = done.saved.digest if saved else edited.digest
    editor = Editor(known.file if known else None, edited.text, digest, saved=done)
    return _page(request, desk, editor, _status(done))
