"""Group commit: threads that write at the same time share one transaction.

A commit costs more than what it commits, and only one can be made at a time. A thread that comes while no
other writes becomes the leader: it takes all waiting items, writes them in one transaction, and gives each
thread its result. Then it hands the lead to the first thread that came meanwhile. So no thread waits for
others to come, and no timer or extra thread is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Access = TypeVar("Access")


class _Ticket(Generic[Item, Result]):
    """One caller's item. ``woken`` is released once: when the item is settled, or its caller has to lead."""

    __slots__ = ("error", "item", "result", "settled", "woken")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.settled = False
        self.result: Result | Any = None
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()

    def settle(self, result: Result | None, error: Exception | None = None) -> None:
        self.result, self.error, self.settled = result, error, True


class GroupCommit(Generic[Access, Item, Result]):
    """Calls ``write`` for each submitted item, in the order of arrival, inside ``transaction``.

    ``transaction`` is a context for some items, which commits at its end, and rolls back after an exception.
    If a group fails, each of its items is written again in a transaction of its own, so that one item makes
    no other fail. Therefore ``write`` must do nothing that a rollback does not undo.
    """

    def __init__(
        self,
        transaction: Callable[[Sequence[Item]], AbstractContextManager[Access]],
        write: Callable[[Access, Item], Result],
    ) -> None:
        self._transaction = transaction
        self._write = write
        self._guard = threading.Lock()  # for the three below; never held while writing
        self._leader: _Ticket[Item, Result] | None = None
        self._waiting: list[_Ticket[Item, Result]] = []
        self._group: list[_Ticket[Item, Result]] = []

    def submit(self, item: Item) -> Result:
        """What ``write`` returned for ``item``, once that is committed; raises what it raised."""
        (ticket,) = self._settled([item])
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def submit_all(self, items: Sequence[Item]) -> list[Result | Exception]:
        """As :meth:`submit` of each, in one group; what was raised stands in the place of a result."""
        return [ticket.result if ticket.error is None else ticket.error for ticket in self._settled(items)]

    def _settled(self, items: Sequence[Item]) -> list[_Ticket[Item, Result]]:
        tickets: list[_Ticket[Item, Result]] = [_Ticket(item) for item in items]
        self._enqueue(tickets)
        done = 0
        try:
            for ticket in tickets:
                if not ticket.settled and self._leader is not ticket:
                    ticket.woken.acquire()
                if not ticket.settled:
                    self._lead()
                if self._leader is ticket:
                    self._leave(ticket)
                done += 1
        finally:  # also if a signal interrupted the wait: no thread may wait for a lost leader
            for ticket in tickets[done:]:
                if not ticket.settled or self._leader is ticket:
                    self._leave(ticket)
        return tickets

    def _enqueue(self, tickets: Sequence[_Ticket[Item, Result]]) -> None:
        with self._guard:
            self._waiting += tickets
            if self._leader is None and tickets:
                self._leader = tickets[0]

    def _lead(self) -> None:
        """Write all waiting items; every ticket of the group is settled afterwards."""
        with self._guard:
            self._group, self._waiting = self._waiting, []
        group = self._group
        begun, error = self._attempt(group)
        if error is None:
            return
        if not begun or len(group) == 1:
            _fail(group, error)
            return
        for place, ticket in enumerate(group):
            begun, error = self._attempt([ticket])
            if error is not None:
                # A locked database makes each transaction wait for half a minute: the others fail at once.
                _fail([ticket] if begun else group[place:], error)
                if not begun:
                    return

    def _attempt(self, group: Sequence[_Ticket[Item, Result]]) -> tuple[bool, Exception | None]:
        """Write ``group`` in one transaction; returns whether one could be begun, and the error, if any."""
        begun = False
        try:
            with self._transaction([ticket.item for ticket in group]) as access:
                begun = True
                results = [self._write(access, ticket.item) for ticket in group]
        except Exception as error:  # noqa: BLE001 - submit() raises it in the item's own thread
            return begun, error
        for ticket, result in zip(group, results, strict=True):
            ticket.settle(result)
        return begun, None

    def _leave(self, ticket: _Ticket[Item, Result]) -> None:
        """Wake the group, and hand over the lead; items that a failing leader left unwritten come first."""
        with self._guard:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if self._leader is not ticket:
                return
            others = [each for each in self._group if each is not ticket]
            self._waiting[:0] = [each for each in others if not each.settled]
            self._group = []
            self._leader = self._waiting[0] if self._waiting else None
            for each in others:
                if each.settled:
                    each.woken.release()
            if self._leader is not None:
                self._leader.woken.release()


def _fail(group: Sequence[_Ticket[Any, Any]], error: Exception) -> None:
    for ticket in group:
        ticket.settle(None, error)
