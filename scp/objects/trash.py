"""The trash: deleted objects are in ``.trash`` of their store until they are purged, as two files each.

``<id>.dcm`` is the stored file itself, by a hard link; ``<id>.<state>`` says in JSON what it is, and when and
why it was deleted. States: ``going`` (its row and its file in the store are yet to be removed), ``gone``,
``back`` (being restored). Writers hold the lock of the folder, which ends with their process.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from scp.errors import ObjectDamaged, ObjectMissing
from scp.identity import Identity
from scp.objects import files
from scp.objects.folders import locked, make_folder, sync_file, sync_folder
from scp.objects.names import in_store, is_within, store_of

FOLDER = ".trash"
_LONGEST_REASON = 200  # characters: an error message may be long
State = Literal["going", "gone", "back"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Trashed:
    """A deleted object: ``key`` is the one that it had, ``size`` in bytes, ``at`` in seconds since 1970.

    ``uids`` are its unique keys, by level, and the ``ISSUER`` of its Patient ID, which a hold may name.
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

    @property
    def identity(self) -> Identity:
        """The identity of the object."""
        patient = (self.uids.get("PATIENT", ""), self.uids.get("ISSUER", ""))
        return Identity(self.sop_instance_uid, self.study_instance_uid, *patient)


class Trash:
    """The trash of some stores, which are given as names, empty for the first, and folders.

    Entries in a store that is not there stay as they are until it is there again. ``alone`` is a lock among
    all nodes that share the stores.
    """

    def __init__(
        self, roots: Mapping[str, Path], alone: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._roots, self._alone = roots, alone

    def exists(self) -> bool:
        """Whether anything was ever deleted here."""
        return any((root / FOLDER).is_dir() for root in self._roots.values())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from deleting, restoring, purging or changing holds meanwhile."""
        folder = self._roots[""] / FOLDER
        make_folder(folder)
        with locked(folder), self._alone():
            yield

    def entries(self) -> list[Trashed]:
        """All entries, in the order of their deletion."""
        found = (_read(path) for path in self._notes())
        return sorted((one for one in found if isinstance(one, Trashed)), key=lambda one: (one.at, one.id))

    def unreadable(self) -> Iterator[tuple[Path, str]]:
        """Damaged notes, with the reason. Their objects are neither restored nor purged."""
        for path in self._notes():
            if isinstance(fault := _read(path), str):
                yield path, fault

    def _notes(self) -> Iterator[Path]:
        return (path for path in self._files() if path.suffix[1:] in STATES)

    def begin(self, wanted: Iterable[Trashed]) -> list[Trashed]:
        """Begin to delete some objects, with durable entries; objects without a file are left out."""
        begun = []
        for one in wanted:
            named = replace(one, id=uuid.uuid4().hex)
            if not self._place(one).is_file():
                continue
            make_folder(self._folder(one))
            with suppress(FileNotFoundError):
                os.link(self._place(one), self._file(named))
                begun.append(named)
        self._sync(begun)  # a file without a note does no harm; a note without a file would be a loss
        for named in begun:
            self._note(named)
        self._sync(begun)
        return begun

    def in_place(self, one: Trashed) -> bool:
        """Whether the entry's own file is still in its place: an object that was sent again has another."""
        try:
            return self._file(one).samefile(self._place(one))
        except FileNotFoundError:
            return False

    def take(self, one: Trashed) -> None:
        """Remove an object's file from its place, unless another file is there by now."""
        moved, place = self._folder(one) / f"{one.id}.moved", self._place(one)
        if not moved.exists():
            if not self.in_place(one):
                return
            try:
                place.rename(moved)  # compared there, where nobody can replace it
            except FileNotFoundError:  # a stage has removed the file that it replaced
                return
        if not moved.samefile(self._file(one)) and not place.exists():
            make_folder(place.parent)
            os.link(moved, place)
            sync_folder(place.parent)
        moved.unlink()
        with suppress(OSError):  # a study's folder goes with its last object
            sync_folder(place.parent)
            place.parent.rmdir()

    def put_back(self, one: Trashed) -> None:
        """Link an object to its place again, durably. Raises ObjectMissing."""
        place = self._place(one)
        make_folder(place.parent)
        try:
            os.link(self._file(one), place)
        except FileExistsError:
            pass  # restored before, or sent again: the same key is the same object
        except FileNotFoundError:
            raise ObjectMissing(f"{one.key} was purged from the trash; restore it from a copy") from None
        sync_folder(place.parent)

    def mark(self, one: Trashed, state: State) -> Trashed:
        """Change the state of an entry, durably."""
        marked = replace(one, state=state)
        self._sidecar(one).rename(self._sidecar(marked))
        sync_folder(self._folder(one))
        return marked

    def drop(self, one: Trashed) -> None:
        """Remove an entry and its file; the note is removed last, so that no file is left without one."""
        self._file(one).unlink(missing_ok=True)
        self._sidecar(one).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove links whose note was never written, if the objects are still in their places.

        A link that is the last one of its file stays, with or without a note.
        """
        known = {path.stem for path in self._files() if path.suffix[1:] in STATES}
        for path in self._files():
            if path.suffix not in {".dcm", ".new"} or path.stem in known:
                continue
            with suppress(FileNotFoundError):
                if path.suffix == ".new" or path.stat().st_nlink > 1:
                    path.unlink()

    def _note(self, one: Trashed) -> None:
        fresh = self._folder(one) / f"{one.id}.new"
        fresh.write_text(json.dumps(asdict(one)), encoding="utf-8")
        sync_file(fresh)
        fresh.rename(self._sidecar(one))

    def _file(self, one: Trashed) -> Path:
        return self._folder(one) / f"{one.id}.dcm"

    def _sidecar(self, one: Trashed) -> Path:
        return self._folder(one) / f"{one.id}.{one.state}"

    def _folder(self, one: Trashed) -> Path:
        return self._roots[store_of(one.key)] / FOLDER

    def _place(self, one: Trashed) -> Path:
        return self._roots[store_of(one.key)] / in_store("", one.key)

    def _files(self) -> list[Path]:
        folders = (root / FOLDER for root in self._roots.values())
        return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]

    def _sync(self, entries: list[Trashed]) -> None:
        for folder in dict.fromkeys(map(self._folder, entries)):
            sync_folder(folder)


def _read(path: Path) -> Trashed | str | None:
    """A note, or what is wrong with it; None if another process has changed its state."""
    try:
        found = Trashed(**{**json.loads(files.note(path)), "id": path.stem, "state": path.suffix[1:]})
    except FileNotFoundError:
        return None
    except (ObjectDamaged, OSError, ValueError, TypeError, RecursionError) as error:
        return f"it is not what was written: {str(error)[:_LONGEST_REASON]}"
    texts = (found.key, found.sop_instance_uid, found.study_instance_uid, found.reason, found.received_sha256)
    sound = all(isinstance(text, str) for text in (*texts, *found.uids)) if _has_shape(found) else False
    return found if sound else "it is not what was written: its values are of other kinds"


def _has_shape(one: Trashed) -> bool:
    numbers = isinstance(one.size, int) and isinstance(one.at, (int, float)) and one.at == one.at
    return numbers and isinstance(one.uids, Mapping) and is_within(one.key)
