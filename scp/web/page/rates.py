"""How much a second: differences of what was counted, sampled every few seconds and kept for ten minutes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from scp.metrics.board import OpenAssociation
from scp.metrics.counting import NodeFigures

SAMPLE_SECONDS, _KEPT = 5.0, 121
# A rate of the moment is that of the last three samples: one alone jumps.
_RECENT = 3
_RECEIVED, _KEPT_BYTES = "zscp_received_bytes_total", "zscp_kept_bytes_total"
_REQUESTS, _SENT = "zscp_requests_total", "zscp_sent_bytes_total"


@dataclass(frozen=True, slots=True)
class Totals:
    """What this node has counted since its start, all processes together; ``at`` in seconds since 1970."""

    at: float
    requests: int = 0
    bytes_received: int = 0
    bytes_kept: int = 0
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """So much a second, up to ``at``."""

    at: float
    requests: float = 0.0
    bytes_received: float = 0.0
    bytes_kept: float = 0.0
    bytes_sent: float = 0.0


# Of associations by name: when, and what was received and sent until then.
_Moved = dict[str, tuple[float, int, int]]


class Rates:
    """Samples of the totals of a node, the oldest first, and of its associations."""

    def __init__(self, figures: NodeFigures, clock: Callable[[], float] = time.time) -> None:
        self._figures, self._clock = figures, clock
        self._lock = threading.Lock()
        self._samples: deque[Totals] = deque(maxlen=_KEPT)
        self._moved: deque[_Moved] = deque(maxlen=_RECENT)

    def sample(self) -> None:
        """Take a sample; called every :data:`SAMPLE_SECONDS`."""
        now, at = self.totals(), self._clock()
        moved: _Moved = {}
        for figures in self._figures.processes().values():
            for one in figures.board.associations():
                moved[one.name] = (at, one.bytes_received, one.bytes_sent)
        with self._lock:
            self._samples.append(now)
            self._moved.append(moved)

    def totals(self) -> Totals:
        """What was counted until now."""
        sums = dict.fromkeys((_REQUESTS, _RECEIVED, _KEPT_BYTES, _SENT), 0.0)
        for figures in self._figures.all():
            for one in figures.read():
                if one.metric.name in sums:
                    sums[one.metric.name] += one.numbers[0]
        return Totals(self._clock(), *(int(value) for value in sums.values()))

    def now(self) -> Rate:
        """The rate of the moment."""
        with self._lock:
            recent = list(self._samples)[-_RECENT:]
        return _between(recent[0], self.totals()) if recent else Rate(self._clock())

    def of(self, association: OpenAssociation) -> tuple[float, float]:
        """Bytes that an association receives and sends a second, over the last samples that have it."""
        with self._lock:
            known = [moved[association.name] for moved in self._moved if association.name in moved]
        at, received, sent = known[0] if known else (association.since, 0, 0)
        seconds = max(self._clock() - at, 1.0)
        return (association.bytes_received - received) / seconds, (association.bytes_sent - sent) / seconds

    def history(self) -> list[Rate]:
        """The rates of the last ten minutes, one for each two samples."""
        with self._lock:
            samples = list(self._samples)
        return [_between(before, after) for before, after in pairwise(samples)]


def _between(before: Totals, after: Totals) -> Rate:
    seconds = after.at - before.at
    if seconds <= 0:
        return Rate(after.at)
    return Rate(
        after.at,
        (after.requests - before.requests) / seconds,
        (after.bytes_received - before.bytes_received) / seconds,
        (after.bytes_kept - before.bytes_kept) / seconds,
        (after.bytes_sent - before.bytes_sent) / seconds,
    )
