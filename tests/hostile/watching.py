"""What is seen of a node from outside: its processes, their memory, and how its other peers fare."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import forked
from wire.configured import environment
from wire.conftest import NodeProcess

from bench.processes import descendants

_EVERY, _ALL_EACH = 0.1, 5
_BEGINS_SECONDS = 60.0


@dataclass
class Memory:
    """The most that each process of a node ever had, in KB, sampled; and what it is called."""

    node: NodeProcess
    peaks: dict[int, int] = field(default_factory=dict)
    lasting: set[int] = field(default_factory=set)  # those that serve, and must not end
    workers: set[int] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def _sample(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                self.peaks[pid] = int(status.partition("VmHWM:")[2].split()[0])

    def pids(self) -> list[int]:
        assert self.node.process is not None
        return descendants(self.node.process.pid)

    def now(self) -> dict[int, int]:
        """What each process that serves takes now, in KB, in memory or swapped out; files are left out."""
        return {pid: _taken(pid) for pid in self.lasting}

    @contextmanager
    def sampled(self) -> Iterator[Memory]:
        """Samples for as long as the block takes."""
        assert self.node.process is not None
        children = _children(self.node.process.pid)
        self.lasting = {self.node.process.pid, *children}
        self.workers = set(children[: self.node.tables["node"]["workers"]])

        def run() -> None:
            known: list[int] = []
            for turn in count():
                if self._over.wait(_EVERY):
                    break
                # Each thread of each process is looked at now and then; what makes codec processes has one.
                if turn % _ALL_EACH == 0:
                    known = self.pids()
                self._sample({*known, *(child for pid in known for child in _children(pid))})

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()


def _children(pid: int) -> list[int]:
    """Those that the first thread of a process made."""
    with suppress(OSError):  # it may be over
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _taken(pid: int) -> int:
    """Without the pages of files: how many of those are in memory depends on what else the machine does."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(status.partition(f"{name}:")[2].split()[0]) for name in ("RssAnon", "RssShmem", "VmSwap"))


# Those that serve, encode and carry out stages: a codec's process may end, these may not.
_LASTING = ("worker", "encoder", "lifecycle")


def ended(node: NodeProcess) -> list[dict[str, Any]]:
    """What the log tells of processes that ended and should not have."""
    told = [one for one in node.events() if one.get("event") in ("process ended", "process failed")]
    return [one for one in told if str(one.get("process", "")).startswith(_LASTING)]


@dataclass(frozen=True)
class Request:
    """One request of a bystander; ``begun`` as time.monotonic tells it."""

    whose: str
    what: str
    begun: float
    took: float
    fault: str


class Bystanders:
    """The program :mod:`hostile.bystander` beside a node and a second one."""

    def __init__(self, node: NodeProcess, other: NodeProcess) -> None:
        command = [sys.executable, "-m", "hostile.bystander", str(node.address[1]), str(other.address[1])]
        pipe = subprocess.PIPE
        env = environment(helpers=True)
        self._process = forked.Python(command, stdin=pipe, stdout=pipe, env=env, text=True)
        self.requests: list[Request] = []
        self.status, self.seconds, self._begun = -1, 0.0, 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.requests.append(Request(**json.loads(line)))

    def stop(self) -> None:
        """Let them end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.seconds = time.monotonic() - self._begun
        self.status = self._process.wait(60)
        self._reader.join(10)

    def faults(self) -> list[str]:
        """What failed or was too slow of what they did, and whether they did it all the time."""
        found = too_slow(self.requests)
        for whose in ("node", "other"):
            count = sum(one.whose == whose for one in self.requests)
            if count < LEAST_A_SECOND * self.seconds:
                found.append(f"{count} requests to the {whose} in {self.seconds:.0f} s")
        return [*found, f"exit status {self.status}"] if self.status else found

    def __enter__(self) -> Bystanders:
        """Once they have begun, which takes seconds."""
        end = time.monotonic() + _BEGINS_SECONDS
        while {one.whose for one in self.requests} != {"node", "other"} and time.monotonic() < end:
            time.sleep(0.05)
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


_SECOND, _AROUND, _TIMES, _MOST = 1.0, 3.0, 5.0, 3.0
# Of nine a second (hostile.bystander), on a machine that has no time for them.
LEAST_A_SECOND = 1.0


def too_slow(requests: list[Request]) -> list[str]:
    """What failed, or took over a second and five times what the second node took around that moment.

    The second node gets the same requests and nothing bad: on a machine that has no time for it either, it is
    as slow. That excuses three seconds, and no more.
    """
    calm = [one for one in requests if one.whose == "other"]
    found = []
    for one in requests:
        if one.whose != "node":
            continue
        beside = [
            each.took
            for each in calm
            if each.begun < one.begun + one.took + _AROUND and each.begun + each.took > one.begun - _AROUND
        ]
        if one.fault or one.took > _SECOND + min(_TIMES * max(beside, default=0.0), _MOST):
            found.append(f"{one.what} at {one.begun:.1f} took {one.took:.2f} s {one.fault}")
    return found
