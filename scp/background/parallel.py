"""Threads: many objects with all cores (reading, decoding and hashing release the GIL), or a single call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # tasks a worker: enough to keep it busy, few enough that objects in memory stay few


def each(work: Callable[[T], R], items: Iterable[T], at_once: int = 1) -> Iterator[R]:
    """Results in the order of ``items``, which are drawn only a little ahead.

    At least ``at_once`` are under way, where the work waits for a server more than for a core.
    """
    workers = max(os.cpu_count() or 1, at_once)
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[R]] = [pool.submit(work, item) for item in islice(source, workers * _AHEAD)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(work, item) for item in islice(source, 1)]


def yield_to_others() -> None:
    """Run this thread only when no other wants the core.

    For threads that encode, not for one that commits: that one holds the index's lock, and threads that wait
    for the lock must not wait for an idle core.
    """
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def beside(call: Callable[[], R]) -> Future[R]:
    """Run a call in a thread of its own; a process that ends does not wait for it, as it would for a pool."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:  # the machine gives no more threads: this one does it
        run()
    return future
