"""How the statements of a transaction that records reach the database: each at once, or in two round trips.

SQLite is in this process: each statement takes microseconds. To a database server each is a round trip of
some 0.2 ms, or several ms on a busy machine, and it has two processes change turns. So all that a group of
instances has to know is asked as its transaction begins, and its rows are sent with the commit
(:mod:`scp.index.round_trips`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy import Dialect

from scp.index.dialect import Kind
from scp.index.prepared import InstanceRows, Values, insert_instance, named_instances
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
    if not kind.IS_REMOTE:
        return EachAtOnce(kind, dialect)
    found: Recording = import_module("scp.index.round_trips").RoundTrips(dialect)  # it needs the driver
    return found


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
