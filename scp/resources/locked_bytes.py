"""Locked bytes of a nameless file: a count over all processes that were forked from one.

The system frees the locks of a process that dies; a counter in shared memory would keep its count. A lock
belongs to a process: its threads agree among themselves which of them has it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

# Linux's struct flock: type, whence, start, length, process id.
_FLOCK = "hhqqi"


class LockedBytes:
    """So many bytes as anybody asks for, by their number from 0 on."""

    def __init__(self) -> None:
        # In memory, as a full disk must not cost a lock; it is closed, and its locks end, with the object.
        self._file = os.fdopen(os.memfd_create("zscp-locks"), "w+b")
        self._descriptor = self._file.fileno()

    def lock(self, at: int) -> bool:
        """Lock a byte; False where another process has."""
        return self._locked(fcntl.LOCK_EX, 1, at)

    def wait_for(self, at: int) -> None:
        """Lock a byte, once no other process has."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, at)

    def unlock(self, at: int, count: int = 1) -> None:
        """Let others lock them."""
        with suppress(OSError):  # a finalizer's, after that of the file
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, count, at)

    def are_free(self, at: int, count: int) -> bool:
        """Whether no other process has locked one of them; this one must have none of them."""
        free = self._locked(fcntl.LOCK_SH, count, at)
        if free:
            self.unlock(at, count)
        return free

    def is_locked_elsewhere(self, at: int) -> bool:
        """Whether another process has locked a byte; nothing changes, not even for a moment."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
        kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(self._descriptor, fcntl.F_GETLK, asked))
        return bool(kind != fcntl.F_UNLCK)

    def write(self, at: int, data: bytes) -> None:
        """Write into the file, for all processes to read; what is written is independent of the locks."""
        os.pwrite(self._descriptor, data, at)

    def read(self) -> bytes:
        """All that was written."""
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def _locked(self, kind: int, count: int, at: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, count, at)
        except (BlockingIOError, PermissionError):
            return False
        return True
