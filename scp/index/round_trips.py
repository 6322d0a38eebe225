"""Recording in PostgreSQL: one round trip asks for all that a group needs, and one writes all that is new.

Each is a pipeline of libpq that is filled and read at once. psycopg's own pipeline waits for the socket for
each statement, and looks up each time whether it has prepared it: for an object that is recorded alone that
took about 1 ms of processor time (docs/decisions/0221).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import Connection, OperationalError, errors
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, pipeline_communicate
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Dialect

from scp.index import postgresql
from scp.index.places import rows_of_series
from scp.index.prepared import InstanceRows, Values, insert_instances, instances_of
from scp.index.recording import Rows, as_json
from scp.model import Instance

# States in which what was prepared is of no use any more: the connection does not know a statement (26000),
# it returns other types than it did (0A000), or something is wrong within the server (XX000).
_PREPARED_IN_VAIN = frozenset({"26000", "0A000", "XX000"})
# A statement with at most one parameter, $1, and its value as PostgreSQL reads it; None if it has none.
Asked = tuple[str, str | None]


class Pipeline:
    """Round trips on connections; each statement is prepared once. One thread at a time uses a connection."""

    def __init__(self) -> None:
        self._prepared: WeakKeyDictionary[Connection[Any], dict[str, bytes]] = WeakKeyDictionary()
        self._numbers = count(1)

    def run(self, connection: Connection[Any], asked: Sequence[Asked]) -> list[Rows]:
        """Run statements one after the other, in one round trip; returns the rows of each.

        After one that fails the server runs none of the others. Raises psycopg.Error; a transaction that was
        begun is still open then.
        """
        encoding, pgconn = connection.info.encoding, connection.pgconn
        known = self._prepared.get(connection, {})
        fresh: dict[str, bytes] = {}
        commands = deque[Callable[[], None]]()
        prepares: list[str] = []  # of each command the text that it prepares; empty for one that is run
        for text, value in asked:
            name = known.get(text) or fresh.get(text)
            if name is None:
                name = fresh[text] = b"zscp_%d" % next(self._numbers)
                commands.append(partial(pgconn.send_prepare, name, text.encode(encoding)))
                prepares.append(text)
            values = None if value is None else [value.encode(encoding)]
            commands.append(partial(pgconn.send_query_prepared, name, values))
            prepares.append("")
        found = _exchanged(connection, commands)
        for at, one in enumerate(found):
            if one.status == ExecStatus.FATAL_ERROR:
                error = errors.error_from_result(one, encoding=encoding)
                if error.sqlstate in _PREPARED_IN_VAIN:  # all is prepared anew, under other names
                    self._prepared.pop(connection, None)
                else:  # a rollback keeps what was prepared; the server holds it until the connection ends
                    self._prepared[connection] = known | {name: fresh[name] for name in prepares[:at] if name}
                raise error
        if fresh:
            self._prepared[connection] = known | fresh
        return [_rows(connection, one) for one, text in zip(found, prepares, strict=True) if not text]


def _exchanged(connection: Connection[Any], commands: deque[Callable[[], None]]) -> list[PGresult]:
    """Send commands, and read the result of each. Where that breaks off, the connection is closed."""
    pgconn = connection.pgconn
    with connection.lock:
        pgconn.enter_pipeline_mode()
        try:
            commands.append(pgconn.pipeline_sync)
            found = connection.wait(_conversation(pgconn, commands))
            pgconn.exit_pipeline_mode()
        except BaseException:
            pgconn.finish()  # what was asked may still be answered
            raise
    return [results[-1] for results in found[:-1]]


def _conversation(pgconn: Any, commands: deque[Callable[[], None]]) -> Generator[Any, Any, list[Any]]:
    found: list[Any] = yield from pipeline_communicate(pgconn, commands)
    while not found or found[-1][-1].status != ExecStatus.PIPELINE_SYNC:
        results = yield from fetch_many(pgconn)
        if not results:
            raise OperationalError("the server ended its answers too early")
        found.append(results)
    return found


def _rows(connection: Connection[Any], result: PGresult) -> Rows:
    if not result.ntuples:
        return []
    read = Transformer(connection)
    read.set_pgresult(result)
    rows: Rows = read.load_rows(0, result.ntuples, tuple)
    return rows


class RoundTrips:
    """:class:`scp.index.recording.Recording` in two round trips.

    ``_known`` are instances as they were looked up; those of a UID that is written are asked for again.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._pipeline = Pipeline()
        self._rows = InstanceRows(dialect)
        self._insert = insert_instances(dialect)
        self._named = instances_of(dialect)
        self._series = rows_of_series(dialect)
        self._known: dict[str, list[Instance]] = {}
        self._waiting: list[Values] = []

    def begin(self, cursor: Any, names: Sequence[str], uids: Collection[str], series: Sequence[int]) -> Rows:
        """See :meth:`scp.index.recording.Recording.begin`."""
        self._waiting = []
        # The server runs them in this order: what is read is read under the locks.
        turn, numbers = postgresql.turn(names, bool(uids))
        asked: list[Asked] = [(postgresql.BEGIN, None), (turn.replace("%s", "$1"), _array(numbers))]
        if uids:
            asked.append((self._named.numbered("uids"), _array(uids)))
        if series:
            asked.append((self._series.numbered("ids"), _array(series)))
        found = self._pipeline.run(cursor.connection, asked)
        self._known = {uid: [] for uid in uids}
        for instance in map(self._rows.instance, found[2] if uids else ()):
            self._known[instance.sop_instance_uid].append(instance)
        return found[-1] if series else []

    def named(self, cursor: Any, sop_instance_uid: str) -> list[Instance]:
        """See :meth:`scp.index.recording.Recording.named`."""
        if sop_instance_uid not in self._known:
            self.flush(cursor)
            found = self._named.run(cursor, {"uids": [sop_instance_uid]}).fetchall()
            return [self._rows.instance(row) for row in found]
        return self._known[sop_instance_uid]

    def insert(self, _cursor: Any, values: Values) -> None:
        """See :meth:`scp.index.recording.Recording.insert`."""
        self._waiting.append(values)
        self._known.pop(values["sop_instance_uid"], None)

    def flush(self, cursor: Any) -> None:
        """See :meth:`scp.index.recording.Recording.flush`."""
        self._known = {}
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._insert.run(cursor, {"rows": as_json(waiting)})

    def commit(self, cursor: Any) -> None:
        """See :meth:`scp.index.recording.Recording.commit`."""
        waiting, self._waiting, self._known = self._waiting, [], {}
        if waiting:  # a row that cannot be inserted skips the commit
            insert = self._insert.numbered("rows"), as_json(waiting)
            self._pipeline.run(cursor.connection, [insert, ("COMMIT", None)])


def _array(values: Collection[object]) -> str | None:
    """Values as the text of an array, without NUL, which PostgreSQL cannot store; None for none."""
    if not values:
        return None
    texts = (str(value).replace("\0", "").replace("\\", r"\\").replace('"', r"\"") for value in values)
    return "{" + ",".join(f'"{text}"' for text in texts) + "}"
