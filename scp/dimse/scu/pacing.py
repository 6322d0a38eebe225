"""How fast forwarded and prefetched objects go over a thin line: a token bucket (docs/decisions/0089)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from scp.spool import Buffer

# The part of a line's speed for what is forwarded or prefetched; the rest is for those who wait for objects.
SHARE = 0.5
# A piece at a time: 0.1 s of a line of 5 Mbit/s, so that others get their turn in between.
_PIECE = 65_536

Clock = Callable[[], float]
Wait = Callable[[float], object]


class Throttle:
    """Lets bytes pass at ``link_mbps`` times SHARE; all at once where that is None.

    ``clock`` and ``wait`` are in seconds.
    """

    def __init__(self, link_mbps: float | None, clock: Clock, wait: Wait) -> None:
        self._rate = link_mbps * SHARE * 1e6 / 8 if link_mbps is not None else None
        self._clock, self._wait = clock, wait
        self._free_at = clock()

    def paced(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """The same bytes, each piece when its time has come."""
        for chunk in chunks:
            if self._rate is None:
                yield chunk
                continue
            view = memoryview(chunk)
            for start in range(0, len(view), _PIECE):
                piece = view[start : start + _PIECE]
                self._spend(len(piece), self._rate)
                yield piece

    def _spend(self, size: int, rate: float) -> None:
        now = self._clock()
        if self._free_at > now:
            self._wait(self._free_at - now)
        self._free_at = max(self._free_at, now) + size / rate
