"""What a rule asks of a stored object, and when: pure functions of the rule, the object and the clock.

Times are whole seconds since 1970, UTC. What was carried out is told by a stage's fingerprint, so that it is
known again after a rule was renamed, moved or written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from scp.config import PolicyRule, Stage
from scp.model import Instance

NEVER = 253_402_300_800  # the year 10000
_TIMES = {"after", "after_access"}
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done: ``stage`` now, or nothing until ``due``."""

    stage: Stage | None
    due: int


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


def step(rule: PolicyRule | None, instance: Instance, now: float = inf) -> Step:
    """What ``rule`` asks of ``instance`` at ``now``; without a time, whatever its age.

    Of several stages whose time has come the last one counts. A stage that was carried out is not undone by
    an earlier one. A first stage of ``received`` with others behind it is where objects wait for those: it is
    nothing that a stored one could be brought to.
    """
    if rule is None:
        return Step(None, NEVER)
    received = int(instance.received_at.timestamp())
    stages = [(received + (stage.after or 0), stage) for stage in rule.carried_out]
    current = max([n for n, (at, _) in enumerate(stages) if at <= now], default=0)
    done = max([n for n, (_, stage) in enumerate(stages) if _is_done(rule, stage, instance)], default=-1)
    waits = current == 0 and rule.waits and len(stages) > 1
    if current > done and not waits:
        return Step(stages[current][1], stages[current][0])
    coming = max(current, done) + 1
    return Step(None, stages[coming][0] if coming < len(stages) else NEVER)


def only_moves(rule: PolicyRule, stage: Stage, instance: Instance) -> bool:
    """Whether ``stage`` asks for the form that an object has had made, in another store."""
    wanted = _form(stage)
    return any(_form(other) == wanted for other in rule.stages if _is_done(rule, other, instance))


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
    """By its fingerprint; what has none was kept by a version that knew the settled stage only."""
    if instance.stage:
        return instance.stage == fingerprint(stage)
    return stage is rule.settled and instance.rule == rule.name
