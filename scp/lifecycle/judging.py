"""What rules make of all that is held: by sums of what they can ask for, not object by object.

A few hundred sums stand for any number of objects (:mod:`scp.index.fact_sums`), so that policies can be
compared while an admin waits. What the index does not know of an object, its sum does not say: then the rule
that it was kept under counts, and the object is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt

from scp.config.rules import PolicyRule, RetentionRule
from scp.index.attributes import RULED_BY
from scp.index.fact_sums import FactSum, SumKeys
from scp.index.index import PolicyRow
from scp.lifecycle.planning import Planner
from scp.model import Facts, Instance
from scp.policy.reports import Amount
from scp.policy.rules import Rule, choose
from scp.policy.stages import NEVER, Step, step
from scp.policy.wording import made_in_words, stage_in_words

# Every object counts as one; 1.96 standard errors on both sides hold 95 of 100 estimates.
_STANDARD_ERRORS = 1.96
_OWN = ("calling_aet", "transfer_syntax", "size")


def amount_of(one: FactSum) -> Amount:
    """How much a sum is."""
    return Amount(one.instances, one.received_size, one.stored_size)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a configuration says of stored objects."""

    policy: tuple[PolicyRule, ...]
    retention: tuple[RetentionRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of an object.

    Names are empty where no rule matches, ``stage`` where nothing is to be done. ``stage`` is due now, and
    ``next`` comes after it, or later, at ``next_due`` (seconds since 1970) for the first of all that the
    object stands for. ``expires`` is when retention lets it go; both are NEVER where nothing does. ``sure``
    is false where a rule asks for what the index does not know.
    """

    rule: str
    stage: str = ""
    next: str = ""
    next_due: int = NEVER
    retention: str = ""
    expires: int = NEVER
    sure: bool = True


def sum_keys(rules: Iterable[RuleSet], now: float, policy: str = "") -> SumKeys:
    """What tells objects apart that these rules treat differently at ``now``."""
    sets = list(rules)
    all_rules: list[Rule] = []
    for one in sets:
        all_rules += (*one.policy, *one.retention)
    asked = dict.fromkeys(key for rule in all_rules for key in rule.match)
    sizes = (text for rule in all_rules for text in rule.match.get("size", ()))
    spans, idle = _spans(sets)
    return SumKeys(
        tuple(key for key in asked if key in RULED_BY),
        "transfer_syntax" in asked,
        "calling_aet" in asked,
        tuple(sorted({float(text.lstrip("<>=")) for text in sizes})),
        tuple(sorted({int(now) - span for span in spans})),
        tuple(sorted({int(now) - span for span in idle} | ({0} if idle else set()))),
        policy,
    )


def _spans(sets: Sequence[RuleSet]) -> tuple[set[int], set[int]]:
    """The times that stages wait: since an object was received, and since it was last retrieved."""
    stages = [stage for one in sets for rule in one.policy for stage in rule.later]
    spans = {stage.after for stage in stages if stage.after} | {0}
    idle = {stage.after_access for stage in stages if stage.after_access is not None}
    back = {rule.on_access.keep_for for one in sets for rule in one.policy if rule.on_access is not None}
    kept = {rule.after for one in sets for rule in one.retention}
    return spans | idle | kept, idle | back


class _NotKnown(Exception):
    """The index does not say which rule applies."""


def _not_read(_: Instance) -> Facts:
    raise _NotKnown


class Judge:
    """What a set of rules makes of sums, at one time."""

    def __init__(self, rules: RuleSet, now: float) -> None:
        self._rules, self._now = rules, now
        self._planner = Planner(rules.policy)
        self._by_name = {rule.name: rule for rule in rules.policy}

    def of(self, one: FactSum) -> Judgement:
        """What becomes of all that a sum is of."""
        rule, sure = self.rule(one)
        retention, expires, retention_sure = self._retention(one)
        if rule is None or one.instance.pending:
            name = rule.name if rule else ""
            return Judgement(name, retention=retention, expires=expires, sure=sure and retention_sure)
        now = step(rule, one.instance, self._now)
        following = self._following(rule, one, now)
        return Judgement(
            rule.name,
            made_in_words(now.stage) if now.stage else "",
            stage_in_words(following.stage) if following.stage else "",
            following.due,
            retention,
            expires,
            sure and retention_sure,
        )

    def rule(self, one: FactSum) -> tuple[PolicyRule | None, bool]:
        """The rule that applies, and whether that is sure."""
        try:
            return self._planner.rule(PolicyRow(one.instance, one.attributes), _not_read), True
        except _NotKnown:
            return self._by_name.get(one.instance.rule), False

    def _following(self, rule: PolicyRule, one: FactSum, now: Step) -> Step:
        """The stage after what is due now, and when it comes."""
        if now.stage is None:
            return Step(step(rule, one.instance, now.due).stage, now.due) if now.due < NEVER else now
        done = [stage for stage in rule.stages if stage is now.stage]
        later = rule.stages[rule.stages.index(done[0]) + 1 :] if done else ()
        received = int(one.instance.received_at.timestamp())
        times = [(received + (stage.after or stage.after_access or 0), stage) for stage in later]
        due, stage = next(iter(times), (NEVER, None))
        return Step(stage, due)

    def _retention(self, one: FactSum) -> tuple[str, int, bool]:
        rules, facts = self._rules.retention, _facts(one)
        sure = all(key in RULED_BY or key in _OWN for rule in rules for key in rule.match)
        rule = choose(rules, facts)
        if rule is None:
            return "", NEVER, sure
        return rule.name, int(one.instance.received_at.timestamp()) + rule.after, sure


def _facts(one: FactSum) -> Facts:
    held = one.instance
    return Facts(one.attributes, held.received_transfer_syntax, held.received_size, held.calling_aet)


def moment(seconds: int | None) -> datetime | None:
    """A time in seconds since 1970, in UTC; None for never."""
    return None if seconds is None or seconds >= NEVER else datetime.fromtimestamp(seconds, UTC)


def half_width(objects: int, looked_at: int, total: int) -> int:
    """By how many objects an estimate may be off, in 95 of 100 samples; 0 where all were looked at.

    ``objects`` of ``looked_at`` were counted; the estimate is for ``total``.
    """
    if looked_at >= total or not looked_at:
        return 0
    # With one more on each side, as Agresti and Coull have it: else nothing found would seem certain.
    share = (objects + 2) / (looked_at + 4)
    return round(_STANDARD_ERRORS * sqrt(share * (1 - share) / (looked_at + 4)) * total)
