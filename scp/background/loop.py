"""Loops: what a node does besides serving, each in a thread of its own, until it is stopped."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import structlog

from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell

# How long an ending process waits for work under way; the next start finishes it, or does it again.
_STOP_SECONDS = 10.0


class Task(ABC):
    """What a loop does, turn after turn. It may be killed at any moment: the next start goes on with it.

    ``bell`` begins the next turn at once. ``again`` is the pause after a turn that raised: there is no room,
    the index does not answer, or zscp has a bug, and ending the loop cures none of them. ``stopping`` is set
    when a turn is to end soon.
    """

    name: str
    again = BackOff(5.0)
    # Whether an ending process waits for a turn that is under way however long it takes.
    is_waited_for = False

    def __init__(self, bell: Doorbell | None = None) -> None:
        self.bell = bell or Doorbell()
        self.stopping = threading.Event()

    @abstractmethod
    def turn(self) -> float | None:
        """Do what there is to do; the seconds until the next turn, None where only the bell begins one."""

    def reconfigured(self) -> None:  # noqa: B027 - most tasks read the configuration in each turn
        """The configuration has changed; the next turn begins after this."""

    def stop(self) -> None:
        """Make :meth:`turn` return soon."""
        self.stopping.set()

    def close(self) -> None:  # noqa: B027 - most tasks hold nothing
        """Let go of everything, after the last turn."""


class Every(Task):
    """Calls something every so many seconds, for the first time after the first such pause."""

    def __init__(
        self,
        name: str,
        seconds: float,
        call: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.name = name
        self._seconds, self._call, self._clock = seconds, call, clock
        self._next = clock() + seconds

    def turn(self) -> float:
        """See :class:`Task`."""
        if (left := self._next - self._clock()) > 0:
            return left
        self._call()
        self._next = self._clock() + self._seconds
        return self._seconds


class Loop:
    """Runs ``task`` until it is stopped, and sleeps while there is nothing to do."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._failures = 0
        self._thread = threading.Thread(target=self.run, name=task.name, daemon=True)

    def start(self) -> None:
        """Run in a thread."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next turn at once."""
        self.task.bell.ring()

    def reconfigured(self) -> None:
        """The configuration has changed: look again at what there is to do."""
        self.task.reconfigured()
        self.wake()

    def stop(self) -> None:
        """Make :meth:`run` return soon."""
        self.task.stop()
        self.wake()

    def join(self, seconds: float) -> None:
        """Wait at most ``seconds`` for the end of :meth:`run`; no limit where :attr:`Task.is_waited_for`."""
        if self._thread.is_alive():
            self._thread.join(None if self.task.is_waited_for else max(0.0, seconds))

    def run(self) -> None:
        """Work, and wait for work, until stopped."""
        task = self.task
        while not task.stopping.is_set():
            seconds = self._turn()
            # Checked once more: the turn may have consumed the ring that came with stop().
            if not task.stopping.is_set():
                task.bell.wait(seconds)
        task.close()

    def _turn(self) -> float | None:
        try:
            seconds = self.task.turn()
        except Exception as error:  # noqa: BLE001 - see Task.again
            pause = self.task.again.after(self._failures)
            self._failures += 1
            structlog.get_logger("zscp").error(f"{self.task.name} waits", retry_seconds=pause, exc_info=error)
            return pause
        self._failures = 0
        return seconds


class Loops:
    """The loops of one process."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._loops = tuple(map(Loop, tasks))

    def __iter__(self) -> Iterator[Loop]:
        return iter(self._loops)

    def start(self) -> None:
        """Start them all."""
        for loop in self._loops:
            loop.start()

    def reconfigured(self) -> None:
        """Tell them that the configuration has changed."""
        for loop in self._loops:
            loop.reconfigured()

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Tell all to stop, then wait for them, at most ``seconds`` for all together.

        Tasks that are waited for have no limit (:attr:`Task.is_waited_for`).
        """
        for loop in self._loops:
            loop.stop()
        until = time.monotonic() + seconds
        for loop in self._loops:
            loop.join(until - time.monotonic())
