"""The processes of a node: forked from one that has opened nothing, started again when they die or hang.

Signals are waited for, not handled, so that no handler interrupts other work. A child ends with its parent,
however the parent ends: the child reads from a pipe whose other end only the parent holds.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from scp.background.parallel import beside
from scp.config.settings import LimitSettings
from scp.errors import NotStarted
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.node import absence
from scp.node.manager import ALIVE, STOPPING, ServiceManager
from scp.node.pulse import PulseWatch, between_beats, between_looks

# After so many children in a row that ended so soon after their start, the node is stopped.
_SOON_SECONDS, _MOST_IN_A_ROW = 2.0, 5
# A child that an object ended is not counted there: each object is tried twice. But there may be many such
# objects, for example where a machine has too little memory for any of them.
_MOST_BY_OBJECTS = 100
_GRACE_SECONDS = 20.0
_ALIVE_SECONDS = 5.0  # how often this process says that it is alive, at the least
_STOPS = (signal.SIGTERM, signal.SIGINT)
_AWAITED = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)


class Role(Protocol):
    """What a process does; each method returns soon."""

    def start(self) -> None:
        """Begin, in threads."""

    def reload(self) -> None:
        """Read the configuration again."""

    def turns(self) -> bool:
        """Whether the loops that serve, if it has any, have turned since this was last true."""

    def stop(self) -> None:
        """Finish what is under way and end."""


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    role: Callable[[], Role]
    watch: PulseWatch
    started: float = field(default_factory=time.monotonic)


class Processes:
    """Children with names and roles, as long as :meth:`run` runs.

    The process that owns this has no threads and no connections, so that it may fork at any time.
    Of the ``limits``, ``stop_seconds`` is how long processes let requests finish when they stop; they have
    20 s more for the rest. A process whose loops have not turned for ``hang_seconds`` is killed
    (docs/decisions/0139). ``blames`` says, by its process id, whether a process was working on an object when
    it ended. The service ``manager`` is told that the processes are looked after, and that they stop; so are
    those that read the ``figures``, which outlive the process that counts.
    """

    def __init__(
        self,
        limits: Callable[[], LimitSettings] = LimitSettings,
        blames: Callable[[int], bool] = lambda _: False,
        manager: ServiceManager | None = None,
        figures: NodeFigures | None = None,
    ) -> None:
        self._limits, self._manager = limits, manager or ServiceManager({})
        self._figures = figures or NodeFigures()
        self._looked = time.monotonic()
        self._children: dict[int, _Running] = {}
        self._blames = blames
        self._deaths = self._by_objects = 0
        self._absences = absence.Absences()
        self._reads, self._writes = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)

    @property
    def _hang_seconds(self) -> float:
        return self._limits().hang_seconds

    def fork(self, name: str, role: Callable[[], Role]) -> None:
        """Start a process that carries out ``role``."""
        self._figures.reserve(name)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            self._children[child] = _Running(name, role, PulseWatch(self._figures.of(name)))
            return
        status = 1
        try:
            status = self._live(name, role)
        finally:
            os._exit(status)

    def _live(self, name: str, make: Callable[[], Role]) -> int:
        os.close(self._writes)
        threading.Thread(target=self._end_with_parent, name="lifeline", daemon=True).start()
        self._figures.begin(name)
        try:
            if (role := self._begun(name, make)) is None:
                return absence.STATUS
            gc.collect()
            gc.freeze()  # a million objects that stay: no collection need look at them again
            while (number := self._signal_of(role)) != signal.SIGTERM:  # the parent passes ^C on
                if number == signal.SIGHUP:
                    role.reload()
            stopped = beside(role.stop)
            while not wait([stopped], between_beats(self._hang_seconds)).done:
                counting.alive()  # an object that is under way may take long
            stopped.result()
        except Exception as error:  # noqa: BLE001 - it is logged, and the parent starts another
            structlog.get_logger("zscp").error("process failed", process=name, exc_info=error)
            return 1
        return 0

    def _begun(self, name: str, make: Callable[[], Role]) -> Role | None:
        """In the child: its role, started; None where the index or a store is away, or it is to stop.

        Where that was so for those before it, it waits first.
        """
        tried = self._absences.tries(name)
        if tried and not self._has_waited(absence.PAUSES.after(tried - 1)):
            return None
        try:
            role = make()
            role.start()
        except Exception as error:
            if not absence.is_away(error):
                raise
            if absence.is_told(tried):
                pause = absence.PAUSES.after(tried)
                structlog.get_logger("zscp").error(
                    "process waits", process=name, reason=str(error), retry_seconds=pause, tries=tried + 1
                )
            return None
        return role

    def _has_waited(self, seconds: float) -> bool:
        """In the child: wait; False if it is told to stop meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            counting.alive()
            if signal.sigtimedwait(_STOPS, min(left, between_beats(self._hang_seconds))) is not None:
                return False
        return True

    def _signal_of(self, role: Role) -> int:
        """In the child: the next signal; while none comes, the process says that it is alive."""
        while True:
            if role.turns():
                counting.alive()
            if (found := signal.sigtimedwait(_AWAITED, between_beats(self._hang_seconds))) is not None:
                return found.si_signo

    def _end_with_parent(self) -> None:
        os.read(self._reads, 1)  # nothing is ever written: it returns when the parent is gone
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._limits().stop_seconds + _GRACE_SECONDS)
        os._exit(1)

    def _exit_with_parent(self) -> None:
        os.read(self._reads, 1)
        os._exit(1)

    def run(self, reload: Callable[[], bool], stopping: Callable[[], None] = lambda: None) -> bool:
        """Restart processes that die, until a signal says to stop; False when one cannot be kept running.

        On SIGHUP all children reload, if ``reload`` finds that they can. ``stopping`` is called before the
        children are told to end.
        """
        while (number := self._next_signal()) not in _STOPS:
            if number == signal.SIGHUP and reload():
                self._tell(signal.SIGHUP)
            for ended in self._ended():
                if self._deaths >= _MOST_IN_A_ROW or self._by_objects >= _MOST_BY_OBJECTS:
                    structlog.get_logger("zscp").error(
                        "the node gives up",
                        reason="its processes keep ending right after their start; the log above says how",
                        process=ended.name,
                    )
                    stopping()
                    self.stop()
                    return False
                self._figures.restarted(ended.name)
                self.fork(ended.name, ended.role)
        stopping()
        self.stop()
        return True

    def _next_signal(self) -> int:
        """The next signal. While none comes, processes that hang are killed.

        This process says that it is alive, to the service manager too.
        """
        while True:
            told, look = self._manager.alive_seconds, between_looks(self._hang_seconds)
            self._figures.own.alive = time.monotonic()
            if told is not None:
                self._manager.tell(ALIVE)
            due = max(self._looked + look - time.monotonic(), 0.0)
            found = signal.sigtimedwait(_AWAITED, min(told or _ALIVE_SECONDS, _ALIVE_SECONDS, due))
            if found is not None:
                return found.si_signo
            if time.monotonic() - self._looked >= look:
                self._looked = time.monotonic()
                self._end_those_that_hang()

    def _end_those_that_hang(self) -> None:
        for pid, one in self._children.items():
            if one.watch.hangs():
                structlog.get_logger("zscp").error(
                    "process hangs",
                    process=one.name,
                    pid=pid,
                    reason=f"its loops have not turned for {self._hang_seconds:g} s (limits.hang_seconds); "
                    "it is killed, and another is started",
                )
                os.kill(pid, signal.SIGKILL)

    def apart(self, call: Callable[[], None]) -> None:
        """Run a call in a process of its own; again where that process ends while it works on an object.

        Raises what the call raises, and NotStarted where its process ends otherwise.
        """
        for _ in range(_MOST_BY_OBJECTS):
            reads, writes = os.pipe()
            sys.stdout.flush()
            sys.stderr.flush()
            child = os.fork()
            if not child:
                os.close(self._writes)
                threading.Thread(target=self._exit_with_parent, name="lifeline", daemon=True).start()
                os._exit(_apart(call, reads, writes))
            os.close(writes)
            with open(reads, "rb") as told:  # noqa: PTH123 - a descriptor
                error = told.read()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if error:
                raise pickle.loads(error)  # noqa: S301 - of a child of this very process
            if not code:
                return
            by_object = self._blames(child)
            structlog.get_logger("zscp").error("process ended", process="start", status=code)
            if not by_object:
                break
        raise NotStarted("the process that makes the node ready was ended; the log says how")

    def _ended(self) -> list[_Running]:
        """Those that have ended, each counted by what ended it."""
        ended = []
        for pid, code, one in self._reap():
            lived = time.monotonic() - one.started
            soon, away = lived < _SOON_SECONDS, code == absence.STATUS
            self._absences.ended(one.name, away, by_itself=code == 0 and lived < absence.STEADY_SECONDS)
            if away:
                pass
            elif soon and self._blames(pid):
                self._by_objects += 1
            else:
                self._deaths, self._by_objects = (self._deaths + 1, self._by_objects) if soon else (0, 0)
            ended.append(one)
        return ended

    def _reap(self) -> list[tuple[int, int, _Running]]:
        """The children that have ended, with process id and status; one SIGCHLD may stand for several."""
        ended = []
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid not in self._children:  # in a container this is process 1, the parent of all orphans
                continue
            one, code = self._children.pop(pid), os.waitstatus_to_exitcode(status)
            ended.append((pid, code, one))
            self._figures.ended(one.name)
            if code == absence.STATUS:  # it has told why
                continue
            write = structlog.get_logger("zscp").error if code else structlog.get_logger("zscp").info
            write("process ended", process=one.name, status=code)
        return ended

    def stop(self) -> None:
        """Tell all to end, and wait; those that still run after a while are killed."""
        self._figures.own.stopping = True
        self._manager.tell(STOPPING)
        self._tell(signal.SIGTERM)
        until = time.monotonic() + self._limits().stop_seconds + _GRACE_SECONDS
        while self._children and (left := until - time.monotonic()) > 0:
            signal.sigtimedwait([signal.SIGCHLD], left)
            self._reap()
        self._tell(signal.SIGKILL)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            os.kill(child, number)


def _apart(call: Callable[[], None], reads: int, writes: int) -> int:
    """In the child: what the call raised goes through the pipe; returns the exit status."""
    os.close(reads)
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        with open(writes, "wb") as told:
            told.write(_pickled(error))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _pickled(error: Exception) -> bytes:
    """An exception, pickled for another process; its traceback goes along as a note."""
    where = "".join(traceback.format_exception(error))
    error.add_note(where)
    try:
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301 - just written: some can be pickled, but not unpickled
    except Exception:  # noqa: BLE001 - one that cannot be pickled
        error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(where)
        data = pickle.dumps(error)
    return data
