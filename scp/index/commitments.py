"""Storage commitment requests with an outstanding result, as rows: recorded, claimed, tried again, done."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Engine, RowMapping, delete, insert, select, update

from scp.index.clock import here, there
from scp.index.schema import COMMITMENT
from scp.index.sql_promises import SqlPromises
from scp.index.sql_queue import SqlClaimedQueue
from scp.index.writer import Writer
from scp.model import Commitment, Reference


class SqlCommitments(SqlClaimedQueue[Commitment]):
    """:class:`scp.index.queue.Commitments` on a SQL database."""

    table = COMMITMENT
    peer = COMMITMENT.c.calling_aet
    urgency = (COMMITMENT.c.due,)
    order = (COMMITMENT.c.id,)

    def __init__(self, engine: Engine, writer: Writer) -> None:
        super().__init__(engine, writer)
        self.promises = SqlPromises(engine, writer)

    def add(self, commitment: Commitment) -> Commitment | None:
        """See :meth:`scp.index.queue.Commitments.add`."""
        own = {
            "transaction_uid": commitment.transaction_uid,
            "calling_aet": commitment.calling_aet,
            "body": _body(commitment.references),
            "received_at": commitment.received_at,
            "due": there(self._engine, commitment.due),
            "holder": commitment.holder,
        }
        same = (COMMITMENT.c.calling_aet == commitment.calling_aet) & (
            COMMITMENT.c.transaction_uid == commitment.transaction_uid
        )
        with self.transaction() as connection:
            held = connection.execute(select(COMMITMENT).where(same)).mappings().all()
            again = next((row for row in held if row["body"] == own["body"]), None)
            if again is None:
                recorded = insert(COMMITMENT).values(**own, duplicate=bool(held)).returning(COMMITMENT)
                return self._row(connection.execute(recorded).mappings().one())
            if again["holder"] and again["due"] > there(self._engine, commitment.received_at):
                return None
            taken = update(COMMITMENT).where(COMMITMENT.c.id == again["id"])
            statement = taken.values(holder=commitment.holder, due=own["due"]).returning(COMMITMENT)
            return self._row(connection.execute(statement).mappings().one())

    def remove(self, commitment: Commitment) -> bool:
        """See :meth:`scp.index.queue.Commitments.remove`."""
        with self.transaction() as connection:
            return connection.execute(delete(COMMITMENT).where(self._claimed(commitment))).rowcount == 1

    def hasten(self, due: datetime) -> None:
        """See :meth:`scp.index.queue.ClaimedQueue.hasten`."""
        later = (COMMITMENT.c.holder == "") & (COMMITMENT.c.due > there(self._engine, due))
        with self.transaction() as connection:
            connection.execute(update(COMMITMENT).where(later).values(due=there(self._engine, due)))

    def _row(self, row: RowMapping) -> Commitment:
        return Commitment(
            transaction_uid=row["transaction_uid"],
            calling_aet=row["calling_aet"],
            references=tuple(Reference(*uids) for uids in json.loads(row["body"])),
            received_at=row["received_at"],
            due=here(self._engine, row["due"]),
            holder=row["holder"],
            duplicate=row["duplicate"],
            attempts=row["attempts"],
            fault=row["fault"],
            number=row["id"],
        )


def _body(references: tuple[Reference, ...]) -> str:
    return json.dumps([(one.sop_class_uid, one.sop_instance_uid) for one in references])
