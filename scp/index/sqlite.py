"""What is SQLite's own: how a connection is set, how writers take turns, and what its errors mean.

:mod:`scp.index.postgresql` has the same functions for PostgreSQL; :mod:`scp.index.dialect` chooses.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.util import LRUCache

from scp.errors import ConfigurationError, OutOfResources
from scp.index import sqlite_trigrams
from scp.index.databases import BEGUN, WRITES, Database, Fault, HeldTrigrams
from scp.index.keys import VALUES
from scp.index.self_description import NamesIndexed
from scp.index.sqlite_trigrams import Transaction
from scp.index.watch import Watch
from scp.index.wildcards import matcher_of_like

ANY_VALUE_LIKE = "any_value_like"
# A sync copies the log into the database if it is longer than this. A commit does so only at four times the
# length, in case nobody syncs.
JOURNAL_BYTES = 16 << 20
_CHECKPOINT_PAGES = 4 * JOURNAL_BYTES // 4096
# How long a process waits for others as it opens the database: one of them may migrate it.
_BUSY_MS = 30_000
_BEGIN_WRITING = "BEGIN IMMEDIATE"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_STEPS = 1000
# SQLite finds a row when it is asked for the next one: who takes fewer has waited for no more.
FIRST_ROWS = FIRST_NAMED_ROWS = 512
IS_REMOTE = False
FINISHES_LATE = False
PLANS_BY_VALUES = False
_IDLE = 32  # connections that are kept open: opening one takes 1 ms


class _Statements(LRUCache[Any, Any]):
    """What SQLAlchemy has compiled, by (dialect, statement, …), without the dialect.

    Each engine has a dialect of its own, and all of SQLite write the same SQL. To compile what a node's start
    asks for takes 20 ms.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        """What was compiled."""
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


_compiled = _Statements(500)


def connected(_database: Database, parsed: URL, _seconds: float) -> Engine:
    """An engine; the folder of the file is created. Raises ConfigurationError, OutOfResources."""
    # Queries hold a connection while they read, so there is no upper limit.
    # No error may quote the parameters of its statement: they are patients' data.
    engine = create_engine(
        parsed,
        pool_size=_IDLE,
        max_overflow=-1,
        hide_parameters=True,
        execution_options={"compiled_cache": _compiled},
    )
    _make_folder(parsed)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _make_folder(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("index.url: an index in memory would not outlive the process; name a file")
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfResources(f"the index's folder {folder} cannot be made: {error}") from error


def fault(error: BaseException) -> Fault | None:
    """What an error of the driver means; None for one that only a fault of zscp's own can cause."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return Fault.DAMAGED
    if code == sqlite3.SQLITE_CANTOPEN:
        return Fault.OPEN
    if isinstance(error, sqlite3.IntegrityError):
        return Fault.CONTRADICTION
    return Fault.USE if isinstance(error, sqlite3.OperationalError) else None


@contextmanager
def watched(connection: Any, watch: Watch) -> Iterator[None]:
    """Let ``watch`` stop what a driver's connection does within this; raises what stopped it.

    SQLite asks every thousand steps of a statement, in the thread that runs it: 50 rows or so, each of which
    a pattern may take a millisecond of.
    """
    stopped: list[BaseException] = []

    def look() -> int:
        try:
            watch.look()
        except BaseException as error:  # noqa: BLE001 - the driver would print it: it is raised below
            stopped.append(error)
        return bool(stopped)

    connection.set_progress_handler(look, _STEPS)
    try:
        with watch.working():
            yield
    except DatabaseError:
        if not stopped:
            raise
    finally:
        connection.set_progress_handler(None, 0)
    if stopped:
        raise stopped[0]


def begin(_connection: Connection) -> None:
    """Nothing: each connection begins a transaction at its first statement (:func:`_begin`)."""


def is_alive(_connection: Any) -> bool:
    """Whether a connection can still be used."""
    return True


def begin_writing(cursor: Any, _names: Sequence[str], _records: bool = False) -> None:
    """Begin a transaction that will write, when it is its turn among all processes.

    A transaction that first reads and then writes fails at once if another one wrote in between; one that
    begins IMMEDIATE waits for its turn.
    """
    cursor.execute(_BEGIN_WRITING)


def wait_at_most(cursor: Any, seconds: float) -> None:
    """Let a transaction that begins on this connection wait so long for its turn among all processes."""
    cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def data_version(cursor: Any) -> object:
    """A value that changes when another connection changes the database."""
    return cursor.execute("PRAGMA data_version").fetchone()[0]


def is_alone(connection: Connection) -> bool:
    """Keep the file to this new connection until that is closed; False where others have it open."""
    plain: Any = connection.connection.dbapi_connection
    try:
        plain.execute("PRAGMA busy_timeout = 100")
        plain.execute("PRAGMA journal_mode = DELETE")  # refused while anybody else has the file open
        plain.execute("PRAGMA locking_mode = EXCLUSIVE")
        plain.execute("PRAGMA journal_mode = WAL")
        plain.execute("BEGIN EXCLUSIVE")
        plain.execute("COMMIT")
    except sqlite3.OperationalError:
        return False
    return True


def count_on(_connection: Connection, _tables: Sequence[Table]) -> None:
    """Nothing: a new row's number follows the greatest."""


def load(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Add whole rows to a table, in one transaction."""
    names = table.columns.keys()
    connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
    connection.commit()


def index_names(engine: Engine, transaction: Transaction) -> NamesIndexed:
    """Go on with the table of trigrams; see :func:`scp.index.sqlite_trigrams.index_names`."""
    return sqlite_trigrams.index_names(engine, transaction)


def held_trigrams(connection: Connection) -> HeldTrigrams:
    """What a query can rely on until its transaction ends."""
    return sqlite_trigrams.held(connection)


def time_of(_connection: Connection) -> float:
    """The database's clock, in seconds since 1970: that of this machine, which all of its processes share."""
    return time.time()


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions: _begin does
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    _write_ahead(connection)
    # A commit does not wait for the disk: scp.index.durable does so on request.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA case_sensitive_like = ON")  # PS3.4 C.2.2.2.4
    connection.create_function(ANY_VALUE_LIKE, 2, _any_value_like, deterministic=True)


def _any_value_like(text: str | None, pattern: str) -> bool:
    return text is not None and any(map(matcher_of_like(pattern), text.split(VALUES)))


def _write_ahead(connection: Any) -> None:
    """Switch to write-ahead logging, which is stored in the file.

    While another process does the same, SQLite reports "locked" at once, without the busy timeout.
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


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(BEGUN):
        connection.exec_driver_sql(_BEGIN_WRITING if options.get(WRITES) else "BEGIN")
