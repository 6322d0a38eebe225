"""Legal holds: what must not be deleted. Each is a note in ``.holds`` below the objects, without an index."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects.bucket import Bucket
from scp.objects.notes import notes_in

FOLDER = ".holds"
_LONGEST_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold on a patient, study, series or instance (``level`` as in C-FIND), by its unique key.

    Without ``patient_id`` it covers the objects of that UID of every patient, without ``issuer`` the patients
    of all issuers.
    """

    level: str
    uid: str
    reason: str
    since: float  # seconds since 1970
    id: str = ""
    patient_id: str | None = None
    issuer: str | None = None

    def covers(self, uids: Mapping[str, str]) -> bool:
        """Whether the hold covers an object with these unique keys, by level; also one that arrived later."""
        of_patient = self.patient_id is None or uids.get("PATIENT") == self.patient_id
        of_issuer = self.issuer is None or uids.get("ISSUER") == self.issuer
        return uids.get(self.level) == self.uid and of_patient and of_issuer


class Holds:
    """The holds on the objects of an archive, in the folder or the bucket of its first store."""

    def __init__(self, place: Path | Bucket) -> None:
        self._notes = notes_in(place, FOLDER)

    def all(self) -> list[Hold]:
        """All holds, the oldest first.

        Raises ObjectDamaged if one is damaged: nothing may be removed while it is unknown what it covers.
        """
        holds = [one for one in map(self._read, self._notes.names()) if one is not None]
        return sorted(holds, key=lambda hold: (hold.since, hold.id))

    def stamp(self) -> int | None:
        """A value that changes when a hold comes or goes; always None where they are in a bucket."""
        return self._notes.stamp()

    def add(self, hold: Hold) -> None:
        """Make a hold durable."""
        name = uuid.uuid4().hex
        self._notes.write(name, json.dumps({**asdict(hold), "id": name}))

    def remove(self, holds: Iterable[Hold]) -> None:
        """Remove some holds."""
        self._notes.remove(hold.id for hold in holds)

    def _read(self, name: str) -> Hold | None:
        """A hold; None if another process has removed it. Raises ObjectDamaged."""
        try:
            hold = Hold(**json.loads(self._notes.read(name)))
        except ObjectMissing:
            return None
        except (ObjectDamaged, OSError, ValueError, TypeError, RecursionError) as error:
            raise _damaged(self._notes.where(name), str(error)[:_LONGEST_REASON]) from None
        optional = (one for one in (hold.patient_id, hold.issuer) if one is not None)
        texts = (hold.level, hold.uid, hold.reason, hold.id, *optional)
        if not all(isinstance(text, str) for text in texts) or not isinstance(hold.since, (int, float)):
            raise _damaged(self._notes.where(name), "its values are of other kinds")
        return replace(hold, id=name)


def _damaged(where: str, fault: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"the legal hold {where} is not what was written ({fault}), so that nothing is removed; bring that"
        " file back from a copy, or remove it and add the hold again"
    )
