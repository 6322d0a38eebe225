"""What other rules would change for what is stored: which rule, stage and retention each object comes under.

Nothing is changed. Where there are more objects than can be looked at while somebody waits, some are picked
at random, and what is said of all is an estimate that tells how far it may be off.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from scp.archive.archive import Archive
from scp.audit.changes import changed_keys
from scp.config.http import HttpSettings
from scp.config.load import judge, warnings
from scp.config.saving import digest_of, with_unix_ends
from scp.config.settings import Settings
from scp.index.watch import Watch
from scp.lifecycle.judging import Judge, Judgement, RuleSet, amount_of, half_width, sum_keys
from scp.policy.reports import NOTHING, Amount, Comparison, Difference, Fate, PolicyTrial

# These take 0.6 s of a core; what concerns one object in a hundred is then known to a seventh of that.
PICKED = 20_000
_MOST_DIFFERENCES = 200


def compare(
    archive: Archive, before: RuleSet, after: RuleSet, most: int | None = PICKED, watch: Watch | None = None
) -> Comparison:
    """What is different for what is stored; ``most`` objects are looked at, None: all.

    Raises OutOfResources, and what the watch raises.
    """
    begun, now = time.monotonic(), time.time()
    found = archive.stages.sums(sum_keys([before, after], now), most, watch)
    judges = Judge(before, now), Judge(after, now)
    counted = _Counted()
    for one in found.sums:
        counted.add(one.instance.form, judges[0].of(one), judges[1].of(one), amount_of(one))
    return counted.told(found.looked_at, found.total, now, begun)


class _Counted:
    """Adds up what differs."""

    def __init__(self) -> None:
        self._different: dict[tuple[str, Fate, Fate], Amount] = defaultdict(Amount)
        self._sums: dict[str, Amount] = defaultdict(Amount)
        self._uncertain = 0

    def add(self, form: str, before: Judgement, after: Judgement, amount: Amount) -> None:
        """Count objects with what becomes of them."""
        fates = _fate(before), _fate(after)
        if fates[0] != fates[1]:
            self._different[form, *fates] += amount
        for name, holds in (
            ("unchanged", fates[0] == fates[1]),
            ("other_rule", before.rule != after.rule),
            ("other_stage", (before.stage, before.next) != (after.stage, after.next)),
            ("other_retention", before.retention != after.retention),
            ("due_before", bool(before.stage)),
            ("due_after", bool(after.stage)),
        ):
            self._sums[name] += amount if holds else NOTHING
        self._uncertain += 0 if before.sure and after.sure else amount.objects

    def told(self, looked_at: int, total: int, now: float, begun: float) -> Comparison:
        """All that was added, for ``total`` objects of which so many were looked at."""
        by = total / looked_at if looked_at else 1.0
        ordered = sorted(self._different.items(), key=lambda one: (-one[1].stored_size, str(one[0])))
        return Comparison(
            at=datetime.fromtimestamp(now, UTC),
            looked_at=looked_at,
            total=total,
            **{name: amount.scaled(by) for name, amount in self._sums_of_all().items()},
            uncertain=round(self._uncertain * by),
            differences=tuple(
                Difference(*key, amount.scaled(by), half_width(amount.objects, looked_at, total))
                for key, amount in ordered[:_MOST_DIFFERENCES]
            ),
            left_out=max(len(ordered) - _MOST_DIFFERENCES, 0),
            seconds=time.monotonic() - begun,
        )

    def _sums_of_all(self) -> Mapping[str, Amount]:
        names = ("unchanged", "other_rule", "other_stage", "other_retention", "due_before", "due_after")
        return {name: self._sums[name] for name in names}


def _fate(of: Judgement) -> Fate:
    return Fate(of.rule, of.stage, of.next, of.retention)


def try_text(
    archive: Archive,
    in_force: Settings,
    text: str,
    environ: Mapping[str, str],
    most: int | None = PICKED,
    watch: Watch | None = None,
) -> PolicyTrial:
    """Check the text of a configuration file, and compare its rules with those in force. Changes nothing.

    Raises OutOfResources, and what the watch raises.
    """
    text = with_unix_ends(text)
    judged, digest = judge(text, environ), digest_of(text)
    if judged.settings is None:
        return PolicyTrial(judged.faults, digest=digest)
    before, after = (RuleSet(one.policy, one.retention) for one in (in_force, judged.settings))
    return PolicyTrial(
        (),
        (*_locked_out(in_force.http, judged.settings.http), *warnings(judged.settings)),
        tuple(changed_keys(in_force, judged.settings)),
        compare(archive, before, after, most, watch),
        digest,
    )


def _locked_out(before: HttpSettings, after: HttpSettings) -> Iterator[str]:
    """What of the page an edited text takes away: who saves it there cannot take that back there."""
    if after.no_page and not before.no_page:
        yield f"the node would serve no page any more: {after.no_page}"
    had, has = (any(user.role == "admin" for user in one.user) for one in (before, after))
    if had and not has:
        yield "no user with the role admin would be left: nobody could change anything on the page"
