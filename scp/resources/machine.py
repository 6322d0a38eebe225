"""How much memory the machine has, or how much less its control groups leave to this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")
_PART = 4  # a quarter of the memory: what is counted is about half of what is used, and others need some too
_LEAST = 256 << 20


def default_budget() -> int:
    """Bytes of a budget (:mod:`scp.resources.budget`) that nobody chose: a quarter of the memory."""
    return max(memory() // _PART, _LEAST)


def memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process and those beside it may use, all together.

    The machine's, or the least limit of the control groups that the process is in: ``memory.max`` of version
    2, ``memory.limit_in_bytes`` of version 1 (Linux, Documentation/admin-guide/cgroup-v2.rst).
    """
    return min([_physical(), *_limits(proc, cgroups)])


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits of all groups of this process. One without a limit says ``max``, or a number beyond any."""
    with suppress(OSError):
        for line in proc.read_text(encoding="utf-8").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0":
                root, name = cgroups, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = cgroups / "memory", "memory.limit_in_bytes"
            else:
                continue
            for folder in _upwards(path):
                with suppress(OSError, ValueError):
                    yield int((root / folder / name).read_text(encoding="utf-8"))


def _upwards(path: str) -> Iterator[str]:
    """A group's folder and those that it lies in. In a container the path may be that outside of it: then
    only the root is there, which is the container's own group.
    """
    own = PurePosixPath(path.lstrip("/"))
    yield from map(str, (own, *own.parents) if own.parts else (own,))
