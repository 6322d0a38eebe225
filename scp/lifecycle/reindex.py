"""Make the index anew from the stored objects alone (invariant 6).

Order, safe to stop at any moment and to run again, also beside a running node: all files are read and
what they say is sorted by time of receipt; it is recorded in that order, so that patients, studies and
series end with the same attributes as when the objects came in; last, rows without a file go.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

from scp.archive import Archive
from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable
from scp.index.attributes import HELD
from scp.lifecycle.parallel import each
from scp.lifecycle.progress import Progress
from scp.model import Instance

# Objects sorted in memory at a time, about 1 KB each; and those recorded in one transaction.
_RUN = 100_000
_BATCH = 500


@dataclass(slots=True)
class Outcome:
    """What reindexing found: ``damaged`` are (key, fault), ``superseded`` and ``gone`` keys."""

    recorded: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def reindex(archive: Archive, progress: Progress) -> Outcome:
    """Rebuild the index; what cannot be read is reported and left where it is."""
    outcome = Outcome()
    with ExitStack() as files:
        runs = []
        records = _read_all(archive, outcome, progress)
        while run := sorted(islice(records, _RUN)):
            runs.append(files.enter_context(TemporaryFile("w+", encoding="utf-8")))
            runs[-1].writelines(f"{line}\n" for line in run)
        _record(archive, heapq.merge(*map(_lines, runs)), outcome)
    for instance in archive.index.all():
        try:
            is_there = archive.has(instance.key)
        except ObjectUnavailable:  # its store is no longer configured: the object may still be in it
            continue
        if not is_there:
            archive.index.forget(instance.sop_instance_uid, instance.key)
            outcome.gone.append(instance.key)
    return outcome


def _read_all(archive: Archive, outcome: Outcome, progress: Progress) -> Iterator[str]:
    """Each sound object as a line that sorts by its time of receipt."""

    def read(key: str) -> str:
        try:
            instance, facts = archive.read_back(key)
        except (ObjectDamaged, ObjectMissing) as error:
            outcome.damaged.append((key, str(error)))
            return ""
        held = {row.keyword: facts.attributes.get(row.keyword, "") for row in HELD}
        fields: dict[str, Any] = asdict(replace(instance))
        fields["received_at"] = instance.received_at.isoformat()
        return json.dumps([fields["received_at"], instance.sop_instance_uid, fields, held])

    for line in each(read, archive.keys()):
        progress.advance()
        if line:
            yield line


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return iter(file)


def _record(archive: Archive, lines: Iterator[str], outcome: Outcome) -> None:
    while batch := [_parsed(line) for line in islice(lines, _BATCH)]:
        for instance, _ in batch:
            held = archive.index.current(instance.identity)
            if held is not None and held.key != instance.key and held.received_at < instance.received_at:
                outcome.superseded.append(held.key)
        archive.index.record_many(batch)
        outcome.recorded += len(batch)


def _parsed(line: str) -> tuple[Instance, dict[str, str]]:
    _, _, fields, held = json.loads(line)
    fields["received_at"] = datetime.fromisoformat(fields["received_at"])
    return Instance(**fields), held
