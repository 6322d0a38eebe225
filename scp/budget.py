"""One budget of memory, in bytes, for all processes of a node.

What takes memory by what an object is says so here first. There are two kinds, and only one of them waits:

- What is **held** waits for somebody: bytes that a peer still sends, decoded frames that a peer still has to
  read. :func:`hold` never waits; what does not fit goes through a file (:mod:`scp.spool`).
- What is **taken** is used by work that ends by itself: a codec at one frame. :func:`taking` waits, in turn
  over all processes. Nobody may wait for a peer, or take again, while he has something taken: so all that is
  taken is given back in time, and no two can wait for each other.

A budget is 256 units, each a locked byte of a nameless file as in :mod:`scp.seats`: the system frees those of
a process that dies. A process locks as many units as what is taken in it comes to. docs/decisions/0118.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from scp import machine
from scp.errors import OutOfResources

UNITS = 256
# Units 0 to 111 are for both kinds, the rest for work alone: whatever peers make the node hold, a frame that
# needs half of the budget can be worked on. Units 240 to 255 are for small work: a codec that has all else
# for a minute does not hold up an image of 0.5 MB.
_HELD = range(112)
_LARGE = range(239, -1, -1)
_SMALL = range(255, -1, -1)
_FOR_SMALL = range(255, 239, -1)
_MOST_TAKEN = 128  # units that are sure to be had by who waits: those for work alone, without the small ones
_SMALL_UNITS = 4

_PART = 4  # a quarter of the memory: what is counted is about half of what is used, and others need some too
_LEAST = 256 << 20

# Locked bytes behind those of the units: who draws a ticket, who goes beyond the budget, and tickets.
_DOOR, _ALONE, _QUEUE = UNITS, UNITS + 1, UNITS + 2
_POLL_SECONDS = 0.005  # how soon what another process gives back is seen
_FRESH_SECONDS = 0.1  # somebody who waits says so at each look
# Whoever has been the first in turn for so long goes ahead, one at a time; or gives up after so long.
PATIENCE_SECONDS = 10.0
GIVE_UP_SECONDS = 60.0
_TOLD_SECONDS = 1.0

_TICKET, _WAITED = struct.Struct("<q"), struct.Struct("<d")  # the next one; when somebody last waited


class Held:
    """Bytes that count as used until :meth:`give_back`, or until nobody has this any more."""

    __slots__ = ("_lease", "size")

    _lease: _Lease

    def __init__(self, lease: _Lease, size: int) -> None:
        self._lease, self.size = lease, size

    def give_back(self) -> None:
        """They are free; once is enough."""
        size, self.size = self.size, 0
        if size:
            self._lease.give_back(size)

    __del__ = give_back


class Taken(Held):
    """Bytes for work; given back at the end of a ``with`` block, at the latest."""

    __slots__ = ()

    def __enter__(self) -> None:
        _inside.block = True

    def __exit__(self, *_: object) -> None:
        _inside.block = False
        self.give_back()


class _Lease:
    """The units that a process has locked for one kind of use, and how many bytes of them are used.

    One unit out of ``kept`` stays locked while nothing is used: locking costs more than all else here.
    """

    def __init__(self, budget: Budget, order: range, kept: range) -> None:
        self._budget = budget
        self._order = order
        self._kept = kept
        self.used = 0
        self.units: list[int] = []

    def take(self, size: int, order: range | None = None) -> bool:
        """Whether so many bytes could be had; by who has the budget's lock."""
        wanted = -(-(self.used + size) // self._budget.unit) - len(self.units)
        if order is not None and any(unit not in order for unit in self.units):
            return False  # what others wait for gets free, and is not filled again and again
        if wanted > 0:
            found = self._budget.lock_units(wanted, order or self._order)
            if not found:
                return False
            self.units += found
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        # Also from a finalizer, which may run in the midst of anything: whoever has the lock does the rest.
        self._budget.dropped.append((self, size))
        self._budget.settle()

    def shrink(self, size: int) -> None:
        """Give back bytes, and the units that they filled; by who has the budget's lock."""
        self.used -= size
        needed = -(-self.used // self._budget.unit)
        if needed < len(self.units):
            kept = needed or int(self.units[0] in self._kept)
            self._budget.unlock_units(self.units[kept:])
            del self.units[kept:]


class Budget:
    """``limit`` bytes for all processes that were forked from the one that made this; threads share it."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = max(limit, UNITS)
        self.unit = -(-self.limit // UNITS)
        self.dropped: deque[tuple[_Lease, int]] = deque()
        self._clock = clock
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - its locks end when it is closed
        self._locks = self._file.fileno()
        self._shared = mmap.mmap(-1, _TICKET.size + _WAITED.size)
        self._begin()

    def _begin(self) -> None:
        """As a process that has nothing."""
        self.dropped.clear()
        self._turn = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._own: set[int] = set()
        self._tickets: set[int] = set()
        self._alone = False
        self._held = _Lease(self, _HELD, _HELD)
        self._large = _Lease(self, _LARGE, range(0))
        self._small = _Lease(self, _SMALL, _FOR_SMALL)

    def after_fork(self) -> None:
        """In a forked process: locks are the parent's, and so is what was taken under them."""
        for lease in (self._held, self._large, self._small):
            lease.units, lease.used = [], 1 << 62  # what is given back to them changes nothing
        self._begin()

    @property
    def used(self) -> int:
        """Bytes that this process holds or has taken."""
        return self._held.used + self._large.used + self._small.used

    # ---- held ----

    def hold(self, size: int) -> Held | None:
        """So many bytes, or None where they are not to be had now."""
        with self._turn:
            done = self._held.take(size)
        self.settle()
        return Held(self._held, size) if done else None

    # ---- taken ----

    def taking(self, size: int) -> Block:
        """Have ``size`` bytes taken in a ``with`` block, which must neither wait for a peer nor take any.

        Waits for its turn. What is more than half of the budget takes half, and so runs beside nothing as
        large. Within another block it is a part of what that one took. Raises OutOfResources where there is
        no turn for a minute.
        """
        return Block(self, size)

    def take(self, size: int) -> Taken:
        """As :meth:`taking`, for a block in any thread."""
        lease, wanted = self._of(size)
        return self._at_once(lease, wanted) or self._waited_for(lease, wanted)

    def take_now(self, size: int) -> Taken | None:
        """As :meth:`take`, or None where that would wait."""
        return self._at_once(*self._of(size))

    def _of(self, size: int) -> tuple[_Lease, int]:
        wanted = max(1, min(size, _MOST_TAKEN * self.unit))
        return (self._small if wanted <= _SMALL_UNITS * self.unit else self._large), wanted

    def _at_once(self, lease: _Lease, size: int) -> Taken | None:
        queued = self._somebody_waits()
        if queued and lease is self._large:
            return None
        with self._turn:
            done = lease.take(size, _FOR_SMALL if queued else None)
        self.settle()
        return Taken(lease, size) if done else None

    def _waited_for(self, lease: _Lease, size: int) -> Taken:
        ticket, begun, first = self._ticket(), self._clock(), 0.0
        try:
            while True:
                found = self._in_turn(ticket, lease, size, first)
                if found is not None:
                    self._tell(size, self._clock() - begun)
                    return found
                first = first or self._first_since(ticket)
                if first and self._clock() - first > GIVE_UP_SECONDS:
                    raise OutOfResources(f"no memory for {size} bytes; limits.memory is {self.limit}")
                self.settle()
                with self._changed:
                    self._changed.wait(_POLL_SECONDS)
        finally:
            with self._turn:
                self._tickets.discard(ticket)
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _QUEUE + ticket)
            self.settle()

    def _in_turn(self, ticket: int, lease: _Lease, size: int, first: float) -> Taken | None:
        """What was waited for, if it is its turn and there is room, or it was ``first`` long enough."""
        with self._turn:
            _WAITED.pack_into(self._shared, _TICKET.size, self._clock())
            if not self._is_first(ticket):
                return None
            if lease.take(size):
                return Taken(lease, size)
            if not first or self._clock() - first <= PATIENCE_SECONDS or not self._goes_alone():
                return None
        return _Alone(self, size)

    def _ticket(self) -> int:
        """The next number in the queue of all processes, locked as long as its owner lives and waits."""
        with self._turn:
            fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, _DOOR)
            (ticket,) = _TICKET.unpack_from(self._shared)
            fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, _QUEUE + ticket)
            _TICKET.pack_into(self._shared, 0, ticket + 1)
            self._tickets.add(ticket)
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _DOOR)
        return int(ticket)

    def _first_since(self, ticket: int) -> float:
        with self._turn:
            return self._clock() if self._is_first(ticket) else 0.0

    def _is_first(self, ticket: int) -> bool:
        """Whether nobody who lives and waits has a lower number."""
        if min(self._tickets) != ticket:
            return False
        if not ticket:
            return True
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_SH | fcntl.LOCK_NB, ticket, _QUEUE)
        except (BlockingIOError, PermissionError):
            return False
        fcntl.lockf(self._locks, fcntl.LOCK_UN, ticket, _QUEUE)
        return True

    def _goes_alone(self) -> bool:
        if self._alone:
            return False
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _ALONE)
        except (BlockingIOError, PermissionError):
            return False
        self._alone = True
        return True

    def leave_alone(self) -> None:
        """Let the next one go beyond the budget."""
        with self._turn:
            self._alone = False
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _ALONE)
        self.settle()

    def _somebody_waits(self) -> bool:
        return bool(self._clock() - _WAITED.unpack_from(self._shared, _TICKET.size)[0] < _FRESH_SECONDS)

    def _tell(self, size: int, waited: float) -> None:
        if waited > _TOLD_SECONDS:
            structlog.get_logger("zscp").warning(
                "waited for memory",
                seconds=round(waited, 1),
                bytes=size,
                limit=self.limit,
                remedy="raise limits.memory, or give the machine more memory",
            )

    # ---- units ----

    def lock_units(self, count: int, order: range) -> list[int]:
        """Lock so many, or none."""
        found: list[int] = []
        for unit in order:
            if unit not in self._own:
                with suppress(BlockingIOError, PermissionError):  # another process has it
                    fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
                    self._own.add(unit)
                    found.append(unit)
                    if len(found) == count:
                        return found
        self.unlock_units(found)
        return []

    def unlock_units(self, units: list[int]) -> None:
        """Let others have them."""
        for unit in units:
            self._own.remove(unit)
            with suppress(OSError):  # given back to a budget that nobody has any more: its file is closed
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, unit)

    def settle(self) -> None:
        """Give back what was dropped, unless another thread, or one that this one interrupts, is at it."""
        while self.dropped and self._turn.acquire(blocking=False):
            try:
                while self.dropped:
                    lease, size = self.dropped.popleft()
                    lease.shrink(size)
            finally:
                self._turn.release()
            if self._tickets and self._changed.acquire(blocking=False):
                try:
                    self._changed.notify_all()
                finally:
                    self._changed.release()


