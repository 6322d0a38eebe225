"""From a received object to the file that is kept: the forms of a stage are tried in turn.

Each result is proven before it may be kept (invariant 2); what cannot be taken, does not prove, or
does not gain, gives way to the next, and the last ones are zstd and as received (invariant 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import structlog

from scp.archive.form_choice import NOTHING, Earlier, Plan, plan
from scp.archive.package import Framing, Wrap, Written, framed, in_frame
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
    told_of,
)
from scp.model import Attempt, Facts, Provenance, Received
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries, Dictionary
from scp.objects.part10 import Part10
from scp.objects.suspects import Act
from scp.policy.stages import fingerprint
from scp.spool import IN_MEMORY, Buffer, Spool, sha256
from scp.syntaxes import lookup

# Forms that were asked for as they are: no gain is expected of them.
_PLAIN = ("received", "native")
_LAST = ("zstd", "received")
NO_ROOM = "no room"  # the outcome of a form for which there was too little disk or memory to make it
AS_RECEIVED = Stage(forms=("received",))


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A proven file, ready for the object store; ``sha256`` of ``data``, hexadecimal."""

    encoded: Encoded
    provenance: Provenance
    data: Buffer
    wrapped: bool
    sha256: str


def as_received(received: Received, facts: Facts | None = None) -> Part10:
    """The Part 10 file of a received object as it came, which needs no proof.

    Without ``facts`` it is written before anything else is known of the object: neither the rule, nor
    whether it is readable, nor which UIDs it lacks.
    """
    given = {} if facts is None else uids_within(received, facts).given
    known = replace(_provenance(received), form="received", given=given)
    uids = (received.sop_class_uid, received.sop_instance_uid)
    return Part10(*uids, received.transfer_syntax, received.dataset, known, received.calling_aet)


def uids_within(received: Received, facts: Facts) -> Uids:
    """The UIDs of a received object whose survey gave ``facts``."""
    return uids_of(received.sop_class_uid, received.sop_instance_uid, facts.attributes, received.given)


def keep(  # noqa: PLR0913, PLR0917 - what is known of it
    received: Received,
    facts: Facts,
    rule: PolicyRule | None,
    earlier: Earlier = NOTHING,
    dictionaries: Dictionaries | None = None,
    clock: Callable[[], float] = time.perf_counter,
    refused: Refusal | None = None,
) -> StoredForm:
    """The stored form of a received object in the stage of its rule that it ends in at once.

    ``facts`` are those of a survey of it; without a rule it is as received. ``earlier`` is what is known of
    objects of its kind, ``dictionaries`` are those of the store that it goes to, ``clock`` gives seconds.
    What is ``refused`` is kept as it came, and its file says why.
    Never fails because of compression: as received is always the last candidate.
    """
    stage = rule.settled if rule else AS_RECEIVED
    parts = _parts(received) if facts.readable and refused is None else None
    known = _provenance(received, rule.name if rule else "", facts.readable, facts.fault)
    even = parts is not None and len(received.dataset) % 2 == 0 and is_even(parts)
    given = uids_within(received, facts).given
    known = replace(known, stage=fingerprint(stage), even=even, given=given)
    asked = _Candidates(received, parts, known, stage, dictionaries, clock)
    if refused is not None:
        asked.fail(refused)
    if stage.compares and not asked.hopeless:
        best = _smallest(asked, plan(stage, parts, received.transfer_syntax, earlier))
    else:
        best = next(asked.try_forms(stage.forms), None)
    if best is None:
        best = (
            next(asked.try_forms(form for form in _LAST if form not in stage.forms), None)
            or asked.as_received()
        )
    if asked.damage:
        structlog.get_logger("zscp").warning(
            "codestream damaged", sop_instance=received.sop_instance_uid, reason=asked.damage
        )
    return asked.recorded(best)


def _smallest(asked: _Candidates, chosen: Plan) -> StoredForm | None:
    """The smallest that holds, within the time that the stage gives; that bounds no search for any at all."""
    best: StoredForm | None = None
    for form in chosen.forms:
        if best is not None and asked.time_is_up():
            asked.skip(Attempt(form, "skipped", "budget_ms used up"))
            continue
        for found in asked.try_forms((form,)):
            best = found if best is None or len(found.data) < len(best.data) else best
    if best is None and chosen.passed:
        return _smallest(asked, Plan(tuple(one.form for one in chosen.passed)))
    for one in chosen.passed:
        asked.skip(one)
    return best


