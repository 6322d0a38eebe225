"""Work on many objects with all cores: reading, decoding and hashing release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # tasks a worker: enough to keep it busy, few enough that objects in memory stay few


def each(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of ``items``, which are drawn only a little ahead."""
    workers = os.cpu_count() or 1
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[R]] = [pool.submit(work, item) for item in islice(source, workers * _AHEAD)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(work, item) for item in islice(source, 1)]
