"""What is outstanding of storage commitment, as rows: recorded, claimed, tried again, done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, func, insert, select, update

from scp.index.dialect import translated
from scp.index.schema import COMMITMENT
from scp.index.writer import Writer
from scp.model import Commitment, Reference


class SqlCommitments:
    """:class:`scp.index.index.Commitments` on a SQL database.

    Writers take turns, in all processes: what one transaction reads and then writes, no other one changes
    in between.
    """

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def add(self, commitment: Commitment) -> Commitment | None:
        """See :meth:`scp.index.index.Commitments.add`."""
        own = {
            "transaction_uid": commitment.transaction_uid,
            "calling_aet": commitment.calling_aet,
            "body": _body(commitment.references),
            "received_at": commitment.received_at,
            "due": commitment.due,
            "holder": commitment.holder,
        }
        same = (COMMITMENT.c.calling_aet == commitment.calling_aet) & (
            COMMITMENT.c.transaction_uid == commitment.transaction_uid
        )
        with self._writer.transaction() as connection:
            held = connection.execute(select(COMMITMENT).where(same)).mappings().all()
            again = next((row for row in held if row["body"] == own["body"]), None)
            if again is None:
                recorded = insert(COMMITMENT).values(**own, duplicate=bool(held)).returning(COMMITMENT)
                return _commitment(connection.execute(recorded).mappings().one())
            if again["holder"] and again["due"] > commitment.received_at:
                return None
            taken = update(COMMITMENT).where(COMMITMENT.c.id == again["id"])
            statement = taken.values(holder=commitment.holder, due=commitment.due).returning(COMMITMENT)
            return _commitment(connection.execute(statement).mappings().one())

    def claim(self, holder: str, now: datetime, until: datetime, most: int) -> list[Commitment]:
        """See :meth:`scp.index.index.Commitments.claim`."""
        is_due = COMMITMENT.c.due <= now
        first = select(COMMITMENT.c.calling_aet).where(is_due).order_by(COMMITMENT.c.due).limit(1)
        with self._read() as connection:  # most looks find nothing, and need no writer's turn
            if connection.execute(first).first() is None:
                return []
        with self._writer.transaction() as connection:
            aet = connection.execute(first).scalar()
            found = select(COMMITMENT.c.id).where(is_due, COMMITMENT.c.calling_aet == aet)
            ids = connection.execute(found.order_by(COMMITMENT.c.id).limit(most)).scalars().all()
            claimed = update(COMMITMENT).where(COMMITMENT.c.id.in_(ids)).values(holder=holder, due=until)
            rows = connection.execute(claimed.returning(COMMITMENT)).mappings().all()
            return sorted(map(_commitment, rows), key=lambda one: one.number)

    def renew(self, holder: str, until: datetime) -> None:
        """See :meth:`scp.index.index.Commitments.renew`."""
        with self._writer.transaction() as connection:
            connection.execute(update(COMMITMENT).where(COMMITMENT.c.holder == holder).values(due=until))

    def postpone(self, commitment: Commitment, due: datetime, fault: str = "") -> bool:
        """See :meth:`scp.index.index.Commitments.postpone`."""
        changed: dict[str, object] = {"holder": "", "due": due}
        if fault:
            changed |= {"fault": fault, "attempts": COMMITMENT.c.attempts + 1}
        with self._writer.transaction() as connection:
            statement = update(COMMITMENT).where(_claimed(commitment)).values(**changed)
            return connection.execute(statement).rowcount == 1

    def remove(self, commitment: Commitment) -> bool:
        """See :meth:`scp.index.index.Commitments.remove`."""
        with self._writer.transaction() as connection:
            return connection.execute(delete(COMMITMENT).where(_claimed(commitment))).rowcount == 1

    def hasten(self, due: datetime) -> None:
        """See :meth:`scp.index.index.Commitments.hasten`."""
        later = (COMMITMENT.c.holder == "") & (COMMITMENT.c.due > due)
        with self._writer.transaction() as connection:
            connection.execute(update(COMMITMENT).where(later).values(due=due))

    def next_due(self) -> datetime | None:
        """See :meth:`scp.index.index.Commitments.next_due`."""
        with self._read() as connection:
            due: datetime | None = connection.execute(select(func.min(COMMITMENT.c.due))).scalar_one()
            return due

    def all(self) -> list[Commitment]:
        """See :meth:`scp.index.index.Commitments.all`."""
        with self._read() as connection:
            rows = connection.execute(select(COMMITMENT).order_by(COMMITMENT.c.id)).mappings().all()
        return list(map(_commitment, rows))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._engine), self._engine.connect() as connection:
            yield connection


def _claimed(commitment: Commitment) -> ColumnElement[bool]:
    return (COMMITMENT.c.id == commitment.number) & (COMMITMENT.c.holder == commitment.holder)


def _body(references: tuple[Reference, ...]) -> str:
    return json.dumps([(one.sop_class_uid, one.sop_instance_uid) for one in references])


def _commitment(row: RowMapping) -> Commitment:
    return Commitment(
        transaction_uid=row["transaction_uid"],
        calling_aet=row["calling_aet"],
        references=tuple(Reference(*uids) for uids in json.loads(row["body"])),
        received_at=row["received_at"],
        due=row["due"],
        holder=row["holder"],
        duplicate=row["duplicate"],
        attempts=row["attempts"],
        fault=row["fault"],
        number=row["id"],
    )
