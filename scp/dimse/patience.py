"""How long, and how often, a peer is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from scp.background.back_off import BackOff

# Tried so often at least, however long each try took.
_FEWEST_TRIES = 2


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long peers are left alone and waited for, where the configuration does not say it.

    ``move`` is the pause between two tries to reach the destination of a C-MOVE, whose requester waits
    meanwhile. After a C-CANCEL, what is under way has ``cancel`` seconds to be answered. ``send`` is the
    pause between two tries to send what is in the send queue.
    """

    move: BackOff
    cancel: float
    send: BackOff


PAUSES = Pauses(move=BackOff(0.5, 8.0), cancel=5.0, send=BackOff(30.0, 3600.0))


class Patience:
    """Patience with one destination of a C-MOVE: it is given up when it took nothing for ``seconds``.

    All associations to the destination share one. ``progress`` is a number that grows with each answer of the
    destination: then the time and the pauses start again.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        back_off: BackOff = PAUSES.move,
    ) -> None:
        self._seconds, self._clock, self._back_off = seconds, clock, back_off
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
        return min(self._back_off.after(number - 1), max(left, self._back_off.first))
