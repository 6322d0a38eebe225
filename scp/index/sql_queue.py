"""Claims as rows: those on instances in a table of their own, those on a queue's rows in the rows themselves.

Those who claim in one table take turns, in all processes of all nodes: no other transaction changes a claim
between one transaction's reading and writing it. Rows have the database's time (:mod:`scp.index.clock`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    true,
    update,
)

from scp.index.clock import ahead, here, there
from scp.index.dialect import reads
from scp.index.queue import Lease
from scp.index.record import as_instance
from scp.index.schema import CLAIM, INSTANCE, INSTANCE_COLUMNS
from scp.index.writer import Writer
from scp.model import Commitment, Instance, QueuedSend

# No claim lasts for longer than an hour: one that ends later was made before the clock was set back.
_LONGEST_CLAIM = 2 * 3600

Row = TypeVar("Row", Commitment, QueuedSend)


@contextmanager
def _turn(writer: Writer, table: Table, lease: Lease) -> Iterator[tuple[Connection, Lease]]:
    """A transaction on claims in ``table``, and the lease as from its beginning, in the database's time.

    Waiting for other processes that write may take 30 s, and a lease is over after 9.
    """
    asked, difference = time.monotonic(), ahead(writer.engine)
    with writer.transaction([table.name]) as connection:
        yield connection, lease.later(int(time.monotonic() - asked) + difference)


def unclaimed(now: float) -> ColumnElement[bool]:
    """The condition that no process works on an instance, ``now`` in the database's time."""
    claimed = CLAIM.c.sop_instance_uid == INSTANCE.c.sop_instance_uid
    lasts = CLAIM.c.until.between(int(now) + 1, int(now) + _LONGEST_CLAIM)
    return ~exists().where(claimed, lasts)


def without_keys(prefixes: Collection[str]) -> list[ColumnElement[bool]]:
    """The conditions that an instance is stored under no key with one of these prefixes."""
    return [~INSTANCE.c.key.startswith(one, autoescape=True) for one in sorted(prefixes)]


