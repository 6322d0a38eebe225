"""Writes what the processes of a node have counted, and what is kept, into the history of the index.

Order, safe to stop at any moment: each minute, what the processes of this node have counted in this hour and
in the one before is written in the place of what was written before. So a process that dies, this one too,
loses nothing; a node that is killed loses the last minute. One node of all looks at what is kept, and sums
hours up as days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta

import structlog

from scp.archive.archive import Archive
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.errors import OutOfResources
from scp.index.history import TrafficRow, bounded_traffic
from scp.metrics.figures import Figures
from scp.metrics.traffic import Counted, total

WRITE_SECONDS = 60.0
# A look at what is kept reads all rows of the index; it may take a twentieth of the time at most.
_TIMES_AS_LONG = 20

Clock = Callable[[], float]


class TrafficWriter:
    """Writes what the ``figures`` of a node's processes have counted since it started, which ``run`` names.

    ``known`` are the AE titles of the configuration.
    """

    def __init__(
        self,
        archive: Archive,
        figures: Callable[[], Iterable[Figures]],
        run: int,
        known: Callable[[], Collection[str]],
    ) -> None:
        self._archive, self._figures, self._run, self._known = archive, figures, run, known
        self._written: dict[int, Counted] = {}

    def write(self) -> None:
        """Write the hours in which anything was counted since the last time. Raises OutOfResources."""
        found = _by_hour(self._figures())
        rows = [
            row
            for hour, counted in found.items()
            if counted != self._written.get(hour)
            for row in bounded_traffic(_rows(hour, counted), self._known())
        ]
        if rows:
            node = self._archive.elsewhere.cluster.own
            self._archive.history.put_traffic(node, self._run, rows)
        self._written = found


class HistoryKeeper(Task):
    """Keeps the history: in one process of each node."""

    name = "keeping the history"
    again = BackOff(WRITE_SECONDS, WRITE_SECONDS)

    def __init__(self, archive: Archive, writer: TrafficWriter, clock: Clock = time.time) -> None:
        super().__init__()
        self._archive, self._writer, self._clock = archive, writer, clock
        self._look_at = float("-inf")
        self._folded = datetime.fromtimestamp(0, UTC)

    def turn(self) -> float:
        """See :class:`scp.background.loop.Task`. Raises OutOfResources."""
        self._writer.write()
        now = datetime.fromtimestamp(self._clock(), UTC)
        if time.monotonic() >= self._look_at and self._is_first():
            with self._archive.exclusive("history", wait=False) as alone:
                if alone:
                    self._look(now)
        return WRITE_SECONDS

    def _look(self, now: datetime) -> None:
        """Note what is kept; once a day, sum up and remove what is old."""
        began = time.monotonic()
        hour = now.replace(minute=0, second=0, microsecond=0)
        found = self._archive.history.look()
        self._archive.history.put_kept(hour, found)
        took = time.monotonic() - began
        self._look_at = time.monotonic() + max(WRITE_SECONDS, _TIMES_AS_LONG * took)
        if now - self._folded >= timedelta(days=1) and not self._archive.clock.read().doubt:
            self._archive.history.fold(now)
            self._folded = now

    def _is_first(self) -> bool:
        """Whether no other living node comes before this one: then that one looks."""
        cluster = self._archive.elsewhere.cluster
        return all(cluster.own < one.report.id for one in cluster.living())

    def close(self) -> None:
        """Write the last figures of this process."""
        try:
            self._writer.write()
        except OutOfResources as error:
            structlog.get_logger("zscp").warning("the last figures were not written", reason=str(error))


def _by_hour(figures: Iterable[Figures]) -> dict[int, Counted]:
    """What all processes have counted, by hour."""
    hours: dict[int, list[Counted]] = {}
    for one in figures:
        for hour, counted in one.traffic.read().items():
            hours.setdefault(hour, []).append(counted)
    return {hour: total(parts) for hour, parts in hours.items()}


def _rows(hour: int, counted: Counted) -> Iterable[TrafficRow]:
    start = datetime.fromtimestamp(hour, UTC)
    return (TrafficRow(start, *label, *amounts) for label, amounts in counted.items())
