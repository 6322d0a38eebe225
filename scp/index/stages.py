"""Queries for the stages of a policy: which instances are due, and which are yet to be planned.

There is no queue: due instances are found by a query, and a process that works on one claims it
(:class:`scp.index.queue.Claims`). Each method is one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    select,
    update,
)

from scp.identity import Identity
from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.clock import ahead
from scp.index.dialect import reads
from scp.index.fact_sums import SumKeys, SummedFacts
from scp.index.index import PolicyRow
from scp.index.record import as_instance
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, PATIENT, SERIES, SETTLED, SOUND, STUDY
from scp.index.sql_fact_sums import picked, sums
from scp.index.sql_packing import SqlPacking
from scp.index.sql_queue import unclaimed
from scp.index.watch import Watch
from scp.index.writer import CHANGES
from scp.model import Instance

_TOUCHED_AT_ONCE = 500  # others write in between
_JOINED = INSTANCE.join(SERIES).join(STUDY, SERIES.c.parent == STUDY.c.id).join(PATIENT)
_WORKED_ON = and_(SOUND, INSTANCE.c.refused == "")
_TABLES = {"PATIENT": PATIENT, "STUDY": STUDY, "SERIES": SERIES, "IMAGE": INSTANCE}
# An instance that was retrieved, or refused, since it was read stays unplanned: else that would be lost.
_PLAN = (
    update(INSTANCE)
    .where(
        INSTANCE.c.sop_instance_uid == bindparam("uid"),
        INSTANCE.c.key == bindparam("at"),
        INSTANCE.c.accessed == bindparam("retrieved"),
        INSTANCE.c.refused == bindparam("not_done"),
    )
    .values(planned=bindparam("policy"), due=bindparam("when"))
)


def due(policy: str, now: float, there: float, most: int) -> Select[Any]:
    """Instances for which a stage is due and that no process works on, the longest due first.

    ``there`` is now in the database's time, by which claims end.
    """
    is_due = INSTANCE.c.due <= int(now)
    return (
        select(*INSTANCE_COLUMNS)
        .where(SETTLED, INSTANCE.c.planned == policy, is_due, _WORKED_ON, unclaimed(there))
        .order_by(INSTANCE.c.due)
        .limit(most)
    )


def next_due(policy: str, there: float) -> Select[Any]:
    """When a stage is next due, for any instance that no process works on; ``there`` as for :func:`due`."""
    where = (SETTLED, INSTANCE.c.planned == policy, _WORKED_ON, unclaimed(there))
    return select(INSTANCE.c.due).where(*where).order_by(INSTANCE.c.due).limit(1)


def unplanned(policy: str, keywords: Sequence[str], most: int) -> list[Select[Any]]:
    """Instances that were last planned under another policy, as two ranges of one database index."""
    planned = INSTANCE.c.planned
    rows = select(*_columns(keywords)).select_from(_JOINED).limit(most)
    return [rows.where(SETTLED, where) for where in (planned < policy, planned > policy)]


def policy_rows(keywords: Sequence[str], after: int, most: int) -> Select[Any]:
    """The instances that are not pending, in the order of arrival, after the row ``after``."""
    rows = select(INSTANCE.c.id.label("row"), *_columns(keywords)).select_from(_JOINED)
    return rows.where(INSTANCE.c.id > after, ~INSTANCE.c.pending).order_by(INSTANCE.c.id).limit(most)


def _columns(keywords: Sequence[str]) -> Iterator[ColumnElement[Any]]:
    yield from INSTANCE_COLUMNS
    for keyword in keywords:
        attribute = HELD_BY_KEYWORD[keyword]
        yield _TABLES[attribute.table].c[attribute.column].label(f"@{keyword}")


class SqlStages(SqlPacking):
    """:class:`scp.index.index.DueStages` on the tables and the writer of a SQL index."""

    def due(self, policy: str, now: float, most: int) -> list[Instance]:
        """See :class:`scp.index.index.DueStages`."""
        statement = due(policy, now, self._there(now), most)
        with reads(self._engine) as connection:
            return [as_instance(row) for row in connection.execute(statement).mappings()]

    def next_due(self, policy: str, now: float) -> int | None:
        """See :class:`scp.index.index.DueStages`."""
        with reads(self._engine) as connection:
            found = connection.execute(next_due(policy, self._there(now))).scalar()
        return None if found is None else int(found)

    def _there(self, now: float) -> float:
        """The earlier of two clocks in the database's time."""
        return now + max(0, ahead(self._engine))

    def unplanned(self, policy: str, keywords: Sequence[str], most: int) -> list[PolicyRow]:
        """See :class:`scp.index.index.DueStages`."""
        found: list[PolicyRow] = []
        with reads(self._engine) as connection:
            for statement in unplanned(policy, keywords, most):
                if len(found) < most:
                    rows = connection.execute(statement).mappings()
                    found += [_standing(row, keywords) for row in rows]
        return found

    def plan(self, policy: str, planned: Iterable[tuple[Instance, int]]) -> None:
        """See :class:`scp.index.index.DueStages`."""
        rows = [
            {
                "uid": one.sop_instance_uid,
                "at": one.key,
                "retrieved": one.accessed,
                "not_done": one.refused,
                "policy": policy,
                "when": when,
            }
            for one, when in planned
        ]
        if rows:
            with self._writer.transaction(CHANGES) as connection:
                connection.execute(_PLAN, rows)

    def record_access(self, instances: Iterable[Instance], now: float, exactness: float) -> None:
        """See :class:`scp.index.index.DueStages`."""
        wanted = iter(instances)
        while some := list(islice(wanted, _TOUCHED_AT_ONCE)):
            values = zip(Identity._fields, zip(*(one.identity for one in some), strict=True), strict=True)
            named = and_(*(INSTANCE.c[name].in_(set(of)) for name, of in values))
            earlier = INSTANCE.c.accessed < int(now - exactness)
            self._write(update(INSTANCE).where(named, earlier).values(accessed=int(now), planned=""))

    def policy_rows(self, keywords: Sequence[str], batch: int = 1000) -> Iterator[PolicyRow]:
        """See :class:`scp.index.index.DueStages`."""
        last = 0
        while True:
            with reads(self._engine) as connection:
                rows = connection.execute(policy_rows(keywords, last, batch)).mappings().all()
            if not rows:
                return
            yield from (_standing(row, keywords) for row in rows)
            last = rows[-1]["row"]

    def policy_rows_of(self, keywords: Sequence[str], instances: Iterable[Instance]) -> list[PolicyRow]:
        """See :class:`scp.index.index.DueStages`."""
        identities = {one.identity for one in instances}
        named = INSTANCE.c.sop_instance_uid.in_({one.sop_instance_uid for one in identities})
        rows = select(*_columns(keywords)).select_from(_JOINED).where(named, ~INSTANCE.c.pending)
        with reads(self._engine) as connection:
            found = [_standing(row, keywords) for row in connection.execute(rows).mappings()]
        return [one for one in found if one.instance.identity in identities]

    def sums(self, keys: SumKeys, most: int | None = None, watch: Watch | None = None) -> SummedFacts:
        """See :class:`scp.index.fact_sums.FactSums`."""
        return sums(self._engine, keys, most, watch)

    def picked(self, most: int) -> list[Instance]:
        """See :class:`scp.index.fact_sums.FactSums`."""
        return picked(self._engine, most)

    def _write(self, statement: Any) -> None:
        with self._writer.transaction(CHANGES) as connection:
            connection.execute(statement)


def _standing(row: Any, keywords: Sequence[str]) -> PolicyRow:
    return PolicyRow(as_instance(row), {keyword: row[f"@{keyword}"] or "" for keyword in keywords})
