"""Which form may replace the stored form of an object (docs/decisions/0071), and where it is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from scp.archive.encode import NO_ROOM
from scp.archive.package import StoredForm
from scp.archive.records import instance_of_form, provenance_of
from scp.archive.refusal import NO_STAGE, Refusal, attempt_at
from scp.config.rules import PolicyRule, Stage
from scp.errors import FormLacksRoom, ObjectDamaged
from scp.loss import Loss
from scp.model import Facts, Instance, Received, StageOutcome
from scp.objects import part10
from scp.objects.names import has_own_file, in_store, store_of
from scp.objects.part10 import Part10
from scp.policy.stages import NEVER, fingerprint
from scp.spool import Buffer, sha256

# The share that a last resort must save to replace a stored form: less may come from its recorded attempts.
_WORTHWHILE = 0.01
# These tries take half an hour after the response: each pause is twice as long as the one before.
_MOST_TRIES = 6
_MOST_LACKING = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """An object's stored form, and the form that replaces it; no ``data`` if the file stays.

    ``stage`` is the stage that was carried out, None if none was due. With ``packs`` its form stays, and only
    the frame around it was to be made again. With a ``loss``, ``after`` is a lossy copy of these ``facts``,
    which :class:`scp.archive.lossy_replacer.LossyReplacer` puts in its place.
    """

    before: Instance
    after: Instance
    data: Buffer | None = None
    stage: Stage | None = None
    facts: Facts | None = None
    loss: Loss | None = None
    packs: bool = False

    @property
    def moves(self) -> bool:
        """Whether the file is moved to another store unchanged."""
        return self.data is not None and in_store("", self.before.key) == in_store("", self.after.key)

    @property
    def rewrites(self) -> bool:
        """Whether the same file is written again in its store, encrypted with another key."""
        same = bool(self.after.stored_sha256) and self.before.stored_sha256 == self.after.stored_sha256
        was_file = has_own_file(self.before.key)  # else the form is written into its first one
        return self.data is not None and same and was_file and self.before.key != self.after.key


@dataclass(frozen=True, slots=True)
class Before:
    """A stored object, as it was received and with its facts; ``rule`` is the one that applies to it.

    ``keeps`` says whether its file may stay where it is (:meth:`scp.objects.landed.LandedStore.keeps`).
    """

    instance: Instance
    received: Received
    facts: Facts
    rule: PolicyRule | None
    keeps: bool


def replacement(before: Before, form: StoredForm, stage: Stage, read: Callable[[str], Buffer]) -> Change:
    """The result of ``stage``: the new form replaces the stored one, or the stored one stays.

    ``read`` returns the file under a key, and raises ObjectMissing. Raises ObjectDamaged as :func:`moved`
    does, and FormLacksRoom if a form was not made for lack of room: the object waits until there is some.
    """
    if lacking := lacks_room(form, stage):
        raise FormLacksRoom(lacking)
    instance, received = before.instance, before.received
    if _takes_the_place(before, form, stage):
        # The key must be a new one: the old form stays under the old key until it is removed.
        token = "" if instance.pending else secrets.token_hex(4)
        after = instance_of_form(received, before.facts, form, token, stage.store or "")
        return Change(instance, after, form.data, stage)
    outcome: StageOutcome = "no gain" if form.encoded.form in stage.forms else "cannot"
    change = moved(instance, read(instance.key), stage)
    return replace(change, after=replace(change.after, pending=False, outcome=outcome))


def lacks_room(form: StoredForm, stage: Stage) -> str:
    """Which room was lacking to make a form of ``stage``; empty if that is not why none was made."""
    lacking = (one.reason for one in form.provenance.attempts if one.outcome == NO_ROOM)
    return "" if form.encoded.form in stage.forms else next(lacking, "")


class Lacking:
    """Counts, by key, how often there was no room to make an object's form, so that the tries end."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def again(self, key: str) -> int:
        """Count one more failure for lack of room; returns how many there were, 0 if that is too many."""
        times = self._times.pop(key, 0) + 1
        if times >= _MOST_TRIES:
            return 0
        if len(self._times) >= _MOST_LACKING:
            self._times.clear()
        self._times[key] = times
        return times

    def over(self, key: str) -> None:
        """Forget the count of a key: there was room."""
        self._times.pop(key, None)


def moved(before: Instance, data: Buffer, stage: Stage) -> Change:
    """An object that keeps its form; its file moves to the store of ``stage``, if it is not there yet.

    Raises ObjectDamaged if ``data``, its file, is not what was written.
    """
    if store_of(before.key) == (stage.store or ""):
        return Change(before, replace(before, stage=fingerprint(stage), outcome=""), None, stage)
    key, digest = in_store(stage.store or "", before.key), sha256(data)
    if before.stored_sha256 not in ("", digest):
        raise ObjectDamaged(f"{before.key} is not what was written; restore it from a copy")
    after = replace(before, key=key, stored_sha256=digest, stage=fingerprint(stage), outcome="")
    return Change(before, after, data, stage)


def unencoded(instance: Instance, file: Part10, refusal: Refusal, key: str) -> Change:
    """A pending object that is kept as received, whatever its rule asks for; its new file says why.

    Its dataset is not read. If ``key`` is the key that it has, its file stays as it is.
    """
    after = replace(instance, pending=False, stage=NO_STAGE, outcome="cannot", due=NEVER)
    if key == instance.key:
        return Change(instance, after)
    told = attempt_at("received", refusal.act, refusal.reason)
    known = replace(
        provenance_of(file),
        rule=instance.rule or NO_STAGE,
        stage=NO_STAGE,
        attempts=(told,),
        readable=instance.readable,
    )
    data = part10.pack(replace(file, provenance=known))
    made = replace(after, key=key, stored_size=len(data), stored_sha256=sha256(data))
    return Change(instance, replace(made, stored_xxh3="", dataset_at=0, dictionary=0), data)


def _takes_the_place(before: Before, form: StoredForm, stage: Stage) -> bool:
    """Whether a new form replaces the stored one: the table of docs/decisions/0071."""
    instance, origin, rule = before.instance, before.received.origin, before.rule
    asked = form.encoded.form in stage.forms
    at_once = rule is not None and stage in (rule.settled, rule.on_access)
    needs_file = not before.keeps or _has_to_tell(instance, form)
    # If the received codestream is gone, the new form must decode to the same pixels as the stored one.
    same = origin is None or form.provenance.native_sha256 == origin.native_sha256
    wanted = at_once and asked and form.encoded.form != instance.form
    smaller = len(form.data) < instance.stored_size * (1 if asked else 1 - _WORTHWHILE)
    match (needs_file, same, wanted, smaller):
        case (True, _, _, _):
            return True
        case (_, False, _, _):
            return False
        case (_, _, True, _):
            return True  # of any size: saving space is the task of later stages
        case _:
            return smaller


def _has_to_tell(instance: Instance, form: StoredForm) -> bool:
    """Whether the file must be written again to say why its object has no other form.

    A file may be replaced under its own key only if the row has no digest of the whole file: then both the
    old and the new file are sound for a reader meanwhile.
    """
    return instance.pending and len(form.provenance.attempts) > 1 and not instance.stored_sha256
