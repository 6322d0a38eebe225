"""What is PostgreSQL's own: connections that can be watched, the turns of writers, what its errors mean.

:mod:`scp.index.sqlite` has the same functions for SQLite; :mod:`scp.index.dialect` chooses. psycopg comes
with the extra ``postgresql``.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from select import POLLIN
from select import poll as poller
from typing import Any

import psycopg
from psycopg import errors
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, false, func, select
from sqlalchemy.exc import InvalidatePoolError

from scp.index import trigrams
from scp.index.databases import BEGUN, WRITES, Database, Fault, HeldTrigrams
from scp.index.self_description import NamesIndexed
from scp.index.watch import Watch

_EVERY = 0.05  # seconds between two looks while a statement runs
# A statement that runs for so long may run on a server that answers nobody: then that is found out.
_SILENT_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CONNECTING = {
    "application_name": "zscp",
    "connect_timeout": 5,
    # A host that vanished is noticed within 20 s, whether or not anything was sent to it.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Writers take turns by locks that end with their transaction. A process that is paused, or whose machine is
# lost, must not keep all nodes from writing: the server ends its transaction after 15 s, which is longer than
# others wait for their turn (10 s). It notices within 20 s that a machine is gone, as the client does above.
_LOST = (
    "SET idle_in_transaction_session_timeout = '15s'; SET tcp_keepalives_idle = 10; "
    "SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000"
)
# Queries of a node read some rows by their indexes. To compile one takes 100 ms, to start other processes for
# one 10, and a plan that is made for any range of names or dates reads the wrong index for some.
_SESSION = "SET jit = off; SET max_parallel_workers_per_gather = 0; SET plan_cache_mode = force_custom_plan"
# Until the transaction ends. A plan that is made once must not rely on a table that is still small.
_PLANNED_ONCE = (
    ", set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)"
)
# PostgreSQL answers when it has found all. A cursor would give the first rows on, for four more round trips.
FIRST_ROWS = 64
FIRST_NAMED_ROWS = 8  # of each the modality is looked up among the series, which takes most of the time
IS_REMOTE = True
FINISHES_LATE = True
PLANS_BY_VALUES = True  # see force_custom_plan above
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_WRITERS = 0x7A736370  # "zscp": the advisory lock that one writer has alone, or several share
_MIGRATION_SECONDS = 600
_DAY_SECONDS = 86_400.0
# Classes of SQLSTATE in which the server could not do what was asked, whatever that was; and what an admin
# has not allowed.
_REFUSING = frozenset({"08", "25", "40", "53", "54", "55", "57", "58"})
_FORBIDDEN = frozenset({"42501"})
_DAMAGED = frozenset({"XX001", "XX002"})


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose statements can be stopped, and that notices a server which answers nobody.

    ``look`` is called every 50 ms while a statement runs, in the thread that waits for it. What it raises
    ends the statement, on the server too.
    """

    look: Callable[[], None] | None = None

    def wait(self, gen: Any, interval: float = _EVERY, timeout: float | None = None) -> Any:
        """Wait for the driver's generator, as psycopg does, and look meanwhile."""
        stopped: list[BaseException] = []
        try:
            return super().wait(self._watched(gen, stopped), min(interval, _EVERY), timeout)
        except BaseException as error:
            if error in stopped:
                self._end(gen)
            raise

    def _watched(self, gen: Any, stopped: list[BaseException]) -> Generator[Any, Any, Any]:
        probed = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                try:
                    if self.look is not None:
                        self.look()
                    if not ready and time.monotonic() - probed > _SILENT_SECONDS:
                        self._probe()
                        probed = time.monotonic()
                except BaseException as error:
                    stopped.append(error)
                    raise
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _end(self, gen: Any) -> None:
        """Cancel the statement on the server, and read until it has ended; else close the connection."""
        try:
            self.cancel_safe(timeout=_ANSWER_SECONDS)
            super().wait(gen, timeout=_ANSWER_SECONDS)
        except errors.QueryCanceled:
            pass  # as asked
        except Exception:  # noqa: BLE001 - its state is unknown; the pool opens another one
            self.pgconn.finish()

    def _probe(self) -> None:
        """Raise OperationalError where the server does not answer a new connection."""
        host, port = self.info.host, self.info.port
        try:
            if host.startswith("/"):
                probe = socket.socket(socket.AF_UNIX)
                probe.settimeout(_ANSWER_SECONDS)
                probe.connect(f"{host}/.s.PGSQL.{port}")
            else:
                probe = socket.create_connection((host, port), _ANSWER_SECONDS)
            with probe:
                probe.settimeout(_ANSWER_SECONDS)
                probe.sendall(_SSL_REQUEST)
                if probe.recv(1):
                    return
        except OSError:
            pass
        self.pgconn.finish()
        raise errors.OperationalError(f"the server has not answered for {_SILENT_SECONDS:.0f} s")


def is_alive(connection: Any) -> bool:
    """Whether the server has not closed an idle connection; to ask it would take a round trip."""
    if connection.closed:
        return False
    poll = poller()
    poll.register(connection.pgconn.socket, POLLIN)
    return not poll.poll(0)


def connected(database: Database, parsed: URL, seconds: float) -> Engine:
    """An engine of WatchedConnections that begin no transaction by themselves.

    Who needs several statements in a transaction begins it: each BEGIN and COMMIT is a round trip. At most
    ``database.connections`` are open; who wants another one waits for ``seconds``.
    """
    engine = create_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        pool_size=database.connections,
        max_overflow=0,
        pool_timeout=seconds,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=_CONNECTING,
    )
    event.listen(engine, "do_connect", _watched_connection)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkout", _check)
    event.listen(engine, "begin", _begin)
    return engine


