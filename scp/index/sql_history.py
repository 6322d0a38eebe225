"""What came in, went out, was kept and may go over time, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    RowMapping,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
)

from scp.index.dialect import reads
from scp.index.history import (
    KeptBy,
    KeptRow,
    RetentionRow,
    Span,
    TrafficBy,
    TrafficRow,
    bounded_kept,
    summed_traffic,
)
from scp.index.schema import INSTANCE, KEPT, RETENTION, SERIES, TRAFFIC
from scp.index.sql_history_folding import fold
from scp.index.sql_history_rows import (
    DAY,
    DAY_OF_ROW,
    KEPT_KEY,
    KEPT_SUMS,
    TRAFFIC_KEY,
    TRAFFIC_SUMS,
    day_of,
    kept_row,
    moment,
    month_begins,
    month_number,
    month_of,
    seconds,
    traffic_row,
    written,
)
from scp.index.writer import Writer

_AT_ONCE = 500  # series in one statement
_LATEST = 1000  # rows: an index that was made again has them in no order of time


class SqlHistory:
    """:class:`scp.index.history.History` on the tables and the writer of a SQL index."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def put_traffic(self, node: str, run: int, rows: Sequence[TrafficRow]) -> None:
        """See :class:`scp.index.history.History`."""
        hours = {seconds(one.start) for one in rows}
        own = (TRAFFIC.c.node == node, TRAFFIC.c.run == run, TRAFFIC.c.start.in_(hours))
        new = [written(one, "hour") | {"node": node, "run": run} for one in summed_traffic(rows)]
        if new:
            with self._writer.transaction([TRAFFIC.name], counts=False) as connection:
                connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "hour", *own))
                connection.execute(insert(TRAFFIC), new)

    def put_kept(self, start: datetime, rows: Iterable[KeptRow]) -> None:
        """See :class:`scp.index.history.History`."""
        found = bounded_kept(rows)
        spans: dict[Span, datetime] = {"hour": start, "day": day_of(start)}
        with self._writer.transaction([KEPT.name], counts=False) as connection:
            for span, begun in spans.items():
                same = (KEPT.c.span == span, KEPT.c.start == seconds(begun))
                connection.execute(delete(KEPT).where(*same))
                if found:
                    new = [written(replace(one, start=begun), span) for one in found]
                    connection.execute(insert(KEPT), new)

    def traffic(
        self, span: Span, by: Collection[TrafficBy], since: datetime, services: Collection[str] = ()
    ) -> list[TrafficRow]:
        """See :class:`scp.index.history.History`.

        A day is that of its hours until these are summed up, and a month that of its days.
        """
        of = [TRAFFIC.c.service.in_(services)] if services else []
        if span == "hour":
            rows = self._traffic(TRAFFIC.c.start, by, [_within("hour", seconds(since)), *of])
            return [traffic_row(row, moment) for row in rows]
        first, unsummed = seconds(day_of(since)), self._after_newest("day", DAY)
        if span == "day":
            rows = self._traffic(DAY_OF_ROW, by, [_days(unsummed, first), *of])
            return [traffic_row(row, moment) for row in rows]
        whole = month_number(first - 1) + 1  # the first month that is asked for from its first day on
        until = max(whole, self._after_newest("month", 1))
        months = self._traffic(TRAFFIC.c.start, by, [_within("month", whole, until), *of])
        others = or_(_days(unsummed, first, month_begins(whole)), _days(unsummed, month_begins(until)))
        days = self._traffic(DAY_OF_ROW, by, [others, *of])
        found = [traffic_row(row, lambda number: moment(month_begins(number))) for row in months]
        return sorted(summed_traffic([*found, *(traffic_row(row, month_of) for row in days)]), key=_order)

    def _traffic(
        self, start: ColumnElement[int], by: Collection[TrafficBy], chosen: Sequence[ColumnElement[bool]]
    ) -> Sequence[RowMapping]:
        return self._sums(TRAFFIC, start, [name for name in TRAFFIC_KEY if name in by], by, chosen)

    def kept(self, span: Span, by: Collection[KeptBy], since: datetime) -> list[KeptRow]:
        """See :class:`scp.index.history.History`. A month is its last day with a look."""
        names = [name for name in KEPT_KEY if name in by]
        first = seconds(since if span == "hour" else day_of(since))
        if span == "month":
            chosen = [KEPT.c.span == "day", KEPT.c.start.in_(self._last_days(first))]
        else:
            chosen = [KEPT.c.span == span, KEPT.c.start >= first]
        rows = self._sums(KEPT, KEPT.c.start, names, by, chosen)
        return [kept_row(row, month_of if span == "month" else moment) for row in rows]

    def _last_days(self, first: int) -> list[int]:
        """The last day of each month that was looked at; finding one takes one row of an index."""
        found: list[int] = []
        newest = select(func.max(KEPT.c.start)).where(KEPT.c.span == "day", KEPT.c.start >= first)
        with reads(self._engine) as connection:
            last = connection.execute(newest).scalar()
            while last is not None:
                found.append(last)
                before = seconds(month_of(last))
                last = connection.execute(newest.where(KEPT.c.start < before)).scalar()
        return found

    def _sums(
        self,
        table: Table,
        start: ColumnElement[int],
        names: Sequence[str],
        by: Collection[str],
        chosen: Sequence[ColumnElement[bool]],
    ) -> Sequence[RowMapping]:
        # Not called "start": PostgreSQL would take that for the column in GROUP BY.
        groups: list[ColumnElement[Any]] = [start.label("begun")] if "start" in by else []
        groups += [table.c[name] for name in names]
        summed = TRAFFIC_SUMS if table is TRAFFIC else KEPT_SUMS
        sums = [func.coalesce(func.sum(table.c[name]), 0).label(name) for name in summed]
        statement = select(*groups, *sums).where(*chosen)
        if groups:
            statement = statement.group_by(*groups).order_by(*groups)
        with reads(self._engine) as connection:
            return connection.execute(statement).mappings().all()

    def _after_newest(self, span: Span, one: int) -> int:
        """The start of the first day or month that is not summed up; ``one`` is from each to the next."""
        newest = select(func.max(TRAFFIC.c.start)).where(TRAFFIC.c.span == span)
        with reads(self._engine) as connection:
            found = connection.execute(newest).scalar()
        return 0 if found is None else int(found) + one

    def last_look(self) -> datetime | None:
        """See :class:`scp.index.history.History`."""
        with reads(self._engine) as connection:
            found = connection.execute(select(func.max(KEPT.c.start)).where(KEPT.c.span == "hour")).scalar()
        return None if found is None else moment(found)

    def last_received(self) -> datetime | None:
        """See :class:`scp.index.history.History`."""
        latest = select(INSTANCE.c.received_at).order_by(INSTANCE.c.id.desc()).limit(_LATEST)
        with reads(self._engine) as connection:
            return max(connection.execute(latest).scalars(), default=None)

    def look(self, stores: Mapping[str, str]) -> list[KeptRow]:
        """See :class:`scp.index.history.History`."""
        begins = INSTANCE.c.key.startswith
        within = [(begins(prefix, autoescape=True), name) for prefix, name in stores.items()]
        store = case(*within, else_="") if within else literal("")
        groups = (SERIES.c.modality, INSTANCE.c.form, store.label("store"), INSTANCE.c.calling_aet)
        sums = (func.count(), func.sum(INSTANCE.c.received_size), func.sum(INSTANCE.c.stored_size))
        statement = select(*groups, *sums).select_from(INSTANCE.join(SERIES)).group_by(*groups)
        with reads(self._engine) as connection:
            rows = connection.execute(statement).all()
        return [KeptRow(None, *row[:4], *map(int, row[4:])) for row in rows]

    def fold(self, now: datetime) -> None:
        """See :class:`scp.index.history.History`."""
        fold(self._engine, self._writer, now)

    def put_retention(self, at: datetime, rows: Iterable[RetentionRow]) -> None:
        """See :class:`scp.index.history.History`."""
        written = [
            asdict(one) | {"start": seconds(one.start) if one.start else 0, "looked_at": seconds(at)}
            for one in rows
        ]
        with self._writer.transaction([RETENTION.name], counts=False) as connection:
            connection.execute(delete(RETENTION))
            if written:
                connection.execute(insert(RETENTION), written)

    def retention(self) -> tuple[datetime | None, list[RetentionRow]]:
        """See :class:`scp.index.history.History`."""
        asked = select(RETENTION).order_by(RETENTION.c.start == 0, RETENTION.c.start, RETENTION.c.rule)
        with reads(self._engine) as connection:
            rows = connection.execute(asked).all()
        found = [
            RetentionRow(row.rule, moment(row.start) if row.start else None, row.instances, row.stored_size)
            for row in rows
        ]
        return (moment(rows[0].looked_at) if rows else None), found

    def modalities(self, series: Collection[str]) -> dict[str, str]:
        """See :class:`scp.index.history.History`."""
        wanted, found = sorted(one for one in series if one), dict[str, str]()
        with reads(self._engine) as connection:
            for at in range(0, len(wanted), _AT_ONCE):
                named = SERIES.c.series_instance_uid.in_(wanted[at : at + _AT_ONCE])
                asked = select(SERIES.c.series_instance_uid, SERIES.c.modality).where(named)
                found.update((row[0], row[1]) for row in connection.execute(asked))
        return found


def _within(span: Span, first: int, until: int | None = None) -> ColumnElement[bool]:
    """The rows of hours, days or months from the first on, until one."""
    conditions = [TRAFFIC.c.span == span, TRAFFIC.c.start >= first]
    return and_(*conditions) if until is None else and_(*conditions, TRAFFIC.c.start < until)


def _days(unsummed: int, first: int, until: int | None = None) -> ColumnElement[bool]:
    """The rows of days, and the hours of those that are not summed up."""
    return or_(_within("day", first, until), _within("hour", max(first, unsummed), until))


def _order(row: TrafficRow) -> tuple[int, str, str, str]:
    return seconds(row.start) if row.start else 0, row.service, row.peer, row.modality