class _Alone(Taken):
    """Bytes beyond the budget: one at a time in a whole node."""

    __slots__ = ("_beyond",)

    def __init__(self, budget: Budget, size: int) -> None:
        self._beyond, self.size = budget, size

    def give_back(self) -> None:
        if self.size:
            self.size = 0
            self._beyond.leave_alone()

    __del__ = give_back


class Block:
    """A block of code that has bytes taken: see :meth:`Budget.taking`."""

    __slots__ = ("_budget", "_size", "_taken")

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget, self._size = budget, size
        self._taken: Taken | None = None

    def __enter__(self) -> None:
        if not getattr(_inside, "block", False):
            self._taken = self._budget.take(self._size)
            self._taken.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:
            self._taken.__exit__()


_inside = threading.local()


def default_limit() -> int:
    """Bytes of a budget that nobody chose: a quarter of the memory."""
    return max(machine.memory() // _PART, _LEAST)


_budget: Budget | None = None


def use(limit: int) -> None:
    """Let a budget of so many bytes hold in this process, and in those that it forks; 0: the default.

    One of this size that is there already, and may be shared with other processes, stays.
    """
    global _budget  # noqa: PLW0603 - one for the process, set by who composes it
    limit = max(limit or default_limit(), UNITS)
    if _budget is None or _budget.limit != limit:
        _budget = Budget(limit)


def budget() -> Budget:
    """The one that holds now."""
    if _budget is None:
        use(0)
    return _budget or Budget(default_limit())


def hold(size: int) -> Held | None:
    """See :meth:`Budget.hold`."""
    return budget().hold(size)


def taking(size: int) -> Block:
    """See :meth:`Budget.taking`."""
    return budget().taking(size)


def _after_fork() -> None:
    if _budget is not None:
        _budget.after_fork()


os.register_at_fork(after_in_child=_after_fork)
