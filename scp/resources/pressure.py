"""What all processes of a node take of the memory together, and whether that is too near to a limit.

The budget of memory (:mod:`scp.resources.budget`) counts what objects take. This measures what is really
used, whatever for, and lets the node refuse new work before the system ends one of its processes. What is
under way ends, and gives back what it has. Linux only: elsewhere nothing is measured, and nothing is refused.
docs/decisions/0143.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from scp.errors import OutOfResources
from scp.resources import machine

KEY = "limits.node_memory"
LOOK_SECONDS = 2.0  # a look takes 3 ms with six processes of 100 threads in all; a close look, 10 ms
# Of the limit: from here on no association begins, while requests of those that are open are served.
_CROWDED = 0.9
# Pages that processes share, as they were forked from one, count as often as there are processes. Only from
# here on each is counted once: that goes through the page tables.
_NEAR = 0.7
_DEFAULT = 0.8  # of the machine's memory, or the cgroup's
_PROC = Path("/proc")


def default_limit() -> int:
    """Bytes for a node that nobody chose a limit for."""
    return int(machine.memory() * _DEFAULT)


class ProcessTree:
    """The processes of a node: ``root`` and all that descend from it."""

    def __init__(self, root: int, proc: Path = _PROC) -> None:
        self._root, self._proc = root, proc

    def about(self) -> int:
        """Bytes that they have, files that are mapped left out; too many where processes share pages."""
        return sum(map(self._all_of, self._pids()))

    def exactly(self) -> int:
        """Bytes that they have together, each page once; of codec processes all that they have.

        Those are not dumpable (scp.encoding.cage.confinement): only root may read their page tables.
        """
        return sum(self._share(pid) or self._all_of(pid) for pid in self._pids())

    def _pids(self) -> Iterator[int]:
        left = [self._root]
        while left:
            pid = left.pop()
            yield pid
            with suppress(OSError):  # it has ended
                for thread in (self._proc / str(pid) / "task").iterdir():
                    left += map(int, (thread / "children").read_text(encoding="ascii").split())

    def _all_of(self, pid: int) -> int:
        return self._sum(pid, "status", "RssAnon:", "RssShmem:")

    def _share(self, pid: int) -> int:
        return self._sum(pid, "smaps_rollup", "Pss_Anon:", "Pss_Shmem:")

    def _sum(self, pid: int, file: str, *names: str) -> int:
        """The sum of some lines, in bytes; they are in KB."""
        with suppress(OSError):  # it has ended, or is a codec process
            lines = (self._proc / str(pid) / file).read_text(encoding="ascii", errors="replace").splitlines()
            return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
        return 0


class Pressure:
    """Whether the processes of a node come near to ``limit`` bytes; any thread asks, one looks."""

    def __init__(self, limit: int, about: Callable[[], int], exactly: Callable[[], int]) -> None:
        self.limit = limit
        self._about, self._exactly = about, exactly
        self.used = 0
        self._told = False

    def measure(self) -> int:
        """Bytes that the processes have together, exactly where that is near to the limit."""
        about = self._about()
        return self._exactly() if about > self.limit * _NEAR else about

    def look(self) -> None:
        """Measure; called every LOOK_SECONDS."""
        self.used = self.measure()
        if self.is_crowded != self._told:
            self._told = self.is_crowded
            write = structlog.get_logger("zscp").warning if self._told else structlog.get_logger("zscp").info
            write(
                "memory is short" if self._told else "memory is free again", bytes=self.used, limit=self.limit
            )

    def shortage(self) -> str:
        """Why no association may begin, measured now; empty where one may."""
        used = self.measure()
        if used <= self.limit * _CROWDED:
            return ""
        return f"the node uses {used >> 20} MB, {KEY} is {self.limit >> 20}"

    @property
    def is_crowded(self) -> bool:
        """Whether no association may begin now."""
        return self.used > self.limit * _CROWDED

    def check(self) -> None:
        """Raise OutOfResources where no request that takes memory may begin."""
        if self.used > self.limit:
            told = f"the node uses {self.used >> 20} MB ({KEY})"
            raise OutOfResources(told, limit=KEY)


_pressure = Pressure(default_limit(), int, int)  # of a process that is no node: nothing is measured


def begin(limit: int) -> None:
    """Let this process be the root of a node, which may take so many bytes; 0: the default."""
    global _pressure  # noqa: PLW0603 - one for the process, set by who composes it
    processes = ProcessTree(os.getpid())
    _pressure = Pressure(limit or default_limit(), processes.about, processes.exactly)


def use(limit: int) -> None:
    """Change the limit of the node that this process is the root of, or was forked from."""
    _pressure.limit = limit or default_limit()


def pressure() -> Pressure:
    """The one that holds now."""
    return _pressure
