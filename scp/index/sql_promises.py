"""Promises of storage commitment as rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import islice

from sqlalchemy import Connection, Engine, delete, func, select

from scp.errors import DuplicateRejected
from scp.index.dialect import reads
from scp.index.prepared import INSERTS
from scp.index.promises import PROMISED_SINCE
from scp.index.rows import texts
from scp.index.schema import COMMITTED, INSTANCE, META
from scp.index.writer import Writer
from scp.model import Instance

_AT_ONCE = 500  # rows of one statement
_LATER_SECONDS = 0.001


class SqlPromises:
    """:class:`scp.index.promises.Promises` on a SQL database."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def add(self, sop_instance_uids: Iterable[str]) -> None:
        """See Promises."""
        left = iter(sorted(set(sop_instance_uids)))
        while some := list(islice(left, _AT_ONCE)):
            with self._writer.transaction([COMMITTED.name], counts=False) as connection:
                statement = INSERTS[connection.dialect.name](COMMITTED).on_conflict_do_nothing()
                connection.execute(statement, [{"sop_instance_uid": uid} for uid in some])

    def covers(self, sop_instance_uid: str) -> bool:
        """See Promises."""
        with reads(self._engine) as connection:
            return _covers(connection, sop_instance_uid)

    def forget(self, instance: Instance) -> bool:
        """See Promises: without a name for its transaction all others that write wait."""
        with self._writer.transaction() as connection:
            uid, key = instance.sop_instance_uid, instance.key
            return not _covers(connection, uid) and self._writer.remove(connection, uid, key)

    def record(self, copy: Instance, attributes: Mapping[str, str]) -> Instance | None:
        """See Promises: without a name for its transaction all others that write wait."""
        item = (copy, texts(copy, attributes))
        with self._writer.transaction(items=[item]) as connection:
            if _covers(connection, copy.sop_instance_uid):
                raise DuplicateRejected(f"a storage commitment was answered for {copy.sop_instance_uid}")
            return self._writer.record(connection, item)

    def since(self) -> float:
        """See Promises: an index that does not say it knows them from now on."""
        sought = select(META.c.value).where(META.c.name == PROMISED_SINCE)
        with reads(self._engine) as connection:
            found = connection.execute(sought).scalar()
        if found is not None:
            return float(found)
        return self.begin()

    def begin(self) -> float:
        """See Promises."""
        with self._writer.transaction([META.name], counts=False) as connection:
            latest = connection.execute(select(func.max(INSTANCE.c.received_at))).scalar()
            since: float = max(time.time(), 0.0 if latest is None else latest.timestamp() + _LATER_SECONDS)
            connection.execute(delete(META).where(META.c.name == PROMISED_SINCE))
            connection.execute(META.insert().values(name=PROMISED_SINCE, value=f"{since:.6f}"))
        return since


def _covers(connection: Connection, sop_instance_uid: str) -> bool:
    sought = select(COMMITTED).where(COMMITTED.c.sop_instance_uid == sop_instance_uid)
    return connection.execute(sought).first() is not None
