"""The limit of associations at a time, counted over all processes of a node."""

from __future__ import annotations

import threading

from scp.resources.locked_bytes import LockedBytes


class SharedSeats:
    """``limit`` seats, each a locked byte, for all processes that were forked from the one that made this."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._locks = LockedBytes()
        self._own: set[int] = set()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a seat; False when none is free."""
        with self._lock:
            for seat in range(self.limit):
                if seat not in self._own and self._locks.lock(seat):
                    self._own.add(seat)
                    return True
            return False

    def give_back(self) -> None:
        """Give back a seat of this process: the highest, which may be above a lowered limit."""
        with self._lock:
            seat = max(self._own)
            self._own.remove(seat)
            self._locks.unlock(seat)
