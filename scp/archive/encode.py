"""From a received object to the file that is kept: the forms of a stage are tried in turn.

Each result is proven before it may be kept (invariant 2). If a codec cannot take the object, or its result
does not verify or is not smaller, the next form is tried; the last are zstd and as received (invariant 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import structlog

from scp.archive.form_choice import FormPlan, plan
from scp.archive.package import Packer, StoredForm
from scp.archive.refusal import FAILED, Refusal, attempt_at
from scp.config.rules import PolicyRule, Stage
from scp.encoding.cage.caged import Trust
from scp.encoding.dataset import SplitDataset, split
from scp.encoding.evenness import is_even
from scp.encoding.forms import Encoded, encoded, prove
from scp.encoding.uids import Uids, uids_of
from scp.errors import (
    CannotEncode,
    CodecProcessFailed,
    DamagedCodestream,
    DecoderFailed,
    NotReproduced,
    ObjectDamaged,
    OutOfResources,
    UnreadableDataset,
    message_of,
)
from scp.metrics import counting
from scp.model import Attempt, AttemptOutcome, Facts, Provenance, Received
from scp.objects.dictionaries import Dictionaries
from scp.objects.part10 import Part10
from scp.objects.suspects import Act
from scp.policy.stages import fingerprint
from scp.spool import sha256
from scp.syntaxes import lookup

# Forms that are kept whatever their size: no gain is expected of them.
_PLAIN = ("received", "native")
_LAST = ("zstd", "received")
NO_ROOM: AttemptOutcome = "no room"  # there was too little disk space or memory to make the form
AS_RECEIVED = Stage(forms=("received",))


def as_received(received: Received, facts: Facts | None = None) -> Part10:
    """The Part 10 file of an object as received, which needs no proof.

    Without ``facts`` the file is written before the survey and the choice of a rule: it says neither whether
    the object is readable, nor which UIDs it lacks.
    """
    given = {} if facts is None else uids_within(received, facts).given
    known = replace(base_provenance(received), form="received", given=given)
    uids = (received.sop_class_uid, received.sop_instance_uid)
    return Part10(*uids, received.transfer_syntax, received.dataset, known, received.calling_aet)


def uids_within(received: Received, facts: Facts) -> Uids:
    """The UIDs of a received object; ``facts`` are the result of its survey."""
    return uids_of(received.sop_class_uid, received.sop_instance_uid, facts.attributes, received.given)


def keep(
    received: Received,
    facts: Facts,
    rule: PolicyRule | None,
    dictionaries: Dictionaries | None = None,
    clock: Callable[[], float] = time.perf_counter,
    refused: Refusal | None = None,
) -> StoredForm:
    """The stored form of a received object in the settled stage of its rule (``PolicyRule.settled``).

    ``facts`` are the result of its survey. Without a rule the form is as received. ``dictionaries`` are those
    of the store that it is put into, ``clock`` gives seconds. A ``refused`` object is kept as received, and
    its file says why.
    Never fails because of compression: as received is always the last candidate.
    """
    stage = rule.settled if rule else AS_RECEIVED
    parts = _parts(received) if facts.readable and refused is None else None
    known = base_provenance(received, rule.name if rule else "", facts.readable, facts.fault)
    even = parts is not None and len(received.dataset) % 2 == 0 and is_even(parts)
    given = uids_within(received, facts).given
    known = replace(known, stage=fingerprint(stage), even=even, given=given)
    candidates = _Candidates(received, parts, known, stage, Packer(received, stage, dictionaries), clock)
    if refused is not None:
        candidates.give_up_codecs(refused)
    return candidates.recorded(_best(candidates, stage, parts))


def _best(candidates: _Candidates, stage: Stage, parts: SplitDataset | None) -> StoredForm:
    """The form to keep: the first or the smallest that is proven, else a last resort."""
    if stage.compares and not candidates.hopeless:
        best = _smallest(candidates, plan(stage, parts, candidates.received.transfer_syntax))
    else:
        best = next(candidates.proven(stage.forms), None)
    last_resorts = (form for form in _LAST if form not in stage.forms)
    return best or next(candidates.proven(last_resorts), None) or candidates.as_received()


def _smallest(candidates: _Candidates, chosen: FormPlan) -> StoredForm | None:
    """The smallest proven form. The stage's time bounds this search, but not the search for a first form."""
    best: StoredForm | None = None
    for form in chosen.forms:
        if best is not None and candidates.time_is_up():
            candidates.skip(Attempt(form, "skipped", "budget_ms used up"))
            continue
        for found in candidates.proven((form,)):
            best = found if best is None or len(found.data) < len(best.data) else best
    if best is None and chosen.passed:
        return _smallest(candidates, FormPlan(tuple(one.form for one in chosen.passed)))
    for one in chosen.passed:
        candidates.skip(one)
    return best


