"""Where tests have their folders: in memory, if the machine has enough of it.

What they show of durability does not need a disk that keeps anything: a killed process leaves what the system
has, and a power cut is made of the syncs that were asked for (wire/steps.py). So a disk only makes them wait:
200 tests of nodes, recovery and scrubbing took 63 s on one that several runs shared, and 47 s in memory.
"""

from __future__ import annotations

import os
from pathlib import Path

_SHARED = Path("/dev/shm")
# Four processes at once have 2 GB at most in their folders, as those of tests that passed are removed. A
# container has 64 MB there unless it is told otherwise.
_FREE, _AVAILABLE = 6 << 30, 12 << 30
# pytest's name for the folder of its folders.
_NAME = "PYTEST_DEBUG_TEMPROOT"
_CHOSEN = (_NAME, "TMPDIR")


def use_memory(shared: Path = _SHARED, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Have pytest make its folders in memory, unless a place is chosen, or there is too little of it."""
    if not any(os.environ.get(name) for name in _CHOSEN) and _has_room(shared, meminfo):
        os.environ[_NAME] = str(shared)


def _has_room(shared: Path, meminfo: Path) -> bool:
    try:
        there = os.statvfs(shared)
        told = meminfo.read_text()
    except OSError:
        return False
    available = int(told.partition("MemAvailable:")[2].split()[0]) << 10
    runs = not there.f_flag & os.ST_NOEXEC  # tests write programs, and run them
    return runs and there.f_bavail * there.f_frsize >= _FREE and available >= _AVAILABLE
