"""Codecs compared on an admin's own objects: look, choose, measure, propose."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scp.advise.candidates import Candidate, candidates
from scp.advise.dictionaries import dictionaries_from
from scp.advise.measuring import Measured, Row, measure, row
from scp.advise.proposal import Evidence, Proposal, propose
from scp.advise.sampling import SampledGroup, SampledObject, Seen, grouped, load, look
from scp.archive.foreign import files_below
from scp.background.progress import Progress
from scp.errors import message_of

Told = Callable[[str, str], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: ``sample`` objects and about ``most`` bytes a group, ``link`` in Mbit/s.

    After so many ``seconds``, shared among the groups, no other object is measured but one of each group.
    """

    by: str = "modality"
    sample: int = 32
    most: int = 16_000_000
    link: float = 5.0
    lossy: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """One group compared: ``measured`` objects of ``raw`` bytes uncompressed; ``headers`` are no pixel data.

    ``cut`` counts the multi-frame objects of which only some frames were measured.
    """

    group: SampledGroup
    rows: tuple[Row, ...]
    measured: int
    raw: int
    headers: int
    cut: int


@dataclass(frozen=True, slots=True)
class Advice:
    """All that ``zscp advise`` found. ``failed`` files could not be read; ``skipped`` ones are not DICOM."""

    wanted: Wanted
    tables: tuple[ComparisonTable, ...]
    proposal: Proposal | None
    files: int
    failed: tuple[Seen, ...]
    skipped: tuple[Seen, ...]
    lossy: tuple[Seen, ...]


def advise(paths: Sequence[Path], wanted: Wanted, told: Told) -> Advice:
    """Compare all candidates on a sample of the files below ``paths``.

    ``told`` opens a progress display for an activity and its unit. No content of a file makes this raise.
    """
    seen = _looked_at(list(files_below(paths)), told)
    compared = candidates(wanted.lossy)
    groups = grouped(seen, paths, wanted.by, wanted.sample, wanted.most)
    failed = [one for one in seen if one.outcome == "failed"]
    tables: list[ComparisonTable] = []
    evidence: list[Evidence] = []
    ends = time.monotonic() + (math.inf if wanted.seconds is None else wanted.seconds)
    with told("measuring", "objects") as progress:
        progress.total(sum(len(group.chosen) for group in groups))
        for number, group in enumerate(groups):
            now = time.monotonic()
            until = now + (ends - now) / (len(groups) - number)
            objects = _measured(group, compared, progress, failed, until)
            if objects:
                tables.append(_table(group, compared, objects, wanted.link))
                evidence += (Evidence(one.seen.modality, one.found) for one in objects)
    return Advice(
        wanted,
        tuple(tables),
        propose(compared, evidence) if evidence else None,
        len(seen),
        tuple(failed),
        tuple(one for one in seen if one.outcome == "skipped"),
        tuple(one for one in seen if one.outcome == "lossy"),
    )


def _looked_at(files: Sequence[Path], told: Told) -> list[Seen]:
    seen = []
    with told("looking", "files") as progress:
        progress.total(len(files))
        for one in look(files):
            seen.append(one)
            progress.advance()
    return seen


@dataclass(frozen=True, slots=True)
class _MeasuredObject:
    """One object that was measured; its pixels are no longer in memory."""

    seen: Seen
    raw: int
    headers: int
    cut: bool
    found: tuple[Measured, ...]


def _measured(
    group: SampledGroup, compared: Sequence[Candidate], progress: Progress, failed: list[Seen], until: float
) -> list[_MeasuredObject]:
    """The chosen objects, measured ``until`` then; those that cannot be read are added to ``failed``."""
    objects: list[_MeasuredObject] = []
    dictionaries = dictionaries_from(_others(group), compared)
    for one in _spread_out(group.chosen):
        if objects and time.monotonic() > until:
            break
        try:
            sample = load(one)
            found = tuple(measure(sample, compared, dictionaries))
            objects.append(_MeasuredObject(one, sample.raw, sample.header_bytes, sample.cut, found))
        except Exception as error:  # noqa: BLE001 - a bug, or no memory: the others are measured all the same
            failed.append(replace(one, outcome="failed", reason=message_of(error)))
        progress.advance()
    return objects


def _spread_out(chosen: Sequence[Seen]) -> Sequence[Seen]:
    """In another order, the same each time: the first of them stand for all, not for one series."""
    return random.Random(0).sample(chosen, len(chosen))  # noqa: S311 - chance, not secrecy


def _others(group: SampledGroup) -> Iterator[SampledObject]:
    """The objects that are not measured, as far as they can be read."""
    for one in group.others:
        with suppress(Exception):  # the dictionary is trained without it
            yield load(one)


def _table(
    group: SampledGroup, compared: Sequence[Candidate], objects: Sequence[_MeasuredObject], link: float
) -> ComparisonTable:
    rows = tuple(
        row(candidate, [one.found[at] for one in objects], group.study, link)
        for at, candidate in enumerate(compared)
    )
    return ComparisonTable(
        group,
        rows,
        len(objects),
        sum(one.raw for one in objects),
        sum(one.headers for one in objects),
        sum(one.cut for one in objects),
    )
