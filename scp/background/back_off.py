"""How long until something is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between tries, in seconds: ``first``, and each time twice that until ``longest``.

    A ``longest`` below ``first`` is ignored: then all pauses are as long as the first.
    """

    first: float
    longest: float = 0.0

    def after(self, failures: int) -> float:
        """The pause before the next try; ``failures`` counts those before the last one."""
        return min(self.first * 2.0 ** min(failures, 32), max(self.first, self.longest))
