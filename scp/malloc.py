"""Memory that is free within a process is given back to the system.

glibc keeps what was freed in up to eight arenas a core, for threads that may want it again, and gives back of
itself only what lies at an arena's end: after one object of some hundred megabytes a process stayed as large
as it had been (docs/decisions/0118). ``malloc_trim`` gives back every page of it (Linux, glibc; elsewhere
nothing is done).
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A look costs 20 µs, and trimming 1 to 20 ms beside other threads. Where trimming does not help, as what was
# taken is in use, it is tried again after twice the time.
_SECONDS, _MOST_SECONDS = 2.0, 64.0
# Grown by so much beyond what it was at its smallest, it is worth it.
_PART, _MORE = 1.03, 4 << 20


# A block of this size or more is a map of its own, which goes back to the system when it is freed. glibc
# begins with 128 KB, and raises that to as much as 32 MB by what is freed: then blocks of a frame's size
# lie between small ones that stay. A process that had encoded and decoded frames of 32 MB had 278 MB
# afterwards and 115 before; with this 104 and 104. It takes no more processor time (26 MB, HTJ2K: 190 to
# 200 ms an object).
_OWN_MAP = 4 << 20
# Once the threshold above is set, glibc leaves this one at 128 KB: the heap gives back its end whenever a
# frame is freed, and the next frame asks the system for the same pages. So it is set, too. A C-GET of
# decoded CT images took 1.13 times as much processor time with the first alone as with none, and takes
# 0.84 times as much with both.
_KEPT_AT_END = 2 * _OWN_MAP
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_apart() -> None:
    """Let a large block of memory be given back when it is freed, in the whole process."""
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_MAP)
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_END)


def resident() -> int:
    """Bytes of this process that lie in memory now, files that are mapped left out; 0 where nobody tells."""
    with suppress(OSError, ValueError):
        _, pages, shared, *_ = _STATM.read_text(encoding="ascii").split()
        return (int(pages) - int(shared)) * _PAGE
    return 0


def trim() -> None:
    """Give back what is free."""
    gc.collect()  # an error that was told keeps the frames that it went through, and what those worked on
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


class Trimmer:
    """Trims a process that has grown, soon after that (:class:`scp.background.Loop`)."""

    def __init__(self, measure: Callable[[], int] = resident, trim: Callable[[], None] = trim) -> None:
        self._measure, self._trim = measure, trim
        self._stopped = threading.Event()
        self._least = 0

    def run(self) -> None:
        """Look now and then, until stopped."""
        pause = _SECONDS
        while not self._stopped.wait(pause):
            pause = min(2 * pause, _MOST_SECONDS) if self.look() else _SECONDS

    def look(self) -> bool:
        """Trim if the process has grown; True where that did not help."""
        before = self._measure()
        self._least = min(self._least or before, before)
        if before <= self._least * _PART + _MORE:
            return False
        self._trim()
        after = self._measure()
        self._least = min(self._least, after)
        return after > before / _PART

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopped.set()

    def hasten(self) -> None:
        """The configuration says nothing of this."""
