"""Carry out the stages that are due now. What was done stays done: it may be stopped and run again."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from scp.archive.archive import Archive
from scp.archive.refusal import LAST_RESORTS, NO_STAGE
from scp.archive.replacement import Change
from scp.background.parallel import yield_to_others
from scp.background.progress import Progress
from scp.index.index import PolicyRow
from scp.lifecycle.loss_audit import NOT_AUDITED, LossAudit
from scp.lifecycle.planning import Planner
from scp.lifecycle.settling import settle
from scp.lifecycle.stages import Stages
from scp.model import Instance
from scp.policy.stages import fingerprint

_AT_ONCE = 64
_NAMED_AT_ONCE = 500
# How long to wait for what others work on: longer than a lease, after which a dead owner's work is free, and
# than most batches take. An owner that still renews its claim lives, and will do it.
_PATIENCE_SECONDS, _LOOK_SECONDS = 60.0, 1.0


@dataclass(slots=True)
class Recompressed:
    """How many objects got a new form, were packed anew, or moved as they are, and how many stay.

    ``settled`` were pending, and got the form that they would have got without waiting.

    Bytes ``before`` and ``after`` are those of objects with a new file; ``seconds`` are those of cores.

    ``lossy`` of them are lossy copies now, by a stage that asks for that. ``left`` are those that could not
    be read, and those that another process still works on.
    """

    encoded: int = 0
    packed: int = 0
    moved: int = 0
    no_gain: int = 0
    cannot: int = 0
    left: int = 0
    before: int = 0
    after: int = 0
    seconds: float = 0.0
    lossy: int = 0
    settled: int = 0


def recompress(
    archive: Archive,
    instances: Iterable[Instance] | None,
    now: Callable[[], float],
    progress: Progress,
    again: bool = False,
    audit: LossAudit = NOT_AUDITED,
) -> Recompressed:
    """Carry out what is due at ``now``, of some instances or, without any, of all; what is pending, first.

    With ``again``, operations that were refused for those instances are tried again
    (:mod:`scp.archive.refusal`), and so are stages that could only keep an instance as it was: a limit may
    have been raised since.

    Raises OutOfResources; what was done until then stays.
    """
    named = None if instances is None else list(instances)
    done = Recompressed()
    if again:
        _let_try(archive, named or ())
    busy: list[Instance] = []
    owner = f"recompress/{os.getpid()}/{secrets.token_hex(4)}"
    with ThreadPoolExecutor(os.cpu_count() or 1, "recompress", initializer=yield_to_others) as pool:
        stages = Stages(archive, owner, pool, now, audit=audit)
        try:
            _settle_pending(archive, named, pool, done)
            progress.total(sum(1 for _ in _due(archive, named, now)))
            _carry_out(stages, _due(archive, named, now), done, busy, progress)
            until = time.monotonic() + _PATIENCE_SECONDS
            while busy and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
                waiting, busy = busy, []
                _carry_out(stages, _due(archive, waiting, now), done, busy, progress)
            done.left += len(busy)
        finally:
            stages.stop()
    return done


def _settle_pending(
    archive: Archive, named: list[Instance] | None, pool: Executor, done: Recompressed
) -> None:
    """Encode what the node has yet to encode: before that no stage is due for it, and it would be missed.

    What a process may have died of is left to the node, which tries it alone.
    """
    if named is None:
        pending = archive.pending(archive.count_pending().instances)
    else:
        pending = [one for one in named if one.pending]
    tried = [one for one in pending if not archive.trials.is_suspect(one)]
    after = list(pool.map(lambda one: settle(archive, one), tried))
    done.settled = sum(1 for one in after if one is None or not one.pending)
    done.left += len(pending) - done.settled


def _let_try(archive: Archive, instances: Sequence[Instance]) -> None:
    stages = {fingerprint(stage): stage for rule in archive.policy.rules for stage in rule.stages}
    again = []
    for one in instances:
        if one.refused:
            archive.trials.allow(one)
        done = stages.get(one.stage)
        unencoded = done is not None and one.form in LAST_RESORTS and one.form not in done.forms
        if one.no_loss or (unencoded and not one.lossy_of):
            allowed = replace(one, stage=NO_STAGE, outcome="", refused="", no_loss="")
            again.append(Change(one, allowed))
    archive.replace(again)


def _carry_out(
    stages: Stages, due: Iterator[Instance], done: Recompressed, busy: list[Instance], progress: Progress
) -> None:
    waiting: list[Instance] = []
    while waiting := waiting + list(islice(due, _AT_ONCE - len(waiting))):
        found = stages.carry_out(waiting)
        waiting = waiting[found.tried :]
        done.seconds += found.cpu
        done.left += found.failed
        busy += found.busy
        for change in found.changes:
            _count(done, change)
        progress.advance(found.tried - len(found.busy))


def _count(done: Recompressed, change: Change) -> None:
    if change.moves:
        done.moved += 1
    elif change.data is not None:
        done.packed += change.packs
        done.encoded += not change.packs
        done.lossy += change.loss is not None
        done.before += change.before.stored_size
        done.after += change.after.stored_size
    elif change.stage is not None:
        done.no_gain += change.packs or change.after.outcome == "no gain"
        done.cannot += not change.packs and change.after.outcome == "cannot"


def _due(archive: Archive, named: list[Instance] | None, now: Callable[[], float]) -> Iterator[Instance]:
    planner = Planner(archive.policy.rules, newest=archive.policy.newest)
    for standing in _standings(archive, planner.keywords, named):
        if planner.step(standing, archive.facts, now())[1].stage is not None:
            yield standing.instance


def _standings(
    archive: Archive, keywords: tuple[str, ...], named: list[Instance] | None
) -> Iterator[PolicyRow]:
    if named is None:
        yield from archive.stages.policy_rows(keywords)
        return
    for first in range(0, len(named), _NAMED_AT_ONCE):
        yield from archive.stages.policy_rows_of(keywords, named[first : first + _NAMED_AT_ONCE])
