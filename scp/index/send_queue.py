"""What is to be sent to peers, as rows: recorded with the object, claimed, tried again, done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, func, select, update

from scp.identity import Identity
from scp.index.dialect import translated
from scp.index.prepared import INSERTS
from scp.index.schema import OUTGOING, OUTGOING_KEY
from scp.index.writer import Writer
from scp.model import Delivery

_GIVEN = tuple(field.name for field in fields(Delivery) if field.name != "number")
_WAITING: ColumnElement[bool] = OUTGOING.c.state == "waiting"


def queue(connection: Connection, deliveries: Sequence[Delivery], of: Identity) -> None:
    """Record some of one object inside a transaction: each in the place of the one of its destination."""
    statement = INSERTS[connection.dialect.name](OUTGOING)
    changed = {name: statement.excluded[name] for name in _GIVEN}
    connection.execute(
        statement.on_conflict_do_update(index_elements=OUTGOING_KEY, set_=changed),
        [_row(one) | of._asdict() for one in deliveries],
    )


class SqlDeliveries:
    """:class:`scp.index.index.Deliveries` on a SQL database; writers take turns, in all processes."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def add(self, deliveries: Sequence[Delivery]) -> int:
        """See :meth:`scp.index.index.Deliveries.add`."""
        if not deliveries:
            return 0
        added = 0
        with self._writer.transaction() as connection:
            statement = INSERTS[connection.dialect.name](OUTGOING).on_conflict_do_nothing(
                index_elements=OUTGOING_KEY
            )
            for each in deliveries:
                added += connection.execute(statement, _row(each)).rowcount
        return added

    def claim(
        self, holder: str, now: datetime, until: datetime, most: int, busy: Collection[str] = ()
    ) -> list[Delivery]:
        """See :meth:`scp.index.index.Deliveries.claim`."""
        is_due = _WAITING & (OUTGOING.c.due <= now) & OUTGOING.c.destination.not_in(busy)
        urgent = (OUTGOING.c.priority, OUTGOING.c.due, OUTGOING.c.id)
        first = select(OUTGOING.c.destination).where(is_due).order_by(*urgent).limit(1)
        with self._read() as connection:  # most looks find nothing, and need no writer's turn
            if connection.execute(first).first() is None:
                return []
        with self._writer.transaction() as connection:
            destination = connection.execute(first).scalar()
            found = select(OUTGOING.c.id).where(is_due, OUTGOING.c.destination == destination)
            order = (OUTGOING.c.priority, OUTGOING.c.attempts, OUTGOING.c.id)
            ids = connection.execute(found.order_by(*order).limit(most)).scalars()
            claimed = update(OUTGOING).where(OUTGOING.c.id.in_(ids.all())).values(holder=holder, due=until)
            rows = connection.execute(claimed.returning(OUTGOING)).mappings().all()
        return sorted(map(_delivery, rows), key=lambda one: (one.priority, one.attempts, one.number))

    def renew(self, holder: str, until: datetime) -> None:
        """See :meth:`scp.index.index.Deliveries.renew`."""
        with self._writer.transaction() as connection:
            connection.execute(update(OUTGOING).where(OUTGOING.c.holder == holder).values(due=until))

    def postpone(self, delivery: Delivery, due: datetime, fault: str = "") -> bool:
        """See :meth:`scp.index.index.Deliveries.postpone`."""
        changed: dict[str, Any] = {"holder": "", "due": due}
        if fault:
            changed |= {"fault": fault, "attempts": OUTGOING.c.attempts + 1}
        return self._change(delivery, changed)

    def give_up(self, delivery: Delivery, fault: str) -> bool:
        """See :meth:`scp.index.index.Deliveries.give_up`."""
        told = {"fault": fault, "attempts": OUTGOING.c.attempts + 1}
        return self._change(delivery, {"holder": "", "state": "given up", **told})

    def done(self, deliveries: Sequence[Delivery], now: datetime, remember: datetime | None = None) -> None:
        """See :meth:`scp.index.index.Deliveries.done`."""
        with self._writer.transaction() as connection:
            over = (OUTGOING.c.state == "sent") & (OUTGOING.c.due <= now)
            connection.execute(delete(OUTGOING).where(over))
            for each in deliveries:
                if remember is None:
                    connection.execute(delete(OUTGOING).where(_claimed(each)))
                else:
                    sent = update(OUTGOING).where(_claimed(each))
                    connection.execute(sent.values(state="sent", holder="", due=remember))

    def hasten(self, due: datetime) -> None:
        """See :meth:`scp.index.index.Deliveries.hasten`."""
        later = (OUTGOING.c.state != "sent") & (OUTGOING.c.holder == "") & (OUTGOING.c.attempts > 0)
        with self._writer.transaction() as connection:
            connection.execute(update(OUTGOING).where(later).values(due=due, state="waiting"))

    def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """See :meth:`scp.index.index.Deliveries.next_due`."""
        first = select(func.min(OUTGOING.c.due)).where(_WAITING, OUTGOING.c.destination.not_in(busy))
        with self._read() as connection:
            due: datetime | None = connection.execute(first).scalar_one()
            return due

    def outstanding(self) -> int:
        """See :meth:`scp.index.index.Deliveries.outstanding`."""
        counted = select(func.count()).where(OUTGOING.c.state != "sent")
        with self._read() as connection:
            return int(connection.execute(counted).scalar_one())

    def all(self) -> list[Delivery]:
        """See :meth:`scp.index.index.Deliveries.all`."""
        asked = select(OUTGOING).where(OUTGOING.c.state != "sent").order_by(OUTGOING.c.id)
        with self._read() as connection:
            return [_delivery(row) for row in connection.execute(asked).mappings()]

    def _change(self, delivery: Delivery, values: dict[str, Any]) -> bool:
        with self._writer.transaction() as connection:
            return (
                connection.execute(update(OUTGOING).where(_claimed(delivery)).values(**values)).rowcount == 1
            )

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._engine), self._engine.connect() as connection:
            yield connection


def _claimed(delivery: Delivery) -> ColumnElement[bool]:
    return (OUTGOING.c.id == delivery.number) & (OUTGOING.c.holder == delivery.holder)


def _row(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in _GIVEN}


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(**{name: row[name] for name in _GIVEN}, number=row["id"])
