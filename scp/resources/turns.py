"""Turns: those who wait are served in the order in which they came, over all processes of a node."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass

from scp.resources.locked_bytes import LockedBytes

# Somebody who waits says so at each look, and looks twice within this time.
FRESH_SECONDS = 0.1
_TICKET, _WAITED = struct.Struct("<q"), struct.Struct("<d")  # the next one; when somebody last waited


@dataclass(frozen=True, slots=True)
class Waits:
    """How long work waits for memory, in seconds.

    Whoever has been the first in turn for ``patience`` goes ahead, one at a time; or gives up after
    ``give_up``. Who waited for ``told`` is named in the log.
    """

    patience: float = 10.0
    give_up: float = 60.0
    told: float = 1.0


class Turns:
    """Tickets in ascending order: locked bytes from ``door`` on, so that a dead process has none.

    The threads of a process call this one at a time.
    """

    def __init__(self, locks: LockedBytes, door: int, clock: Callable[[], float]) -> None:
        self._locks, self._door, self._clock = locks, door, clock
        self._shared = mmap.mmap(-1, _TICKET.size + _WAITED.size)
        self._own: set[int] = set()

    def draw(self) -> int:
        """The next ticket."""
        self._locks.wait_for(self._door)
        (ticket,) = _TICKET.unpack_from(self._shared)
        self._locks.wait_for(self._byte(ticket))
        _TICKET.pack_into(self._shared, 0, ticket + 1)
        self._own.add(ticket)
        self._locks.unlock(self._door)
        return int(ticket)

    def leave(self, ticket: int) -> None:
        """Let the next ones have their turn."""
        self._own.discard(ticket)
        self._locks.unlock(self._byte(ticket))

    def forget(self) -> None:
        """In a forked process: the tickets are its parent's."""
        self._own.clear()

    @property
    def waits_here(self) -> bool:
        """Whether this process has a ticket."""
        return bool(self._own)

    def is_first_here(self, ticket: int) -> bool:
        """Whether none of this process has a lower one."""
        return min(self._own) == ticket

    def is_first(self, ticket: int) -> bool:
        """Whether nobody who lives and waits has a lower one."""
        return self.is_first_here(ticket) and (not ticket or self._locks.are_free(self._byte(0), ticket))

    def say(self) -> None:
        """Somebody waits, now."""
        _WAITED.pack_into(self._shared, _TICKET.size, self._clock())

    def somebody_waits(self) -> bool:
        """Whether somebody said so a moment ago."""
        (last,) = _WAITED.unpack_from(self._shared, _TICKET.size)
        return bool(self._clock() - last < FRESH_SECONDS)

    def _byte(self, ticket: int) -> int:
        return self._door + 1 + ticket
