"""The codec processes of one process of a node: made when they are needed, kept while they are used.

A thread takes one, has it for itself, and gives it back. They are kept apart by
what they are used for:

- encoding: samples from peers, and what an encoder makes of them is proven;
- codestreams that were encoded and proven here, and their proof;
- codestreams of others, those of one object: what damaged a process in silence must not harm another.

And by the priority of the thread that asks. One that died or failed is not used again, nor is one that has
worked for long.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from enum import Enum
from typing import TypeVar

from scp.encoding.cage.process import CodecProcess, Nursery, Priority, Watching, let_go_of_all
from scp.errors import OutOfResources
from scp.resources.bounds import bounds

_LEAST_SHARED = 4 << 20  # a CT image and what becomes of it; what is not touched takes no memory
_MOST_KEPT = 64 << 20  # of shared memory: a process that had more goes after use, and its memory with it
_MOST_SERVED = 2000  # frames
_IDLE_SECONDS = 10.0
_MOST_IDLE = 2 * (os.cpu_count() or 1)  # of each kind
_MOST_AT_WORK = 4 * (os.cpu_count() or 1) + 4
# Codestreams that take all the time they may are others': what is encoded, and what was encoded here, has
# places of its own.
_MOST_FOREIGN = _MOST_AT_WORK // 2


class Use(Enum):
    """What a codec process is used for."""

    ENCODING = "encoding"
    OWN = "own codestreams"
    FOREIGN = "codestreams of others"


T = TypeVar("T")
Key = tuple[Use, Priority]


class Pool:
    """Codec processes, idle and at work, and the nursery that they come from."""

    def __init__(self, watching: Watching | None = None) -> None:
        self._watching = watching
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._idle: dict[Key, list[CodecProcess]] = {}
        self._seats = threading.BoundedSemaphore(_MOST_AT_WORK)
        self._foreign = threading.BoundedSemaphore(_MOST_FOREIGN)
        self._nursery: Nursery | None = None
        self._janitor: threading.Timer | None = None
        self._libraries: dict[str, str] | None = None

    def nursery(self) -> Nursery:
        """Started when it is first needed. Raises OutOfResources where it cannot be."""
        with self._starting:
            if self._nursery is None:
                try:
                    self._nursery = Nursery(self._watching)
                except OSError as error:
                    raise OutOfResources(f"no codec process can be started: {error}") from error
            return self._nursery

    def libraries(self) -> dict[str, str]:
        """Name and version of the library of each codec. Raises OutOfResources."""
        if self._libraries is None:
            self._libraries = self._of_nursery(Nursery.libraries)
        return self._libraries

    def _of_nursery(self, ask: Callable[[Nursery], T]) -> T:
        """What the nursery gives, started anew where it has ended. Raises OutOfResources."""
        for again in (True, False):
            nursery = self.nursery()
            try:
                return ask(nursery)
            except OSError as error:
                if isinstance(error, ConnectionError):
                    self._forget(nursery)
                # Where another thread forgot it, it was closed while this one asked.
                if not again or self._nursery is nursery:
                    raise OutOfResources(f"no codec process can be started: {error}") from error
        raise OutOfResources("no codec process can be started")

    @contextmanager
    def process(self, use: Use, shared: int, owner: object, fresh: bool) -> Iterator[CodecProcess]:
        """A codec process for a piece of work; ``fresh``: one that has done nothing before.

        It is kept afterwards if the work raised nothing. Raises OutOfResources.
        """
        key = (use, Priority.of_this_thread())
        with self._foreign if use is Use.FOREIGN else nullcontext(), self._seats:
            process = None if fresh else self._taken(key, shared, owner)
            process = process or self._made(key[1], shared)
            process.owner = owner
            try:
                yield process
            except BaseException:
                process.kill()
                process.let_go()
                raise
            self._give_back(key, process)

    def _taken(self, key: Key, shared: int, owner: object) -> CodecProcess | None:
        """An idle one that has enough shared memory, and that served no other owner."""
        with self._lock:
            idle = self._idle.get(key, [])
            for found in reversed(idle):
                if found.owner is owner and found.shared >= shared:
                    idle.remove(found)
                    return found
        return None

    def _made(self, priority: Priority, shared: int) -> CodecProcess:
        size = max(_LEAST_SHARED, 1 << (shared - 1).bit_length())
        most = bounds().codec_bytes
        return self._of_nursery(lambda nursery: nursery.new_process(priority, size, most))

    def _forget(self, nursery: Nursery) -> None:
        with self._starting:
            if self._nursery is nursery:
                self._nursery = None
                nursery.close()

    def _give_back(self, key: Key, process: CodecProcess) -> None:
        if process.shared > _MOST_KEPT or process.served >= _MOST_SERVED:
            process.let_go()
            return
        process.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(key, [])
            idle.append(process)
            oldest = idle.pop(0) if len(idle) > _MOST_IDLE else None
            self._tidy_later()
        if oldest is not None:
            oldest.let_go()

    def _tidy_later(self) -> None:
        if self._janitor is None and self._idle:
            self._janitor = threading.Timer(_IDLE_SECONDS / 2, self._tidy)
            self._janitor.name, self._janitor.daemon = "codec processes", True
            self._janitor.start()

    def _tidy(self) -> None:
        """Let go of those that nobody needed for a while."""
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            all_idle = [(key, one) for key, idle in self._idle.items() for one in idle]
            self._idle = {}
            for key, one in all_idle:
                if one.idle_since > oldest:
                    self._idle.setdefault(key, []).append(one)
            self._janitor = None
            self._tidy_later()
        for _, one in all_idle:
            if one.idle_since <= oldest:
                one.let_go()

    def let_idle_go(self) -> None:
        """End those that are idle, and give their memory back."""
        with self._lock:
            idle, self._idle = self._idle, {}
            if self._janitor is not None:
                self._janitor.cancel()
                self._janitor = None
        for process in (one for each in idle.values() for one in each):
            process.let_go()

    def close(self) -> None:
        """End all of them; what comes after starts anew."""
        self.let_idle_go()
        with self._starting:
            if self._nursery is not None:
                self._nursery.close()
                self._nursery = None

    def let_go(self) -> None:
        """In a child that was forked: close the descriptors, so that the processes end with their own."""
        let_go_of_all()
        if self._nursery is not None:
            self._nursery.let_go()


_pool = Pool()


def pool() -> Pool:
    """That of this process."""
    return _pool


def _after_fork() -> None:
    """A child makes processes of its own: those of its parent are at work for that."""
    global _pool  # noqa: PLW0603 - one for the process
    with suppress(OSError):
        _pool.let_go()
    _pool = Pool()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _at_exit() -> None:
    _pool.close()
