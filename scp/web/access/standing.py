"""Whether what let somebody in still stands: an answer may take hours, and the configuration may change."""

from __future__ import annotations

from collections.abc import Callable


class Standing:
    """True as long as ``stays`` is; it is asked once for each configuration, as ``current`` gives them."""

    def __init__(self, current: Callable[[], object], stays: Callable[[], bool]) -> None:
        self._current, self._stays = current, stays
        self._seen, self._stands = current(), True

    def __call__(self) -> bool:
        """Whether to go on; what ended once does not begin again."""
        now = self._current()
        if self._stands and now is not self._seen:
            self._seen, self._stands = now, self._stays()
        return self._stands
