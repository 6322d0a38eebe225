"""How many requests are answered at a time, of all and of one who asks; others wait for their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import anyio

from scp.errors import OutOfResources

# A viewer asks for many frames at once, over few connections: they come in turn, rather than fail.
WAIT_SECONDS = 10.0
LIMIT = "dicomweb.requests"
_RECENT = 16  # limiters are made once for a client that asks for one frame after the other


class RequestPlaces:
    """Gives them out; those of one who asks are half of all, so that others find some."""

    def __init__(self) -> None:
        self._all = anyio.CapacityLimiter(1)
        self._own: WeakValueDictionary[Hashable, anyio.CapacityLimiter] = WeakValueDictionary()
        self._recent: deque[anyio.CapacityLimiter] = deque(maxlen=_RECENT)

    @asynccontextmanager
    async def one(self, who: Hashable, most: int) -> AsyncIterator[None]:
        """A place for ``who``, of ``most``. Raises OutOfResources where none becomes free in time."""
        own = self._own.get(who)
        if own is None:
            own = self._own[who] = anyio.CapacityLimiter(1)
            self._recent.append(own)
        if self._all.total_tokens != most or own.total_tokens != (most + 1) // 2:
            own.total_tokens, self._all.total_tokens = (most + 1) // 2, most
        if not self._at_once(own):
            await self._in_turn(own)
        try:
            yield
        finally:
            self._all.release()
            own.release()

    def _at_once(self, own: anyio.CapacityLimiter) -> bool:
        """Take a place of both where these are free, as mostly: to wait, the event loop goes round twice."""
        try:
            own.acquire_nowait()
        except anyio.WouldBlock:
            return False
        try:
            self._all.acquire_nowait()
        except anyio.WouldBlock:
            own.release()
            return False
        return True

    async def _in_turn(self, own: anyio.CapacityLimiter) -> None:
        """Wait for both. Raises OutOfResources."""
        with anyio.move_on_after(WAIT_SECONDS):
            await own.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                own.release()
                raise
            return
        raise OutOfResources(f"as many requests are answered as may be at a time ({LIMIT})", limit=LIMIT)
