"""What the policy would do to what is stored, how long that would take and what it would save.

Objects are counted from the index, and a few of each group are measured: they are read and encoded as the
stage would do, and the result is discarded.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.background.alone import alone
from scp.background.progress import Progress
from scp.config.rules import Stage
from scp.config.settings import LifecycleSettings
from scp.encoding.cage.caged import thread_time
from scp.lifecycle.pace import Pace
from scp.lifecycle.planning import Planner
from scp.model import Instance
from scp.policy.stages import fingerprint

# At most so many objects of a group are measured: more change an estimate by less than groups differ.
_SAMPLES = 8
# Packing anew takes a small part of the time of encoding, and what it saves differs more between objects.
_SAMPLES_PACKED = 64


@dataclass(slots=True)
class MeasuredLoss:
    """What ``copies`` of a few objects lost; ``reasons`` counts why others would stay as they are.

    Errors are in sample values: the largest of all, the mean of their means, and the least PSNR in dB; None
    where no sample was off.
    """

    copies: int = 0
    max_error: int = 0
    mean_errors: float = 0.0
    psnr: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def mean_error(self) -> float:
        """The mean error."""
        return self.mean_errors / max(self.copies, 1)

    def add(self, other: MeasuredLoss) -> None:
        """Add another's figures to these."""
        self.copies += other.copies
        self.max_error = max(self.max_error, other.max_error)
        self.mean_errors += other.mean_errors
        known = [one.psnr for one in (self, other) if one.psnr is not None]
        self.psnr = min(known, default=None)
        self.reasons += other.reasons


@dataclass(slots=True)
class MeasuredStage:
    """What measuring a few objects gave: bytes, seconds of one core, and the loss of a lossy stage."""

    objects: int = 0
    received_size: int = 0
    stored_size: int = 0
    saved: int = 0
    seconds: float = 0.0
    loss: MeasuredLoss = field(default_factory=MeasuredLoss)

    def add(self, other: MeasuredStage) -> None:
        """Add another's figures to these."""
        self.objects += other.objects
        self.received_size += other.received_size
        self.stored_size += other.stored_size
        self.saved += other.saved
        self.seconds += other.seconds
        self.loss.add(other.loss)


@dataclass(slots=True)
class ForecastGroup:
    """Objects of one modality in one ``form``, for which one stage of one rule is due.

    With ``packs`` it was carried out, and only the zstd frame is made again. ``seconds`` of one core and
    bytes ``saved`` are estimates for all of them, from what was ``measured`` of this group, or else of others
    with the same stage; None where nothing could be measured.
    """

    rule: str
    modality: str
    form: str
    stage: Stage
    packs: bool = False
    objects: int = 0
    received_size: int = 0
    stored_size: int = 0
    measured: MeasuredStage = field(default_factory=MeasuredStage)
    seconds: float | None = None
    saved: int | None = None

    @property
    def samples(self) -> int:
        """How many of its objects are measured, at most."""
        return _SAMPLES_PACKED if self.packs else _SAMPLES

    @property
    def work(self) -> tuple[str, bool]:
        """What is done to its objects: groups with the same work are measured for each other."""
        return fingerprint(self.stage), self.packs


@dataclass(frozen=True, slots=True)
class Forecast:
    """All groups, those with most bytes first; ``looked_at`` counts the objects that the index has.

    ``seconds`` is how long it would take at the configured pace; None where no worker is configured, or a
    group could not be measured.
    """

    groups: tuple[ForecastGroup, ...]
    looked_at: int
    seconds: float | None


def forecast(
    archive: Archive, chosen: LifecycleSettings, now: float, bound: float, progress: Progress
) -> Forecast:
    """What is due at ``now``; about ``bound`` seconds are spent on measuring. Raises OutOfResources."""
    groups, samples, looked_at = _grouped(archive, now, progress)
    ordered = sorted(groups, key=lambda group: -group.stored_size)
    _measure(archive, [(group, samples[id(group)]) for group in ordered], now, bound)
    _estimate(ordered)
    return Forecast(tuple(ordered), looked_at, _seconds(ordered, chosen))


def _grouped(
    archive: Archive, now: float, progress: Progress
) -> tuple[list[ForecastGroup], dict[int, list[Instance]], int]:
    planner = Planner(archive.policy.rules, ("Modality",), archive.policy.newest)
    pick = random.Random(0)  # noqa: S311 - the same objects each time it is asked
    groups: dict[tuple[str, str, str, str, bool], ForecastGroup] = {}
    samples: dict[int, list[Instance]] = {}
    looked_at = 0
    for standing in archive.stages.policy_rows(planner.keywords):
        looked_at += 1
        progress.advance()
        rule, step = planner.step(standing, archive.facts, now)
        if rule is None or step.stage is None:
            continue
        one, modality = standing.instance, standing.attributes["Modality"]
        key = (rule.name, modality, one.form, fingerprint(step.stage), step.packs)
        group = groups.setdefault(key, ForecastGroup(rule.name, modality, one.form, step.stage, step.packs))
        group.objects += 1
        group.received_size += one.received_size
        group.stored_size += one.stored_size
        kept = samples.setdefault(id(group), [])
        place = pick.randrange(group.objects)
        if len(kept) < group.samples:
            kept.append(one)
        elif place < group.samples:
            kept[place] = one
    return list(groups.values()), samples, looked_at


def _measure(
    archive: Archive, groups: Sequence[tuple[ForecastGroup, list[Instance]]], now: float, bound: float
) -> None:
    """One object of each group, then another of each, until the time is up."""
    until = time.monotonic() + bound
    for turn in range(max((group.samples for group, _ in groups), default=0)):
        for group, samples in groups:
            if turn < len(samples) and time.monotonic() < until:
                group.measured.add(_measured(archive, samples[turn], now))


def _measured(archive: Archive, one: Instance, now: float) -> MeasuredStage:
    """The figures of one object; none where it cannot be measured. Raises OutOfResources."""
    started = thread_time()
    with alone("cannot be measured", sop_instance=one.sop_instance_uid):
        change = archive.encode(one, now)
        saved = one.stored_size - change.after.stored_size
        seconds, lost = thread_time() - started, _loss(change)
        return MeasuredStage(1, one.received_size, one.stored_size, saved, seconds, lost)
    return MeasuredStage()


def _loss(change: Change) -> MeasuredLoss:
    if (loss := change.loss) is not None:
        return MeasuredLoss(1, loss.max_error, loss.mean_error, loss.psnr)
    if change.after.no_loss and (change.stage is None or change.stage.lossy):
        return MeasuredLoss(reasons=Counter([change.after.no_loss]))
    return MeasuredLoss()


def _estimate(groups: Sequence[ForecastGroup]) -> None:
    of_same: dict[tuple[str, bool], MeasuredStage] = {}
    for group in groups:
        of_same.setdefault(group.work, MeasuredStage()).add(group.measured)
    for group in groups:
        by = group.measured if group.measured.objects else of_same[group.work]
        if by.objects:
            group.seconds = by.seconds / max(by.received_size, 1) * group.received_size
            group.saved = round(by.saved / max(by.stored_size, 1) * group.stored_size)


def _seconds(groups: Sequence[ForecastGroup], chosen: LifecycleSettings) -> float | None:
    needed = [group.seconds for group in groups]
    if not chosen.workers or None in needed:
        return None
    pace = Pace(chosen.max_cpu, chosen.hours)
    return sum(each for each in needed if each is not None) / pace.max_cpu / pace.share_of_day
