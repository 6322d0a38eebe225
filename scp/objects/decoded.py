"""A cache of decoded objects: an object that was read is often read again, and decoding is the main cost.

The cache consists of files in one folder, shared by all processes. It is bounded in bytes; the least recently
used files are removed first. Each file ends in the SHA-256 of the bytes before it, as nothing here is synced:
a file that a crash cut off, or that was damaged, is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from scp.errors import ObjectDamaged, OutOfResources
from scp.objects import files
from scp.resources.room import Room
from scp.spool import Buffer, sha256, slices, write_all

FOLDER = ".decoded"
_DIGEST = 32
_UNFINISHED = ".part"
_FORGOTTEN_SECONDS = 3600.0  # after this time no process is still writing a file
# A single object may take this part of the cache, and this much is freed at a time.
_PART = 8


class DecodedCache:
    """About ``most`` bytes below ``folder`` at most; threads and processes may share it.

    ``reserve`` bytes of the file system are left free. Nothing here raises: what cannot be cached is not.
    """

    def __init__(self, folder: Path, most: int, reserve: int = 0) -> None:
        self._folder = folder
        self._most = most
        self._room = Room(folder, reserve)
        self._counter = itertools.count()
        self._lock = threading.Lock()
        self._written = most  # so that the first write checks the folder

    def get(self, name: str) -> Buffer | None:
        """What was cached under a name, if it is still there and whole."""
        path = self._folder / name
        try:
            size = path.stat().st_size
            data = memoryview(files.read(path) if _DIGEST <= size <= self._most else b"")
            os.utime(path)
            content, digest = data[:-_DIGEST], data[-_DIGEST:]
            if len(data) >= _DIGEST and sha256(content) == bytes(digest).hex():
                return content
        except FileNotFoundError:
            return None
        except (OSError, ObjectDamaged):
            pass  # it cannot be read: as if it were not there
        self.forget([name])
        return None

    def takes(self, size: int) -> bool:
        """Whether an object of this size may be cached."""
        return size <= self._most // _PART

    def keep(self, name: str, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """The same chunks; they are cached when all of them have been read."""
        unfinished = self._folder / f"{name}.{os.getpid()}-{next(self._counter)}{_UNFINISHED}"
        with contextlib.ExitStack() as undo:
            descriptor = self._begun(unfinished, undo)
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
                descriptor = self._append(descriptor, chunk)
                yield chunk
            if self._append(descriptor, digest.digest()) is not None:
                with contextlib.suppress(OSError):
                    size = unfinished.stat().st_size
                    unfinished.replace(self._folder / name)
                    self._make_room(size)

    def forget(self, names: Iterable[str]) -> None:
        """Remove what is cached under these names."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()

    def _begun(self, unfinished: Path, undo: contextlib.ExitStack) -> int | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._room.holds(self._most // _PART):
                return None
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        except OSError:
            return None
        undo.callback(unfinished.unlink, missing_ok=True)
        undo.callback(os.close, descriptor)
        return descriptor

    def _append(self, descriptor: int | None, data: Buffer) -> int | None:
        """Write ``data``; returns the descriptor, None if that failed."""
        if descriptor is None:
            return None
        try:
            for part in slices(data):
                self._room.check(len(part))
                write_all(descriptor, part)
        except (OSError, OutOfResources):
            return None
        return descriptor

    def _make_room(self, size: int) -> None:
        """Check the folder when this process has written a part of the limit, as others write too."""
        with self._lock:
            self._written += size
            if self._written < self._most // _PART:
                return
            self._written = 0
        entries = sorted(_entries(self._folder))
        total = sum(held for _, held, _ in entries)
        for at, held, path in entries:
            forgotten = path.suffix == _UNFINISHED and time.time() - at > _FORGOTTEN_SECONDS
            if not forgotten and total <= self._most - self._most // _PART:
                continue
            with contextlib.suppress(OSError):
                path.unlink()
                total -= held


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """The time of last use, the size and the path of each file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found = entry.stat()
                yield found.st_mtime, found.st_size, Path(entry.path)
