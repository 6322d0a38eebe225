"""The threads that code frames: in parallel, in order, a bounded number ahead."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from scp.resources.budget import Held, Taken, budget
from scp.spool import UNCOUNTED

T = TypeVar("T")
R = TypeVar("R")

_CORES = os.cpu_count() or 1
_AHEAD = 2 * _CORES  # frames: one being coded and one waiting for each core
_BYTES_AHEAD = 64 << 20  # of frames; a mammogram has 26 MB
# What a codec needs for a frame of so many bytes, about: the frame twice, as samples and as bytes, and what
# the codec has beside it: OpenJPEG 4 bytes a sample, libjxl a float a sample.
_TIMES = 4


@cache
def _pool() -> ThreadPoolExecutor:
    """Made when it is first needed, in each process: threads do not come along when one forks."""
    return ThreadPoolExecutor(_CORES, thread_name_prefix="codec", initializer=_step_back)


os.register_at_fork(after_in_child=_pool.cache_clear)


def _step_back() -> None:
    """Let threads that receive and answer go first: a C-STORE of a small object must not wait behind the
    frames of a 100 MB one. On Linux each thread has a niceness of its own; elsewhere this may do nothing.
    """
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def in_order(work: Callable[[T], R], items: Iterable[T], count: int, size: int) -> Iterator[R]:
    """The results of ``work`` for ``count`` items, arrays of ``size`` bytes each, in the items' order.

    The codecs release the GIL. What is not asked for is not worked on, but for some items ahead. One
    item is worked on here: a thread would have nothing to do beside it. What the work needs is taken from the
    memory budget before it begins, and what is ahead is held there. Raises OutOfResources.
    """
    if count == 1:
        for item in items:
            with _taken(size):
                result = work(item)
            yield result
        return
    ahead = max(1, min(_AHEAD, _BYTES_AHEAD // max(size, 1)))
    waiting: deque[_Waiting[R]] = deque()
    try:
        for item in items:
            while (room := _room_for(size, first=not waiting)) is None:
                yield waiting.popleft().future.result()
            waiting.append(_Waiting(_pool().submit(_within, room.taken, work, item), room.held))
            if len(waiting) > ahead:
                yield waiting.popleft().future.result()
        while waiting:
            yield waiting.popleft().future.result()
    finally:
        for one in waiting:
            one.future.cancel()


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[R]):
    """A result that is being made, or waits to be asked for, and its place in the budget."""

    future: Future[R]
    held: Held | None


@dataclass(frozen=True, slots=True)
class _Room:
    """What the work at one item may use, and what its result may."""

    taken: Taken | None = None
    held: Held | None = None


def _room_for(size: int, first: bool) -> _Room | None:
    """Room for one more item; the ``first`` is waited for, others are worked on when they are asked for."""
    if size <= UNCOUNTED:
        return _Room()
    if first:
        return _Room(budget().take(_TIMES * size))
    held = budget().hold(size)
    taken = budget().take_now(_TIMES * size) if held is not None else None
    return None if taken is None else _Room(taken, held)


def _taken(size: int) -> AbstractContextManager[None]:
    return budget().taking(_TIMES * size) if size > UNCOUNTED else nullcontext()


def _within(taken: Taken | None, work: Callable[[T], R], item: T) -> R:
    if taken is None:
        return work(item)
    with taken:
        return work(item)
