"""What ``zscp ls`` prints with --conflicts, --damaged, --refused, --unreadable, --commitments and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from scp.cli.output import as_json, number, show_rows, size, terminal
from scp.identity import Claimant, Conflict
from scp.syntaxes import lookup

if TYPE_CHECKING:
    from scp.archive.outstanding import OutstandingCommitment
    from scp.index.queue import SendSum
    from scp.lifecycle.attention import (
        DamagedObject,
        RefusedObject,
        UnreadableObject,
    )


def conflicts(found: Sequence[Conflict], json_wanted: bool) -> None:
    """Objects that contradict each other in whose they are, a row for each study that has a part in one."""
    if json_wanted:
        as_json([asdict(one) for one in found])
        return
    table = Table("conflict", "UID or Patient ID", "Patient ID", "name", "born", "sex", "study", "objects")
    for one in found:
        for position, claimant in enumerate(one.claimants):
            first = (str(one.kind), one.uid) if position == 0 else ("", "")
            table.add_row(*first, *_claimant(claimant))
    show_rows(table, "No objects contradict each other in whose they are.")
    if found:
        count = number(len(found), "conflict")
        terminal().print(f"{count}. Each object is kept as what it says it is; see docs/conflicts.md.")


def _claimant(of: Claimant) -> tuple[str, ...]:
    issuer = f" ({of.issuer_of_patient_id})" if of.issuer_of_patient_id else ""
    name = f"{of.patient_name}, and others" if of.differs_within else of.patient_name
    person = (of.patient_id + issuer, name, of.patient_birth_date, of.patient_sex)
    return (*person, of.study_instance_uid, str(of.instances))


def damaged(found: Sequence[DamagedObject], limit: int, json_wanted: bool) -> None:
    """Objects whose file was damaged or missing when it was last read."""
    if json_wanted:
        as_json(found)
        return
    table = Table("from", "received", "form", "checked", "fault", "file", "SOP Instance UID")
    for one in found:
        checked = _moment(one.checked) if one.checked else "never"
        received = (one.calling_aet, _moment(one.received_at), one.form)
        table.add_row(*received, checked, one.fault, one.key, one.sop_instance_uid)
    show_rows(table, "No file is known to be damaged or missing.")
    _tell_limit(len(found), limit, "first")


def refused(found: Sequence[RefusedObject], limit: int, json_wanted: bool) -> None:
    """Objects with which something is not done any more, what that is, and why."""
    if json_wanted:
        as_json(found)
        return
    table = Table(
        "from", "received", "kept as", "not done any more", "why", "Study Instance UID", "SOP Instance UID"
    )
    for one in found:
        kept = f"{one.form}: {lookup(one.transfer_syntax).keyword}"
        columns = (one.calling_aet, _moment(one.received_at), kept, one.refused, one.reason)
        table.add_row(*columns, one.study_instance_uid, one.sop_instance_uid)
    show_rows(table, "Nothing is refused of any object.")
    _tell_limit(len(found), limit, "newest")
    if found:
        terminal().print("They are tried again by: recompress --now --match SOPInstanceUID=…")


def _tell_limit(count: int, limit: int, which: str) -> None:
    if limit and count == limit:
        terminal().print(f"The {which} {limit} at most; --limit 0 shows all.")


def unreadable(found: Sequence[UnreadableObject], limit: int, json_wanted: bool) -> None:
    """Objects that cannot be read in the transfer syntax that they were announced in, and why."""
    if json_wanted:
        as_json(found)
        return
    table = Table("from", "received", "transfer syntax", "fault", "Study Instance UID", "SOP Instance UID")
    for one in found:
        announced = lookup(one.transfer_syntax).keyword
        told = (one.calling_aet, _moment(one.received_at), announced, one.fault)
        table.add_row(*told, one.study_instance_uid, one.sop_instance_uid)
    show_rows(table, "All objects can be read in their transfer syntaxes.")
    _tell_limit(len(found), limit, "newest")


def commitments(outstanding: Sequence[OutstandingCommitment], json_wanted: bool) -> None:
    """What ``zscp ls --commitments`` found."""
    if json_wanted:
        as_json(outstanding)
        return
    table = Table("asked by", "instances", "received", "attempts", "next", "last fault", "transaction UID")
    for one in outstanding:
        following = "under way" if one.next_attempt is None else _moment(one.next_attempt)
        figures = (str(one.instances), _moment(one.received_at), str(one.attempts), following)
        table.add_row(one.calling_aet, *figures, one.fault, one.transaction_uid)
    show_rows(table, "No storage commitment is outstanding.")


def send_queue(sums: Sequence[SendSum], json_wanted: bool) -> None:
    """What is yet to be sent, by destination, rule and state; sizes as stored."""
    if json_wanted:
        as_json(sums)
        return
    table = Table("to", "rule", "objects", "stored", "queued since", "attempts", "next", "last fault")
    for one in sums:
        following = "given up" if one.state == "given up" else "under way"
        if one.next_attempt is not None:
            following = _moment(one.next_attempt)
        figures = (str(one.objects), size(one.bytes), _moment(one.queued_at), str(one.attempts))
        table.add_row(one.destination, one.rule, *figures, following, one.fault)
    show_rows(table, "Nothing is to be sent.")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
