"""When each stored file was last read, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, bindparam, func, select, update

from scp.index.clock import ahead
from scp.index.dialect import reads
from scp.index.record import as_instance
from scp.index.schema import DAMAGED, INSTANCE, INSTANCE_COLUMNS, REFUSED, UNREADABLE
from scp.index.sql_queue import unclaimed, without_keys
from scp.index.writer import CHANGES, Writer
from scp.model import Instance

_NOTE = (
    update(INSTANCE)
    .where(INSTANCE.c.sop_instance_uid == bindparam("uid"), INSTANCE.c.key == bindparam("at"))
    .values(checked=bindparam("when"), fault=bindparam("told"))
)


def unchecked(since: float, now: float, most: int, elsewhere: Collection[str] = ()) -> Select[Any]:
    """Instances whose files were last read before ``since``, and that no process works on."""
    return (
        select(*INSTANCE_COLUMNS)
        .where(INSTANCE.c.checked < int(since), unclaimed(now), *without_keys(elsewhere))
        .order_by(INSTANCE.c.checked)
        .limit(most)
    )


class SqlChecks:
    """:class:`scp.index.index.Checks` on the tables and the writer of a SQL index."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def due(self, since: float, now: float, most: int, elsewhere: Collection[str] = ()) -> list[Instance]:
        """See :class:`scp.index.index.Checks`."""
        now += ahead(self._engine)
        with reads(self._engine) as connection:
            statement = unchecked(since, now, most, elsewhere)
            return [as_instance(row) for row in connection.execute(statement).mappings()]

    def oldest(self) -> int | None:
        """See :class:`scp.index.index.Checks`."""
        with reads(self._engine) as connection:
            found = connection.execute(select(func.min(INSTANCE.c.checked))).scalar_one()
        return None if found is None else int(found)

    def note(self, results: Iterable[tuple[Instance, str]], now: float) -> None:
        """See :class:`scp.index.index.Checks`."""
        rows = [
            {"uid": one.sop_instance_uid, "at": one.key, "when": int(now), "told": fault}
            for one, fault in results
        ]
        if rows:
            with self._writer.transaction(CHANGES) as connection:
                connection.execute(_NOTE, rows)

    def damaged(self, most: int | None = None) -> list[Instance]:
        """See :class:`scp.index.index.Checks`."""
        known = select(*INSTANCE_COLUMNS).where(DAMAGED).order_by(INSTANCE.c.id).limit(most)
        with reads(self._engine) as connection:
            return [as_instance(row) for row in connection.execute(known).mappings()]

    def count_damaged(self) -> int:
        """See :class:`scp.index.index.Checks`."""
        return self._count(DAMAGED)

    def unreadable(self, most: int | None = None) -> list[Instance]:
        """See :class:`scp.index.index.Checks`."""
        known = select(*INSTANCE_COLUMNS).where(UNREADABLE).order_by(INSTANCE.c.id.desc()).limit(most)
        with reads(self._engine) as connection:
            return [as_instance(row) for row in connection.execute(known).mappings()]

    def refuse(self, sop_instance_uid: str, key: str, told: str) -> bool:
        """See :class:`scp.index.index.Checks`."""
        named = INSTANCE.c.sop_instance_uid == sop_instance_uid
        mark = update(INSTANCE).where(named, INSTANCE.c.key == key).values(refused=told, planned="")
        with self._writer.transaction(CHANGES) as connection:
            return connection.execute(mark).rowcount > 0

    def refused(self, most: int | None = None) -> list[Instance]:
        """See :class:`scp.index.index.Checks`."""
        known = select(*INSTANCE_COLUMNS).where(REFUSED).order_by(INSTANCE.c.id.desc()).limit(most)
        with reads(self._engine) as connection:
            return [as_instance(row) for row in connection.execute(known).mappings()]

    def count_refused(self) -> int:
        """See :class:`scp.index.index.Checks`."""
        return self._count(REFUSED)

    def _count(self, which: ColumnElement[bool]) -> int:
        with reads(self._engine) as connection:
            found = connection.execute(select(func.count()).select_from(INSTANCE).where(which)).scalar_one()
        return int(found)