class SqlClaims:
    """:class:`scp.index.queue.Claims` on the writer of a SQL index."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def claim(self, lease: Lease, instances: Iterable[Instance]) -> list[Instance]:
        """See :class:`scp.index.queue.Claims`."""
        identities = {one.identity for one in instances}
        wanted = sorted({one.sop_instance_uid for one in identities})
        with _turn(self._writer, CLAIM, lease) as (connection, current):
            now = int(current.now.timestamp())
            over = (CLAIM.c.until <= now) | (CLAIM.c.until > now + _LONGEST_CLAIM)
            connection.execute(delete(CLAIM).where((CLAIM.c.owner == current.holder) | over))
            taken = select(CLAIM.c.sop_instance_uid).where(CLAIM.c.sop_instance_uid.in_(wanted))
            others = set(connection.execute(taken).scalars())
            free = [uid for uid in wanted if uid not in others]
            if not free:
                return []
            own = {"owner": current.holder, "until": _seconds(current.until)}
            connection.execute(insert(CLAIM), [{"sop_instance_uid": uid, **own} for uid in free])
            held = select(*INSTANCE_COLUMNS).where(INSTANCE.c.sop_instance_uid.in_(free))
            # Read again: another process may have finished and released one since it was found due.
            found = [as_instance(row) for row in connection.execute(held).mappings()]
            return [one for one in found if one.identity in identities]

    def renew(self, lease: Lease) -> None:
        """See :class:`scp.index.queue.Claims`."""
        own = update(CLAIM).where(CLAIM.c.owner == lease.holder)
        with _turn(self._writer, CLAIM, lease) as (connection, current):
            connection.execute(own.values(until=_seconds(current.until)))

    def release(self, holder: str) -> None:
        """See :class:`scp.index.queue.Claims`."""
        self._write(delete(CLAIM).where(CLAIM.c.owner == holder))

    def hold(self, uids: Iterable[str], until: datetime) -> None:
        """See :class:`scp.index.queue.Claims`."""
        held = update(CLAIM).where(CLAIM.c.sop_instance_uid.in_(list(uids)))
        self._write(held.values(owner="", until=_seconds(there(self._writer.engine, until))))

    def _write(self, statement: Any) -> None:
        with self._writer.transaction([CLAIM.name]) as connection:
            connection.execute(statement)


def _seconds(moment: datetime) -> int:
    """Since 1970, as the column has it; a claim never ends before its lease."""
    return math.ceil(moment.timestamp())


class SqlClaimedQueue(ABC, Generic[Row]):
    """:class:`scp.index.queue.ClaimedQueue` on a table of its own.

    ``peer`` is the column with the peer of a row, ``waits`` the condition for rows that are tried, and
    ``undone`` that for all that are not done. The peer of the first row by ``urgency`` is next, with its
    first rows by ``order``.
    """

    table: Table
    peer: Column[str]
    waits: ColumnElement[bool] = true()
    undone: ColumnElement[bool] = true()
    urgency: tuple[ColumnElement[Any], ...]
    order: tuple[ColumnElement[Any], ...]

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    @abstractmethod
    def _row(self, row: RowMapping) -> Row:
        """The entry in a row of the table."""

    def claim(self, lease: Lease, most: int, busy: Collection[str] = ()) -> list[Row]:
        """See :meth:`scp.index.queue.ClaimedQueue.claim`."""
        own = self.table.c
        is_due = self.waits & (own.due <= there(self._engine, lease.now)) & self.peer.not_in(busy)
        first = select(self.peer).where(is_due).order_by(*self.urgency).limit(1)
        with reads(self._engine) as connection:  # most calls find nothing, and need no writer's turn
            if connection.execute(first).first() is None:
                return []
        with _turn(self._writer, self.table, lease) as (connection, current):
            peer = connection.execute(first).scalar()
            found = select(own.id).where(is_due, self.peer == peer).order_by(*self.order).limit(most)
            ids = connection.execute(found).scalars().all()
            claimed = update(self.table).where(own.id.in_(ids)).values(holder=lease.holder, due=current.until)
            rows = connection.execute(claimed.returning(self.table)).mappings().all()
        places = {number: place for place, number in enumerate(ids)}
        return [self._row(row) for row in sorted(rows, key=lambda row: places[row["id"]])]

    def transaction(self) -> AbstractContextManager[Connection]:
        """One in which no other process changes claims on rows of this table."""
        return self._writer.transaction([self.table.name])

    def renew(self, lease: Lease) -> None:
        """See :meth:`scp.index.queue.Renewed.renew`."""
        own = update(self.table).where(self.table.c.holder == lease.holder)
        with _turn(self._writer, self.table, lease) as (connection, current):
            connection.execute(own.values(due=current.until))

    def postpone(self, row: Row, due: datetime, fault: str = "") -> bool:
        """See :meth:`scp.index.queue.ClaimedQueue.postpone`."""
        return self._changed(row, fault, due=due)

    def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """See :meth:`scp.index.queue.ClaimedQueue.next_due`."""
        first = select(func.min(self.table.c.due)).where(self.waits, self.peer.not_in(busy))
        with reads(self._engine) as connection:
            due: datetime | None = connection.execute(first).scalar_one()
        return due and here(self._engine, due)

    def _changed(self, row: Row, fault: str, **values: Any) -> bool:
        """Give a claim back; returns whether it was still held."""
        values["holder"] = ""
        if "due" in values:
            values["due"] = there(self._engine, values["due"])
        if fault:
            values |= {"fault": fault, "attempts": self.table.c.attempts + 1}
        with self.transaction() as connection:
            statement = update(self.table).where(self._claimed(row)).values(**values)
            return connection.execute(statement).rowcount == 1

    def _claimed(self, row: Row) -> ColumnElement[bool]:
        return (self.table.c.id == row.number) & (self.table.c.holder == row.holder)

    def outstanding(self) -> int:
        """See :meth:`scp.index.queue.ClaimedQueue.outstanding`."""
        counted = select(func.count()).select_from(self.table).where(self.undone)
        with reads(self._engine) as connection:
            return int(connection.execute(counted).scalar_one())

    def all(self, most: int | None = None) -> list[Row]:
        """See :meth:`scp.index.queue.ClaimedQueue.all`."""
        with reads(self._engine) as connection:
            asked = select(self.table).where(self.undone).order_by(self.table.c.id).limit(most)
            return [self._row(row) for row in connection.execute(asked).mappings()]