def _watched_connection(_dialect: Any, _record: Any, arguments: Any, options: Any) -> WatchedConnection:
    return WatchedConnection.connect(*arguments, **options)


class _StorableText(StrDumper):
    """Text without NUL, which PostgreSQL cannot store; it pads what some equipment sends."""

    def dump(self, obj: str) -> Any:
        """As psycopg does."""
        return super().dump(obj.replace("\0", ""))


def _prepare(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    connection.adapters.register_dumper(str, _StorableText)
    connection.execute(f"{_SESSION}; {_LOST}")


def _check(connection: Any, _record: Any, _proxy: Any) -> None:
    if not is_alive(connection):
        raise InvalidatePoolError("the server closed the connection")


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(WRITES) and not options.get(BEGUN):
        waits = f"SET LOCAL lock_timeout = '{_MIGRATION_SECONDS}s'"
        connection.exec_driver_sql(f"BEGIN; {waits}; SELECT pg_advisory_xact_lock({_WRITERS})")


def fault(error: BaseException) -> Fault | None:
    """What an error of the driver means; None for one that only a fault of zscp's own can cause."""
    state = getattr(error, "sqlstate", None) or ""
    if state in _DAMAGED:
        return Fault.DAMAGED
    if isinstance(error, psycopg.IntegrityError):
        return Fault.CONTRADICTION
    if isinstance(error, psycopg.OperationalError) or state[:2] in _REFUSING or state in _FORBIDDEN:
        return Fault.USE
    return None


@contextmanager
def watched(connection: Any, watch: Watch) -> Iterator[None]:
    """Let ``watch`` stop what a driver's connection does within this; raises what stopped it."""
    connection.look = watch.look
    try:
        with watch.working():
            yield
    finally:
        connection.look = None


def begin(connection: Connection) -> None:
    """Begin a transaction; it ends when it is committed, or when the pool has the connection back."""
    connection.exec_driver_sql("BEGIN")


def begin_writing(cursor: Any, names: Sequence[str], records: bool = False) -> None:
    """Begin a transaction that will write, when it is its turn among all nodes.

    It has its turn when no other one has that writes under one of the same ``names``; without names, when no
    other one has at all. Locks are taken in one order, so that no two wait for each other. One that
    ``records`` finds rows by their keys alone, so that its statements are planned once: to plan them each
    time took a third of the server's time for an object.
    """
    cursor.execute(BEGIN)
    statement, numbers = turn(names, records)
    cursor.execute(statement, [numbers] if numbers else None)


def turn(names: Sequence[str], records: bool) -> tuple[str, list[int]]:
    """The statement that waits for a turn, and its one parameter; it has none where there are no names."""
    if not (locks := sorted({_number(name) for name in names})):
        return f"SELECT pg_advisory_xact_lock({_WRITERS})", []
    shared = f"SELECT pg_advisory_xact_lock_shared({_WRITERS}), pg_advisory_xact_lock(each)"
    planned = _PLANNED_ONCE if records else ""
    return f"{shared}{planned} FROM unnest(%s::bigint[]) AS each", locks


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def wait_at_most(cursor: Any, seconds: float) -> None:
    """Let a transaction that begins on this connection wait so long for its turn among all nodes."""
    cursor.execute(f"SET lock_timeout = {max(1, int(seconds * 1000))}")


def data_version(_cursor: Any) -> object:
    """None: PostgreSQL has no value that changes when another connection changes the database."""
    return None


def is_alone(connection: Connection) -> bool:
    """Keep writers from the database until the connection is closed; False where others have it open."""
    locked = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_WRITERS})").scalar_one()
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'zscp' AND pid <> pg_backend_pid()"
    )
    return bool(locked) and not connection.exec_driver_sql(others).scalar_one()


def count_on(connection: Connection, tables: Sequence[Table]) -> None:
    """Let the numbers of new rows follow the greatest of each table."""
    for table in tables:
        greatest = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
        sequence = func.pg_get_serial_sequence(table.name, "id")
        connection.execute(select(func.setval(sequence, greatest, false())))


def load(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Add whole rows to a table, in one statement: COPY takes a fraction of what INSERT does."""
    plain: Any = connection.connection.dbapi_connection
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    with plain.cursor() as cursor:
        cursor.adapters.register_dumper(str, StrDumper)  # the driver's own, compiled
        with cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(_storable(row))


def _storable(row: Sequence[Any]) -> Sequence[Any]:
    """A row without NUL, as :class:`_StorableText` has it."""
    if "\0" not in "".join([value for value in row if isinstance(value, str)]):
        return row
    return [value.replace("\0", "") if isinstance(value, str) else value for value in row]


def held_trigrams(_connection: Connection) -> HeldTrigrams:
    """None that a query has to name: PostgreSQL knows which indexes it has."""
    return HeldTrigrams(complete=False, due=False)


def index_names(engine: Engine, _transaction: object) -> NamesIndexed:
    """Make the indexes of trigrams; see :func:`scp.index.trigrams.make`."""
    return NamesIndexed(trigrams.make(engine), _DAY_SECONDS)


def time_of(connection: Connection) -> float:
    """The database's clock, in seconds since 1970."""
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
