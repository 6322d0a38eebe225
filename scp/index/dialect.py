"""What differs between databases: how to connect, and how writers take turns. Nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from scp.errors import ConfigurationError, OutOfResources

WRITES = "zscp_writes"  # execution option of connections whose transactions are going to write
_BUSY_MS = 30_000
_WRITERS = 0x7A736370  # "zscp": the advisory lock that PostgreSQL keeps among writers


def connect(url: str) -> Engine:
    """An engine for ``url``; the folder of a SQLite file is created.

    Raises :class:`scp.errors.ConfigurationError` for a URL that is none, or names a database
    that there is no driver for, and :class:`scp.errors.OutOfResources` if the folder cannot be made.
    """
    try:
        parsed = make_url(url)
        # Each stream of a slow peer's matches holds a connection, so there is no upper limit.
        engine = create_engine(parsed, max_overflow=-1)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        raise ConfigurationError(f"index.url: {url!r} cannot be used: {error}") from error
    if engine.dialect.name == "sqlite":
        _make_folder(parsed)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_with_lock)
    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Raise :class:`scp.errors.OutOfResources` where the database is full, locked or gone."""
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise OutOfResources(f"the index does not answer: {getattr(error, 'orig', error)}") from error


def _make_folder(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("index.url: an index in memory would not outlive the process; name a file")
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfResources(f"the index's folder {folder} cannot be made: {error}") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions of its own: _begin_sqlite
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    _write_ahead(connection)
    # A commit waits for the disk: Success is answered after it, and a restart repairs nothing.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA case_sensitive_like = ON")  # PS3.4 C.2.2.2.4


def _write_ahead(connection: Any) -> None:
    """Switch to write-ahead logging, which the file remembers.

    While another process does the same SQLite answers "locked" at once, without the busy timeout.
    """
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes fails at once if another one wrote in
    # between; one that begins IMMEDIATE waits for its turn.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_with_lock(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
