"""Signs of life of a process: a count in memory that it shares with its parent, and a watch on it.

The count goes up as long as the loops of the process turn. It says nothing of how long a request or an object
takes: those have threads of their own, and processor time without end is bounded elsewhere.
"""

from __future__ import annotations

import mmap
import struct

# A watch looks so often in the time after which a process hangs, and a process beats twice between two looks.
LOOKS, _BEATS = 6, 2
_COUNT = struct.Struct("<Q")


def between_looks(hang_seconds: float) -> float:
    """How long from one look at a process to the next."""
    return hang_seconds / LOOKS


def between_beats(hang_seconds: float) -> float:
    """How long a process waits between two beats: at most 1 s."""
    return min(1.0, between_looks(hang_seconds) / _BEATS)


class Pulse:
    """The count of one process; made by its parent before the fork."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _COUNT.size)

    def beat(self) -> None:
        """Say that the loops of this process turn."""
        _COUNT.pack_into(self._shared, 0, self.count + 1)

    @property
    def count(self) -> int:
        """How often it beat; 0 while the process starts, which may take long."""
        return int(_COUNT.unpack_from(self._shared)[0])


class PulseWatch:
    """Says when a process hangs: its pulse was the same at several looks in a row.

    Looks are counted, not seconds: a machine or container that was paused must not seem to hang when it goes
    on.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._last = self._same = 0

    def hangs(self) -> bool:
        """Look; True once, when the pulse has not changed for too long."""
        count = self._pulse.count
        self._same = self._same + 1 if count == self._last and count else 0
        self._last = count
        return self._same == LOOKS
