"""The processes of a node: forked from one that has opened nothing, started again when they die.

Signals are waited for, not handled, so that nothing runs in the midst of something else. A child ends with
its parent, however that one ends: it reads from a pipe whose other end only the parent holds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

# A child that ends so soon after its start, so often in a row, will not do better the next time.
_SOON_SECONDS, _MOST_IN_A_ROW = 2.0, 5
_GRACE_SECONDS = 30.0
_STOPS = (signal.SIGTERM, signal.SIGINT)
_AWAITED = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)


class Role(Protocol):
    """What a process does; each method returns soon."""

    def start(self) -> None:
        """Begin, in threads."""

    def reload(self) -> None:
        """Read the configuration again."""

    def stop(self) -> None:
        """Finish what is under way and end."""


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    role: Callable[[], Role]
    started: float = field(default_factory=time.monotonic)


class Processes:
    """Children with names and roles, as long as :meth:`run` runs.

    The process that has this runs no threads and holds no connections: a fork at any time is sound.
    """

    def __init__(self) -> None:
        self._children: dict[int, _Running] = {}
        self._deaths = 0
        self._reads, self._writes = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)

    def fork(self, name: str, role: Callable[[], Role]) -> None:
        """Start a process that makes ``role`` its own."""
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            self._children[child] = _Running(name, role)
            return
        status = 1
        try:
            status = self._live(name, role)
        finally:
            os._exit(status)

    def _live(self, name: str, make: Callable[[], Role]) -> int:
        os.close(self._writes)
        threading.Thread(target=self._end_with_parent, name="lifeline", daemon=True).start()
        try:
            role = make()
            role.start()
            while (number := signal.sigwait(_AWAITED)) != signal.SIGTERM:  # ^C is the parent's to pass on
                if number == signal.SIGHUP:
                    role.reload()
            role.stop()
        except Exception as error:  # noqa: BLE001 - it is told, and the parent starts another
            structlog.get_logger("zscp").error("process failed", process=name, exc_info=error)
            return 1
        return 0

    def _end_with_parent(self) -> None:
        os.read(self._reads, 1)  # nothing is ever written: it returns when the parent is gone
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        os._exit(1)

    def run(self, reload: Callable[[], bool]) -> bool:
        """Start again what dies, until a signal says to stop; False when something cannot be kept running.

        On SIGHUP all children reload, if ``reload`` finds that they can.
        """
        while (number := signal.sigwait(_AWAITED)) not in _STOPS:
            if number == signal.SIGHUP and reload():
                self._tell(signal.SIGHUP)
            for ended in self._ended():
                if self._deaths >= _MOST_IN_A_ROW:
                    self.stop()
                    return False
                self.fork(ended.name, ended.role)
        self.stop()
        return True

    def _ended(self) -> list[_Running]:
        ended = self._reap()
        for one in ended:
            soon = time.monotonic() - one.started < _SOON_SECONDS
            self._deaths = self._deaths + 1 if soon else 0
        return ended

    def _reap(self) -> list[_Running]:
        """The children that have ended; several may have with one SIGCHLD."""
        ended = []
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid not in self._children:  # in a container this is process 1, which gets what others leave
                continue
            ended.append(self._children.pop(pid))
            code = os.waitstatus_to_exitcode(status)
            write = structlog.get_logger("zscp").error if code else structlog.get_logger("zscp").info
            write("process ended", process=ended[-1].name, status=code)
        return ended

    def stop(self) -> None:
        """Tell all to end, and wait; those that have not after a while are killed."""
        self._tell(signal.SIGTERM)
        until = time.monotonic() + _GRACE_SECONDS
        while self._children and (left := until - time.monotonic()) > 0:
            signal.sigtimedwait([signal.SIGCHLD], left)
            self._reap()
        self._tell(signal.SIGKILL)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            os.kill(child, number)
