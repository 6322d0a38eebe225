"""What the commands print: tables for people, JSON for programs, progress for who waits."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from pydicom.datadict import dictionary_VR, tag_for_keyword
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from scp.archive.statistics import Statistics
from scp.background.progress import Progress
from scp.config.rules import Stage
from scp.config.settings import Settings
from scp.lifecycle.reindex import Outcome
from scp.lifecycle.transfer import Exported, Imported
from scp.model import Commitment, Instance
from scp.syntaxes import lookup

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "NumberOfPatientRelatedStudies"),
    "STUDY": (
        "PatientID",
        "PatientName",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    "SERIES": (
        "StudyInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    "IMAGE": ("SeriesInstanceUID", "InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_LOG_EVERY_SECONDS = 10.0
_MOST_FAULTS = 20


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, default=_plain, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def terminal() -> Console:
    """Standard output; a pipe gets whole lines, however wide."""
    return Console() if sys.stdout.isatty() else Console(width=10_000)


def show(*what: Any) -> None:
    """Tables and lines on standard output."""
    for one in what:
        terminal().print(one)


def size(count: float) -> str:
    """Bytes as people read them, decimal: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def percent(part: int, whole: int) -> str:
    """A share of what was received."""
    return f"{100 * part / whole:.1f} %" if whole else ""


class _LoggedProgress:
    """A log line every few seconds, where no terminal shows a bar."""

    def __init__(self, doing: str, unit: str) -> None:
        self._doing, self._unit = doing, unit
        self._done, self._total, self._last_told = 0, 0, time.monotonic()

    def total(self, count: int) -> None:
        self._total = count

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._last_told >= _LOG_EVERY_SECONDS:
            self._last_told = time.monotonic()
            told = {"done": self._done, "total": self._total, "unit": self._unit}
            structlog.get_logger("zscp").info(self._doing, **told)


class _ShownProgress:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def total(self, count: int) -> None:
        self._bar.update(self._task, total=count)

    def advance(self, count: int = 1) -> None:
        self._bar.advance(self._task, count)


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Progress]:
    """A bar on a terminal's standard error, log lines where there is none."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LoggedProgress(doing, unit)
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        yield _ShownProgress(bar, bar.add_task(doing, total=None))


def vr_of(keyword: str) -> str:
    """The VR of an attribute; empty for what is none."""
    tag = tag_for_keyword(keyword)
    return dictionary_VR(tag) if tag is not None else ""


def first(rows: Generator[dict[str, str], None, None], limit: int) -> list[dict[str, str]]:
    """The first rows and one more, which tells that there are more; 0 is all."""
    with closing(rows):
        return list(islice(rows, limit + 1 if limit else None))


def with_storage(row: dict[str, str], instance: Instance | None) -> dict[str, str]:
    """An image's row with how it is kept."""
    if instance is None:
        return row
    return {
        **row,
        "form": instance.form,
        "kept": str(instance.stored_size),
        "received": str(instance.received_size),
        "readable": "yes" if instance.readable else "no",
        "key": instance.key,
    }


def listing(level: str, rows: list[dict[str, str]], limit: int, json_wanted: bool) -> None:
    """What ``zscp ls`` found."""
    shown = rows[:limit] if limit else rows
    if json_wanted:
        as_json(shown)
        return
    columns = list(dict.fromkeys([*COLUMNS[level], *(key for row in shown for key in row)]))
    table = Table(*columns)
    for row in shown:
        table.add_row(*(row.get(column, "") for column in columns))
    terminal().print(table)
    if len(rows) > len(shown):
        terminal().print(f"Only the first {limit}; --limit 0 shows all, --match narrows.")


def commitments(outstanding: list[Commitment], json_wanted: bool) -> None:
    """What ``zscp ls --commitments`` found."""
    rows = [
        {
            "transaction_uid": one.transaction_uid,
            "calling_aet": one.calling_aet,
            "instances": len(one.references),
            "received_at": one.received_at,
            "attempts": one.attempts,
            "next_attempt": None if one.holder else one.due,
            "fault": one.fault,
        }
        for one in outstanding
    ]
    if json_wanted:
        as_json(rows)
        return
    table = Table("asked by", "instances", "received", "attempts", "next", "last fault", "transaction UID")
    for one in outstanding:
        following = "under way" if one.holder else _moment(one.due)
        figures = (str(len(one.references)), _moment(one.received_at), str(one.attempts), following)
        table.add_row(escape(one.calling_aet), *figures, escape(one.fault), escape(one.transaction_uid))
    terminal().print(table)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def statistics(found: Statistics, json_wanted: bool) -> None:
    """What ``zscp stats`` counted."""
    if json_wanted:
        as_json(found)
        return
    counts, received, stored = found.counts, found.received_size, found.stored_size
    stores = any(row.store for row in found.by_form)
    table = Table("modality", "form", "transfer syntax at rest", *["store"] * stores, show_footer=True)
    table.columns[0].footer = "all"
    for heading, footer in (
        ("objects", str(counts.instances)),
        ("received", size(received)),
        ("kept", size(stored)),
        ("kept / received", percent(stored, received)),
    ):
        table.add_column(heading, footer, justify="right")
    for row in found.by_form:
        syntax = lookup(row.transfer_syntax).keyword
        share = percent(row.stored_size, row.received_size)
        figures = (str(row.instances), size(row.received_size), size(row.stored_size), share)
        table.add_row(row.modality or "-", row.form, syntax, *[row.store or "-"] * stores, *figures)
    console = terminal()
    console.print(table)
    console.print(
        f"{counts.patients} patients, {counts.studies} studies, {counts.series} series, "
        f"{counts.instances} objects; {size(received - stored)} saved."
    )
    if found.damaged:
        console.print(f"{found.damaged} objects are damaged or missing: verify --damaged.")
    if found.refused:
        console.print(f"{found.refused} objects are not encoded or decoded any more: ls --refused.")
    if found.pending.instances:
        console.print(f"{found.pending.instances} objects ({size(found.pending.size)}) wait to be encoded.")
    if found.commitments:
        console.print(
            f"{found.commitments} results of storage commitment are yet to be reported: ls --commitments."
        )
    if found.send_queue:
        console.print(f"{found.send_queue} objects are yet to be sent to peers: ls --send-queue.")


