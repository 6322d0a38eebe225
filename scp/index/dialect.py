"""All that differs between databases: how to connect, and how writers take turns."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Boolean, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from scp.errors import ConfigurationError, IndexDamaged, OutOfResources
from scp.index.keys import VALUES
from scp.index.watch import Watch
from scp.index.wildcards import ESCAPE, matcher_of_like
from scp.metrics import counting

# Execution options of connections: their transactions will write; they begin their transactions themselves.
WRITES, BEGUN = "zscp_writes", "zscp_begun"
# How long a process waits for others as it opens the database: one of them may migrate it.
_BUSY_MS = 30_000
# How long a transaction that writes waits for its turn: many modalities give up after 30 s, and a C-STORE may
# have to wait for two (docs/decisions/0134).
TURN_SECONDS = 10.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What each engine's database was found to be damaged by, for those that look after it (scp.lifecycle.guard).
_found_damaged: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()
_LET_IT_BE = (
    "index.url must name a file that zscp may read and write; move away what is in its place, then run: "
    "zscp reindex"
)
REMEDY = "the node rebuilds it from the stored files when it starts, and so does: zscp reindex"
_WRITERS = 0x7A736370  # "zscp": PostgreSQL's advisory lock among writers
_BEGIN_WITH_LOCK = f"SELECT pg_advisory_xact_lock({_WRITERS})"
_BEGIN_WRITING = {"sqlite": "BEGIN IMMEDIATE"}
# A sync copies the log into the database if it is longer than this. A commit does so only at four times the
# length, in case nobody syncs.
JOURNAL_BYTES = 16 << 20
_CHECKPOINT_PAGES = 4 * JOURNAL_BYTES // 4096
_ANY_VALUE_LIKE = "any_value_like"
_STEPS = 1000
_IDLE = 32  # connections that are kept open: opening one takes 1 ms


def connect(url: str) -> Engine:
    """An engine for ``url``; the folder of a SQLite file is created.

    Raises :class:`scp.errors.ConfigurationError` for an invalid URL, or a database without an installed
    driver, and :class:`scp.errors.OutOfResources` if the folder cannot be made.
    """
    try:
        parsed = make_url(url)
        # Each C-FIND of a slow peer holds a connection, so there is no upper limit.
        # No error may quote the parameters of its statement: they are patients' data.
        engine = create_engine(parsed, pool_size=_IDLE, max_overflow=-1, hide_parameters=True)
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
def translated(engine: Engine) -> Iterator[None]:
    """Raise :class:`scp.errors.OutOfResources` if the database is full, locked, damaged or gone.

    So it does where rows contradict each other. No message quotes a statement or its parameters.
    """
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (DatabaseError, driver.DatabaseError) as error:
        cause = getattr(error, "orig", error)
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            counting.count("zscp_index_errors_total", "damaged")
            _found_damaged[engine] = f"the index is damaged: {_in_short(cause)}"
            raise IndexDamaged(f"{_found_damaged[engine]}; {REMEDY}") from error
        if code == sqlite3.SQLITE_CANTOPEN:
            counting.count("zscp_index_errors_total", "open")
            raise OutOfResources(f"the index cannot be opened: {_in_short(cause)}; {_LET_IT_BE}") from error
        if isinstance(cause, driver.IntegrityError):
            counting.count("zscp_index_errors_total", "contradiction")
            raise OutOfResources(f"the index contradicts itself: {_in_short(cause)}; {REMEDY}") from error
        if not isinstance(cause, driver.OperationalError):
            raise
        counting.count("zscp_index_errors_total", "use")
        raise OutOfResources(f"the index does not answer: {_in_short(cause)}") from error
    except PoolTimeout as error:
        counting.count("zscp_index_errors_total", "use")
        raise OutOfResources(f"the index does not answer: {error}") from error


def _in_short(cause: object) -> str:
    """The first line of a driver's message: the next ones of PostgreSQL's quote rows."""
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def damage(engine: Engine) -> str:
    """What the database was found damaged by since it was opened; empty if it was not."""
    return _found_damaged.get(engine, "")


@contextmanager
def reads(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads. Raises as :func:`translated`."""
    with translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def watched(connection: Connection, watch: Watch) -> Iterator[None]:
    """Let ``watch`` stop what the connection does within this; raises what stopped it.

    SQLite asks every thousand steps of a statement, in the thread that runs it: 50 rows or so, each of which
    a pattern may take a millisecond of. For another database, a statement's time limit would be set here.
    """
    stopped: list[BaseException] = []

    def look() -> int:
        try:
            watch.look()
        except BaseException as error:  # noqa: BLE001 - the driver would print it: it is raised below
            stopped.append(error)
        return bool(stopped)

    plain: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        plain.set_progress_handler(look, _STEPS)
    try:
        with watch.working():
            yield
    except DatabaseError:
        if not stopped:
            raise
    finally:
        if connection.dialect.name == "sqlite":
            plain.set_progress_handler(None, 0)
    if stopped:
        raise stopped[0]


def _make_folder(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("index.url: an index in memory would not outlive the process; name a file")
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfResources(f"the index's folder {folder} cannot be made: {error}") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    _write_ahead(connection)
    # A commit does not wait for the disk: scp.index.durable does so on request.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA case_sensitive_like = ON")  # PS3.4 C.2.2.2.4
    connection.create_function(_ANY_VALUE_LIKE, 2, _any_value_like, deterministic=True)


class AnyValueLike(FunctionElement[bool]):
    """Whether any value of a text with several matches a pattern of :func:`scp.index.wildcards.like`."""

    name = "any_value_like"
    type = Boolean()
    inherit_cache = True


@compiles(AnyValueLike, "sqlite")
def _by_function(element: AnyValueLike, compiler: Any, **more: Any) -> str:
    return f"{_ANY_VALUE_LIKE}({compiler.process(element.clauses, **more)})"


@compiles(AnyValueLike)
def _by_array(element: AnyValueLike, compiler: Any, **more: Any) -> str:
    """As PostgreSQL has it, whose LIKE takes no longer than the product of pattern and text either."""
    text, pattern = (compiler.process(clause, **more) for clause in element.clauses)
    each = f"unnest(string_to_array({text}, '{VALUES}')) AS held(value)"
    return f"EXISTS (SELECT 1 FROM {each} WHERE held.value LIKE {pattern} ESCAPE '{ESCAPE}')"  # noqa: S608 - of SQLAlchemy's own clauses


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


def begin_writing(engine: Engine, cursor: Any) -> None:
    """Begin a transaction that will write, when it is its turn among all processes.

    A transaction that first reads and then writes fails at once if another one wrote in between; one that
    begins IMMEDIATE waits for its turn.
    """
    cursor.execute(_BEGIN_WRITING.get(engine.dialect.name, _BEGIN_WITH_LOCK))


def wait_at_most(engine: Engine, cursor: Any, seconds: float) -> None:
    """Let a transaction that begins on this connection wait so long for its turn among all processes.

    PostgreSQL's own configuration says so, as lock_timeout.
    """
    if engine.dialect.name == "sqlite":
        cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def data_version(engine: Engine, cursor: Any) -> object:
    """A value that changes when another connection changes the database; None if there is no such value."""
    if engine.dialect.name != "sqlite":
        return None
    return cursor.execute("PRAGMA data_version").fetchone()[0]


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(BEGUN):
        connection.exec_driver_sql(_BEGIN_WRITING["sqlite"] if options.get(WRITES) else "BEGIN")


def _begin_with_lock(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(WRITES) and not options.get(BEGUN):
        connection.exec_driver_sql(_BEGIN_WITH_LOCK)
