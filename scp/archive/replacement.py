"""Which stored form may take another one's place (docs/decisions/0071), and where it goes."""

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
from scp.model import Facts, Instance, Received, StageOutcome
from scp.objects import part10
from scp.objects.names import in_store, store_of
from scp.objects.part10 import Part10
from scp.policy.stages import NEVER, fingerprint
from scp.spool import Buffer, sha256

# What a last resort must save to take the place of a stored form: less is in how its attempts are told.
_WORTHWHILE = 0.01
# These tries take half an hour behind the response: each pause is twice as long as the one before.
_MOST_TRIES = 6
_MOST_LACKING = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """An object's stored form, and the one that takes its place; no ``data`` where the file stays.

    ``stage`` is the one that was carried out for it, None where none was due.
    """

    before: Instance
    after: Instance
    data: Buffer | None = None
    stage: Stage | None = None

    @property
    def moves(self) -> bool:
        """Whether the file goes to another store as it is."""
        return self.data is not None and in_store("", self.before.key) == in_store("", self.after.key)


@dataclass(frozen=True, slots=True)
class Before:
    """A stored object, and what it says of itself; ``rule`` is the one that applies to it.

    ``keeps`` says whether its file may stay where it lies (:meth:`scp.objects.landed.LandedStore.keeps`).
    """

    instance: Instance
    received: Received
    facts: Facts
    rule: PolicyRule | None
    keeps: bool


def replacement(before: Before, form: StoredForm, stage: Stage, read: Callable[[str], Buffer]) -> Change:
    """What ``stage`` comes to: the new form in the place of the stored one, or the stored one as it is.

    ``read`` gives the file under a key, and raises ObjectMissing. Raises ObjectDamaged as :func:`moved` does,
    and FormLacksRoom where a form was not made for want of room: the object waits until there is some.
    """
    if lacking := lacks_room(form, stage):
        raise FormLacksRoom(lacking)
    instance, received = before.instance, before.received
    if _takes_the_place(before, form, stage):
        # The key is a new one: under the old one is the old form for as long as it is there.
        token = "" if instance.pending else secrets.token_hex(4)
        after = instance_of_form(received, before.facts, form, token, stage.store or "")
        return Change(instance, after, form.data, stage)
    outcome: StageOutcome = "no gain" if form.encoded.form in stage.forms else "cannot"
    change = moved(instance, read(instance.key), stage)
    return replace(change, after=replace(change.after, pending=False, outcome=outcome))


def lacks_room(form: StoredForm, stage: Stage) -> str:
    """Which room was lacking, so that no form of ``stage`` was made; empty where that is not why."""
    lacking = (one.reason for one in form.provenance.attempts if one.outcome == NO_ROOM)
    return "" if form.encoded.form in stage.forms else next(lacking, "")


class Lacking:
    """Counts, by key, how often there was no room to make an object's form: it is not tried for ever."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def again(self, key: str) -> int:
        """Once more; returns how often that was, 0 where it was once too often."""
        times = self._times.pop(key, 0) + 1
        if times >= _MOST_TRIES:
            return 0
        if len(self._times) >= _MOST_LACKING:
            self._times.clear()
        self._times[key] = times
        return times

    def over(self, key: str) -> None:
        """There was room."""
        self._times.pop(key, None)


def moved(before: Instance, data: Buffer, stage: Stage) -> Change:
    """An object that keeps its form, and goes to the store of ``stage`` with its file, if it is not there.

    Raises ObjectDamaged where ``data``, its file, is not what was written.
    """
    if store_of(before.key) == (stage.store or ""):
        return Change(before, replace(before, stage=fingerprint(stage), outcome=""), None, stage)
    key, digest = in_store(stage.store or "", before.key), sha256(data)
    if before.stored_sha256 not in ("", digest):
        raise ObjectDamaged(f"{before.key} is not what was written; restore it from a copy")
    after = replace(before, key=key, stored_sha256=digest, stage=fingerprint(stage), outcome="")
    return Change(before, after, data, stage)


def unencoded(instance: Instance, file: Part10, refusal: Refusal, key: str) -> Change:
    """A pending object that is kept as it came, whatever its rule asks for; ``file`` says why from now on.

    Nothing is asked of its dataset. Its file stays as it is, unless it gets another one under ``key``.
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
    return Change(instance, replace(after, key=key, stored_size=len(data), stored_sha256=sha256(data)), data)


def _takes_the_place(before: Before, form: StoredForm, stage: Stage) -> bool:
    """Whether a new form takes the place of a stored one: the table of docs/decisions/0071."""
    instance, origin, rule = before.instance, before.received.origin, before.rule
    asked = form.encoded.form in stage.forms
    at_once = rule is not None and stage in (rule.settled, rule.on_access)
    needs_file = not before.keeps or _has_to_tell(instance, form)
    # Of an object whose received codestream is gone it must decode to the same as the stored one.
    same = origin is None or form.provenance.native_sha256 == origin.native_sha256
    wanted = at_once and asked and form.encoded.form != instance.form
    smaller = len(form.data) < instance.stored_size * (1 if asked else 1 - _WORTHWHILE)
    match (needs_file, same, wanted, smaller):
        case (True, _, _, _):
            return True
        case (_, False, _, _):
            return False
        case (_, _, True, _):
            return True  # however large: a later stage is there to save, but not this one
        case _:
            return smaller


def _has_to_tell(instance: Instance, form: StoredForm) -> bool:
    """Whether the file is to say why its object has no other form.

    It may be put in its own place only where no digest of the whole file is known, so that whoever reads it
    meanwhile finds either of the two sound.
    """
    return instance.pending and len(form.provenance.attempts) > 1 and not instance.stored_sha256
