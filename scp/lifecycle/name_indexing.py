"""Once a day a node looks whether the index has what finds names that begin with a wildcard, and makes it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from scp.background.back_off import BackOff
from scp.background.loop import Task

_DAY_SECONDS = 86_400.0


class NameIndexing(Task):
    """See :meth:`scp.index.index.Index.index_names`; why it cannot be made is logged at each look."""

    name = "indexing names"
    again = BackOff(60.0, 3600.0)

    def __init__(self, index_names: Callable[[], str]) -> None:
        super().__init__()
        self._index_names = index_names

    def turn(self) -> float:
        """See :class:`Task`."""
        if reason := self._index_names():
            structlog.get_logger("zscp").warning(
                "searches for names that begin with a wildcard read all studies", reason=reason
            )
        return _DAY_SECONDS
