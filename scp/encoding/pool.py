"""The threads that code frames: beside each other, in order, a bounded number ahead."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_CORES = os.cpu_count() or 1
_AHEAD = 2 * _CORES  # frames: one being coded and one waiting for each core
_BYTES_AHEAD = 64 << 20  # of frames; a mammogram has 26 MB


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
    """The results of ``work`` for ``count`` items of ``size`` bytes each, in the items' order.

    The codecs release the GIL. What is not asked for is not worked on, but for some items ahead. One
    item is worked on here: a thread would have nothing to do beside it.
    """
    if count == 1:
        yield from map(work, items)
        return
    ahead = max(1, min(_AHEAD, _BYTES_AHEAD // max(size, 1)))
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(_pool().submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
