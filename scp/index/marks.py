"""Whether anything was committed to an index since a moment, told without a wait for anybody."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from scp.index.dialect import kind


class Marks:
    """Values that are equal where no transaction was committed in between, by whatever process.

    They are of one connection of its own, on which nothing is written. SQLite compares a number in memory
    that its processes share: a row that was read after a mark is as it was while the mark is the same. The
    number is the connection's own, and a new connection begins at 2 again, whatever was committed before: so
    a mark names its connection, too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._kind = engine, kind(engine)
        self._lock = threading.Lock()
        self._held: tuple[Any, Any] | None = None  # a connection, and its cursor
        self._opened = 0  # so many connections, one after the other

    def now(self) -> object | None:
        """The mark of this moment; None where there is none: of a server, of a locked file, or in use.

        The first one opens the connection, which may wait for others.
        """
        return self._read(opens=True)

    def is_now(self, mark: object | None) -> bool:
        """Whether nothing was committed since a mark; False where that is not known at once."""
        return mark is not None and self._read(opens=False) == mark

    def _read(self, opens: bool) -> object | None:
        if self._kind.IS_REMOTE or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._held is None and not opens:
                return None
            cursor = self._cursor()
            return self._opened, self._kind.data_version(cursor)
        except (DBAPIError, self._engine.dialect.loaded_dbapi.Error):
            self._let_go()  # what is wrong, the next query tells
            return None
        finally:
            self._lock.release()

    def _cursor(self) -> Any:
        if self._held is None:
            connection = self._engine.raw_connection()
            self._opened += 1
            self._held = connection, connection.cursor()
            self._kind.wait_at_most(self._held[1], 0.0)
        return self._held[1]

    def _let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            held[0].invalidate()  # it is not to wait for others: nobody else may have it

    def close(self) -> None:
        """Close the connection; the next mark opens another."""
        with self._lock:
            self._let_go()
