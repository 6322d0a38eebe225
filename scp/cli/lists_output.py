"""What ``zscp ls`` prints with --conflicts, --refused, --unreadable, --commitments and --send-queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from scp.archive.refusal import refusal_of
from scp.cli.output import as_json, number, show, size, terminal
from scp.identity import Claimant, Conflict
from scp.model import Commitment, Instance
from scp.syntaxes import lookup

if TYPE_CHECKING:
    from scp.index.queue import SendSum


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
    count = number(len(found), "conflict")
    show(table, f"{count}. Each object is kept as what it says it is; see docs/conflicts.md.")


def _claimant(of: Claimant) -> tuple[str, ...]:
    issuer = f" ({of.issuer_of_patient_id})" if of.issuer_of_patient_id else ""
    name = f"{of.patient_name}, and others" if of.differs_within else of.patient_name
    person = (of.patient_id + issuer, name, of.patient_birth_date, of.patient_sex)
    return (*person, of.study_instance_uid, str(of.instances))


def refused(found: list[Instance], limit: int, json_wanted: bool) -> None:
    """Objects with which something is not done any more, what that is, and why."""
    if json_wanted:
        as_json([_refused_fields(one) for one in found])
        return
    table = Table(
        "from", "received", "kept as", "not done any more", "why", "Study Instance UID", "SOP Instance UID"
    )
    for one in found:
        refusal = refusal_of(one.refused)
        told = (refusal.act, refusal.reason) if refusal is not None else ("", one.refused)
        kept = f"{one.form}: {lookup(one.transfer_syntax).keyword}"
        columns = (one.calling_aet, f"{one.received_at:%Y-%m-%d %H:%M:%S %Z}", kept, *told)
        table.add_row(*columns, one.study_instance_uid, one.sop_instance_uid)
    console = terminal()
    console.print(table)
    if limit and len(found) == limit:
        console.print(f"The newest {limit} at most; --limit 0 shows all.")
    if found:
        console.print("They are tried again by: recompress --now --match SOPInstanceUID=…")


def _refused_fields(one: Instance) -> dict[str, object]:
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


def unreadable(found: list[tuple[Instance, str]], limit: int, json_wanted: bool) -> None:
    """Objects that cannot be read in the transfer syntax that they were announced in, and why."""
    if json_wanted:
        as_json([_unreadable_fields(one, fault) for one, fault in found])
        return
    table = Table("from", "received", "transfer syntax", "fault", "Study Instance UID", "SOP Instance UID")
    for one, fault in found:
        announced = lookup(one.received_transfer_syntax).keyword
        told = (one.calling_aet, f"{one.received_at:%Y-%m-%d %H:%M:%S %Z}", announced, fault)
        table.add_row(*told, one.study_instance_uid, one.sop_instance_uid)
    console = terminal()
    console.print(table)
    if limit and len(found) == limit:
        console.print(f"The newest {limit} at most; --limit 0 shows all.")


def _unreadable_fields(one: Instance, fault: str) -> dict[str, object]:
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
        table.add_row(one.calling_aet, *figures, one.fault, one.transaction_uid)
    terminal().print(table)


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
    terminal().print(table)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
