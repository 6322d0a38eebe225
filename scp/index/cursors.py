"""Cursors for single rows that are read often: of SQLite they keep their connections.

A quarter of the time of finding a row by its UID went to SQLAlchemy's pool, which checks a connection out and
in again: 45 µs with it, 33 without (docs/decisions/0222).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Engine

from scp.index.dialect import kind


class Cursors:
    """Any thread may take one; there are as many as were ever in use at a time.

    Nothing is written by them, and each result is read to its end: so no transaction stays open. A
    database on a server has each one from the pool, which looks after its transaction and its connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._keeps = engine, not kind(engine).IS_REMOTE
        self._kept: deque[tuple[Any, Any]] = deque()  # connections, each with its cursor

    @contextmanager
    def one(self) -> Iterator[Any]:
        """A cursor of the driver, and its connection's only one. It raises what the driver raises."""
        if not self._keeps:
            with closing(self._engine.raw_connection()) as pooled, closing(pooled.cursor()) as cursor:
                yield cursor
            return
        connection, cursor = self._taken()
        try:
            yield cursor
        except BaseException:
            connection.close()  # back to the pool, which resets it
            raise
        self._kept.append((connection, cursor))
        if not self._keeps:  # closed meanwhile
            self.close()

    def _taken(self) -> tuple[Any, Any]:
        try:
            return self._kept.pop()
        except IndexError:
            connection = self._engine.raw_connection()
            return connection, connection.cursor()

    def close(self) -> None:
        """Give the connections back to the pool, and keep none from now on."""
        self._keeps = False
        while self._kept:
            self._taken()[0].close()
