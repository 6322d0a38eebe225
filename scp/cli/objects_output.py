"""What ``zscp import``, ``export``, ``ls`` and ``stats`` print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from scp.archive.statistics import Statistics
from scp.cli.output import as_json, number, percent, show_rows, size, tell_faults, terminal
from scp.lifecycle.sending import AskedToSend
from scp.lifecycle.transfer import Exported, Imported
from scp.model import Instance
from scp.syntaxes import lookup
from scp.viewing.search import COLUMNS, SearchHit


def with_storage(row: dict[str, str], instance: Instance | None) -> dict[str, Any]:
    """An image's row with how it is kept."""
    if instance is None:
        return row
    return {
        **row,
        "form": instance.form,
        "kept": instance.stored_size,
        "received": instance.received_size,
        "readable": "yes" if instance.readable else "no",
        "key": instance.key,
    }


def with_sums(hit: SearchHit, keys: Container[str] = ()) -> dict[str, Any]:
    """A match's row with how its objects are kept; the issuer where it is among the keys, or there is one."""
    row: dict[str, Any] = dict(hit.attributes)
    if "IssuerOfPatientID" not in keys and not row["IssuerOfPatientID"]:
        del row["IssuerOfPatientID"]
    forms = ", ".join(dict.fromkeys(one.form for one in hit.forms))
    return {**row, "forms": forms, "kept": hit.stored_size, "received": hit.received_size, "held": hit.held}


def listing(level: str, rows: Sequence[Mapping[str, Any]], limit: int, json_wanted: bool) -> None:
    """What ``zscp ls`` found."""
    shown = rows[:limit] if limit else rows
    if json_wanted:
        as_json(shown)
        return
    columns = list(dict.fromkeys([*COLUMNS[level], *(key for row in shown for key in row)]))
    table = Table(*columns)
    for row in shown:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    show_rows(table, "Nothing that is stored matches.")
    if len(rows) > len(shown):
        terminal().print(f"Only the first {limit}; --limit 0 shows all, --match narrows.")


def asked_to_send(asked: AskedToSend, json_wanted: bool) -> None:
    """What ``zscp send`` queued."""
    if json_wanted:
        as_json(asked)
        return
    terminal().print(f"{number(asked.queued, 'object')} queued for {asked.destination}: ls --send-queue")
    if asked.being_sent:
        terminal().print(f"{number(asked.being_sent, 'object')} being sent to it already")


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
        f"{number(counts.patients, 'patient')}, {number(counts.studies, 'study', 'studies')}, "
        f"{counts.series} series, {number(counts.instances, 'object')}; {size(received - stored)} saved."
    )
    if found.damaged:
        console.print(f"{found.damaged} objects are damaged or missing: verify --damaged.")
    if found.refused:
        console.print(f"{found.refused} objects are not encoded or decoded any more: ls --refused.")
    if found.pending.instances:
        waiting = f"{found.pending.instances} objects ({size(found.pending.size)})"
        console.print(f"{waiting} wait to be encoded, or for files of their own.")
    if found.commitments:
        console.print(
            f"{found.commitments} results of storage commitment are yet to be reported: ls --commitments."
        )
    if found.send_queue:
        console.print(f"{found.send_queue} objects are yet to be sent to peers: ls --send-queue.")


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
