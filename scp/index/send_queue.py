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
from scp.index.schema import SEND_QUEUE, SEND_QUEUE_KEY
from scp.index.writer import Writer
from scp.model import QueuedSend

_GIVEN = tuple(field.name for field in fields(QueuedSend) if field.name != "number")
_WAITING: ColumnElement[bool] = SEND_QUEUE.c.state == "waiting"


def queue(connection: Connection, sends: Sequence[QueuedSend], of: Identity) -> None:
    """Record some of one object inside a transaction: each in the place of the one of its destination."""
    statement = INSERTS[connection.dialect.name](SEND_QUEUE)
    changed = {name: statement.excluded[name] for name in _GIVEN}
    connection.execute(
        statement.on_conflict_do_update(index_elements=SEND_QUEUE_KEY, set_=changed),
        [_row(one) | of._asdict() for one in sends],
    )


class SqlSendQueue:
    """:class:`scp.index.index.SendQueue` on a SQL database; writers take turns, in all processes."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def add(self, sends: Sequence[QueuedSend]) -> int:
        """See :meth:`scp.index.index.SendQueue.add`."""
        if not sends:
            return 0
        added = 0
        with self._writer.transaction() as connection:
            statement = INSERTS[connection.dialect.name](SEND_QUEUE).on_conflict_do_nothing(
                index_elements=SEND_QUEUE_KEY
            )
            for each in sends:
                added += connection.execute(statement, _row(each)).rowcount
        return added

    def claim(
        self, holder: str, now: datetime, until: datetime, most: int, busy: Collection[str] = ()
    ) -> list[QueuedSend]:
        """See :meth:`scp.index.index.SendQueue.claim`."""
        is_due = _WAITING & (SEND_QUEUE.c.due <= now) & SEND_QUEUE.c.destination.not_in(busy)
        urgent = (SEND_QUEUE.c.priority, SEND_QUEUE.c.due, SEND_QUEUE.c.id)
        first = select(SEND_QUEUE.c.destination).where(is_due).order_by(*urgent).limit(1)
        with self._read() as connection:  # most looks find nothing, and need no writer's turn
            if connection.execute(first).first() is None:
                return []
        with self._writer.transaction() as connection:
            destination = connection.execute(first).scalar()
            found = select(SEND_QUEUE.c.id).where(is_due, SEND_QUEUE.c.destination == destination)
            order = (SEND_QUEUE.c.priority, SEND_QUEUE.c.attempts, SEND_QUEUE.c.id)
            ids = connection.execute(found.order_by(*order).limit(most)).scalars()
            claimed = (
                update(SEND_QUEUE).where(SEND_QUEUE.c.id.in_(ids.all())).values(holder=holder, due=until)
            )
            rows = connection.execute(claimed.returning(SEND_QUEUE)).mappings().all()
        return sorted(map(_queued_send, rows), key=lambda one: (one.priority, one.attempts, one.number))

    def renew(self, holder: str, until: datetime) -> None:
        """See :meth:`scp.index.index.SendQueue.renew`."""
        with self._writer.transaction() as connection:
            connection.execute(update(SEND_QUEUE).where(SEND_QUEUE.c.holder == holder).values(due=until))

    def postpone(self, queued: QueuedSend, due: datetime, fault: str = "") -> bool:
        """See :meth:`scp.index.index.SendQueue.postpone`."""
        changed: dict[str, Any] = {"holder": "", "due": due}
        if fault:
            changed |= {"fault": fault, "attempts": SEND_QUEUE.c.attempts + 1}
        return self._change(queued, changed)

    def give_up(self, queued: QueuedSend, fault: str) -> bool:
        """See :meth:`scp.index.index.SendQueue.give_up`."""
        told = {"fault": fault, "attempts": SEND_QUEUE.c.attempts + 1}
        return self._change(queued, {"holder": "", "state": "given up", **told})

    def done(self, sends: Sequence[QueuedSend], now: datetime, remember: datetime | None = None) -> None:
        """See :meth:`scp.index.index.SendQueue.done`."""
        with self._writer.transaction() as connection:
            over = (SEND_QUEUE.c.state == "sent") & (SEND_QUEUE.c.due <= now)
            connection.execute(delete(SEND_QUEUE).where(over))
            for each in sends:
                if remember is None:
                    connection.execute(delete(SEND_QUEUE).where(_claimed(each)))
                else:
                    sent = update(SEND_QUEUE).where(_claimed(each))
                    connection.execute(sent.values(state="sent", holder="", due=remember))

    def hasten(self, due: datetime) -> None:
        """See :meth:`scp.index.index.SendQueue.hasten`."""
        later = (SEND_QUEUE.c.state != "sent") & (SEND_QUEUE.c.holder == "") & (SEND_QUEUE.c.attempts > 0)
        with self._writer.transaction() as connection:
            connection.execute(update(SEND_QUEUE).where(later).values(due=due, state="waiting"))

    def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """See :meth:`scp.index.index.SendQueue.next_due`."""
        first = select(func.min(SEND_QUEUE.c.due)).where(_WAITING, SEND_QUEUE.c.destination.not_in(busy))
        with self._read() as connection:
            due: datetime | None = connection.execute(first).scalar_one()
            return due

    def outstanding(self) -> int:
        """See :meth:`scp.index.index.SendQueue.outstanding`."""
        counted = select(func.count()).where(SEND_QUEUE.c.state != "sent")
        with self._read() as connection:
            return int(connection.execute(counted).scalar_one())

    def all(self) -> list[QueuedSend]:
        """See :meth:`scp.index.index.SendQueue.all`."""
        asked = select(SEND_QUEUE).where(SEND_QUEUE.c.state != "sent").order_by(SEND_QUEUE.c.id)
        with self._read() as connection:
            return [_queued_send(row) for row in connection.execute(asked).mappings()]

    def _change(self, queued: QueuedSend, values: dict[str, Any]) -> bool:
        with self._writer.transaction() as connection:
            return (
                connection.execute(update(SEND_QUEUE).where(_claimed(queued)).values(**values)).rowcount == 1
            )

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._engine), self._engine.connect() as connection:
            yield connection


def _claimed(queued: QueuedSend) -> ColumnElement[bool]:
    return (SEND_QUEUE.c.id == queued.number) & (SEND_QUEUE.c.holder == queued.holder)


def _row(queued: QueuedSend) -> dict[str, Any]:
    return {name: getattr(queued, name) for name in _GIVEN}


def _queued_send(row: RowMapping) -> QueuedSend:
    return QueuedSend(**{name: row[name] for name in _GIVEN}, number=row["id"])
