"""How long, and how often, a peer is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Between two tries to reach the destination of a C-MOVE: its requester waits meanwhile.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds
# Tried so often at least, however long each try took.
_FEWEST_TRIES = 2


def pause_after(attempts: int, first: float, longest: float) -> float:
    """Seconds until the next try after so many that failed: ``first``, and each time twice that."""
    return min(first * 2.0 ** min(attempts, 32), max(first, longest))


class Patience:
    """With one destination of a C-MOVE: it is given up when it took nothing for ``seconds``.

    All associations to it share one. ``progress`` is a number that grows with what the destination answers:
    then the time and the pauses begin anew.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._progress = self._tries = 0

    def pause(self, progress: int, attempt: int) -> float | None:
        """Seconds to wait before an association is opened again; None where the destination is given up.

        ``attempt`` counts the tries for this association, from 0; the first one is made at once.
        """
        with self._lock:
            now = self._clock()
            if self._since is None or progress > self._progress:
                self._since, self._progress, self._tries = now, progress, 0
            left = self._since + self._seconds - now
            if not self._seconds or (left <= 0 and self._tries >= _FEWEST_TRIES):
                return None
            number = max(self._tries, attempt)
            self._tries += 1
        if not number:
            return 0.0
        pause = pause_after(number - 1, _FIRST_PAUSE, _LONGEST_PAUSE)
        return min(pause, max(left, _FIRST_PAUSE))
