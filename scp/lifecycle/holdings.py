"""What each rule of the policy holds now: how much, in which forms, and what comes next, and when."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from scp.archive.archive import Archive
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.index.fact_sums import FactSum, SummedFacts
from scp.index.watch import Watch
from scp.lifecycle.judging import Judge, Judgement, RuleSet, amount_of, moment, sum_keys
from scp.policy.reports import (
    NOTHING,
    Amount,
    HeldForm,
    Holdings,
    NextStage,
    RetentionHoldings,
    RuleHoldings,
)
from scp.policy.stages import NEVER
from scp.policy.wording import match_in_words, span, stage_in_words


def holdings(
    archive: Archive, settings: Settings, most: int | None = None, watch: Watch | None = None
) -> Holdings:
    """What the rules hold of all that is stored: a second for some 200,000 objects.

    ``most`` objects are looked at, picked at random where there are more; None: all. ``watch`` may stop it.
    Raises OutOfResources, and what the watch raises.
    """
    begun, now = time.monotonic(), time.time()
    fingerprint = archive.policy.fingerprint
    rules = RuleSet(archive.policy.rules, settings.retention)
    found = archive.stages.sums(sum_keys([rules], now, fingerprint), most, watch)
    judge = Judge(rules, now)
    judged = [(one, judge.of(one)) for one in _of_all(found)]
    return Holdings(
        datetime.fromtimestamp(now, UTC),
        fingerprint,
        tuple(_rules(rules, judged)),
        tuple(_retention(rules, judged, now)),
        found.looked_at,
        found.total,
        time.monotonic() - begun,
    )


def _of_all(found: SummedFacts) -> Iterable[FactSum]:
    """What the sums stand for, where they are of some that were picked."""
    if found.whole or not found.looked_at:
        return found.sums
    by = found.total / found.looked_at
    return (
        replace(
            one,
            instances=round(one.instances * by),
            received_size=round(one.received_size * by),
            stored_size=round(one.stored_size * by),
        )
        for one in found.sums
    )


_Judged = list[tuple[FactSum, Judgement]]


def _rules(rules: RuleSet, judged: _Judged) -> list[RuleHoldings]:
    told = [_rule(number, rule, judged) for number, rule in enumerate(rules.policy, 1)]
    others = _rule(0, None, judged)
    return [*told, others] if others.amount.objects else told


def _rule(number: int, rule: PolicyRule | None, judged: _Judged) -> RuleHoldings:
    name = rule.name if rule else ""
    own = [(one, of) for one, of in judged if of.rule == name]
    forms: dict[str, Amount] = defaultdict(Amount)
    for one, _ in own:
        forms[one.instance.form] += amount_of(one)
    return RuleHoldings(
        number,
        name,
        match_in_words(rule.match) if rule else "what no rule matches",
        tuple(map(stage_in_words, rule.stages)) if rule else (),
        sum((amount_of(one) for one, _ in own), NOTHING),
        sum(one.instances for one, _ in own if one.instance.pending),
        sum(one.instances for one, of in own if not of.sure),
        tuple(HeldForm(form, forms[form]) for form in sorted(forms)),
        tuple(_next(own)),
    )


def _next(own: _Judged) -> list[NextStage]:
    """What is due now, and then what comes, the soonest first."""
    amounts: dict[tuple[bool, str], Amount] = defaultdict(Amount)
    dues: dict[tuple[bool, str], int] = {}
    for one, of in own:
        if not of.stage and not of.next:
            continue
        key = (not of.stage, of.stage or of.next)
        amounts[key] += amount_of(one)
        planned = one.due if one.due is not None and one.due < NEVER else of.next_due
        dues[key] = min(dues.get(key, NEVER), planned)
    return [
        NextStage(key[1], amounts[key], moment(dues[key]) if key[0] else None)
        for key in sorted(amounts, key=lambda key: (key[0], dues[key]))
    ]


def _retention(rules: RuleSet, judged: _Judged, now: float) -> list[RetentionHoldings]:
    told = []
    for number, rule in enumerate(rules.retention, 1):
        own = [(one, of) for one, of in judged if of.retention == rule.name]
        told.append(
            RetentionHoldings(
                number,
                rule.name,
                match_in_words(rule.match),
                span(rule.after),
                rule.delete,
                sum((amount_of(one) for one, _ in own), NOTHING),
                sum((amount_of(one) for one, of in own if of.expires <= now), NOTHING),
                moment(min((of.expires for _, of in own if of.expires > now), default=NEVER)),
            )
        )
    kept = sum((amount_of(one) for one, of in judged if not of.retention), NOTHING)
    ever = RetentionHoldings(0, "", "what no rule of retention matches", "for ever", "never", kept)
    return [*told, ever] if kept.objects else told
