"""How many may associate at a time, counted over all processes of a node."""

from __future__ import annotations

import fcntl
import tempfile
import threading
from contextlib import suppress


class Seats:
    """``limit`` seats for all processes that were forked from the one that made this.

    A seat is a locked byte of a file without a name: the system frees those of a process that dies, which
    no counter in shared memory would.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - its locks end when it is closed
        self._own: set[int] = set()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a seat; False when none is free."""
        with self._lock:
            for seat in range(self.limit):
                if seat not in self._own:
                    with suppress(BlockingIOError, PermissionError):  # another process sits there
                        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
                        self._own.add(seat)
                        return True
            return False

    def give_back(self) -> None:
        """Leave a seat that was taken here: the last, which a lowered limit does not reach."""
        with self._lock:
            seat = max(self._own)
            self._own.remove(seat)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, seat)
