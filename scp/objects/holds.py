"""Legal holds: what must not be deleted. Each is a file in ``.holds`` below the objects, without an index."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scp.errors import ObjectDamaged
from scp.objects import files
from scp.objects.folders import make_folder, sync_file, sync_folder

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
    """The holds on the objects below ``root``."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def all(self) -> list[Hold]:
        """All holds, the oldest first.

        Raises ObjectDamaged if one is damaged: nothing may be removed while it is unknown what it covers.
        """
        paths = self._folder.glob("*.json") if self._folder.is_dir() else ()
        holds = [one for one in map(_read, paths) if one is not None]
        return sorted(holds, key=lambda hold: (hold.since, hold.id))

    def add(self, hold: Hold) -> None:
        """Make a hold durable."""
        name = uuid.uuid4().hex
        make_folder(self._folder)
        fresh = self._folder / f"{name}.new"
        fresh.write_text(json.dumps({**asdict(hold), "id": name}), encoding="utf-8")
        sync_file(fresh)
        fresh.rename(self._folder / f"{name}.json")
        sync_folder(self._folder)

    def remove(self, holds: Iterable[Hold]) -> None:
        """Remove some holds."""
        for hold in holds:
            (self._folder / f"{hold.id}.json").unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_folder(self._folder)


def _read(path: Path) -> Hold | None:
    """A hold; None if another process has removed it. Raises ObjectDamaged."""
    try:
        hold = Hold(**json.loads(files.note(path)))
    except FileNotFoundError:
        return None
    except (ObjectDamaged, OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)[:_LONGEST_REASON]) from None
    optional = (one for one in (hold.patient_id, hold.issuer) if one is not None)
    texts = (hold.level, hold.uid, hold.reason, hold.id, *optional)
    if not all(isinstance(text, str) for text in texts) or not isinstance(hold.since, (int, float)):
        raise _damaged(path, "its values are of other kinds")
    return replace(hold, id=path.stem)


def _damaged(path: Path, fault: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"the legal hold {path} is not what was written ({fault}), so that nothing is removed; bring that"
        " file back from a copy, or remove it and add the hold again"
    )
