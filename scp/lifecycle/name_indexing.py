"""A node makes, and keeps up, what finds names that begin with a wildcard in the index."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from scp.background.back_off import BackOff
from scp.background.loop import Task
from scp.index.self_description import NamesIndexed


class NameIndexing(Task):
    """See :meth:`scp.index.index.Index.index_names`; why it cannot be made is logged each time."""

    name = "indexing names"
    again = BackOff(60.0, 3600.0)

    def __init__(self, index_names: Callable[[], NamesIndexed]) -> None:
        super().__init__()
        self._index_names = index_names

    def turn(self) -> float:
        """See :class:`Task`."""
        indexed = self._index_names()
        if reason := indexed.fault:
            structlog.get_logger("zscp").warning(
                "searches for names that begin with a wildcard read all studies", reason=reason
            )
        return indexed.again
