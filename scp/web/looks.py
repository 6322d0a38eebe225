"""What the HTTP side knows of the archive: looked up at intervals, so that no scrape waits for the index."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from scp.archive.archive import Archive
from scp.archive.statistics import Statistics
from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.errors import OutOfResources, ZscpError, public
from scp.index.nodes import NodeState, state_of
from scp.resources.room import Room

LOOK_SECONDS = 5.0
# Statistics read all rows: 0.4 s for 100,000 objects. They may take a twentieth of the time at most.
_STATISTICS_SECONDS, _TIMES_AS_LONG = 60.0, 20


@dataclass(frozen=True, slots=True)
class Look:
    """What the last looks found; times are of the monotonic clock, ``index_at`` 0 where none succeeded.

    ``index_fault`` and ``store_fault`` say in words why the index or the first store cannot be used,
    ``clock_doubt`` why nothing is deleted or purged by the clock.
    """

    index_at: float = 0.0
    index_fault: str = "it was not looked at yet"
    store_fault: str = "it was not looked at yet"
    pending_objects: int = 0
    pending_bytes: int = 0
    nodes: tuple[NodeState, ...] = ()
    clock_doubt: str = ""
    statistics: Statistics | None = None
    statistics_at: float = 0.0
    oldest_check: int | None = None


class ArchiveLooks(Task):
    """Looks at index and store every 5 s, and counts what is held every minute.

    ``opened`` opens the archive; here, so that a node whose index cannot be opened still says so.
    ``watch`` is called with it at each look.
    """

    name = "looking at the archive"
    again = BackOff(LOOK_SECONDS)

    def __init__(
        self, opened: Callable[[], Archive], watch: Callable[[Archive], None], rooms: Callable[[], Room]
    ) -> None:
        super().__init__()
        self._opened, self._watch, self._rooms = opened, watch, rooms
        self._archive: Archive | None = None
        self._next = 0.0
        self.latest = Look()

    def turn(self) -> float:
        """See :class:`scp.background.loop.Task`."""
        self.latest = replace(self.latest, store_fault=fault_of_store(self._rooms()))
        try:
            self._look()
        except (ZscpError, OSError) as error:
            self.latest = replace(self.latest, index_fault=public(error))
        return LOOK_SECONDS

    def _look(self) -> None:
        if self._archive is None:
            self._archive = self._opened()
        archive = self._archive
        pending = archive.count_pending()
        now = time.monotonic()
        self.latest = replace(
            self.latest,
            index_at=now,
            index_fault="",
            pending_objects=pending.instances,
            pending_bytes=pending.size,
            nodes=tuple(map(state_of, archive.elsewhere.cluster.nodes.all())),
            clock_doubt=archive.clock.read().doubt,
        )
        if now >= self._next:
            found, oldest = archive.statistics(), archive.integrity.oldest()
            self._next = time.monotonic() + max(
                _STATISTICS_SECONDS, _TIMES_AS_LONG * (time.monotonic() - now)
            )
            self.latest = replace(self.latest, statistics=found, statistics_at=now, oldest_check=oldest)
        self._watch(archive)

    def archive(self) -> Archive:
        """The archive, once it is open. Raises OutOfResources before."""
        if self._archive is None:
            raise OutOfResources(f"the index cannot be used: {self.latest.index_fault}")
        return self._archive

    def close(self) -> None:
        """See :class:`scp.background.loop.Task`."""
        if self._archive is not None:
            self._archive.close()


def fault_of_store(room: Room) -> str:
    """Why nothing can be stored in a folder now; empty where that is possible."""
    try:
        if lack := room.lack(0):
            return lack
        with tempfile.TemporaryFile(dir=room.folder) as file:  # nameless: nothing is left behind
            file.write(b"\0")
            file.flush()
    except OSError as error:
        return f"{room.folder} cannot be written: {error.strerror or error}"
    return ""
