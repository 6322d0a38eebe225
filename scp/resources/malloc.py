"""Memory that is free within a process is given back to the system.

glibc keeps what was freed in up to eight arenas a core, for threads that may want it again, and gives back of
itself only what lies at an arena's end: after one object of some hundred megabytes a process stayed as large
as it had been (docs/decisions/0118). ``malloc_trim`` gives back each free page of the first arena, so there
is but one (Linux, glibc; elsewhere nothing is done).
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A look costs 20 µs, and trimming 1 to 20 ms beside other threads. Where trimming does not help, as what was
# taken is in use, it is tried again after twice as many looks.
LOOK_SECONDS, _MOST_LOOKS = 2.0, 32
# A process that uses less than so much of a core is quiet. One that works spends a hundredth of it at most.
_QUIET, _WORTH = 0.05, 100
# Grown by so much beyond what it was at its smallest, it is worth it.
_PART, _MORE = 1.03, 4 << 20


# A block of this size or more is a map of its own, which goes back to the system when it is freed. glibc
# begins with 128 KB, and raises that to as much as 32 MB by what is freed: then blocks of a frame's size
# lie between small ones that stay. A process that had encoded and decoded frames of 32 MB had 278 MB
# afterwards and 115 before; with this 104 and 104. It takes no more processor time (26 MB, HTJ2K: 190 to
# 200 ms an object).
_OWN_MAP = 4 << 20
# One arena for all threads. malloc_trim gives back what lies at the end of the first alone, and each of the
# others kept up to the 8 MB below: a worker of 90 MB had 110 after a series of large objects, and has 87.
# Decoding CT images in two threads takes the processor time that it took; in four on two cores, up to a tenth
# more.
_ARENAS = 1
# Once the threshold above is set, glibc leaves this one at 128 KB: the heap gives back its end whenever a
# frame is freed, and the next frame asks the system for the same pages. So it is set, too. A C-GET of
# decoded CT images took 1.13 times as much processor time with the first alone as with none, and takes
# 0.84 times as much with both.
_KEPT_AT_END = 2 * _OWN_MAP
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def keep_large_apart() -> None:
    """Let a large block of memory be given back when it is freed, in the whole process and those it forks.

    Arenas that threads have already stay: this comes before the first thread.
    """
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_MAP)
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_END)
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


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
    """Trims a process that has grown, once it has time for that; :meth:`look` is called every LOOK_SECONDS.

    While it works it needs again what it has free: then it is trimmed after a hundred times the processor
    time that trimming took. ``used`` is the processor time of the process, ``used_here`` of this thread.
    """

    def __init__(
        self,
        measure: Callable[[], int] = resident,
        trim: Callable[[], None] = trim,
        used: Callable[[], float] = time.process_time,
        used_here: Callable[[], float] = time.thread_time,
    ) -> None:
        self._measure, self._trim, self._used, self._used_here = measure, trim, used, used_here
        self._least = 0
        self._seen = self._due = 0.0  # processor time: at the last look, and when trimming is paid for
        self._looks, self._pause = 0, 1  # how many have passed without trimming, and how many are to

    def look(self) -> None:
        """Trim if the process has grown."""
        now = self._used()
        works, self._seen = now - self._seen > _QUIET * LOOK_SECONDS, now
        if works:  # and so what was in use may be free soon
            self._pause = 1
        before = self._measure()
        self._least = min(self._least or before, before)
        self._looks += 1
        if before <= self._least * _PART + _MORE or self._looks < self._pause or (works and now < self._due):
            return
        begun = self._used_here()
        self._trim()
        after = self._measure()
        self._least = min(self._least, after)
        self._due = now + _WORTH * (self._used_here() - begun)
        self._seen = self._used()
        self._looks, self._pause = 0, 1 if after <= before / _PART else min(2 * self._pause, _MOST_LOOKS)
