"""All that differs between databases, as one set of functions: each kind has a module with its own.

These are :mod:`scp.index.sqlite` and :mod:`scp.index.postgresql`, which is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Boolean, Connection, Engine, Table
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from scp.errors import ConfigurationError, IndexDamaged, OutOfResources
from scp.index import sqlite
from scp.index.databases import Database, Fault, HeldTrigrams
from scp.index.keys import VALUES
from scp.index.self_description import NamesIndexed
from scp.index.sqlite_trigrams import Transaction
from scp.index.watch import Watch
from scp.index.wildcards import ESCAPE
from scp.metrics import counting

# How long a transaction that writes waits for its turn: many modalities give up after 30 s, and a C-STORE may
# have to wait for two (docs/decisions/0134). As long a query waits for a connection.
TURN_SECONDS = 10.0
# What each engine's database was found to be damaged by, for those that look after it (scp.lifecycle.guard).
_found_damaged: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()
_LET_IT_BE = (
    "index.url must name a file that zscp may read and write; move away what is in its place, then run: "
    "zscp reindex"
)
REMEDY = "the node rebuilds it from the stored files when it starts, and so does: zscp reindex"


class Kind(Protocol):
    """What each kind of database has a function for.

    ``FIRST_ROWS`` is how many matches of a query its first statement reads at most, and ``FIRST_NAMED_ROWS``
    of one that finds studies by the beginning of a name (:func:`scp.index.names.is_by_name`). ``IS_REMOTE``
    says that each statement is a round trip to another process, perhaps on another machine.
    ``FINISHES_LATE`` says that it may finish a COMMIT whose connection broke before the answer.
    ``PLANS_BY_VALUES`` says that it estimates from statistics how many rows the values of a statement's
    parameters find.
    """

    FIRST_ROWS: int
    FIRST_NAMED_ROWS: int
    PLANS_BY_VALUES: bool
    IS_REMOTE: bool
    FINISHES_LATE: bool
    begin: Callable[[Connection], None]
    connected: Callable[[Database, URL, float], Engine]
    fault: Callable[[BaseException], Fault | None]
    watched: Callable[[Any, Watch], AbstractContextManager[None]]
    is_alive: Callable[[Any], bool]
    begin_writing: Callable[..., None]  # of a cursor, names, and whether the transaction records
    wait_at_most: Callable[[Any, float], None]
    data_version: Callable[[Any], object]
    is_alone: Callable[[Connection], bool]
    count_on: Callable[[Connection, Sequence[Table]], None]
    load: Callable[[Connection, Table, Sequence[Sequence[Any]]], None]
    time_of: Callable[[Connection], float]
    index_names: Callable[[Engine, Transaction], NamesIndexed]
    held_trigrams: Callable[[Connection], HeldTrigrams]


def kind_of(name: str) -> Kind:
    """The functions for databases of a name, as SQLAlchemy has it. Raises ConfigurationError."""
    if name == "sqlite":
        return cast(Kind, sqlite)
    if name != "postgresql":
        raise ConfigurationError(f"index.url: {name} is not known; use sqlite or postgresql")
    try:
        from scp.index import postgresql  # noqa: PLC0415 - psycopg comes with an extra
    except ImportError as error:
        told = (
            "index.url: PostgreSQL needs psycopg, which is missing; install the extra postgresql"
            " (docs/configuration.md)"
        )
        raise ConfigurationError(told) from error
    return cast(Kind, postgresql)


def load(where: str | Database) -> None:
    """Load what a database needs, before processes are forked that would each load it; nothing is opened.

    psycopg takes 0.12 s of processor time. Raises :class:`scp.errors.ConfigurationError`.
    """
    kind_of(Database.at(where).parsed.get_backend_name())


def connect(where: str | Database) -> Engine:
    """An engine for a database; the folder of a SQLite file is created.

    Raises :class:`scp.errors.ConfigurationError` for an invalid URL, or a database without an installed
    driver, and :class:`scp.errors.OutOfResources` if the folder cannot be made.
    """
    database = Database.at(where)
    parsed = database.parsed
    kind = kind_of(parsed.get_backend_name())
    try:
        return kind.connected(database, parsed, TURN_SECONDS)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        raise ConfigurationError(f"index.url: {database.url!r} cannot be used: {error}") from error


def kind(engine: Engine) -> Kind:
    """The functions for the database of an engine."""
    return kind_of(engine.dialect.name)


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raise :class:`scp.errors.OutOfResources` if the database is full, locked, damaged or gone.

    So it does where rows contradict each other. No message quotes a statement or its parameters.
    """
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (DBAPIError, driver.Error) as error:
        cause = getattr(error, "orig", None) or error
        fault = kind(engine).fault(cause)
        if fault is None:
            raise
        counting.count("zscp_index_errors_total", fault)
        raise _translation(engine, fault, cause) from error
    except PoolTimeout as error:
        counting.count("zscp_index_errors_total", Fault.USE)
        told = "all connections are in use (index.connections)"
        raise OutOfResources(f"the index does not answer: {told}") from error


def _translation(engine: Engine, fault: Fault, cause: BaseException) -> OutOfResources:
    if fault is Fault.DAMAGED:
        _found_damaged[engine] = f"the index is damaged: {_in_short(cause)}"
        return IndexDamaged(f"{_found_damaged[engine]}; {REMEDY}")
    if fault is Fault.OPEN:
        return OutOfResources(f"the index cannot be opened: {_in_short(cause)}; {_LET_IT_BE}")
    if fault is Fault.CONTRADICTION:
        return OutOfResources(f"the index contradicts itself: {_in_short(cause)}; {REMEDY}")
    return OutOfResources(f"the index does not answer: {_in_short(cause)}")


def _in_short(cause: object) -> str:
    """The first line of a driver's message: the next ones of PostgreSQL's quote rows."""
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def damage(engine: Engine) -> str:
    """What the database was found damaged by since it was opened; empty if it was not."""
    return _found_damaged.get(engine, "")


@contextmanager
def reads(engine: Engine, streams: bool = False) -> Iterator[Connection]:
    """A connection that only reads; it can stream, if so asked. Raises as :func:`translated`."""
    with translated(engine), engine.connect() as connection:
        if streams:
            kind(engine).begin(connection)  # a cursor of PostgreSQL lives in a transaction
        yield connection


@contextmanager
def watched(connection: Connection, watch: Watch) -> Iterator[None]:
    """Let ``watch`` stop what the connection does within this; raises what stopped it."""
    with kind(connection.engine).watched(connection.connection.dbapi_connection, watch):
        yield


class AnyValueLike(FunctionElement[bool]):
    """Whether any value of a text with several matches a pattern of :func:`scp.index.wildcards.like`."""

    name = "any_value_like"
    type = Boolean()
    inherit_cache = True


@compiles(AnyValueLike, "sqlite")
def _by_function(element: AnyValueLike, compiler: Any, **more: Any) -> str:
    return f"{sqlite.ANY_VALUE_LIKE}({compiler.process(element.clauses, **more)})"


@compiles(AnyValueLike)
def _by_array(element: AnyValueLike, compiler: Any, **more: Any) -> str:
    """As PostgreSQL has it, whose LIKE takes no longer than the product of pattern and text either."""
    text, pattern = (compiler.process(clause, **more) for clause in element.clauses)
    each = f"unnest(string_to_array({text}, '{VALUES}')) AS held(value)"
    return f"EXISTS (SELECT 1 FROM {each} WHERE held.value LIKE {pattern} ESCAPE '{ESCAPE}')"  # noqa: S608 - of SQLAlchemy's own clauses
