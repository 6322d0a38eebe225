"""The count of associations: of this process alone, or of all worker processes together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Seats(Protocol):
    """A place for each association; called by many threads at a time."""

    def take(self) -> bool:
        """Take one; False where none is free."""

    def give_back(self) -> None:
        """Give one back that was taken."""


class OwnSeats:
    """At most as many as ``limit`` returns at that time, counted in this process."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken = 0

    def take(self) -> bool:
        """Take one; False where none is free."""
        with self._lock:
            if self._taken >= self._limit():
                return False
            self._taken += 1
            return True

    def give_back(self) -> None:
        """Give one back that was taken."""
        with self._lock:
            self._taken -= 1
