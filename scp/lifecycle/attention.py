"""What an admin should look at: damaged files, refused and unreadable objects, conflicts, reports that wait.

Each list is bounded, newest or most urgent first, and is the same for the command, the page and the API.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from scp.archive.archive import Archive
from scp.archive.refusal import refusal_of
from scp.identity import Conflict
from scp.lifecycle.explain import fault_now
from scp.model import Instance


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """An object whose file was damaged or missing when it was last read, and what was wrong with it."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    key: str
    form: str
    stored_size: int
    calling_aet: str
    received_at: datetime
    checked: datetime | None
    fault: str


@dataclass(frozen=True, slots=True)
class RefusedObject:
    """An object with which the act ``refused`` is not done any more, and why."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    key: str
    form: str
    transfer_syntax: str
    calling_aet: str
    received_at: datetime
    received_size: int
    refused: str
    reason: str
    library: str


@dataclass(frozen=True, slots=True)
class UnreadableObject:
    """An object that cannot be read in the ``transfer_syntax`` it was announced in, and its ``fault``."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax: str
    calling_aet: str
    received_at: datetime
    received_size: int
    fault: str


def damaged_objects(archive: Archive, most: int | None) -> list[DamagedObject]:
    """At most ``most`` of them, None: all. Raises OutOfResources, as all of these do."""
    return [_damaged(one) for one in archive.integrity.damaged(most)]


def _damaged(one: Instance) -> DamagedObject:
    return DamagedObject(
        one.sop_instance_uid,
        one.study_instance_uid,
        one.series_instance_uid,
        one.key,
        one.form,
        one.stored_size,
        one.calling_aet,
        one.received_at,
        datetime.fromtimestamp(one.checked, UTC) if one.checked else None,
        one.fault,
    )


def refused_objects(archive: Archive, most: int | None) -> list[RefusedObject]:
    """The newest of them."""
    return [_refused(one) for one in archive.integrity.refused(most)]


def _refused(one: Instance) -> RefusedObject:
    refusal = refusal_of(one.refused)
    return RefusedObject(
        one.sop_instance_uid,
        one.sop_class_uid,
        one.study_instance_uid,
        one.series_instance_uid,
        one.key,
        one.form,
        one.transfer_syntax,
        one.calling_aet,
        one.received_at,
        one.received_size,
        refusal.act if refusal is not None else "",
        refusal.reason if refusal is not None else one.refused,
        refusal.library if refusal is not None else "",
    )


def unreadable_objects(archive: Archive, most: int | None) -> list[UnreadableObject]:
    """The newest of them; each file is read to say why."""
    return [
        UnreadableObject(
            one.sop_instance_uid,
            one.sop_class_uid,
            one.study_instance_uid,
            one.series_instance_uid,
            one.received_transfer_syntax,
            one.calling_aet,
            one.received_at,
            one.received_size,
            fault_now(archive, one),
        )
        for one in archive.integrity.unreadable(most)
    ]


def conflicts(archive: Archive, most: int | None) -> list[Conflict]:
    """Objects that contradict each other about patient or study: reads all studies, and takes as long."""
    return archive.conflicts(most)
