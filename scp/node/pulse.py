"""A watch on the signs of life of a process: when it last said that it is alive (:mod:`scp.metrics.figures`).

It says so as long as its loops turn, which tells nothing of how long a request or an object takes: those have
threads of their own, and processor time without end is bounded elsewhere. docs/decisions/0139.
"""

from __future__ import annotations

from scp.metrics.figures import Figures

# A watch looks so often in the time after which a process hangs, and a process beats twice between two looks.
LOOKS, _BEATS = 6, 2


def between_looks(hang_seconds: float) -> float:
    """How long from one look at a process to the next."""
    return hang_seconds / LOOKS


def between_beats(hang_seconds: float) -> float:
    """How long a process waits until it says again that it is alive: at most 1 s."""
    return min(1.0, between_looks(hang_seconds) / _BEATS)


class PulseWatch:
    """Says when a process hangs: it has said nothing new at several looks in a row.

    Looks are counted, not seconds: a machine or container that was paused must not seem to hang when it goes
    on. A process that starts has said nothing yet, which may take long.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._last, self._same = 0.0, 0

    def hangs(self) -> bool:
        """Look; True once, when the process has said nothing new for too long."""
        said = self._figures.alive
        self._same = self._same + 1 if said == self._last and said else 0
        self._last = said
        return self._same == LOOKS
