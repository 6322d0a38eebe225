"""The figures of one process, in memory that outlives it: its parent makes that before it forks.

No file lies behind this memory: a full disk would end a process that writes to such a file (SIGBUS), and
docs/decisions/0138 says what else was weighed. Only one process at a time writes, others read.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from scp.metrics.board import Board
from scp.metrics.catalogue import COUNTED, Metric
from scp.metrics.traffic import TrafficTable

# Room for 250 peers with five services each; memory that nobody writes to is not used.
_NUMBERS, _NAMES = 32_768, 1 << 19
_USED, _ALIVE, _STOPPING, _RELOADS, _FIRST = 0, 1, 2, 3, 8  # numbers before those of series
_BETWEEN, _BEHIND = "\x1f", "\n"


class Series(NamedTuple):
    """One series: its metric, the values of its labels, and its numbers as in :attr:`Metric.width`."""

    metric: Metric
    labels: tuple[str, ...]
    numbers: tuple[float, ...]


class Figures:
    """Numbers by metric and labels. Any thread of the process that took these up may count.

    ``traffic`` is what the process serves hour by hour, for the history in the index.
    """

    def __init__(self) -> None:
        self.traffic = TrafficTable()
        self._memory = mmap.mmap(-1, 8 * _NUMBERS + _NAMES)  # shared with whatever is forked from here on
        self._numbers = memoryview(self._memory)[: 8 * _NUMBERS].cast("d")
        self.board = Board()  # what the same process shows besides numbers
        self.take_up()

    def take_up(self) -> None:
        """Go on with what a predecessor has counted, in this process; nothing of it is open any more."""
        self.traffic.take_up()
        self.board.take_up()
        self._lock = threading.Lock()
        self._end, self._at = _FIRST, dict[tuple[str, tuple[str, ...]], int]()
        for metric, labels, at in self._places():
            self._at[metric.name, labels] = at
            self._end = at + metric.width
        self.end()

    def end(self) -> None:
        """The process has ended: what was open is so no more. Counts stay."""
        self._numbers[_ALIVE] = 0.0
        for metric, _, at in self._places():
            if metric.kind == "gauge":
                self._numbers[at] = 0.0
        self.board.end()

    # -- counting ----------------------------------------------------------------------------------------

    def add(self, name: str, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add to a counter or a gauge."""
        with self._lock:
            at = self._at.get((name, labels)) or self._begun(name, labels)
            if at:
                self._numbers[at] += amount

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Count a value in a histogram."""
        metric = COUNTED[name]
        with self._lock:
            at = self._at.get((name, labels)) or self._begun(name, labels)
            if at:
                self._numbers[at + bisect_left(metric.buckets, value)] += 1.0
                self._numbers[at + len(metric.buckets) + 1] += value

    def _begun(self, name: str, labels: tuple[str, ...]) -> int:
        """Where a new series begins; 0 where there is no place for it."""
        metric, used = COUNTED[name], int(self._numbers[_USED])
        line = (_BETWEEN.join((name, *labels)) + _BEHIND).encode()
        if len(line) > _NAMES - used or self._end + metric.width > _NUMBERS:
            return 0
        place = 8 * _NUMBERS + used
        self._memory[place : place + len(line)] = line
        at, self._end = self._end, self._end + metric.width
        self._numbers[_USED] = used + len(line)  # last: a reader, or a successor, sees all of it or nothing
        self._at[name, labels] = at
        return at

    # -- what others look at -----------------------------------------------------------------------------

    @property
    def alive(self) -> float:
        """When the process last said that it is alive, by the monotonic clock; 0 where it has not begun."""
        return self._numbers[_ALIVE]

    @alive.setter
    def alive(self, now: float) -> None:
        self._numbers[_ALIVE] = now

    @property
    def stopping(self) -> bool:
        """Whether the process said that the node stops."""
        return bool(self._numbers[_STOPPING])

    @stopping.setter
    def stopping(self, stops: bool) -> None:
        self._numbers[_STOPPING] = float(stops)

    @property
    def reloads(self) -> int:
        """How often the process has taken up a configuration that was read again."""
        return int(self._numbers[_RELOADS])

    def reloaded(self) -> None:
        """A configuration that was read again is in force in the process."""
        self._numbers[_RELOADS] += 1

    def read(self) -> list[Series]:
        """All that was counted; from any process."""
        return [
            Series(metric, labels, tuple(self._numbers[at : at + metric.width]))
            for metric, labels, at in self._places()
        ]

    def _places(self) -> Iterator[tuple[Metric, tuple[str, ...], int]]:
        begin, used, at = 8 * _NUMBERS, int(self._numbers[_USED]), _FIRST
        for line in self._memory[begin : begin + used].decode().split(_BEHIND)[:-1]:
            name, *labels = line.split(_BETWEEN)
            yield COUNTED[name], tuple(labels), at
            at += COUNTED[name].width
