"""Group commit: what comes at the same time is written together, and fails alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import pytest

from scp.index.group import GroupCommit

pytestmark = pytest.mark.quick


class Ledger:
    """A database of one list, with transactions; ``gate`` keeps a transaction open until it is set."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = 0
        self.refusing = False
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def transaction(self, _items: Sequence[int]) -> Iterator[list[int]]:
        if not self._one_at_a_time.acquire(blocking=False):
            pytest.fail("two transactions at once")
        try:
            self.begun += 1
            if self.refusing:
                raise OSError("locked")
            self.entered.set()
            written: list[int] = []
            yield written
            self.gate.wait(10)
            self.groups.append(written)
        finally:
            self._one_at_a_time.release()

    def write(self, written: list[int], item: int) -> int:
        if item < 0:
            raise ValueError(item)
        written.append(item)
        return item * 10

    @property
    def committed(self) -> list[int]:
        return [item for group in self.groups for item in group]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def waiting(group: GroupCommit, number: int) -> None:
    """Until so many items wait for the one who leads."""
    pause = threading.Event()
    while len(group._waiting) < number:
        pause.wait(0.001)


def behind_a_leader(ledger: Ledger, group: GroupCommit, threads: ThreadPoolExecutor, items) -> list[Future]:
    """0 is being written; ``items`` wait, in their order."""
    ledger.gate.clear()
    ledger.entered.clear()
    futures = [threads.submit(group.submit, 0)]
    ledger.entered.wait(10)
    for number, item in enumerate(items, 1):
        futures.append(threads.submit(group.submit, item))
        waiting(group, number)
    return futures


def test_who_comes_alone_is_written_at_once(ledger):
    group = GroupCommit(ledger.transaction, ledger.write)
    assert [group.submit(item) for item in (1, 2)] == [10, 20]
    assert ledger.groups == [[1], [2]]


def test_what_comes_meanwhile_is_one_transaction_in_its_order(ledger, threads):
    group = GroupCommit(ledger.transaction, ledger.write)
    futures = behind_a_leader(ledger, group, threads, range(1, 17))
    ledger.gate.set()
    assert [future.result(10) for future in futures] == [item * 10 for item in range(17)]
    assert ledger.groups == [[0], list(range(1, 17))]


def test_an_item_that_fails_takes_no_other_down(ledger, threads):
    group = GroupCommit(ledger.transaction, ledger.write)
    futures = behind_a_leader(ledger, group, threads, [1, -2, 3, -4])
    ledger.gate.set()
    assert [futures[place].result(10) for place in (0, 1, 3)] == [0, 10, 30]
    for place, item in ((2, -2), (4, -4)):
        with pytest.raises(ValueError, match=str(item)):
            futures[place].result(10)
    assert ledger.groups == [[0], [1], [3]]


def test_a_failing_item_alone_is_not_tried_twice(ledger):
    group = GroupCommit(ledger.transaction, ledger.write)
    with pytest.raises(ValueError, match="-1"):
        group.submit(-1)
    assert ledger.begun == 1
    assert group.submit(1) == 10


def test_a_transaction_that_cannot_begin_fails_all_that_wait_for_it_once(ledger, threads):
    group = GroupCommit(ledger.transaction, ledger.write)
    futures = behind_a_leader(ledger, group, threads, [1, 2, 3])
    ledger.refusing = True
    ledger.gate.set()
    assert futures[0].result(10) == 0
    for future in futures[1:]:
        with pytest.raises(OSError, match="locked"):
            future.result(10)
    assert ledger.begun == 2
    ledger.refusing = False
    assert group.submit(4) == 40


def test_a_database_that_locks_while_a_failed_group_is_retried(ledger, threads):
    def write(written: list[int], item: int) -> int:
        ledger.refusing = item == 2
        return ledger.write(written, item)

    group = GroupCommit(ledger.transaction, write)
    futures = behind_a_leader(ledger, group, threads, [1, -5, 2, 3, 4])
    ledger.gate.set()
    outcomes = [future.exception(10) for future in futures]
    assert [type(each) for each in outcomes] == [type(None)] * 2 + [ValueError, type(None), OSError, OSError]
    assert ledger.committed == [0, 1, 2]


def test_who_waits_for_a_leader_that_dies_is_written_by_the_next(ledger, threads):
    dying: list[int] = []

    def write(written: list[int], item: int) -> int:
        if item == 1 and not dying:
            dying.append(threading.get_ident())
            raise KeyboardInterrupt
        return ledger.write(written, item)

    group = GroupCommit(ledger.transaction, write)
    futures = behind_a_leader(ledger, group, threads, [1, 2, 3])
    ledger.gate.set()
    with pytest.raises(KeyboardInterrupt):
        futures[1].result(10)
    assert [futures[place].result(10) for place in (0, 2, 3)] == [0, 20, 30]
    assert ledger.committed == [0, 2, 3]
    assert group.submit(4) == 40


def test_who_stops_waiting_is_not_written_and_does_not_lead(ledger, threads):
    group = GroupCommit(ledger.transaction, ledger.write)

    class Interrupted(threading.local):
        def acquire(self) -> None:
            raise KeyboardInterrupt

        def release(self) -> None:
            pytest.fail("it does not wait any more")

    futures = behind_a_leader(ledger, group, threads, [])
    enqueue = group._enqueue

    def interrupted(tickets) -> None:
        for ticket in tickets:
            ticket.woken = Interrupted()
        enqueue(tickets)

    group._enqueue = interrupted
    with pytest.raises(KeyboardInterrupt):
        group.submit(1)
    group._enqueue = enqueue
    ledger.gate.set()
    assert futures[0].result(10) == 0
    assert group.submit(2) == 20
    assert ledger.committed == [0, 2]


def test_many_threads_write_each_item_once(ledger, threads):
    group = GroupCommit(ledger.transaction, ledger.write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads change at every turn, so that the order of things varies
    try:
        items = [item if item % 7 else -item - 1 for item in range(4000)]
        futures = [threads.submit(group.submit, item) for item in items]
        results = [future.exception(30) or future.result(30) for future in futures]
    finally:
        sys.setswitchinterval(interval)
    assert [type(each) for each in results] == [int if item >= 0 else ValueError for item in items]
    assert sorted(ledger.committed) == [item for item in items if item >= 0]
    assert all(first < second for group in ledger.groups for first, second in pairwise(sorted(group)))
    assert (group._leader, group._waiting, group._group) == (None, [], [])
