"""What ``zscp delete``, ``hold``, ``trash`` and ``retention`` print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from scp.cli.output import as_json, show, size
from scp.lifecycle.deletion import Removal
from scp.lifecycle.retention import RetentionPlan
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.trash import Trashed


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")


def doomed(instances: Sequence[Instance], json_wanted: bool) -> None:
    """What is about to be deleted, a row for each study."""
    if json_wanted:
        as_json(
            [
                {
                    "sop_instance_uid": one.sop_instance_uid,
                    "study": one.study_instance_uid,
                    "patient_id": one.patient_id,
                }
                for one in instances
            ]
        )
        return
    studies: dict[tuple[str, str], list[int]] = {}
    for one in instances:
        studies.setdefault((one.study_instance_uid, one.patient_id), []).append(one.stored_size)
    table = Table("study", "patient", "objects", "stored")
    for (study, patient), own in studies.items():
        table.add_row(study, escape(patient), str(len(own)), size(sum(own)))
    show(table)


def removed(removal: Removal, json_wanted: bool) -> None:
    """What a deletion came to."""
    if json_wanted:
        as_json(asdict(removal))
        return
    show(f"{len(removal.deleted)} objects are in the trash")
    if removal.held:
        show(f"{len(removal.held)} are under a hold and stay; see zscp hold list")
    if removal.left:
        show(f"{len(removal.left)} were left, being worked on or unreadable; try again, or zscp verify")


def holds(found: Sequence[Hold], json_wanted: bool) -> None:
    """All holds."""
    if json_wanted:
        as_json([asdict(one) for one in found])
        return
    table = Table("level", "UID or Patient ID", "of patient", "since", "reason")
    for one in found:
        patient = "all" if one.patient_id is None else one.patient_id or "without an ID"
        if one.issuer:
            patient += f" ({one.issuer})"
        table.add_row(one.level.lower(), one.uid, patient, _moment(one.since), one.reason)
    show(table)


def trash(found: Sequence[Trashed], json_wanted: bool) -> None:
    """What lies in the trash."""
    if json_wanted:
        as_json([asdict(one) for one in found])
        return
    table = Table("since", "study", "instance", "stored", "reason", "id")
    for one in found:
        uids = (one.study_instance_uid, one.sop_instance_uid)
        table.add_row(_moment(one.at), *uids, size(one.size), one.reason, one.id)
    show(table)


def plan(found: RetentionPlan, json_wanted: bool) -> None:
    """What the rules of retention let go now, rule by rule."""
    if json_wanted:
        as_json(asdict(found))
        return
    table = Table("rule", "studies", "objects", "stored")
    for rule in dict.fromkeys(one.rule for one in found.studies):
        own = [one for one in found.studies if one.rule == rule]
        objects, stored = sum(one.instances for one in own), sum(one.size for one in own)
        table.add_row(rule, str(len(own)), str(objects), size(stored))
    show(table, f"Holds keep back {found.held} objects.")
