"""Retention: how long what is kept for which rule, and what goes when; a part of the view of traffic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi import APIRouter

from scp.index.history import RetentionRow
from scp.policy.wording import match_in_words, span
from scp.web.page.desk import Desk, DeskOf
from scp.web.page.views.windows import AWAY

router = APIRouter(tags=["traffic"])
_MOST_DAYS = 400
_GONE = "what came under a rule that was renamed or removed since"


@dataclass(frozen=True, slots=True)
class RetentionRuleSum:
    """A rule of retention in words, and what it lets go; ``first`` is the day on which that begins.

    Number 0 is what no rule lets go; with a name, what a rule would that was renamed or removed since it was
    looked at. ``after_seconds`` counts from when an object was received.
    """

    number: int
    name: str
    match: str
    after: str
    after_seconds: int | None
    delete: str
    instances: int = 0
    stored_size: int = 0
    first: datetime | None = None


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """The rules in their order, and what goes when, without what is under a hold.

    Amounts are as a node of the archive ``looked_at`` them, once a day (None: never yet). ``schedule`` has
    the first of ``schedule_total`` rows, those of ``zscp retention --schedule``, which looks anew.
    """

    looked_at: datetime | None
    rules: list[RetentionRuleSum]
    schedule: list[RetentionRow]
    schedule_total: int


def retention_report(desk: Desk) -> RetentionReport:
    """How long what is kept, and what goes when: some hundred rows of the index."""
    looked_at, schedule = desk.archive().history.retention()
    sums: dict[str, list[RetentionRow]] = defaultdict(list)
    for row in schedule:
        sums[row.rule].append(row)
    rules = [
        _rule_sum(
            RetentionRuleSum(
                number, rule.name, match_in_words(rule.match), span(rule.after), rule.after, rule.delete
            ),
            sums[rule.name],
        )
        for number, rule in enumerate(desk.settings().retention, 1)
    ]
    known = {rule.name for rule in rules}
    gone = [
        _rule_sum(RetentionRuleSum(0, name, _GONE, "not known yet", None, "not known yet"), rows)
        for name, rows in sorted(sums.items())
        if name and name not in known
    ]
    ever = RetentionRuleSum(0, "", "what no rule of retention matches", "for ever", None, "never")
    return RetentionReport(
        looked_at, [*rules, *gone, _rule_sum(ever, sums[""])], schedule[:_MOST_DAYS], len(schedule)
    )


def _rule_sum(rule: RetentionRuleSum, rows: Sequence[RetentionRow]) -> RetentionRuleSum:
    instances, stored = sum(row.instances for row in rows), sum(row.stored_size for row in rows)
    first = min((row.start for row in rows if row.start is not None), default=None)
    return replace(rule, instances=instances, stored_size=stored, first=first)


@router.get("/api/retention", responses=AWAY)
def api_retention(desk: DeskOf) -> RetentionReport:
    """How long what is kept for which rule, and what goes when."""
    return retention_report(desk)
