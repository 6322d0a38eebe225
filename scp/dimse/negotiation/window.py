"""Asynchronous operations: how many requests may be in flight, and the threads that serve them.

(PS3.7 A.4, D.3.3.3)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

SYNCHRONOUS = 1


def granted(proposed: int, limit: int) -> int:
    """What is agreed on where one side proposes a number; 0 proposes no limit."""
    return min(proposed or limit, limit)


def window_item(invoked: int, performed: int) -> AsynchronousOperationsWindowNegotiation:
    """The sub-item of an A-ASSOCIATE PDU; both numbers are of what the requestor does."""
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = invoked
    item.maximum_number_operations_performed = performed
    return item


class Window:
    """Serves up to ``size`` requests of one association at a time, each in a thread.

    Threads are made when there is work and none is free, and live as long as the association. Jobs must
    not raise. One thread, the association's own, calls the methods.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._name = name
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._jobs: deque[Callable[[], None]] = deque()
        self._outstanding = self._free = 0
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def outstanding(self) -> int:
        """Requests that were submitted and are not done."""
        return self._outstanding

    def wait_for_room(self) -> None:
        """Wait until another request may be read: what the peer sends beyond its window stays in TCP."""
        with self._lock:
            self._room.wait_for(lambda: self._outstanding < self.size)

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done by the next free thread."""
        with self._lock:
            self._jobs.append(job)
            self._outstanding += 1
            if self._free >= len(self._jobs):
                self._work.notify()
                return
        if len(self._threads) < self.size:
            self._add_thread()

    def _add_thread(self) -> None:
        name = f"{self._name}/{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: those that there are do the job, or else this one
            if not self._threads:
                self._do_next()
            return
        self._threads.append(thread)

    def drain(self) -> None:
        """Wait until all jobs are done."""
        with self._lock:
            self._room.wait_for(lambda: not self._outstanding)

    def close(self) -> None:
        """Drop what was not begun, wait for what was, and end the threads."""
        with self._lock:
            self._outstanding -= len(self._jobs)
            self._jobs.clear()
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """Wait for a job and do it; False once the window is closed, and nothing is to do.

        Between two calls no job, and so no dataset, is held.
        """
        if (job := self._next()) is None:
            return False
        try:
            job()
        finally:
            with self._lock:
                self._outstanding -= 1
                self._room.notify()
        return True

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._free += 1
            self._work.wait_for(lambda: self._jobs or self._closed)
            self._free -= 1
            return self._jobs.popleft() if self._jobs else None
