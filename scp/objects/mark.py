"""The mark of the archive that a store belongs to: ``.zscp/archive`` in the first store.

The index holds the same (:class:`scp.index.self_description.Meta`), so that a start can check whether both
belong together, and are equally new. A store beside the first has its mark in ``.zscp/store``
(:class:`scp.objects.tiers.MediumMark`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

from scp.errors import ObjectDamaged, OutOfResources
from scp.objects import files
from scp.objects.folders import locked, make_folder, sync_file, sync_folder

FOLDER = ".zscp"


@dataclass(frozen=True, slots=True)
class Mark:
    """The archive's id, and the state of the index when both were last known to agree.

    ``index`` is the index's incarnation, ``sequence`` its sequence number: an index of the same incarnation
    with a lower one is an older copy. ``stores`` are the names of all other stores that ever belonged to the
    archive; ``unread`` those that were not there when the index was rebuilt. ``suspect`` says that the index
    was found damaged.
    """

    archive: str
    index: str
    sequence: int
    stores: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    suspect: bool = False


class StoreMark(Protocol):
    """The mark of the first store of an archive."""

    def read(self) -> Mark | None:
        """The mark; None if there is none, or it cannot be read."""

    def recent(self) -> Mark | None:
        """As :meth:`read`; what was read some seconds ago may be given again."""

    def write(self, mark: Mark) -> None:
        """Write it durably, in one step. Raises OutOfResources."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep others from pairing this folder with an index, or rebuilding one. Raises OutOfResources."""


def mark_in(text: str) -> Mark | None:
    """The mark in the text of its file; None if it is none."""
    try:
        found = json.loads(text)
        known = {field.name: found[field.name] for field in fields(Mark) if field.name in found}
        known |= {name: tuple(known.get(name, ())) for name in ("stores", "unread")}
        return Mark(**known)
    except (ValueError, TypeError, RecursionError):
        return None


def text_of(mark: Mark) -> str:
    """The text of a mark's file."""
    return json.dumps(asdict(mark))


class ArchiveMark:
    """The mark of the store below ``root`` (:class:`StoreMark`)."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._path = self._folder / "archive"

    def read(self) -> Mark | None:
        """See StoreMark."""
        try:
            return mark_in(files.note(self._path))
        except (OSError, ObjectDamaged):
            return None

    def recent(self) -> Mark | None:
        """See StoreMark."""
        return self.read()

    def write(self, mark: Mark) -> None:
        """Write it durably, in one step. Raises OutOfResources."""
        fresh = self._path.with_suffix(".new")
        try:
            make_folder(self._folder)
            fresh.write_text(text_of(mark), encoding="utf-8")
            sync_file(fresh)
            fresh.replace(self._path)
            sync_folder(self._folder)
        except OSError as error:
            raise OutOfResources(f"{self._path} cannot be written: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from pairing this store with an index, or rebuilding one. Raises OutOfResources."""
        try:
            make_folder(self._folder)
        except OSError as error:
            raise OutOfResources(f"{self._folder} cannot be made: {error.strerror}") from error
        with locked(self._folder):
            yield
