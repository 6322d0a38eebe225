"""The index on a SQL database: each method one transaction around :mod:`record` or :mod:`query`."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, RowMapping, Select, func, select

from scp.index import query as reading
from scp.index import record as writing
from scp.index.dialect import WRITES, connect, translated
from scp.index.index import Counts, Statistic, Waiting
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, PATIENT, SERIES, STUDY
from scp.index.upgrade import upgrade
from scp.model import Instance, Query

_MATCHES = 500  # rows fetched at once


class SqlIndex:
    """:class:`scp.index.index.Index` on SQLite; threads may share it, processes open their own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = threading.Lock()  # takes turns fairly; SQLite's own waiting polls

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the index at ``url``, made or brought to this version's schema where it is not.

        Several processes may do so at once. Raises :class:`scp.errors.ConfigurationError` for an
        unusable URL or a database of a later version, and :class:`scp.errors.OutOfResources` if the
        database cannot be opened.
        """
        engine = connect(url)
        with translated():
            upgrade(engine)
        return cls(engine)

    def record(self, instance: Instance, attributes: Mapping[str, str]) -> Instance | None:
        """See :meth:`scp.index.index.Index.record`."""
        with self._write() as connection:
            return writing.record(connection, instance, attributes)

    def record_many(self, items: Iterable[tuple[Instance, Mapping[str, str]]]) -> list[Instance | None]:
        """See :meth:`scp.index.index.Index.record_many`."""
        ready = list(items)  # others cannot write from here on, so nothing slow may follow
        with self._write() as connection:
            return [writing.record(connection, instance, attributes) for instance, attributes in ready]

    def change_many(self, changes: Iterable[tuple[Instance, Instance]]) -> list[bool]:
        """See :meth:`scp.index.index.Index.change_many`."""
        with self._write() as connection:
            return [writing.change(connection, before, after) for before, after in changes]

    def pending(self, most: int) -> list[Instance]:
        """See :meth:`scp.index.index.Index.pending`."""
        statement = select(*INSTANCE_COLUMNS).where(INSTANCE.c.pending).order_by(INSTANCE.c.id).limit(most)
        with self._read() as connection:
            return [writing.as_instance(row) for row in connection.execute(statement).mappings()]

    def backlog(self) -> Waiting:
        """See :meth:`scp.index.index.Index.backlog`."""
        size = func.coalesce(func.sum(INSTANCE.c.stored_size), 0)
        with self._read() as connection:
            row = connection.execute(select(func.count(), size).where(INSTANCE.c.pending)).one()
        return Waiting(int(row[0]), int(row[1]))

    def sync(self) -> None:
        """See :meth:`scp.index.index.Index.sync`."""

    def remove(self, sop_instance_uid: str) -> None:
        """See :meth:`scp.index.index.Index.remove`."""
        with self._write() as connection:
            writing.remove(connection, sop_instance_uid)

    def held(self, sop_instance_uid: str) -> Instance | None:
        """See :meth:`scp.index.index.Index.held`."""
        statement = select(*INSTANCE_COLUMNS).where(INSTANCE.c.sop_instance_uid == sop_instance_uid)
        with self._read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        return None if row is None else writing.as_instance(row)

    def find(self, query: Query) -> Generator[dict[str, str], None, None]:
        """See :meth:`scp.index.index.Index.find`."""
        statement = reading.find(query)  # here, so that a faulty identifier is refused at once
        return self._stream(statement)

    def instances(self, query: Query) -> list[Instance]:
        """See :meth:`scp.index.index.Index.instances`."""
        statement = reading.instances(query)
        with self._read() as connection:
            rows = connection.execute(statement).mappings().all()
        return [writing.as_instance(row) for row in sorted(rows, key=_reading_order)]

    def all(self, batch: int = 1000) -> Iterator[Instance]:
        """See :meth:`scp.index.index.Index.all`; in the order of first arrival."""
        last = 0
        while True:
            after = select(INSTANCE.c.id, *INSTANCE_COLUMNS).where(INSTANCE.c.id > last)
            with self._read() as connection:
                rows = connection.execute(after.order_by(INSTANCE.c.id).limit(batch)).mappings().all()
            if not rows:
                return
            yield from map(writing.as_instance, rows)
            last = rows[-1]["id"]

    def statistics(self) -> list[Statistic]:
        """See :meth:`scp.index.index.Index.statistics`."""
        groups = (SERIES.c.modality, INSTANCE.c.form, INSTANCE.c.transfer_syntax)
        sums = (func.count(), func.sum(INSTANCE.c.received_size), func.sum(INSTANCE.c.stored_size))
        statement = select(*groups, *sums).select_from(INSTANCE.join(SERIES))
        with self._read() as connection:
            rows = connection.execute(statement.group_by(*groups).order_by(*groups)).all()
        return [Statistic(*row[:3], *map(int, row[3:])) for row in rows]

    def counts(self) -> Counts:
        """See :meth:`scp.index.index.Index.counts`."""
        counted = (
            PATIENT.c.id,
            STUDY.c.study_instance_uid,
            SERIES.c.series_instance_uid,
            INSTANCE.c.id,
        )
        statement = select(*(select(func.count(column)).scalar_subquery() for column in counted))
        with self._read() as connection:
            return Counts(*connection.execute(statement).one())

    def close(self) -> None:
        """See :meth:`scp.index.index.Index.close`."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        writer = self._engine.execution_options(**{WRITES: True})
        with translated(), self._writing, writer.begin() as connection:
            yield connection

    def _stream(self, statement: Select[Any]) -> Generator[dict[str, str], None, None]:
        with self._read() as connection:
            streaming = connection.execution_options(yield_per=_MATCHES)
            with streaming.execute(statement) as result:
                yield from map(reading.answer, result.mappings())


def _reading_order(row: RowMapping) -> tuple[str, int, str, int, str]:
    return (
        row["study_instance_uid"],
        _number(row["series_number_key"]),
        row["series_instance_uid"],
        _number(row["instance_number_key"]),
        row["sop_instance_uid"],
    )


def _number(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else 0
