"""The nodes that share a SQL index, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Table, delete, insert, literal, select, update

from scp.index import clock
from scp.index.dialect import reads
from scp.index.nodes import KnownNode, NodeReport, Request
from scp.index.prepared import INSERTS
from scp.index.schema import INSTANCE, NODE, NODE_REQUEST, PENDING, SERIES, STUDY
from scp.index.writer import Writer

_REPORT = [NODE.c[name] for name in NodeReport.__dataclass_fields__]
_REQUEST = [NODE_REQUEST.c[name] for name in Request.__dataclass_fields__]


class SqlNodes:
    """:class:`scp.index.nodes.Nodes` on the tables and the writer of a SQL index."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def beat(self, report: NodeReport) -> list[KnownNode]:
        """See :class:`scp.index.nodes.Nodes`."""
        values = asdict(report) | {"associations": json.dumps(dict(report.associations)), "stopped": False}
        with self._writer.transaction([NODE.name], counts=False) as connection:
            now = clock.now(connection)
            before = _all(connection, now)
            own = update(NODE).where(NODE.c.id == report.id).values(**values, seen=now)
            if not connection.execute(own).rowcount:
                connection.execute(insert(NODE).values(**values, seen=now))
        return before

    def all(self) -> list[KnownNode]:
        """See :class:`scp.index.nodes.Nodes`."""
        with reads(self._engine) as connection:
            return _all(connection, clock.now(connection))

    def stop(self, node: str, start: str) -> None:
        """See :class:`scp.index.nodes.Nodes`."""
        own = (NODE.c.id == node) & (NODE.c.start == start)
        self._write([NODE], update(NODE).where(own).values(stopped=True, associations="{}"))

    def forget(self, node: str) -> None:
        """See :class:`scp.index.nodes.Nodes`."""
        requests = delete(NODE_REQUEST).where(NODE_REQUEST.c.node == node)
        self._write([NODE, NODE_REQUEST], delete(NODE).where(NODE.c.id == node), requests)

    def ask(self, requests: Iterable[Request]) -> None:
        """See :class:`scp.index.nodes.Nodes`."""
        rows = [asdict(one) for one in requests]
        if rows:
            with self._writer.transaction([NODE_REQUEST.name]) as connection:
                connection.execute(self._insert(connection), rows)

    def ask_for_study(self, node: str, study_instance_uid: str, prefix: str, most: int = 1000) -> None:
        """See :class:`scp.index.nodes.Nodes`."""
        found = (
            select(literal(node), literal("upload"), INSTANCE.c.key)
            .select_from(STUDY.join(SERIES).join(INSTANCE))
            .where(STUDY.c.study_instance_uid == study_instance_uid, PENDING)
            .where(INSTANCE.c.key.startswith(prefix, autoescape=True))
            .order_by(INSTANCE.c.id)
            .limit(most)
        )
        with self._writer.transaction([NODE_REQUEST.name]) as connection:
            connection.execute(self._insert(connection).from_select([one.name for one in _REQUEST], found))

    def asked(self, node: str) -> list[Request]:
        """See :class:`scp.index.nodes.Nodes`."""
        wanted = select(*_REQUEST).where(NODE_REQUEST.c.node == node).order_by(NODE_REQUEST.c.id)
        with reads(self._engine) as connection:
            return [Request(**row) for row in connection.execute(wanted).mappings()]

    def is_asked(self, request: Request) -> bool:
        """See :class:`scp.index.nodes.Nodes`."""
        with reads(self._engine) as connection:
            return connection.execute(select(NODE_REQUEST.c.id).where(_is(request))).first() is not None

    def done(self, requests: Iterable[Request]) -> None:
        """See :class:`scp.index.nodes.Nodes`."""
        self._write([NODE_REQUEST], *(delete(NODE_REQUEST).where(_is(one)) for one in requests))

    def _write(self, tables: Iterable[Table], *statements: Any) -> None:
        if statements:
            with self._writer.transaction([one.name for one in tables]) as connection:
                for one in statements:
                    connection.execute(one)

    @staticmethod
    def _insert(connection: Connection) -> Any:
        return INSERTS[connection.dialect.name](NODE_REQUEST).on_conflict_do_nothing(index_elements=_REQUEST)


def _is(one: Request) -> Any:
    return (
        (NODE_REQUEST.c.node == one.node) & (NODE_REQUEST.c.act == one.act) & (NODE_REQUEST.c.key == one.key)
    )


def _all(connection: Connection, now: datetime) -> list[KnownNode]:
    rows = connection.execute(select(*_REPORT, NODE.c.seen, NODE.c.stopped).order_by(NODE.c.name, NODE.c.id))
    return [_known(row, now) for row in rows.mappings()]


def _known(row: RowMapping, now: datetime) -> KnownNode:
    said = {name: row[name] for name in NodeReport.__dataclass_fields__}
    report = NodeReport(**said | {"associations": json.loads(row["associations"])})
    # A clock that was set back must not make a node live for ever: one that is ahead counts as silent, too.
    return KnownNode(report, abs((now - row["seen"]).total_seconds()), row["stopped"])
