"""Buffers for data of any size: a little is kept in memory, more goes to a temporary file without a name.

A 2 GB object is received, encoded and sent through these, and the process stays small: a large buffer is a
read-only map of its file. Only the pages in use take memory, and :func:`let_go` frees those.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xxhash import xxh3_128, xxh3_128_hexdigest

from scp.resources import budget, room
from scp.resources.room import Room

Buffer = bytes | bytearray | memoryview

# CT and MR images (0.5 MB and less) touch no file while the memory budget has room; larger objects do.
IN_MEMORY = 4 << 20
# A smaller spool is not counted in the memory budget: 100 associations with 16 requests each, all of this
# size, take 400 MB. A larger one is counted in steps, so that a growing spool asks the budget twice.
UNCOUNTED = 256 << 10
_COUNTED = 1 << 20
_STEP = 1 << 20
_LET_GO = 32 << 20
_POPULATE_READ = 22  # madvise(2), from Linux 5.14 on
# Its errors for a page that would raise SIGBUS when read: EFAULT, and EHWPOISON, which errno does not name.
_NO_PAGE = (errno.EFAULT, 133)
_NO_ROOM = "no room for what is received or worked on"

_room: Room | None = None


def keep_in(folder: Path | None, reserve: int = 0) -> None:
    """Set the folder of temporary files for the whole process; None: that of :data:`tempfile.tempdir`.

    The object store's own disk is the right one: spooled data will be written to it, and /tmp may be memory.
    ``reserve`` bytes of that disk are left free.
    """
    global _room  # noqa: PLW0603 - one for the process, set by who composes it
    _room = Room(folder, reserve) if folder is not None else None


def temporary() -> Path | None:
    """Where temporary files are made."""
    return _room.folder if _room is not None else None


def has_room(size: int) -> bool:
    """Whether ``size`` bytes may be written to a temporary file now."""
    with room.told(_NO_ROOM):
        return _room is None or _room.holds(size)


class _Held(bytearray):
    """Bytes that count in the memory budget for as long as anybody has a view of them."""

    __slots__ = ("counted",)

    def __init__(self) -> None:
        self.counted: list[budget.Held] = []


class Spool:
    """Takes bytes one piece after another, and gives them back as one buffer.

    With ``hashing`` it computes their SHA-256 as they arrive. Bytes for which the memory budget has no room
    go to a file. Raises OutOfResources where the disk has no room either.
    """

    def __init__(self, hashing: bool = False, in_memory: int = IN_MEMORY) -> None:
        self.size = 0
        self._held = _Held()
        self._counted = UNCOUNTED
        self._most = in_memory
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256() if hashing else None

    def write(self, data: Buffer) -> None:
        """Append ``data``."""
        self.size += len(data)
        if self._hash is not None:
            self._hash.update(data)
        if self._file is None:
            if self.size <= self._most and (self.size <= self._counted or self._counts()):
                self._held += data
                return
            held, self._held = self._held, _Held()
            with room.told(_NO_ROOM):
                self._file = tempfile.TemporaryFile(dir=temporary(), buffering=0)  # noqa: SIM115 - outlives this
            self._to_file(self._file, held)
        self._to_file(self._file, data)

    def _counts(self) -> bool:
        """Count what there is now in the budget; False where it has no room."""
        wanted = self._most if self.size > _COUNTED else min(_COUNTED, self._most)
        found = budget.hold(wanted - sum(one.size for one in self._held.counted))
        if found is not None:
            self._held.counted.append(found)
            self._counted = wanted
        return found is not None

    def _to_file(self, file: IO[bytes], data: Buffer) -> None:
        view = memoryview(data)
        with room.told(_NO_ROOM):
            for at in range(0, len(view), room.STEP):
                part = view[at : at + room.STEP]
                if _room is not None:
                    _room.check(len(part))
                write_all(file.fileno(), part)

    def rewrite(self, at: int, data: Buffer) -> None:
        """Put ``data`` over what was written at ``at``; a Spool that hashes must not be rewritten."""
        if self._file is not None:
            with room.told(_NO_ROOM):
                os.pwrite(self._file.fileno(), data, at)
        else:
            self._held[at : at + len(data)] = data

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all that was written; empty without ``hashing``."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def view(self) -> memoryview:
        """All that was written; nothing may be written afterwards. The file is removed with the last view."""
        if self._file is None:
            return memoryview(self._held).toreadonly()
        with self._file as file, room.told(_NO_ROOM):
            return memoryview(mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ))


class FileMap(mmap.mmap):
    """A read-only map of a file that has a name, and the descriptor that it was made by.

    :func:`sha256` of the whole map raises OSError where the file was cut off or its disk cannot be read; to
    read such a map directly ends the process.
    """

    descriptor = -1

    @classmethod
    def of(cls, descriptor: int, size: int) -> FileMap:
        """A map of the first ``size`` bytes, which owns the descriptor."""
        try:
            made = cls(descriptor, size, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(descriptor)
            raise
        made.descriptor = descriptor
        return made

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def copied(path: Path) -> Buffer:
    """A file's content as a copy: unlike a map, it does not change when the file does."""
    with path.open("rb", buffering=0) as file:
        return copied_from(file.fileno())


