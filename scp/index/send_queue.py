"""Objects that are to be sent to peers, as rows: recorded with the object, claimed, tried again, done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, case, delete, func, select, update

from scp.identity import Identity
from scp.index.clock import here, there
from scp.index.dialect import reads
from scp.index.prepared import INSERTS
from scp.index.queue import SendSum
from scp.index.schema import INSTANCE, SEND_QUEUE, SEND_QUEUE_KEY, SERIES, STUDY
from scp.index.sql_queue import SqlClaimedQueue
from scp.model import QueuedSend

_GIVEN = tuple(field.name for field in fields(QueuedSend) if field.name != "number")
_OUTSTANDING = SEND_QUEUE.c.state != "sent"
_AT_ONCE = 500  # entries in a transaction, in which no other process can write
# How large the object of an entry is; one that an older version recorded names no study.
_STORED = (
    select(func.max(INSTANCE.c.stored_size))
    .select_from(
        INSTANCE.join(SERIES, INSTANCE.c.parent == SERIES.c.id).join(STUDY, SERIES.c.parent == STUDY.c.id)
    )
    .where(
        INSTANCE.c.sop_instance_uid == SEND_QUEUE.c.sop_instance_uid,
        (SEND_QUEUE.c.study_instance_uid == "")
        | (STUDY.c.study_instance_uid == SEND_QUEUE.c.study_instance_uid),
    )
    .correlate(SEND_QUEUE)
    .scalar_subquery()
)


def queue(connection: Connection, sends: Sequence[QueuedSend], of: Identity) -> None:
    """Record entries of one object inside a transaction; each replaces the one of its destination."""
    statement = INSERTS[connection.dialect.name](SEND_QUEUE)
    changed = {name: statement.excluded[name] for name in _GIVEN}
    connection.execute(
        statement.on_conflict_do_update(index_elements=SEND_QUEUE_KEY, set_=changed),
        [_given(connection.engine, one) | of._asdict() for one in sends],
    )


class SqlSendQueue(SqlClaimedQueue[QueuedSend]):
    """:class:`scp.index.queue.SendQueue` on a SQL database."""

    table = SEND_QUEUE
    peer = SEND_QUEUE.c.destination
    waits = SEND_QUEUE.c.state == "waiting"
    undone = _OUTSTANDING
    urgency = (SEND_QUEUE.c.priority, SEND_QUEUE.c.due, SEND_QUEUE.c.id)
    order = (SEND_QUEUE.c.priority, SEND_QUEUE.c.attempts, SEND_QUEUE.c.id)

    def add(self, sends: Sequence[QueuedSend]) -> int:
        """See :meth:`scp.index.queue.SendQueue.add`."""
        if not sends:
            return 0
        added = 0
        with self.transaction() as connection:
            inserting = INSERTS[connection.dialect.name](SEND_QUEUE)
            statement = inserting.on_conflict_do_nothing(index_elements=SEND_QUEUE_KEY)
            for each in sends:
                added += len(
                    connection.execute(statement.returning(SEND_QUEUE.c.id), _given(self._engine, each)).all()
                )
        return added

    def ask(self, sends: Sequence[QueuedSend]) -> int:
        """See :meth:`scp.index.queue.SendQueue.ask`."""
        asked = 0
        for first in range(0, len(sends), _AT_ONCE):
            with self.transaction() as connection:
                statement = INSERTS[connection.dialect.name](SEND_QUEUE)
                changed = {name: statement.excluded[name] for name in _GIVEN}
                replacing = statement.on_conflict_do_update(
                    index_elements=SEND_QUEUE_KEY, set_=changed, where=SEND_QUEUE.c.holder == ""
                )
                for each in sends[first : first + _AT_ONCE]:
                    returned = replacing.returning(SEND_QUEUE.c.id)
                    asked += len(connection.execute(returned, _given(self._engine, each)).all())
        return asked

    def waits_for(self, of: Identity) -> bool:
        """See :meth:`scp.index.queue.SendQueue.waits_for`."""
        own = SEND_QUEUE.c
        # What an older version recorded names neither study nor patient.
        here_or_unnamed = own.study_instance_uid.in_((of.study_instance_uid, ""))
        sought = select(own.id).where(
            own.sop_instance_uid == of.sop_instance_uid, here_or_unnamed, _OUTSTANDING
        )
        with reads(self._engine) as connection:
            return connection.execute(sought.limit(1)).first() is not None

    def give_up(self, queued: QueuedSend, fault: str) -> bool:
        """See :meth:`scp.index.queue.SendQueue.give_up`."""
        return self._changed(queued, fault, state="given up")

    def done(self, sends: Sequence[QueuedSend], now: datetime, remember: datetime | None = None) -> None:
        """See :meth:`scp.index.queue.SendQueue.done`."""
        with self.transaction() as connection:
            over = (SEND_QUEUE.c.state == "sent") & (SEND_QUEUE.c.due <= there(self._engine, now))
            connection.execute(delete(SEND_QUEUE).where(over))
            for each in sends:
                if remember is None:
                    connection.execute(delete(SEND_QUEUE).where(self._claimed(each)))
                else:
                    sent = update(SEND_QUEUE).where(self._claimed(each))
                    connection.execute(
                        sent.values(state="sent", holder="", due=there(self._engine, remember))
                    )

    def hasten(self, due: datetime) -> None:
        """See :meth:`scp.index.queue.SendQueue.hasten`."""
        later = _OUTSTANDING & (SEND_QUEUE.c.holder == "") & (SEND_QUEUE.c.attempts > 0)
        with self.transaction() as connection:
            connection.execute(
                update(SEND_QUEUE).where(later).values(due=there(self._engine, due), state="waiting")
            )

    def sums(self) -> list[SendSum]:
        """See :meth:`scp.index.queue.SendQueue.sums`."""
        own = SEND_QUEUE.c
        groups = (own.destination, own.rule, own.state)
        waiting = (own.state == "waiting") & (own.holder == "")
        figures = (
            func.count().label("objects"),
            func.coalesce(func.sum(_STORED), 0).label("stored"),
            func.min(own.queued_at).label("queued_at"),
            func.max(own.attempts).label("attempts"),
            func.min(case((waiting, own.due))).label("next_attempt"),
            func.max(case((own.fault != "", own.id))).label("last"),
        )
        summed = select(*groups, *figures).where(_OUTSTANDING).group_by(*groups).subquery()
        told = select(summed, own.fault).join(SEND_QUEUE, own.id == summed.c.last, isouter=True)
        with reads(self._engine) as connection:
            rows = connection.execute(told.order_by(summed.c.destination, summed.c.rule, summed.c.state))
            return [self._summed(row) for row in rows.mappings()]

    def _summed(self, row: RowMapping) -> SendSum:
        due = row["next_attempt"]
        return SendSum(
            row["destination"],
            row["rule"],
            row["state"],
            row["objects"],
            int(row["stored"]),
            row["queued_at"],
            row["attempts"],
            due and here(self._engine, due),
            row["fault"] or "",
        )

    def _row(self, row: RowMapping) -> QueuedSend:
        given = {name: row[name] for name in _GIVEN} | {"due": here(self._engine, row["due"])}
        return QueuedSend(**given, number=row["id"])


def _given(engine: Engine, queued: QueuedSend) -> dict[str, Any]:
    return {name: getattr(queued, name) for name in _GIVEN} | {"due": there(engine, queued.due)}
