"""What came in, went out, was kept and may go over time, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
)

from scp.index.dialect import reads
from scp.index.history import (
    DAYS_ARE_KEPT,
    HOURS_ARE_KEPT,
    KeptBy,
    KeptRow,
    RetentionRow,
    Span,
    TrafficBy,
    TrafficRow,
    bounded_kept,
    bounded_traffic,
    summed_traffic,
)
from scp.index.schema import INSTANCE, KEPT, RETENTION, SERIES, TRAFFIC
from scp.index.writer import Writer

_DAY = 86_400
_LATE = timedelta(hours=3)  # until then a node may write figures of hours that are over
_BY_HOURS, _FOR_GOOD = 0, 1  # ``run`` of a day whose hours are there, and of one whose hours are gone
_AT_ONCE = 500  # series in one statement
_TRAFFIC_KEY = ("service", "peer", "modality")
_TRAFFIC_SUMS = ("requests", "failures", "instances", "wire_size", "received_size", "stored_size")
_KEPT_KEY = ("modality", "form", "store", "calling_aet")
_KEPT_SUMS = ("instances", "received_size", "stored_size")
# Without parameters, of which PostgreSQL does not know that they are the same in SELECT and GROUP BY.
_DAY_OF_ROW: ColumnElement[int] = TRAFFIC.c.start - TRAFFIC.c.start % literal_column(str(_DAY), BigInteger)


class SqlHistory:
    """:class:`scp.index.history.History` on the tables and the writer of a SQL index."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def put_traffic(self, node: str, run: int, rows: Sequence[TrafficRow]) -> None:
        """See :class:`scp.index.history.History`."""
        hours = {_seconds(one.start) for one in rows}
        own = (TRAFFIC.c.node == node, TRAFFIC.c.run == run, TRAFFIC.c.start.in_(hours))
        written = [_written(one) | {"span": "hour", "node": node, "run": run} for one in summed_traffic(rows)]
        if written:
            with self._writer.transaction([TRAFFIC.name], counts=False) as connection:
                connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "hour", *own))
                connection.execute(insert(TRAFFIC), written)

    def put_kept(self, start: datetime, rows: Iterable[KeptRow]) -> None:
        """See :class:`scp.index.history.History`."""
        found = bounded_kept(rows)
        with self._writer.transaction([KEPT.name], counts=False) as connection:
            for span, begun in (("hour", start), ("day", _day(start))):
                same = (KEPT.c.span == span, KEPT.c.start == _seconds(begun))
                connection.execute(delete(KEPT).where(*same))
                if found:
                    written = [_written(replace(one, start=begun)) | {"span": span} for one in found]
                    connection.execute(insert(KEPT), written)

    def traffic(
        self, span: Span, by: Collection[TrafficBy], since: datetime, services: Collection[str] = ()
    ) -> list[TrafficRow]:
        """See :class:`scp.index.history.History`. A day is that of its hours until these are summed up."""
        chosen = [TRAFFIC.c.start >= _first(span, since)]
        if span == "hour":
            chosen.append(TRAFFIC.c.span == "hour")
        else:
            hours = and_(TRAFFIC.c.span == "hour", TRAFFIC.c.start >= self._unsummed())
            chosen.append(or_(TRAFFIC.c.span == "day", hours))
        if services:
            chosen.append(TRAFFIC.c.service.in_(services))
        start = TRAFFIC.c.start if span == "hour" else _DAY_OF_ROW
        rows = self._sums(TRAFFIC, start, [name for name in _TRAFFIC_KEY if name in by], by, chosen)
        return [_traffic_row(row) for row in rows]

    def kept(self, span: Span, by: Collection[KeptBy], since: datetime) -> list[KeptRow]:
        """See :class:`scp.index.history.History`."""
        chosen = [KEPT.c.span == span, KEPT.c.start >= _first(span, since)]
        names = [name for name in _KEPT_KEY if name in by]
        return [_kept_row(row) for row in self._sums(KEPT, KEPT.c.start, names, by, chosen)]

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
        summed = _TRAFFIC_SUMS if table is TRAFFIC else _KEPT_SUMS
        sums = [func.coalesce(func.sum(table.c[name]), 0).label(name) for name in summed]
        statement = select(*groups, *sums).where(*chosen)
        if groups:
            statement = statement.group_by(*groups).order_by(*groups)
        with reads(self._engine) as connection:
            return connection.execute(statement).mappings().all()

    def _unsummed(self) -> int:
        """The first day that is not summed up."""
        newest = select(func.max(TRAFFIC.c.start)).where(TRAFFIC.c.span == "day")
        with reads(self._engine) as connection:
            found = connection.execute(newest).scalar()
        return 0 if found is None else int(found) + _DAY

    def last_look(self) -> datetime | None:
        """See :class:`scp.index.history.History`."""
        with reads(self._engine) as connection:
            found = connection.execute(select(func.max(KEPT.c.start)).where(KEPT.c.span == "hour")).scalar()
        return None if found is None else _moment(found)

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
        """See :class:`scp.index.history.History`. One transaction for each day.

        A day of which there are hours is made of these. What comes to a day whose hours are gone is added.
        """
        until, ended = _seconds(_day(now - HOURS_ARE_KEPT)), _seconds(_day(now - _LATE))
        over = and_(TRAFFIC.c.span == "hour", TRAFFIC.c.start < ended)
        with reads(self._engine) as connection:
            days = connection.execute(select(_DAY_OF_ROW).where(over).distinct()).scalars().all()
        for one in sorted(days):
            with self._writer.transaction([TRAFFIC.name], counts=False) as connection:
                _fold_day(connection, int(one), ends=one < until)
        ends = {"hour": until, "day": _seconds(_day(now - DAYS_ARE_KEPT))}
        for table in (TRAFFIC, KEPT):
            with self._writer.transaction([table.name], counts=False) as connection:
                for span, end in ends.items():
                    connection.execute(delete(table).where(table.c.span == span, table.c.start < end))

    def put_retention(self, at: datetime, rows: Iterable[RetentionRow]) -> None:
        """See :class:`scp.index.history.History`."""
        written = [
            asdict(one) | {"start": _seconds(one.start) if one.start else 0, "looked_at": _seconds(at)}
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
            RetentionRow(row.rule, _moment(row.start) if row.start else None, row.instances, row.stored_size)
            for row in rows
        ]
        return (_moment(rows[0].looked_at) if rows else None), found

    def modalities(self, series: Collection[str]) -> dict[str, str]:
        """See :class:`scp.index.history.History`."""
        wanted, found = sorted(one for one in series if one), dict[str, str]()
        with reads(self._engine) as connection:
            for at in range(0, len(wanted), _AT_ONCE):
                named = SERIES.c.series_instance_uid.in_(wanted[at : at + _AT_ONCE])
                asked = select(SERIES.c.series_instance_uid, SERIES.c.modality).where(named)
                found.update((row[0], row[1]) for row in connection.execute(asked))
        return found