def _parts(received: Received) -> SplitDataset | None:
    try:
        return split(received.dataset, lookup(received.transfer_syntax))
    except (UnreadableDataset, ValueError):
        return None


def base_provenance(received: Received, rule: str = "", readable: bool = True, fault: str = "") -> Provenance:
    """What a file says of how its object came, before a form is chosen for it."""
    if received.origin is not None:
        return replace(received.origin, rule=rule, attempts=())
    return Provenance(
        transfer_syntax=received.transfer_syntax,
        sha256=received.sha256,
        size=len(received.dataset),
        received_at=received.received_at,
        calling_aet=received.calling_aet,
        called_aet=received.called_aet,
        rule=rule,
        form="",
        readable=readable,
        fault=fault,
        loss=received.loss,
    )


def _outcome_of(error: Exception) -> tuple[AttemptOutcome, str]:
    """The outcome of a failed attempt, and its reason (:class:`scp.model.Attempt`)."""
    match error:
        case CannotEncode() | DamagedCodestream():
            return "refused", str(error)
        case OutOfResources():
            return NO_ROOM, str(error)
        case MemoryError():
            return NO_ROOM, message_of(error)
        case NotReproduced() | ObjectDamaged():
            return "wrong", str(error)
        case _:  # no fault of a codec may fail a C-STORE (invariant 3)
            return "wrong", f"{type(error).__name__}: {error}"