def _parts(received: Received) -> SplitDataset | None:
    try:
        return split(received.dataset, lookup(received.transfer_syntax))
    except (UnreadableDataset, ValueError):
        return None


def _provenance(received: Received, rule: str = "", readable: bool = True, fault: str = "") -> Provenance:
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
    )


class _Candidates:
    """The attempts at one object, and what came of them."""

    def __init__(
        self,
        received: Received,
        parts: SplitDataset | None,
        base: Provenance,
        stage: Stage,
        dictionaries: Dictionaries | None,
        clock: Callable[[], float],
    ) -> None:
        self.received, self.parts, self.base, self.stage = received, parts, base, stage
        self.dictionaries = dictionaries
        self.attempts: list[Attempt] = []
        self.damage = ""  # what is wrong with the received codestream
        self.hopeless = ""  # why no codec is to be tried any more
        self._clock, self._started = clock, clock()

    def time_is_up(self) -> bool:
        """Whether the stage's budget for an object of this size is used up."""
        budget = self.stage.budget_ms
        seconds = self._clock() - self._started
        return budget is not None and seconds > budget / 1e3 * self.base.size / 1e6

    def skip(self, attempt: Attempt) -> None:
        """Note a form that is not tried, and why."""
        self.attempts.append(attempt)

    def try_forms(self, forms: Iterable[str]) -> Iterator[StoredForm]:  # noqa: C901 - a table of what may fail
        """The results that may be kept, in the order of ``forms``."""
        for form in forms:
            started = self._clock()
            if self.hopeless and form not in _LAST:
                self._note(form, "skipped", self.hopeless, started)
                continue
            try:
                if self.damage and form not in _LAST:
                    raise CannotEncode(self.damage)
                found = self._proven(form)
            except DamagedCodestream as error:
                self.damage = str(error)
                self._note(form, "refused", self.damage, started)
            except CodecProcessFailed as error:
                self._note_failure(form, error)
            except MemoryError as error:
                self._note(form, NO_ROOM, told_of(error), started)
            except CannotEncode as error:
                self._note(form, "refused", str(error), started)
            except (NotReproduced, ObjectDamaged) as error:
                self._note(form, "wrong", str(error), started)
            except OutOfResources as error:
                self._note(form, NO_ROOM, str(error), started)
            except Exception as error:  # noqa: BLE001 - no fault of a codec may fail a C-STORE (invariant 3)
                self._note(form, "wrong", f"{type(error).__name__}: {error}", started)
            else:
                gain = self.base.size - len(found.data)
                if form not in _PLAIN and gain <= 0 and self._is_compressing(found):
                    self._note(form, "larger", f"received {self.base.size} bytes", started, len(found.data))
                    continue
                self._note(form, "kept", "", started, len(found.data))
                yield found

    def fail(self, refusal: Refusal) -> None:
        """Try no codec: processes died of that."""
        self.hopeless = refusal.reason
        form = next(iter(self.stage.forms), "received")
        self.attempts.append(attempt_at(form, refusal.act, refusal.reason))

    def _note_failure(self, form: str, error: CodecProcessFailed) -> None:
        """A codec's process failed.

        One that did at decoding what came would do so for each form; of encoders, the second is the last.
        """
        act: Act = "decode" if isinstance(error, DecoderFailed) else "encode"
        if act == "decode" or any(one.outcome == FAILED for one in self.attempts):
            self.hopeless = told_of(error)
        self.attempts.append(attempt_at(form, act, error))
        structlog.get_logger("zscp").error(
            "codec failed",
            sop_instance=self.received.sop_instance_uid,
            form=form,
            doing=act,
            reason=told_of(error),
        )

    def as_received(self) -> StoredForm:
        """The form that cannot fail: the received stream in a Part 10 file."""
        return self._packed(Encoded("received", self.received.transfer_syntax, self.received.dataset))

    def recorded(self, best: StoredForm) -> StoredForm:
        """The chosen file, with all attempts written into it."""
        outcomes = tuple(
            replace(attempt, outcome="beaten")
            if attempt.outcome == "kept" and attempt.form != best.encoded.form
            else attempt
            for attempt in self.attempts
        )
        told = _worth_telling(outcomes)
        if told != best.provenance.attempts:
            best = self._rewritten_if_it_can_be(best, replace(best.provenance, attempts=told))
        provenance = replace(best.provenance, attempts=outcomes)
        return replace(best, provenance=provenance, sha256=best.sha256 or sha256(best.data))

    def _rewritten_if_it_can_be(self, best: StoredForm, provenance: Provenance) -> StoredForm:
        try:
            return self._rewritten(best, provenance)
        except Exception as error:  # noqa: BLE001 - the proven file is there: no C-STORE fails for its history
            uid = self.received.sop_instance_uid
            structlog.get_logger("zscp").error("attempts not written down", sop_instance=uid, exc_info=error)
            return best

    def _rewritten(self, best: StoredForm, provenance: Provenance) -> StoredForm:
        """The same file, but for what it remembers; read back, as all that is kept."""
        plain = self._plain(best.encoded, provenance, hashing=not best.wrapped)
        again = in_frame(plain.data, self._framing(best.encoded)) if best.wrapped else plain
        if sha256(self._unpacked(again.data).dataset) != sha256(best.encoded.dataset):
            return best  # the proven file, without its history
        return replace(best, provenance=provenance, data=again.data, sha256=again.sha256)

    def _is_compressing(self, found: StoredForm) -> bool:
        return found.wrapped or found.encoded.transfer_syntax != self.received.transfer_syntax

    def _proven(self, form: str) -> StoredForm:
        """Encode, pack, and read back what was packed. Raises CannotEncode, NotReproduced."""
        found = self._packed(encoded(form, self.received, self.parts, self.stage.effort or 0))
        file = self._unpacked(found.data)
        if file.provenance is None:
            raise NotReproduced("its private information is gone")
        # Of an object whose codestream was replaced, what is at hand is not what came.
        received = self.received.dataset if self.received.origin is None else b""
        prove(file.dataset, file.transfer_syntax, file.provenance, received, Trust.MADE_HERE)
        return found

    def _packed(self, result: Encoded) -> StoredForm:
        provenance = replace(
            self.base,
            form=result.form,
            codec=result.codec,
            restoration=result.restoration,
            native_sha256=result.native_sha256,
        )
        framing = self._framing(result)
        plain = self._plain(result, provenance, hashing=framing.wrap != "zstd")
        wrapped = framed(plain.data, framing)
        kept = plain if wrapped is None else wrapped
        return StoredForm(result, provenance, kept.data, wrapped is not None, kept.sha256)

    def _framing(self, result: Encoded) -> Framing:
        if result.form == "zstd":
            return Framing("zstd", 0, self.stage.level, self._dictionary)
        wrap: Wrap = self.stage.wrap or ("auto" if result.is_image_form else "none")
        return Framing(wrap, result.pixel_bytes, self.stage.level, self._dictionary)

    def _dictionary(self) -> Dictionary | None:
        """The newest of its SOP class, where one is wanted and there."""
        if not self.stage.dictionary or self.dictionaries is None:
            return None
        return self.dictionaries.newest(self.received.sop_class_uid)

    def _unpacked(self, data: Buffer) -> Part10:
        """What was packed, read back; by way of the dictionary that a reader will find in the store."""
        return part10.unpack(data, self.dictionaries.by_id if self.dictionaries is not None else None)

    def _plain(self, result: Encoded, provenance: Provenance, hashing: bool) -> Written:
        file = Part10(
            self.received.sop_class_uid,
            self.received.sop_instance_uid,
            result.transfer_syntax,
            result.dataset,
            provenance,
            self.received.calling_aet,
        )
        spool = Spool(hashing=hashing and len(result.dataset) > IN_MEMORY)
        return Written(part10.pack(file, spool), spool.sha256)

    def _note(self, form: str, outcome: str, reason: str, started: float, size: int = 0) -> None:
        self.attempts.append(Attempt(form, outcome, reason, size, self._clock() - started))


def _worth_telling(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """What the file itself must remember: nothing, where the first form asked for was taken."""
    return () if len(attempts) == 1 and attempts[0].outcome == "kept" else attempts
