"""Bytes that may be too many for memory: few are held there, many lie in a file that has no name.

A 2 GB object is received, encoded and sent through these, and the process stays small: a large buffer is a
read-only map of its file, of which only the pages in use count, and :func:`let_go` gives those back.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

Buffer = bytes | bytearray | memoryview

# CT and MR images (0.5 MB and less) never touch a file; of mammograms and multi-frames, 16 associations
# with 16 requests each hold no more than 1 GB in memory, and in practice a tenth of that.
IN_MEMORY = 4 << 20
_STEP = 1 << 20
_LET_GO = 32 << 20

_folder: Path | None = None


def keep_in(folder: Path | None) -> None:
    """Where files are made from now on, process-wide as :data:`tempfile.tempdir` is; None: there.

    The object store's own disk is right: what is spooled will be written there, and /tmp may be memory.
    """
    global _folder  # noqa: PLW0603 - one for the process, set by who composes it
    _folder = folder


class Spool:
    """Takes bytes one piece after another, and gives them back as one buffer.

    With ``hashing`` it keeps their SHA-256 as they come. Raises OSError where the disk is full.
    """

    def __init__(self, hashing: bool = False, in_memory: int = IN_MEMORY) -> None:
        self.size = 0
        self._held = bytearray()
        self._most = in_memory
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256() if hashing else None

    def write(self, data: Buffer) -> None:
        """Append ``data``."""
        self.size += len(data)
        if self._hash is not None:
            self._hash.update(data)
        if self._file is not None:
            write_all(self._file.fileno(), data)
        elif self.size <= self._most:
            self._held += data
        else:
            self._file = tempfile.TemporaryFile(dir=_folder, buffering=0)  # noqa: SIM115 - outlives this
            write_all(self._file.fileno(), self._held)
            write_all(self._file.fileno(), data)
            self._held = bytearray()

    def rewrite(self, at: int, data: Buffer) -> None:
        """Put ``data`` over what was written at ``at``; a Spool that hashes must not be rewritten."""
        if self._file is not None:
            os.pwrite(self._file.fileno(), data, at)
        else:
            self._held[at : at + len(data)] = data

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all that was written; empty without ``hashing``."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def view(self) -> memoryview:
        """All that was written; nothing may be written after it. Its file goes with the last view."""
        if self._file is None:
            return memoryview(self._held).toreadonly()
        with self._file as file:
            return memoryview(mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ))


def mapped(path: Path) -> Buffer:
    """A file's content: read where it is small, else mapped. It must not be truncated meanwhile."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= IN_MEMORY:
            return file.read()
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


def copied(path: Path) -> Buffer:
    """A file's content, safe from whoever changes the file meanwhile: a map of it would not be."""
    spool = Spool()
    with path.open("rb", buffering=0) as file:
        while part := file.read(_STEP):
            spool.write(part)
    return spool.view()


def let_go(data: Buffer) -> None:
    """Give back the memory of a mapped buffer's pages; read again, they come from the file again."""
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
    """Hexadecimal SHA-256."""
    digest = hashlib.sha256()
    for part in slices(data):
        digest.update(part)
    return digest.hexdigest()


def write_all(descriptor: int, data: Buffer) -> None:
    """Write all of ``data``, whatever a write takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
