"""The trash of a store that is a folder: two files each in ``.trash``.

``<id>.dcm`` is the stored file itself, by a hard link; ``<id>.<state>`` is the note. Writers hold the lock of
the folder, which ends with their process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from heapq import nlargest
from pathlib import Path

from scp.errors import ObjectDamaged, ObjectMissing
from scp.objects import files
from scp.objects.folders import locked, make_folder, sync_file, sync_folder
from scp.objects.names import in_store
from scp.objects.trashed import FOLDER, STATES, UNFINISHED, State, Trashed, not_written, trashed_in


class FolderCan:
    """The trash below ``root`` (:class:`scp.objects.trash.Can`)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / FOLDER

    def is_settled(self) -> bool:
        """See Can."""
        unfinished = (path for path in self._files() if path.suffix[1:] in UNFINISHED)
        return next(unfinished, None) is None and next(self._strays(), None) is None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See Can."""
        make_folder(self._folder)
        with locked(self._folder):
            yield

    def notes(
        self,
        states: Collection[State] = STATES,
        until: float = math.inf,  # noqa: ARG002 - a file is read about as fast as it is looked at
    ) -> Iterator[tuple[str, Trashed | str | None]]:
        """See Can."""
        return ((str(path), _read(path)) for path in self._files() if path.suffix[1:] in states)

    def latest(self, most: int) -> tuple[int, list[Trashed]]:
        """See Can: a note keeps its time when its state changes."""
        notes = [path for path in self._files() if path.suffix[1:] in STATES]
        read = map(_read, nlargest(most, notes, _written))
        return len(notes), [one for one in read if isinstance(one, Trashed)]

    def begin(self, wanted: list[Trashed]) -> list[Trashed]:
        """See Can: linked → the note is durable."""
        begun = []
        for one in wanted:
            if not self._place(one).is_file():
                continue
            make_folder(self._folder)
            with suppress(FileNotFoundError):
                # One of the same id whose note is missing, or whose file is: the same object, in its place.
                self._file(one).unlink(missing_ok=True)
                os.link(self._place(one), self._file(one))
                begun.append(one)
        if begun:
            sync_folder(
                self._folder
            )  # a file without a note does no harm; a note without a file would be a loss
            for one in begun:
                self._note(one)
            sync_folder(self._folder)
        return begun

    def state_of(self, one: Trashed) -> State | None:
        """See Can."""
        if not self._file(one).is_file():
            return None
        return next((s for s in reversed(STATES) if self._sidecar(replace(one, state=s)).is_file()), None)

    def in_place(self, one: Trashed) -> bool:
        """See Can."""
        try:
            return self._file(one).samefile(self._place(one))
        except FileNotFoundError:
            return False

    def begin_of(self, one: Trashed, most: int) -> bytes:
        """See Can."""
        try:
            with self._file(one).open("rb") as file:
                return file.read(most)
        except FileNotFoundError:
            raise ObjectMissing(f"{one.key} was purged from the trash") from None

    def take(self, one: Trashed) -> None:
        """See Can."""
        moved, place = self._folder / f"{one.id}.moved", self._place(one)
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
        """See Can."""
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
        """See Can."""
        marked = replace(one, state=state)
        self._sidecar(one).rename(self._sidecar(marked))
        sync_folder(self._folder)
        return marked

    def erase(self, one: Trashed) -> None:
        """See Can."""
        self._file(one).unlink(missing_ok=True)

    def forget(self, one: Trashed) -> None:
        """See Can."""
        self._sidecar(one).unlink(missing_ok=True)

    def tidy(self) -> None:
        """See Can."""
        for path in self._strays():
            path.unlink(missing_ok=True)

    def _strays(self) -> Iterator[Path]:
        """Files without a note. A link that is the last one of its file stays, with or without a note."""
        found = self._files()
        known = {path.stem for path in found if path.suffix[1:] in STATES}
        for path in found:
            if path.suffix not in {".dcm", ".new"} or path.stem in known:
                continue
            with suppress(FileNotFoundError):
                if path.suffix == ".new" or path.stat().st_nlink > 1:
                    yield path

    def _note(self, one: Trashed) -> None:
        fresh = self._folder / f"{one.id}.new"
        fresh.write_text(one.note, encoding="utf-8")
        sync_file(fresh)
        fresh.rename(self._sidecar(one))

    def _file(self, one: Trashed) -> Path:
        return self._folder / f"{one.id}.dcm"

    def _sidecar(self, one: Trashed) -> Path:
        return self._folder / f"{one.id}.{one.state}"

    def _place(self, one: Trashed) -> Path:
        return self._root / in_store("", one.key)

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []


def _written(path: Path) -> float:
    """When a note was written; of one that another process has just renamed or removed, never."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: Path) -> Trashed | str | None:
    """A note, or what is wrong with it; None if another process has changed its state."""
    try:
        return trashed_in(files.note(path), id=path.stem, state=path.suffix[1:])
    except FileNotFoundError:
        return None
    except (ObjectDamaged, OSError) as error:
        return not_written(error)
