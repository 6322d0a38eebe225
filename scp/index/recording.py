"""How the statements of a transaction that records reach the database: each at once, or in two round trips.

SQLite is in this process: each statement takes microseconds. To a database server each is a round trip of
some 0.2 ms, or several ms on a busy machine, and it has two processes change turns. So all that a group of
instances has to know is asked as its transaction begins, and its rows are sent with the commit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from sqlalchemy import Dialect

from scp.index.dialect import Kind
from scp.index.places import rows_of_series
from scp.index.prepared import (
    InstanceRows,
    Values,
    insert_instance,
    insert_instances,
    instances_of,
    named_instances,
)
from scp.model import Instance

Rows = list[tuple[Any, ...]]


class Recording(Protocol):
    """The statements that run for each instance, on a driver's cursor, in one transaction at a time."""

    def begin(self, cursor: Any, names: Sequence[str], uids: Collection[str], series: Sequence[int]) -> Rows:
        """Begin a transaction that will write, as ``begin_writing`` of :class:`scp.index.dialect.Kind`.

        It will ask for the instances of ``uids``. Returns the rows of ``series``, if it reads them here.
        """

    def named(self, cursor: Any, sop_instance_uid: str) -> list[Instance]:
        """The instances of a SOP Instance UID."""

    def insert(self, cursor: Any, values: Values) -> None:
        """Insert the row of an instance, by :meth:`flush` at the latest."""

    def flush(self, cursor: Any) -> None:
        """Insert what waits, before any statement that reads rows of instances, or changes them."""

    def commit(self, cursor: Any) -> None:
        """Insert what waits, and commit it, if anything waits."""


def recording(kind: Kind, dialect: Dialect) -> Recording:
    """That of a kind of database."""
    return RoundTrips(kind, dialect) if kind.IS_REMOTE else EachAtOnce(kind, dialect)


class EachAtOnce:
    """Every statement runs where it is needed."""

    def __init__(self, kind: Kind, dialect: Dialect) -> None:
        self._begin = kind.begin_writing
        self._rows = InstanceRows(dialect)
        self._insert = insert_instance(dialect)
        self._named = named_instances(dialect)

    def begin(
        self, cursor: Any, names: Sequence[str], _uids: Collection[str], _series: Sequence[int]
    ) -> Rows:
        """See :meth:`Recording.begin`."""
        self._begin(cursor, names)
        return []

    def named(self, cursor: Any, sop_instance_uid: str) -> list[Instance]:
        """See :meth:`Recording.named`."""
        found = self._named.run(cursor, {"uid": sop_instance_uid}).fetchall()
        return [self._rows.instance(row) for row in found]

    def insert(self, cursor: Any, values: Values) -> None:
        """See :meth:`Recording.insert`."""
        self._insert.run(cursor, values)

    def flush(self, cursor: Any) -> None:
        """See :meth:`Recording.flush`."""

    def commit(self, cursor: Any) -> None:
        """See :meth:`Recording.commit`."""


class RoundTrips:
    """One round trip asks for all that is needed, and one writes all that is new.

    ``_known`` are instances as they were looked up; those of a UID that is written are asked for again.
    """

    def __init__(self, kind: Kind, dialect: Dialect) -> None:
        self._begin = kind.begin_writing
        self._rows = InstanceRows(dialect)
        self._insert = insert_instances(dialect)
        self._named = instances_of(dialect)
        self._series = rows_of_series(dialect)
        self._known: dict[str, list[Instance]] = {}
        self._waiting: list[Values] = []

    def begin(self, cursor: Any, names: Sequence[str], uids: Collection[str], series: Sequence[int]) -> Rows:
        """See :meth:`Recording.begin`."""
        self._waiting = []
        named, above = cursor.connection.cursor(), cursor.connection.cursor()
        with cursor.connection.pipeline():
            # The server runs them in this order: what is read is read under the locks.
            self._begin(cursor, names, bool(uids))
            if uids:
                self._named.run(named, {"uids": list(uids)})
            if series:
                self._series.run(above, {"ids": list(series)})
        self._known = {uid: [] for uid in uids}
        for instance in map(self._rows.instance, named.fetchall() if uids else ()):
            self._known[instance.sop_instance_uid].append(instance)
        return above.fetchall() if series else []

    def named(self, cursor: Any, sop_instance_uid: str) -> list[Instance]:
        """See :meth:`Recording.named`."""
        if sop_instance_uid not in self._known:
            self.flush(cursor)
            found = self._named.run(cursor, {"uids": [sop_instance_uid]}).fetchall()
            return [self._rows.instance(row) for row in found]
        return self._known[sop_instance_uid]

    def insert(self, _cursor: Any, values: Values) -> None:
        """See :meth:`Recording.insert`."""
        self._waiting.append(values)
        self._known.pop(values["sop_instance_uid"], None)

    def flush(self, cursor: Any) -> None:
        """See :meth:`Recording.flush`."""
        self._known = {}
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._insert.run(cursor, {"rows": as_json(waiting)})

    def commit(self, cursor: Any) -> None:
        """See :meth:`Recording.commit`."""
        if self._waiting:
            with cursor.connection.pipeline():  # a row that cannot be inserted skips the commit
                self.flush(cursor)
                cursor.execute("COMMIT")


def as_json(rows: Sequence[Values]) -> str:
    """Rows as a JSON array of objects; without NUL, which PostgreSQL cannot store."""
    text = json.dumps(rows, default=str, ensure_ascii=False)
    if "\\u0000" not in text:
        return text
    clean = [
        {name: value.replace("\0", "") if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    return json.dumps(clean, default=str, ensure_ascii=False)
