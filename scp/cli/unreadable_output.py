"""What ``zscp ls --unreadable`` prints."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from scp.cli.output import as_json, terminal
from scp.model import Instance
from scp.syntaxes import lookup


def unreadable(found: list[tuple[Instance, str]], limit: int, json_wanted: bool) -> None:
    """Objects that cannot be read in the transfer syntax that they were announced in, and why."""
    if json_wanted:
        as_json([_row(one, fault) for one, fault in found])
        return
    table = Table("from", "received", "transfer syntax", "fault", "Study Instance UID", "SOP Instance UID")
    for one, fault in found:
        announced = lookup(one.received_transfer_syntax).keyword
        told = (one.calling_aet, f"{one.received_at:%Y-%m-%d %H:%M:%S %Z}", announced, fault)
        table.add_row(*map(escape, (*told, one.study_instance_uid, one.sop_instance_uid)))
    console = terminal()
    console.print(table)
    if limit and len(found) == limit:
        console.print(f"The newest {limit} at most; --limit 0 shows all.")


def _row(one: Instance, fault: str) -> dict[str, object]:
    return {
        "sop_instance_uid": one.sop_instance_uid,
        "sop_class_uid": one.sop_class_uid,
        "study_instance_uid": one.study_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "transfer_syntax": one.received_transfer_syntax,
        "calling_aet": one.calling_aet,
        "received_at": one.received_at,
        "received_size": one.received_size,
        "fault": fault,
    }
