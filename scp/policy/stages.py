"""What a rule asks of a stored object, and when: pure functions of the rule, the object and the clock.

Times are whole seconds since 1970, UTC. A stage is known by its fingerprint, also after its rule was
renamed, moved or written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from scp.config.rules import PolicyRule, Stage
from scp.model import Instance
from scp.spool import IN_MEMORY

NEVER = 253_402_300_800  # the year 10000
AT_ONCE = 0  # before all that is due: somebody waits for it
_TIMES = {"after", "after_access", "keep_for"}
# The time of a retrieve is written down where it changes by a tenth of what a rule asks for, or an hour.
_EXACTNESS, _MOST_EXACTNESS = 10, 3600
_DIGITS = 12
# Larger files are never packed with a dictionary (scp.archive.framing).
_LARGEST_PACKED = IN_MEMORY

# The ID of the zstd dictionary for new objects of a SOP class; 0 where there is none.
NewestDictionary = Callable[[str], int]


def no_dictionary(_: str) -> int:
    """As if no dictionary were there."""
    return 0


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done: ``stage`` now, or nothing until ``due``.

    With ``packs`` the stage was carried out, and only its zstd frame is to be made again, with the newest
    dictionary or without one: no pixel is decoded (docs/decisions/0211).
    """

    stage: Stage | None
    due: int
    packs: bool = False


@lru_cache(maxsize=1024)
def fingerprint(stage: Stage) -> str:
    """What tells a stage from one with another result; when it applies does not count.

    Keys that have their defaults are left out: a later version's new keys change no fingerprint.
    """
    return _digest(stage.model_dump(mode="json", exclude=_TIMES, exclude_defaults=True))


def fingerprint_of(rules: Iterable[PolicyRule]) -> str:
    """What tells a policy from one that may ask something else of an object; names do not count."""
    return _digest([rule.model_dump(mode="json", exclude={"name"}, exclude_defaults=True) for rule in rules])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]


@lru_cache(maxsize=1024)
def _fingerprints(stage: Stage) -> tuple[str, str]:
    """The fingerprint of a stage, and that of the same with a dictionary, or without."""
    other = stage.model_copy(update={"dictionary": not stage.dictionary})
    return fingerprint(stage), fingerprint(other)


def step(
    rule: PolicyRule | None,
    instance: Instance,
    now: float = inf,
    newest: NewestDictionary = no_dictionary,
) -> Step:
    """What ``rule`` asks of ``instance`` at ``now``; without a time, whatever its age.

    Of several stages whose time has come the last one counts. A stage that was carried out is not undone by
    an earlier one, but by a retrieve, where the rule has ``on_access``. Nothing is asked of an object with
    which something is not done any more. Where nothing else is due, an object is packed anew if its stage
    wants a dictionary and the ``newest`` of its class was not tried with it, or wants none and it has one.
    """
    if rule is None or instance.refused:
        return Step(None, NEVER)
    if _is_brought_back(rule, instance, now):
        return Step(rule.on_access, AT_ONCE)
    times = _times(rule, instance)
    current, done = _current(times, now), _done(rule, instance)
    if current > done and not _only_waits(rule, current):
        return Step(rule.stages[current], times[current])
    if done >= 0 and _is_packed_anew(packing := _packing(rule, done, instance), instance, newest):
        return Step(packing, times[done], packs=True)
    return Step(None, min(times[max(current, done) + 1 :], default=NEVER))


def _is_brought_back(rule: PolicyRule, instance: Instance, now: float) -> bool:
    """Whether a retrieve brings an object back from a later stage, for as long as the rule says."""
    if rule.on_access is None or now >= instance.accessed + rule.on_access.keep_for:
        return False
    return _done(rule, instance) > _settled(rule)


def _times(rule: PolicyRule, instance: Instance) -> list[int]:
    """When the time of each stage comes."""
    return [_due(rule, number, instance) for number in range(len(rule.stages))]


