"""Legal holds: what must not be deleted. A file each in ``.holds`` below the objects, no index."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scp.objects.folders import make_folder, sync_file, sync_folder

FOLDER = ".holds"


@dataclass(frozen=True, slots=True)
class Hold:
    """A patient, study, series or instance (``level`` as in C-FIND) that stays, by its unique key.

    Without ``patient_id`` it is on what every patient has of that UID, without ``issuer`` on the patients of
    all issuers.
    """

    level: str
    uid: str
    reason: str
    since: float  # seconds since 1970
    id: str = ""
    patient_id: str | None = None
    issuer: str | None = None

    def covers(self, uids: Mapping[str, str]) -> bool:
        """Whether an object with these unique keys, by level, is held; also one that came later."""
        of_patient = self.patient_id is None or uids.get("PATIENT") == self.patient_id
        of_issuer = self.issuer is None or uids.get("ISSUER") == self.issuer
        return uids.get(self.level) == self.uid and of_patient and of_issuer


class Holds:
    """The holds on the objects below ``root``."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def all(self) -> list[Hold]:
        """All of them, the oldest first."""
        paths = self._folder.glob("*.json") if self._folder.is_dir() else ()
        holds = [Hold(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
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
        """Let go of some."""
        for hold in holds:
            (self._folder / f"{hold.id}.json").unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_folder(self._folder)
