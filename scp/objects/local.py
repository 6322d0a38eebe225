"""An object store of files below one folder."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from scp.errors import ObjectMissing, ObjectUnreadable, OutOfResources
from scp.metrics import counting
from scp.objects import files
from scp.objects.folders import ASIDE, make_folder, sync_file, sync_folder
from scp.objects.journal import Journal
from scp.objects.names import file_name
from scp.objects.store import Availability
from scp.resources.room import NO_ROOM, STEP, Room
from scp.spool import Buffer, slices, write_all

_FOLDER_TRIES = 5


class LocalStore:
    """Files below ``root`` (:class:`scp.objects.journal.JournaledStore`).

    An object is written to ``.incoming/<process>/<key>``, synced, hard-linked to its place, and the
    folder synced. The entry in ``.incoming`` stays until :meth:`settle`: it is the journal.

    ``reserve`` bytes of the file system are left free. Large files are mapped under a lease, unless the
    medium may be removed meanwhile: reading the map would end the process then, while reading a file raises
    OSError.
    """

    tiers: Mapping[str, Availability] = MappingProxyType({})
    at_once = 1

    def __init__(self, root: Path, reserve: int = 0, maps: bool = True) -> None:
        self.root = root
        self.room = Room(root, reserve)
        self._maps = maps
        self._journal = Journal(root)
        self._folders = threading.Lock()
        self._counter = itertools.count()
        self._put_over: set[str] = set()  # unsettled keys under which there was a file before

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore."""
        self._put([_Put(key, self.root / key, parts)])

    def fresh_key(self, key: str) -> str:
        """See JournaledStore. All processes that put here share the journal."""
        return key

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore. The first sync commits the file system's journal for all of them."""
        self._put([_Put(key, self.root / key, (data,)) for key, data in objects])

    def _put(self, puts: list[_Put]) -> None:
        try:
            for put in puts:
                put.entry = self._journal.entry(put.key)
            self.room.check(sum(len(part) for put in puts for part in put.parts))
            for put in puts:
                put.replaces = put.place.exists()
                put.written().unlink(missing_ok=True)  # if unsettled, a hard link to the stored file
                _write(put.written(), put.parts, self.room)
            for put in puts:
                sync_file(put.written())
            for put in puts:
                self._place(put.written(), put.place)
            for folder in dict.fromkeys(put.place.parent for put in puts):
                sync_folder(folder)
            self._put_over.update(put.key for put in puts if put.replaces)
        except OSError as error:
            self._withdraw(puts)
            counting.count("zscp_store_errors_total", "put")
            if error.errno in NO_ROOM:
                raise OutOfResources(f"cannot store {puts[0].key}: {error.strerror}") from error
            raise
        except BaseException:
            self._withdraw(puts)
            raise

    def settle(self, key: str) -> None:
        """See JournaledStore."""
        self._put_over.discard(key)
        self._journal.settle(key)

    def withdraw(self, key: str) -> None:
        """See JournaledStore."""
        if key not in self._put_over and _same_file(self._journal.entry(key), self.root / key):
            self.delete(key)
        self.settle(key)

    def journal_removal(self, key: str) -> None:
        """See JournaledStore."""
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(self.root / key, self._journal.entry(key))

    def recover(self) -> Iterator[str]:
        """See JournaledStore. An entry that is not linked to its place is unfinished, and removed."""
        return self._journal.recover(lambda entry, key: _same_file(entry, self.root / key))

    def unsettled(self) -> Mapping[str, bool]:
        """See JournaledStore."""
        return self._journal.unsettled()

    def set_aside(self, key: str) -> None:
        """See JournaledStore: in ``.damaged``, under its key, with a number if there is one already."""
        aside = self.root / ASIDE
        make_folder(aside)
        name = file_name(key)
        with contextlib.suppress(FileNotFoundError):
            if (self.root / key).is_dir():  # folders have no hard links
                (self.root / key).rename(aside / f"{name}.{uuid.uuid4().hex}")
            for number in itertools.count():
                with contextlib.suppress(FileExistsError):
                    os.link(self.root / key, aside / (f"{name}.{number}" if number else name))
                    break
        sync_folder(aside)

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. Without room for a copy the object is unreadable now; others may be readable."""
        with self._read(key):
            return files.read(self.root / key, self._maps, size=size)

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore."""
        with self._read(key):
            yield from files.pieces(self.root / key, size)

    @contextlib.contextmanager
    def _read(self, key: str) -> Iterator[None]:
        """Around the reading of a file: translates errors."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(f"{key} is not in the object store") from None
        except OSError as error:
            if not self._maps and error.errno == errno.EIO:
                raise  # the medium may be gone: TieredStore finds out
            counting.count("zscp_store_errors_total", "get")
            raise files.unreadable(key, error) from error
        except OutOfResources as error:
            raise ObjectUnreadable(f"{key} cannot be read now: {error}") from error

    def size(self, key: str) -> int:
        """See ObjectStore."""
        try:
            return (self.root / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(f"{key} is not in the object store") from None
        except OSError as error:
            raise files.unreadable(key, error) from error

    def delete(self, key: str) -> None:
        """See ObjectStore. A study's folder goes with its last object."""
        place = self.root / key
        if place.is_dir():  # a folder that somebody made in an object's place
            self.set_aside(key)
        place.unlink(missing_ok=True)
        with self._folders, contextlib.suppress(OSError):
            place.parent.rmdir()

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore. Folders whose names begin with a dot hold no objects."""
        folder, _, name = prefix.rpartition("/")
        start = self.root / folder
        for path, folders, names in os.walk(start):
            folders[:] = sorted(
                f for f in folders if not f.startswith(".") and (path != str(start) or f.startswith(name))
            )
            here = Path(path).relative_to(self.root).as_posix()
            for file in names:
                key = file if here == "." else f"{here}/{file}"
                if key.startswith(prefix):
                    yield key

    def close(self) -> None:
        """See JournaledStore."""
        self._journal.close()

    def _place(self, entry: Path, place: Path) -> None:
        """Link a written entry to its place in one step, and replace whatever is there.

        A delete by another process may remove the study's folder just after it was made: then it is made
        again. Deletes of this process wait for the lock: many of them would use up the tries.
        """
        link = entry.with_name(f"{entry.name}.{next(self._counter)}~")
        os.link(entry, link)
        for _ in range(_FOLDER_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return self._move(link, place)
        return self._move(link, place)

    def _move(self, link: Path, place: Path) -> None:
        with self._folders:
            make_folder(place.parent)
            try:
                link.replace(place)
            except IsADirectoryError:  # somebody made a folder in an object's place
                self.set_aside(place.relative_to(self.root).as_posix())
                link.replace(place)

    def _withdraw(self, puts: list[_Put]) -> None:
        """Undo failed puts; those that cannot be undone are left to the next start's recovery.

        An object that replaced another stays: it is whole, and the other one is gone.
        """
        for put in puts:
            if put.entry is None:
                continue
            with contextlib.suppress(OSError):
                placed = _same_file(put.entry, put.place)
                if placed and put.replaces:
                    continue
                if placed:
                    put.place.unlink()
                links = [link for link in put.entry.parent.glob("*~") if _same_file(link, put.entry)]
                for left in (*links, put.entry):
                    left.unlink(missing_ok=True)


@dataclass(slots=True)
class _Put:
    """An object that is being put: its ``entry`` in the journal, and whether another is in its place."""

    key: str
    place: Path
    parts: Sequence[Buffer]
    entry: Path | None = None
    replaces: bool = False

    def written(self) -> Path:
        if self.entry is None:
            raise ValueError(f"{self.key} has not been written")
        return self.entry


def _write(path: Path, parts: Sequence[Buffer], room: Room) -> None:
    several = sum(map(len, parts)) > STEP  # else one check was enough
    with path.open("wb", buffering=0) as file:
        for part in chain.from_iterable(map(slices, parts)):
            if several:  # others may write meanwhile
                room.check(len(part))
            write_all(file.fileno(), part)
        # Linux begins to write the file to the disk here: see scp.objects.landing.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
