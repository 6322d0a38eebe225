"""One budget of memory, in bytes, for all processes of a node.

Code whose memory grows with an object asks for it here first. There are two kinds of use, and only one waits:

- **Held** memory waits for a peer: bytes that the peer still sends, decoded frames that it still has to read.
  :func:`hold` never waits; what does not fit goes through a file (:mod:`scp.spool`).
- **Taken** memory is used by work that ends by itself: a codec at one frame. :func:`taking` waits its turn,
  over all processes. A thread that has taken memory may neither wait for a peer nor take more. So everything
  taken is given back in time, and no two threads can wait for each other.

A budget is 256 units, each a locked byte (:mod:`scp.resources.locked_bytes`): the system frees the units of a
process that dies. A process locks as many units as its use comes to. docs/decisions/0118.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from scp.errors import OutOfResources
from scp.resources import machine
from scp.resources.locked_bytes import LockedBytes
from scp.resources.turns import FRESH_SECONDS, Turns, Waits

UNITS = 256
# Units 0 to 111 are for both kinds, the rest for work alone: whatever peers make the node hold, a frame that
# needs half of the budget can be worked on. Units 240 to 255 are for small work: a codec that has all else
# for a minute does not hold up an image of 0.5 MB.
_HELD = range(112)
_LARGE, _SMALL, _FOR_SMALL = range(239, -1, -1), range(255, -1, -1), range(255, 239, -1)
_MOST_TAKEN = 128  # units that are sure to be had by who waits: those for work alone, without the small ones
_SMALL_UNITS = 4

_ALONE, _DOOR = UNITS, UNITS + 1  # locked bytes behind those of the units: who goes beyond the budget; turns
_POLL_SECONDS = 0.005  # how soon what another process gives back is seen


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
    """The units that a process has locked for one kind of use, and how many bytes of them are used."""

    def __init__(self, budget: Budget, order: range) -> None:
        self._budget = budget
        self._order = order
        self._units: list[int] = []
        self.used = 0
        self.parents = False  # of the process that this one was forked from

    def take(self, size: int, order: range | None = None) -> bool:
        """Whether so many bytes could be had. The caller has the budget's lock."""
        wanted = -(-(self.used + size) // self._budget.unit) - len(self._units)
        if order is not None and any(unit not in order for unit in self._units):
            return False  # what others wait for gets free, and is not filled again and again
        if wanted > 0:
            found = self._budget.lock_units(wanted, order or self._order)
            if not found:
                return False
            self._units += found
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        # Also from a finalizer, which may run in the midst of anything: whoever has the lock does the rest.
        if not self.parents:
            self._budget.dropped.append((self, size))
            self._budget.settle()

    def shrink(self, size: int) -> None:
        """Give back bytes, and the units that they filled. The caller has the budget's lock."""
        self.used -= size
        needed = -(-self.used // self._budget.unit)
        self._budget.unlock_units(self._units[needed:])
        del self._units[needed:]


class _Beyond(_Lease):
    """A use that goes beyond the budget: one at a time in a whole node."""

    def take(self, size: int, order: range | None = None) -> bool:  # noqa: ARG002 - as of any lease
        if self.used or not self._budget.locks.lock(_ALONE):
            return False
        self.used = size
        return True

    def shrink(self, size: int) -> None:
        self.used -= size
        self._budget.locks.unlock(_ALONE)


class Budget:
    """``limit`` bytes for all processes that were forked from the one that made this; threads share it."""

    def __init__(
        self, limit: int, clock: Callable[[], float] = time.monotonic, waits: Waits | None = None
    ) -> None:
        self.waits = waits or Waits()
        self.limit = max(limit, UNITS)
        self.unit = -(-self.limit // UNITS)
        self.locks = LockedBytes()
        self._clock = clock
        self._turns = Turns(self.locks, _DOOR, clock)
        self._begin()

    def _begin(self) -> None:
        """As a process that has nothing."""
        self.dropped: deque[tuple[_Lease, int]] = deque()
        self._turn = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._own: set[int] = set()
        self._held, self._large, self._small = (_Lease(self, order) for order in (_HELD, _LARGE, _SMALL))
        self._beyond = _Beyond(self, range(0))

    def after_fork(self) -> None:
        """In a forked process: locks are the parent's, and so is what was taken under them."""
        for lease in (self._held, self._large, self._small, self._beyond):
            lease.parents = True  # what is given back to them changes nothing
        self._turns.forget()
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
        queued = self._turns.somebody_waits()
        if queued and lease is self._large:
            return None
        with self._turn:
            done = lease.take(size, _FOR_SMALL if queued else None)
        self.settle()
        return Taken(lease, size) if done else None

    def _waited_for(self, lease: _Lease, size: int) -> Taken:
        begun, first = self._clock(), 0.0
        with self._turn:
            ticket = self._turns.draw()
        try:
            while True:
                with self._turn:
                    is_first = self._turns.is_first(ticket)
                    found = self._found(lease, size, first) if is_first else None
                    if found is None:
                        self._turns.say()
                if found is not None:
                    self._tell(size, self._clock() - begun)
                    return Taken(found, size)
                first = first or (self._clock() if is_first else 0.0)
                if first and self._clock() - first > self.waits.give_up:
                    told = f"no memory for {size} bytes; limits.memory is {self.limit}"
                    raise OutOfResources(told, limit="limits.memory")
                self.settle()
                with self._changed:  # the first one of a process looks for all of them
                    polls = self._turns.is_first_here(ticket)  # the one before it may have left just now
                    self._changed.wait(_POLL_SECONDS if polls else FRESH_SECONDS / 2)
        finally:
            with self._turn:
                self._turns.leave(ticket)
            self.settle()
            with self._changed:  # who is about to wait is waited for, or it would not hear of this
                self._changed.notify_all()

    def _found(self, lease: _Lease, size: int, first: float) -> _Lease | None:
        """Where there is room for the first in turn, who after a while goes beyond the budget."""
        if lease.take(size):
            return lease
        long = first and self._clock() - first > self.waits.patience
        return self._beyond if long and self._beyond.take(size) else None

    def _tell(self, size: int, waited: float) -> None:
        if waited > self.waits.told:
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
            if unit not in self._own and self.locks.lock(unit):
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
            self.locks.unlock(unit)

    def settle(self) -> None:
        """Give back what was dropped, unless another thread, or one that this one interrupts, is at it."""
        while self.dropped and self._turn.acquire(blocking=False):
            try:
                while self.dropped:
                    lease, size = self.dropped.popleft()
                    lease.shrink(size)
            finally:
                self._turn.release()
            self._wake()

    def _wake(self) -> None:
        """Let those of this process that wait look again."""
        if self._turns.waits_here and self._changed.acquire(blocking=False):
            try:
                self._changed.notify_all()
            finally:
                self._changed.release()


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


_budget: Budget | None = None
_is_shared = False  # with the process that this one was forked from


def use(limit: int) -> None:
    """Let a budget of so many bytes hold in this process, and in those that it forks; 0: the default.

    One that this process was forked with stays, as it is shared with others; one of this size stays, too.
    """
    global _budget  # noqa: PLW0603 - one for the process, set by who composes it
    limit = max(limit or machine.default_budget(), UNITS)
    if _budget is None or (_budget.limit != limit and not _is_shared):
        _budget = Budget(limit)


def budget() -> Budget:
    """The one that holds now."""
    if _budget is None:
        use(0)
    return _budget or Budget(machine.default_budget())


def hold(size: int) -> Held | None:
    """See :meth:`Budget.hold`."""
    return budget().hold(size)


def taking(size: int) -> Block:
    """See :meth:`Budget.taking`."""
    return budget().taking(size)


def _after_fork() -> None:
    global _is_shared  # noqa: PLW0603 - see above
    if _budget is not None:
        _is_shared = True
        _budget.after_fork()


os.register_at_fork(after_in_child=_after_fork)