def _due(rule: PolicyRule, number: int, instance: Instance) -> int:
    """When the time of a stage comes; what was brought back by a retrieve stays so for a while."""
    stage, received = rule.stages[number], int(instance.received_at.timestamp())
    at = received + (stage.after or 0)
    if stage.after_access is not None:
        return max(at, max(received, instance.accessed) + stage.after_access)
    if number > _settled(rule) and rule.on_access is not None and instance.accessed:
        return max(at, instance.accessed + rule.on_access.keep_for)
    return at


def _current(times: list[int], now: float) -> int:
    """The number of the last stage whose time has come; 0, as the first one applies on receive."""
    return max((number for number, at in enumerate(times) if at <= now), default=0)


def _packing(rule: PolicyRule, done: int, instance: Instance) -> Stage:
    """The stage that says how a file is packed: not a lossy one that left its object as it was."""
    if instance.lossy_of:
        return rule.stages[done]
    return [stage for stage in rule.stages[: done + 1] if not stage.lossy][-1]


def _is_packed_anew(stage: Stage, instance: Instance, newest: NewestDictionary) -> bool:
    if not stage.dictionary:
        return instance.dictionary > 0
    if stage.wrap == "none" or instance.stored_size > _LARGEST_PACKED:
        return False
    found = newest(instance.sop_class_uid)
    return found not in {0, instance.dictionary, instance.dictionary_tried}


def _only_waits(rule: PolicyRule, current: int) -> bool:
    """Whether an object is where it waits for a stage that comes behind the response.

    That is a first stage of ``received`` with others behind it: nothing that a stored object could be brought
    to.
    """
    return current == 0 and rule.may_be_pending and len(rule.stages) > 1


def _settled(rule: PolicyRule) -> int:
    """The number of the stage that an object ends in without waiting."""
    return rule.stages.index(rule.settled)


def _done(rule: PolicyRule, instance: Instance) -> int:
    """The number of the last stage that was carried out; -1 for one of another policy."""
    if rule.on_access is not None and instance.stage in _fingerprints(rule.on_access):
        return _settled(rule)
    stages = list(enumerate(rule.stages))
    exactly = [number for number, stage in stages if instance.stage == fingerprint(stage)]
    numbers = exactly or [number for number, stage in stages if _is_done(rule, stage, instance)]
    return max(numbers, default=-1)


def asks_for_access(rules: Iterable[PolicyRule]) -> int:
    """How exactly, in seconds, the time of a retrieve has to be known; 0 where no rule asks for it."""
    spans = [stage.after_access for rule in rules for stage in rule.stages if stage.after_access is not None]
    spans += [rule.on_access.keep_for for rule in rules if rule.on_access is not None]
    return max(1, min(min(spans) // _EXACTNESS, _MOST_EXACTNESS)) if spans else 0


def only_moves(rule: PolicyRule, stage: Stage, instance: Instance) -> bool:
    """Whether ``stage`` asks for the form that an object has had made, in another store, or for any."""
    done = (other for other in rule.stages if _is_done(rule, other, instance))
    return not stage.forms or any(_form(other) == _form(stage) for other in done)


def stage_within(rule: PolicyRule | None, store: str, instance: Instance) -> str:
    """The fingerprint of the stage that brought an object to where it lies; ``store`` is empty for the first.

    Its file says what made it, and nothing of a move after that.
    """
    there = [stage for stage in rule.stages if (stage.store or "") == store] if rule else []
    moved = [stage for stage in there if rule and only_moves(rule, stage, instance)]
    return fingerprint(moved[-1]) if moved and instance.stage else instance.stage


def _form(stage: Stage) -> str:
    return fingerprint(stage.model_copy(update={"store": None}))


def _is_done(rule: PolicyRule, stage: Stage, instance: Instance) -> bool:
    """By its fingerprint; what has none was kept by a version that knew the settled stage only.

    A dictionary makes no other stage: what came of it without one is packed anew, not encoded.
    """
    if instance.stage:
        return instance.stage in _fingerprints(stage)
    return stage is rule.settled and instance.rule == rule.name