def copied_from(descriptor: int) -> Buffer:
    """As :func:`copied`, of an open file."""
    spool = Spool()
    while part := os.read(descriptor, _STEP):
        spool.write(part)
    return spool.view()


def let_go(data: Buffer) -> None:
    """Free the memory of a mapped buffer's pages; the next read takes them from the file again."""
    if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap):
        data.obj.madvise(mmap.MADV_DONTNEED)


def slices(data: Buffer, step: int = _STEP) -> Iterator[memoryview]:
    """``data`` piece by piece; of a mapped buffer little stays in memory."""
    view = memoryview(data)
    for at in range(0, len(view), step):
        yield view[at : at + step]
        if at // _LET_GO != (at + step) // _LET_GO:
            let_go(view)
    let_go(view)


def sha256(data: Buffer) -> str:
    """Hexadecimal SHA-256. Raises OSError where ``data`` is a file that has a name and cannot be read."""
    digest = hashlib.sha256()
    for part in readable_parts(data):
        digest.update(part)
    return digest.hexdigest()


def xxh3(data: Buffer) -> str:
    """Hexadecimal XXH3-128: it tells damage, and takes a twentieth of the time of SHA-256, but is no proof.

    Raises OSError as :func:`sha256` does.
    """
    if len(data) <= _STEP and _file_of(data) is None:
        return xxh3_128_hexdigest(data)
    digest = xxh3_128()
    for part in readable_parts(data):
        digest.update(part)
    return digest.hexdigest()


def readable_parts(data: Buffer) -> Iterator[memoryview]:
    """As :func:`slices`. Raises OSError where ``data`` is a file that has a name and cannot be read."""
    whole = _file_of(data)
    return slices(data) if whole is None else _of_file(whole)


def beginning(data: Buffer, size: int) -> bytes:
    """The first ``size`` bytes. Raises OSError as :func:`readable_parts` does."""
    whole = _file_of(data)
    return bytes(data[:size]) if whole is None else os.pread(whole.descriptor, size, 0)


def _file_of(data: Buffer) -> FileMap | None:
    """The file whose whole content a buffer is; None where it is not one."""
    found = data.obj if isinstance(data, memoryview) else None
    return found if isinstance(found, FileMap) and len(found) == len(data) else None


def _of_file(map_: FileMap) -> Iterator[memoryview]:
    """The parts of a mapped file; its pages are requested before they are read.

    The request raises OSError where a page cannot be had; to read that page would end the process. Where the
    system does not support the request, or has no memory for it, the file is read by its descriptor.
    """
    view = memoryview(map_)
    for at in range(0, len(view), _STEP):
        part = view[at : at + _STEP]
        try:
            map_.madvise(_POPULATE_READ, at, len(part))
        except OSError as error:
            if error.errno in _NO_PAGE:
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
            yield from _by_descriptor(map_.descriptor, at, len(view))
            return
        yield part
        if at // _LET_GO != (at + _STEP) // _LET_GO:
            let_go(view)
    let_go(view)


def _by_descriptor(descriptor: int, at: int, end: int) -> Iterator[memoryview]:
    """Read by the descriptor: a sixth slower than by a map, for a file that is in memory."""
    held = memoryview(bytearray(_STEP))
    while size := os.preadv(descriptor, [held[: end - at]], at):
        yield held[:size]
        at += size


def write_all(descriptor: int, data: Buffer) -> None:
    """Write all of ``data``, however little a single write takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
