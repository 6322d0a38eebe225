"""What takes long, and may not take all threads of the page: a few at a time, and the others are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from scp.errors import OutOfResources


class FewAtOnce:
    """So many at a time of ``what``."""

    def __init__(self, most: int, what: str) -> None:
        self._free, self._what = BoundedSemaphore(most), what

    @contextmanager
    def one(self) -> Iterator[None]:
        """One of them. Raises OutOfResources where there are as many already."""
        if not self._free.acquire(blocking=False):
            raise OutOfResources(f"{self._what} is under way already; repeat this when it has ended")
        try:
            yield
        finally:
            self._free.release()
