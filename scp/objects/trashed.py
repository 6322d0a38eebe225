"""Entries of the trash: deleted objects are in ``.trash`` of their store until they are purged.

Each is the stored file itself and a note that says in JSON what it is, and when and why it was deleted.
States: ``going`` (its row and its file in the store are yet to be removed), ``gone``, ``back`` (being
restored). :mod:`scp.objects.trash_folder` and :mod:`scp.objects.trash_bucket` say how they lie there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from scp.identity import Identity
from scp.objects.names import is_within

FOLDER = ".trash"
_LONGEST_REASON = 200  # characters: an error message may be long
State = Literal["going", "gone", "back"]
STATES: tuple[State, ...] = get_args(State)  # in the order in which an entry has them
GONE: tuple[State, ...] = ("gone",)
UNFINISHED: tuple[State, ...] = ("going", "back")


@dataclass(frozen=True, slots=True)
class Trashed:
    """A deleted object: ``key`` is the one that it had, ``size`` in bytes, ``at`` in seconds since 1970.

    ``uids`` are its unique keys, by level, and the ``ISSUER`` of its Patient ID, which a hold may name.
    ``lossy_copy`` is the SOP Instance UID of what a stage kept in its place; it is purged in its own time.
    """

    key: str
    sop_instance_uid: str
    study_instance_uid: str
    size: int
    reason: str
    at: float
    uids: Mapping[str, str] = field(default_factory=dict)
    received_sha256: str = ""
    id: str = ""
    state: State = "going"
    lossy_copy: str = ""

    @property
    def note(self) -> str:
        """It as JSON; without what only later versions know, where that is empty."""
        fields = asdict(self)
        if not self.lossy_copy:
            del fields["lossy_copy"]
        return json.dumps(fields)

    @property
    def identity(self) -> Identity:
        """The identity of the object."""
        patient = (self.uids.get("PATIENT", ""), self.uids.get("ISSUER", ""))
        return Identity(self.sop_instance_uid, self.study_instance_uid, *patient)


def trashed_in(text: str, **known: str) -> Trashed | str:
    """The entry in a note, with what is ``known`` besides it; or what is wrong with the note."""
    try:
        found = Trashed(**{**json.loads(text), **known})
    except (ValueError, TypeError, RecursionError) as error:
        return not_written(error)
    texts = (
        *(found.key, found.sop_instance_uid, found.study_instance_uid),
        *(found.reason, found.received_sha256, found.lossy_copy),
    )
    sound = all(isinstance(text, str) for text in (*texts, *_told(found))) if _has_shape(found) else False
    return found if sound and found.state in STATES else not_written("its values are of other kinds")


def not_written(fault: object) -> str:
    """That a note is not what was written, and why."""
    return f"it is not what was written: {str(fault)[:_LONGEST_REASON]}"


def _told(one: Trashed) -> tuple[object, ...]:
    return (*one.uids, *one.uids.values())


def _has_shape(one: Trashed) -> bool:
    numbers = isinstance(one.size, int) and isinstance(one.at, (int, float)) and one.at == one.at
    return numbers and isinstance(one.uids, Mapping) and is_within(one.key)