class _Candidates:
    """The attempts to encode one object, and their outcomes."""

    def __init__(
        self,
        received: Received,
        parts: SplitDataset | None,
        base: Provenance,
        stage: Stage,
        packer: Packer,
        clock: Callable[[], float],
    ) -> None:
        self.received, self._parts, self._base, self._stage = received, parts, base, stage
        self._packer = packer
        self._attempts: list[Attempt] = []
        self._damage = ""  # what is wrong with the received codestream
        self.hopeless = ""  # why no more codecs are tried
        self._clock, self._started = clock, clock()

    def time_is_up(self) -> bool:
        """Whether the stage's budget for an object of this size is used up."""
        budget = self._stage.budget_ms
        seconds = self._clock() - self._started
        return budget is not None and seconds > budget / 1e3 * self._base.size / 1e6

    def skip(self, attempt: Attempt) -> None:
        """Note why a form is not tried."""
        self._attempts.append(attempt)

    def proven(self, forms: Iterable[str]) -> Iterator[StoredForm]:
        """Try ``forms`` in their order; yields the results that may be kept."""
        for form in forms:
            if (found := self._tried(form)) is not None:
                yield found

    def _tried(self, form: str) -> StoredForm | None:
        """A form that is proven and smaller; None, with a note of the reason, if it may not be kept."""
        started, last_resort = self._clock(), form in _LAST
        if self.hopeless and not last_resort:
            self._note(form, "skipped", self.hopeless, started)
            return None
        try:
            if self._damage and not last_resort:
                raise CannotEncode(self._damage)
            return self._gaining(self._proven(form), form, started)
        except CodecProcessFailed as error:
            self._note_failure(form, error)
        except Exception as error:  # noqa: BLE001 - told apart by _outcome_of
            if isinstance(error, DamagedCodestream):
                self._damage = str(error)
            self._note(form, *_outcome_of(error), started)
        return None

    def _gaining(self, found: StoredForm, form: str, started: float) -> StoredForm | None:
        """The proven form; None if it was made to save space and is not smaller than what was received."""
        size = len(found.data)
        gains = form in _PLAIN or size < self._base.size or not self._is_compressing(found)
        reason = "" if gains else f"received {self._base.size} bytes"
        self._note(form, "kept" if gains else "larger", reason, started, size)
        return found if gains else None

    def _proven(self, form: str) -> StoredForm:
        """Encode, pack, and read back what was packed. Raises CannotEncode, NotReproduced."""
        found = self._packer.pack(
            encoded(form, self.received, self._parts, self._stage.effort or 0), self._base
        )
        file = self._packer.unpack(found.data)
        if file.provenance is None:
            raise NotReproduced("its private information is gone")
        # If the object's codestream was replaced before, the input here is not what was received.
        received = self.received.dataset if self.received.origin is None else b""
        prove(file.dataset, file.transfer_syntax, file.provenance, received, Trust.MADE_HERE)
        return found

    def _is_compressing(self, found: StoredForm) -> bool:
        return found.wrapped or found.encoded.transfer_syntax != self.received.transfer_syntax

    def _note(self, form: str, outcome: AttemptOutcome, reason: str, started: float, size: int = 0) -> None:
        seconds = self._clock() - started
        self._attempts.append(Attempt(form, outcome, reason, size, seconds))
        counting.observe("zscp_encoding_seconds", form, value=seconds)
        counting.count("zscp_encodings_total", form, outcome)

    def _note_failure(self, form: str, error: CodecProcessFailed) -> None:
        """Note that a codec's process failed.

        After a failed decoder no codec is tried any more, as it would fail for each form; of encoders, after
        the second that failed.
        """
        act: Act = "decode" if isinstance(error, DecoderFailed) else "encode"
        if act == "decode" or any(one.outcome == FAILED for one in self._attempts):
            self.hopeless = message_of(error)
        self._attempts.append(attempt_at(form, act, error))
        structlog.get_logger("zscp").error(
            "codec failed",
            sop_instance=self.received.sop_instance_uid,
            form=form,
            doing=act,
            reason=message_of(error),
        )

    def give_up_codecs(self, refusal: Refusal) -> None:
        """Try no codec, because of a refusal."""
        self.hopeless = refusal.reason
        form = next(iter(self._stage.forms), "received")
        self._attempts.append(attempt_at(form, refusal.act, refusal.reason))

    def as_received(self) -> StoredForm:
        """The form that cannot fail: the received stream in a Part 10 file."""
        plain = Encoded("received", self.received.transfer_syntax, self.received.dataset)
        return self._packer.pack(plain, self._base)

    def recorded(self, best: StoredForm) -> StoredForm:
        """The chosen file, with all attempts written into it."""
        log, uid = structlog.get_logger("zscp"), self.received.sop_instance_uid
        if self._damage:
            log.warning("codestream damaged", sop_instance=uid, reason=self._damage)
        outcomes = tuple(_beaten_by(best, attempt) for attempt in self._attempts)
        told = _worth_telling(outcomes)
        if told != best.provenance.attempts:
            try:
                best = self._packer.pack_again(best, replace(best.provenance, attempts=told))
            except Exception as error:
                log.error("attempts not written down", sop_instance=uid, exc_info=error)
        provenance = replace(best.provenance, attempts=outcomes)
        return replace(best, provenance=provenance, sha256=best.sha256 or sha256(best.data))


def _beaten_by(best: StoredForm, attempt: Attempt) -> Attempt:
    """A successful attempt is ``beaten`` if another form is kept."""
    is_beaten = attempt.outcome == "kept" and attempt.form != best.encoded.form
    return replace(attempt, outcome="beaten") if is_beaten else attempt


def _worth_telling(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts that the file must record: none, if the first form that was asked for is kept."""
    return () if len(attempts) == 1 and attempts[0].outcome == "kept" else attempts