def form_then(stage: Stage) -> str:
    """The forms that a stage asks for, and in which store, if it is not the first."""
    forms = "/".join(stage.forms)
    return f"{forms} in {stage.store}" if stage.store else forms


def settings(chosen: Settings) -> None:
    """What a configuration comes to, in short."""
    table = Table("what", "value", show_header=False)
    table.add_row("AE title", chosen.node.aet)
    table.add_row("listens on", f"{chosen.node.host}:{chosen.node.port}")
    table.add_row("objects", str(chosen.storage.path.absolute()))
    for tier in chosen.tiers:
        table.add_row(f"store: {tier.name}", f"{tier.path.absolute()}, {tier.availability}")
    table.add_row("index", str(chosen.index.path.absolute()))
    table.add_row("peers", ", ".join(peer.aet for peer in chosen.peer) or "none")
    for rule in chosen.policy:
        stages = " → ".join(map(form_then, rule.stages))
        table.add_row(f"rule: {rule.name}", stages)
    terminal().print(table)


class ImportSummary:
    """What an import came to."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.received = self.stored = 0
        self.faults: list[Imported] = []
        self.notes: list[Imported] = []

    def add(self, result: Imported) -> None:
        """Count one file."""
        self.outcomes[result.outcome] += 1
        self.received += result.received_size
        self.stored += result.stored_size
        if result.outcome in ("failed", "skipped"):
            self.faults.append(result)
        elif result.note:
            self.notes.append(result)

    @property
    def failed(self) -> int:
        """Files that are not held now, whether they could not be kept or are none to keep."""
        return len(self.faults)

    def show(self, json_wanted: bool) -> None:
        """Print it."""
        if json_wanted:
            fields = {"outcomes": self.outcomes, "received_size": self.received, "stored_size": self.stored}
            as_json({**fields, "faults": self.faults, "notes": self.notes})
            return
        tell_faults(f"{one.outcome}: {one.path}: {one.note}" for one in self.notes)
        tell_faults(f"{fault.outcome}: {fault.path}: {fault.reason}" for fault in self.faults)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        share = percent(self.stored, self.received)
        terminal().print(
            f"{counted or 'nothing found'}; {size(self.received)} received, {size(self.stored)} kept"
            + (f" ({share})" if share else "")
        )


class ExportSummary:
    """What an export came to."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.syntaxes: Counter[str] = Counter()
        self.faults: list[Exported] = []

    def add(self, result: Exported) -> None:
        """Count one object."""
        if result.reason:
            self.faults.append(result)
        else:
            self.syntaxes[lookup(result.transfer_syntax).keyword] += 1

    @property
    def failed(self) -> int:
        """Objects that were not written."""
        return len(self.faults)

    def show(self, json_wanted: bool) -> None:
        """Print it."""
        if json_wanted:
            faults = [
                {"sop_instance_uid": fault.instance.sop_instance_uid, "reason": fault.reason}
                for fault in self.faults
            ]
            as_json({"target": str(self.target), "written": self.syntaxes, "faults": faults})
            return
        tell_faults(f"failed: {fault.instance.sop_instance_uid}: {fault.reason}" for fault in self.faults)
        counted = ", ".join(f"{count} {syntax}" for syntax, count in self.syntaxes.items())
        terminal().print(f"{sum(self.syntaxes.values())} written to {self.target}: {counted or 'none'}")


def reindexed(outcome: Outcome, json_wanted: bool, unfit: str = "") -> None:
    """What reindexing found; ``unfit`` is what was wrong with the index, if anything was."""
    if json_wanted:
        as_json({**dataclasses.asdict(outcome), "index": unfit})
        return
    tell_faults([f"index: {unfit}"] if unfit else [])
    tell_faults(f"damaged: {key}: {fault}" for key, fault in outcome.damaged)
    tell_faults(f"superseded, left where it is: {key}" for key in outcome.superseded)
    terminal().print(
        f"{outcome.recorded} recorded, {len(outcome.damaged)} damaged, "
        f"{len(outcome.gone)} rows without a file removed"
    )


def tell_faults(lines: Iterable[str]) -> None:
    """The first of many lines about what went wrong."""
    lines = list(lines)
    console = terminal()
    for line in lines[:_MOST_FAULTS]:
        console.print(line, markup=False, highlight=False)
    if len(lines) > _MOST_FAULTS:
        console.print(f"… and {len(lines) - _MOST_FAULTS} more; --json lists all")