def _fold_day(connection: Connection, day: int, ends: bool) -> None:
    """Sum up the hours of a day; where that ``ends`` them, add what the day has of earlier ones, for good."""
    of_day = TRAFFIC.c.start.between(day, day + _DAY - 1)
    connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "day", TRAFFIC.c.run == _BY_HOURS, of_day))
    summed = of_day if ends else and_(of_day, TRAFFIC.c.span == "hour")
    columns = (*_TRAFFIC_KEY, *_TRAFFIC_SUMS)
    rows = connection.execute(select(*(TRAFFIC.c[name] for name in columns)).where(summed)).mappings()
    sums = bounded_traffic(TrafficRow(start=_moment(day), **row) for row in rows)
    if ends:
        connection.execute(delete(TRAFFIC).where(of_day))
    run = _FOR_GOOD if ends else _BY_HOURS
    written = [_written(one) | {"span": "day", "node": "", "run": run} for one in sums]
    connection.execute(insert(TRAFFIC), written)


def _written(row: TrafficRow | KeptRow) -> dict[str, Any]:
    return asdict(row) | {"start": _seconds(row.start)}


def _traffic_row(row: RowMapping) -> TrafficRow:
    sums = (int(row[name]) for name in _TRAFFIC_SUMS)
    return TrafficRow(_given_start(row), *(row.get(name, "") for name in _TRAFFIC_KEY), *sums)


def _kept_row(row: RowMapping) -> KeptRow:
    sums = (int(row[name]) for name in _KEPT_SUMS)
    return KeptRow(_given_start(row), *(row.get(name, "") for name in _KEPT_KEY), *sums)


def _given_start(row: RowMapping) -> datetime | None:
    return _moment(row["begun"]) if "begun" in row else None


def _first(span: Span, since: datetime) -> int:
    """When the first hour or day begins: days are whole."""
    return _seconds(_day(since) if span == "day" else since)


def _seconds(moment: datetime | None) -> int:
    """Seconds since 1970. Raises ValueError for no moment: every row has one."""
    if moment is None:
        raise ValueError("a row of the history needs the moment at which it began")
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _day(moment: datetime) -> datetime:
    """The beginning of a day of UTC."""
    whole = int(moment.timestamp())
    return datetime.fromtimestamp(whole, UTC) - timedelta(seconds=whole % _DAY)
