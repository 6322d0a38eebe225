"""What ``zscp delete``, ``hold``, ``trash``, ``retention`` and ``clock`` print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.table import Table

from scp.archive.trusted_time import ClockReading
from scp.cli.output import as_json, number, show, show_rows, size
from scp.lifecycle.deletion import Removal
from scp.lifecycle.retention import RetentionPlan
from scp.lifecycle.retention_schedule import DAYS_AHEAD
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.trashed import Trashed


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> str:
    return _utc(seconds).isoformat(" ", "seconds")


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
        table.add_row(study, patient, str(len(own)), size(sum(own)))
    show_rows(table, "Nothing would be deleted.")


def removed(removal: Removal, purged: bool, originals: int, json_wanted: bool) -> None:
    """What a deletion came to, which may have ``purged`` the objects at once.

    ``originals`` are those of lossy copies among them, which still lie in the trash.
    """
    if json_wanted:
        as_json(asdict(removal))
        return
    count = number(len(removal.deleted), "object")
    show(f"{count} deleted for good" if purged else f"{count} moved to the trash")
    if removal.held:
        show(f"{number(len(removal.held), 'object')} under a hold not deleted; see zscp hold list")
    if originals:
        stay = number(originals, "original")
        show(f"{stay} of lossy copies still in the trash: zscp trash purge UID --now removes what UID names")
    if removal.left:
        left = number(len(removal.left), "object")
        show(f"{left} not deleted, being worked on or unreadable; try again, or zscp verify")


def holds(found: Sequence[Hold], json_wanted: bool) -> None:
    """All holds."""
    if json_wanted:
        as_json([{**asdict(one), "since": _utc(one.since)} for one in found])
        return
    table = Table("level", "UID or Patient ID", "of patient", "since", "reason")
    for one in found:
        patient = "all" if one.patient_id is None else one.patient_id or "without an ID"
        if one.issuer:
            patient += f" ({one.issuer})"
        table.add_row(one.level.lower(), one.uid, patient, _moment(one.since), one.reason)
    show_rows(table, "There are no legal holds.")


def trash(found: Sequence[Trashed], json_wanted: bool) -> None:
    """What lies in the trash."""
    if json_wanted:
        as_json([_trashed(one) for one in found])
        return
    table = Table("since", "study", "instance", "stored", "reason", "id")
    for one in found:
        uids = (one.study_instance_uid, one.sop_instance_uid)
        table.add_row(_moment(one.at), *uids, size(one.size), one.reason, one.id)
    show_rows(table, "The trash is empty.")


def restored(found: Sequence[Trashed], json_wanted: bool) -> None:
    """What was brought back from the trash."""
    if json_wanted:
        as_json([_trashed(one) for one in found])
    else:
        show(f"{number(len(found), 'object')} restored")


def purged(found: Sequence[Trashed], originals: int, json_wanted: bool) -> None:
    """What was removed from the trash for good; so many ``originals`` of lossy copies were left in it."""
    if json_wanted:
        as_json([_trashed(one) for one in found])
        return
    show(f"{number(len(found), 'object')} removed from the trash")
    if originals:
        stay = number(originals, "original")
        show(f"{stay} of lossy copies left until their time: --originals removes them, too")


def _trashed(one: Trashed) -> dict[str, object]:
    return {**asdict(one), "at": _utc(one.at)}


def clock(found: ClockReading, json_wanted: bool) -> None:
    """Whether the clock is trusted, and which time counts."""
    if json_wanted:
        as_json({"now": _utc(found.now), "clock": _utc(found.wall), "doubt": found.doubt})
    else:
        show(f"The clock is not trusted: {found.doubt}." if found.doubt else "The clock is trusted.")


def schedule(found: RetentionPlan, json_wanted: bool) -> None:
    """From which day on what may go, rule by rule."""
    if json_wanted:
        as_json(found.schedule)
        return
    if not found.schedule:
        show("There are no rules of retention, or no objects: nothing goes.")
        return
    table = Table("from (UTC)", "rule", "objects", "stored")
    for one in found.schedule:
        day = "never" if one.start is None else f"{one.start:%Y-%m-%d}"
        table.add_row(day, one.rule or "-", str(one.instances), size(one.stored_size))
    ahead = f"Days more than {DAYS_AHEAD} ahead are summed up by month."
    show(table, f"A study goes as a whole, when all of its objects may. {ahead}")


def plan(found: RetentionPlan, json_wanted: bool) -> None:
    """What the rules of retention let go now, rule by rule."""
    if json_wanted:
        studies = [{**asdict(one), "received": _utc(one.received)} for one in found.studies]
        as_json({**asdict(found), "studies": studies})
        return
    table = Table("rule", "studies", "objects", "stored")
    for rule in dict.fromkeys(one.rule for one in found.studies):
        own = [one for one in found.studies if one.rule == rule]
        objects, stored = sum(one.instances for one in own), sum(one.size for one in own)
        table.add_row(rule, str(len(own)), str(objects), size(stored))
    show_rows(table, "No rule of retention lets anything go now.")
    show(f"Holds keep back {number(found.held, 'object')}.")
