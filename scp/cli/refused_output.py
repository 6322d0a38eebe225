"""What ``zscp ls --refused`` prints."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from scp.archive.refusal import refusal_of
from scp.cli.output import as_json, terminal
from scp.model import Instance
from scp.syntaxes import lookup


def refused(found: list[Instance], limit: int, json_wanted: bool) -> None:
    """Objects with which something is not done any more, what that is, and why."""
    if json_wanted:
        as_json([_row(one) for one in found])
        return
    table = Table(
        "from", "received", "kept as", "not done any more", "why", "Study Instance UID", "SOP Instance UID"
    )
    for one in found:
        refusal = refusal_of(one.refused)
        told = (refusal.act, refusal.reason) if refusal is not None else ("", one.refused)
        kept = f"{one.form}: {lookup(one.transfer_syntax).keyword}"
        columns = (one.calling_aet, f"{one.received_at:%Y-%m-%d %H:%M:%S %Z}", kept, *told)
        table.add_row(*map(escape, (*columns, one.study_instance_uid, one.sop_instance_uid)))
    console = terminal()
    console.print(table)
    if limit and len(found) == limit:
        console.print(f"The newest {limit} at most; --limit 0 shows all.")
    if found:
        console.print("They are tried again by: recompress --now --match SOPInstanceUID=…", markup=False)


def _row(one: Instance) -> dict[str, object]:
    refusal = refusal_of(one.refused)
    return {
        "sop_instance_uid": one.sop_instance_uid,
        "sop_class_uid": one.sop_class_uid,
        "study_instance_uid": one.study_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "key": one.key,
        "form": one.form,
        "transfer_syntax": one.transfer_syntax,
        "calling_aet": one.calling_aet,
        "received_at": one.received_at,
        "received_size": one.received_size,
        "refused": refusal.act if refusal is not None else "",
        "reason": refusal.reason if refusal is not None else one.refused,
        "library": refusal.library if refusal is not None else "",
    }
