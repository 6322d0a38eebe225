"""What was measured, and what comes of it: medians, ratios, targets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal

Key = tuple[str, str]  # scenario, receiver


@dataclass(frozen=True)
class Sample:
    """One receiver's part of one round.

    ``seconds`` is the clients' time, start of the first to end of the last. ``drained`` is the time from
    the same start until nothing was pending, ``kept`` the bytes on the disk then. ``peaks`` and ``resident``
    are megabytes, one figure a process of the receiver. ``cpu`` is processor seconds of all its processes
    while the clients ran: a busy machine lengthens it by a tenth or so, where it may double the time.
    """

    scenario: str
    receiver: str
    objects: int
    size: int
    seconds: float
    drained: float | None = None
    kept: int | None = None
    peaks: tuple[float, ...] = ()
    resident: tuple[float, ...] = ()
    note: str = ""
    cpu: float | None = None

    @property
    def key(self) -> Key:
        return self.scenario, self.receiver


@dataclass(frozen=True)
class Summary:
    """All rounds of one scenario and receiver."""

    scenario: str
    receiver: str
    rounds: int
    objects: int
    size: int
    seconds: float
    fastest: float
    slowest: float
    drained: float | None
    kept: int | None
    peak: float | None  # of the largest process, MB
    note: str = ""
    cpu: float | None = None  # of all processes, seconds

    @property
    def ms(self) -> float:
        """Milliseconds an object."""
        return 1000 * self.seconds / self.objects

    @property
    def rate(self) -> float:
        """Megabytes (as sent, uncompressed) a second."""
        return self.size / 1e6 / self.seconds


Measure = Literal["time", "speed", "drained", "cpu", "peak", "growth"]


@dataclass(frozen=True)
class Target:
    """``measure`` of ``of``, divided by that of ``than`` where there is one, compared with ``limit``.

    Times are an object's, so that scenarios with other numbers of objects compare; speed is their inverse,
    and the only measure of which more is better.
    """

    of: Key
    measure: Measure
    limit: float
    than: Key | None = None

    @property
    def relation(self) -> str:
        return "≥" if self.measure == "speed" else "≤"


@dataclass(frozen=True)
class Verdict:
    target: Target
    value: float | None  # None: not measured

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        more = self.target.relation == "≥"
        return self.value >= self.target.limit if more else self.value <= self.target.limit


def summarise(samples: Iterable[Sample]) -> dict[Key, Summary]:
    """The rounds of each scenario and receiver as one line, in the order of their first appearance."""
    grouped: dict[Key, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.key, []).append(sample)
    return {key: _summary(group) for key, group in grouped.items()}


def _summary(group: list[Sample]) -> Summary:
    seconds = [sample.seconds for sample in group]
    drained = [sample.drained for sample in group if sample.drained is not None]
    kept = [sample.kept for sample in group if sample.kept is not None]
    cpu = [sample.cpu for sample in group if sample.cpu is not None]
    peaks = [max(sample.peaks) for sample in group if sample.peaks]
    first = group[0]
    return Summary(
        scenario=first.scenario,
        receiver=first.receiver,
        rounds=len(group),
        objects=first.objects,
        size=first.size,
        seconds=median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        drained=median(drained) if drained else None,
        kept=round(median(kept)) if kept else None,
        peak=max(peaks) if peaks else None,
        note=group[-1].note,
        cpu=median(cpu) if cpu else None,
    )


def ratio(summaries: dict[Key, Summary], of: Key, than: Key) -> float | None:
    """How much of ``than``'s time an object takes with ``of``; medians. None: one of them is missing."""
    if of not in summaries or than not in summaries:
        return None
    return summaries[of].ms / summaries[than].ms


def judge(targets: Iterable[Target], summaries: dict[Key, Summary], growth: float | None) -> list[Verdict]:
    """Each target with what was measured; ``growth`` is the soak's, which is no summary."""
    return [Verdict(target, _value(target, summaries, growth)) for target in targets]


def _value(target: Target, summaries: dict[Key, Summary], growth: float | None) -> float | None:
    if target.measure == "growth":
        return growth
    if target.measure == "peak":  # of all scenarios
        peaks = [s.peak for s in summaries.values() if s.receiver.startswith(target.of[1]) and s.peak]
        return max(peaks, default=None)
    own, other = summaries.get(target.of), summaries.get(target.than or ("", ""))
    taken, compared = (each(own, target.measure), each(other, "cpu" if target.measure == "cpu" else "time"))
    if not taken or not compared:
        return None
    return compared / taken if target.measure == "speed" else taken / compared


def each(summary: Summary | None, measure: Measure) -> float | None:
    """Seconds for an object by a measure: of the clients, of the processor, or until nothing was pending."""
    if summary is None:
        return None
    seconds = {"drained": summary.drained, "cpu": summary.cpu}.get(measure, summary.seconds)
    return None if seconds is None else seconds / summary.objects


def quarters(figures: list[float]) -> tuple[float, float]:
    """The medians of the first and of the last quarter of a row of figures."""
    part = max(1, len(figures) // 4)
    return median(figures[:part]), median(figures[-part:])
