"""Alerts that repeat: one peer that is refused a thousand times a second must not fill the trail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

_SECONDS, _KINDS = 60.0, 20
_MOST = 1024  # addresses that are remembered; beyond that, the oldest is forgotten


@dataclass(slots=True)
class _Minute:
    """What was told of one address since ``began``, and how much was not."""

    began: float
    kinds: set[Hashable] = field(default_factory=set)
    left_out: int = 0


class Repeats:
    """Lets so many different alerts about an address through in a minute, and each once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minutes: dict[str, _Minute] = {}

    def since(self, address: str, kind: Hashable) -> int | None:
        """How many alerts were left out in the minute before this one; None where this one is left out."""
        with self._lock:
            now, minute = self._clock(), self._minutes.get(address)
            if minute is not None and now - minute.began < _SECONDS:
                if kind in minute.kinds or len(minute.kinds) >= _KINDS:
                    minute.left_out += 1
                    return None
                minute.kinds.add(kind)
                return 0
            self._minutes.pop(address, None)
            while len(self._minutes) >= _MOST:
                del self._minutes[next(iter(self._minutes))]
            self._minutes[address] = _Minute(now, {kind})
            return minute.left_out if minute is not None else 0
