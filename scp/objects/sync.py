"""Group sync: all threads that wait for a sync share one."""

from __future__ import annotations

import os
import threading


class GroupSync:
    """Makes a file's content durable; all threads that ask while one sync runs share the next."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = threading.Condition()
        self._asked = self._done = 0
        self._running = False
        self._fault: OSError | None = None

    def wait(self) -> None:
        """Return when all that was written before the call is durable.

        Raises OSError, also for all later calls: after a failed sync the kernel may count the same pages as
        written (the "fsyncgate" of PostgreSQL, 2018).
        """
        with self._turn:
            self._asked += 1
            mine = self._asked
            while self._running and self._done < mine:
                self._turn.wait()
            if self._done >= mine:
                return
            if self._fault is not None:
                raise self._fault
            self._running, covers = True, self._asked
        fault: OSError | None = None
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            fault = error
        with self._turn:
            self._running, self._fault = False, fault
            if fault is None:
                self._done = covers
            self._turn.notify_all()
        if fault is not None:
            raise fault
