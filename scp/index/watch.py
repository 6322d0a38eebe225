"""How long a query may work, and whether anybody still waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scp.errors import OutOfResources

_EVERY = 0.05  # seconds between two looks: a look at a socket takes 5 µs


class Watch:
    """Stops a query that works for more than ``seconds``, or when ``check`` raises.

    The time that the caller takes for what was found does not count. ``check`` is called in the query's own
    thread, every 50 ms while it works.
    """

    def __init__(self, seconds: float, check: Callable[[], None]) -> None:
        self._seconds = self._left = seconds
        self._check = check
        self._until = self._next = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within this the time counts."""
        begun = time.monotonic()
        self._until, self._next = begun + self._left, begun + _EVERY
        try:
            yield
        finally:
            self._left -= time.monotonic() - begun

    def look(self) -> None:
        """Raise OutOfResources where the time is up, and what the check raises."""
        now = time.monotonic()
        if now > self._until:
            told = f"the query takes longer than {self._seconds} s (query.seconds)"
            raise OutOfResources(told, limit="query.seconds")
        if now > self._next:
            self._next = now + _EVERY
            self._check()


def _nothing() -> None:
    pass


def unwatched() -> Watch:
    """Of callers that have all the time, such as commands."""
    return Watch(float("inf"), _nothing)
