"""A bound on the pending objects, which are to be encoded after their response."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scp.background.doorbell import Doorbell

# How old the count may be, in seconds: in that time the fastest network brings a tenth of the bound. Counting
# 80,000 small objects takes 0.1 s; counting may take a twentieth of the time at most.
_FRESH_SECONDS, _TIMES_AS_LONG = 0.2, 20


class PendingBound:
    """A bound on the pending bytes, shared by all processes that receive into one archive.

    ``counted`` returns how many bytes are pending, ``most`` is how many may be; ``bell`` wakes the encoder.
    """

    def __init__(self, counted: Callable[[], int], most: int, bell: Doorbell) -> None:
        self._counted = counted
        self._most = most
        self._bell = bell
        self._lock = threading.Lock()
        self._size = 0
        self._until = 0.0

    def takes(self, size: int) -> bool:
        """Whether ``size`` bytes more may be pending; if not, the object is encoded before the response."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._size = self._counted()
                took = time.monotonic() - now
                self._until = now + max(_FRESH_SECONDS, _TIMES_AS_LONG * took)
            return self._size + size <= self._most

    def add(self, size: int) -> None:
        """Note that ``size`` bytes more are pending, and wake the encoder."""
        with self._lock:
            self._size += size
        self.announce()

    def announce(self) -> None:
        """Wake the encoder."""
        self._bell.ring()
