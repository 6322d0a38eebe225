"""Small texts under names, durable when they are written: in a folder of a store, or in its bucket."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from scp.errors import ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects import files
from scp.objects.bucket import Bucket
from scp.objects.folders import make_folder, sync_file, sync_folder


class Notes(Protocol):
    """The notes of one kind."""

    def names(self) -> list[str]:
        """The names of all notes. Raises OutOfResources."""

    def read(self, name: str) -> str:
        """The text of a note. Raises ObjectMissing, ObjectDamaged, OSError, OutOfResources."""

    def write(self, name: str, text: str) -> None:
        """Write a note, all of it or nothing. Raises OSError, OutOfResources."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove notes; a missing one is no error. Raises OSError, OutOfResources."""

    def where(self, name: str) -> str:
        """Where a note lies, for people."""

    def stamp(self) -> int | None:
        """A value that changes when a note comes or goes, if that can be told without waiting; else None."""


class FolderNotes:
    """Notes as files of a folder, each with a suffix (:class:`Notes`)."""

    def __init__(self, folder: Path, suffix: str = ".json") -> None:
        self._folder, self._suffix = folder, suffix

    def names(self) -> list[str]:
        """See Notes."""
        paths = self._folder.glob(f"*{self._suffix}") if self._folder.is_dir() else ()
        return [path.stem for path in paths]

    def read(self, name: str) -> str:
        """See Notes."""
        try:
            return files.note(self._path(name))
        except FileNotFoundError:
            raise ObjectMissing(f"{self.where(name)} is not there") from None

    def write(self, name: str, text: str) -> None:
        """See Notes."""
        make_folder(self._folder)
        fresh = self._path(name).with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        sync_file(fresh)
        fresh.rename(self._path(name))
        sync_folder(self._folder)

    def remove(self, names: Iterable[str]) -> None:
        """See Notes."""
        for name in names:
            self._path(name).unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_folder(self._folder)

    def where(self, name: str) -> str:
        """See Notes."""
        return str(self._path(name))

    def stamp(self) -> int | None:
        """See Notes; takes 2 µs."""
        try:
            return os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - as in scp.objects.suspects
        except OSError:
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{self._suffix}"


class BucketNotes:
    """Notes as objects below a folder of a bucket (:class:`Notes`)."""

    def __init__(self, bucket: Bucket, folder: str, suffix: str = ".json") -> None:
        self._bucket, self._folder, self._suffix = bucket, folder, suffix

    def names(self) -> list[str]:
        """See Notes."""
        keys = (found.key for found in self._bucket.list(self._folder))
        return [key[len(self._folder) + 1 : -len(self._suffix)] for key in keys if key.endswith(self._suffix)]

    def read(self, name: str) -> str:
        """See Notes."""
        try:
            return self._bucket.note(self._key(name))[0]
        except ObjectUnavailable as error:
            raise OutOfResources(str(error)) from error

    def write(self, name: str, text: str) -> None:
        """See Notes."""
        self._bucket.put(self._key(name), text.encode())

    def remove(self, names: Iterable[str]) -> None:
        """See Notes."""
        for name in names:
            self._bucket.delete(self._key(name))

    def where(self, name: str) -> str:
        """See Notes."""
        return f"{self._bucket.name}/{self._key(name)}"

    def stamp(self) -> int | None:
        """See Notes."""

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}{self._suffix}"


def notes_in(place: Path | Bucket, folder: str) -> Notes:
    """The notes below a folder of a store, which is given as its own folder, or its bucket."""
    return FolderNotes(place / folder) if isinstance(place, Path) else BucketNotes(place, folder)
