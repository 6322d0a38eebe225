"""What is pending, to be encoded behind its response: how much, who does it, and when that is too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scp.background.doorbell import Doorbell

# How old the count may be: in that time the fastest line there is brings a tenth of what may be pending.
# Counting 80,000 small objects takes 0.1 s, which may not be more than a twentieth of the time.
_FRESH_SECONDS, _TIMES_AS_LONG = 0.2, 20


class PendingBound:
    """A bound on what is pending, shared by all processes that receive into one archive.

    ``counted`` tells the bytes that are pending, ``most`` is how many may be; ``bell`` wakes the encoder.
    """

    def __init__(self, counted: Callable[[], int], most: int, bell: Doorbell) -> None:
        self._counted = counted
        self._most = most
        self._bell = bell
        self._lock = threading.Lock()
        self._size = 0
        self._until = 0.0

    def takes(self, size: int) -> bool:
        """Whether ``size`` bytes more may be pending; if not, they are encoded before the response."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._size = self._counted()
                took = time.monotonic() - now
                self._until = now + max(_FRESH_SECONDS, _TIMES_AS_LONG * took)
            return self._size + size <= self._most

    def add(self, size: int) -> None:
        """So many bytes more are pending."""
        with self._lock:
            self._size += size
        self.announce()

    def announce(self) -> None:
        """Wake the encoder."""
        self._bell.ring()
