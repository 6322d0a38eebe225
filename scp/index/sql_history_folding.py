"""Sums up hours as days and days as months, and removes what is too old.

Order, safe to stop at any moment: first each day, then each month, one transaction each. A month is made of
its days, and again where it is not their sum any more: because hours came late, because days are removed, or
because a node of the version before, which knows no months, summed up a day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, and_, delete, func, insert, select

from scp.index.dialect import reads
from scp.index.history import DAYS_ARE_KEPT, HOURS_ARE_KEPT, Span, TrafficRow, bounded_traffic
from scp.index.schema import KEPT, TRAFFIC
from scp.index.sql_history_rows import (
    DAY,
    DAY_OF_ROW,
    TRAFFIC_KEY,
    TRAFFIC_SUMS,
    day_of,
    moment,
    month_begins,
    month_number,
    seconds,
    written,
)
from scp.index.writer import Writer

_LATE = timedelta(hours=3)  # until then a node may write figures of hours that are over
_BY_HOURS, _FOR_GOOD = 0, 1  # ``run`` of a day whose hours are there, and of one whose hours are gone


def fold(engine: Engine, writer: Writer, now: datetime) -> None:
    """See :class:`scp.index.history.History`. A day of which there are hours is made of these.

    What comes to a day whose hours are gone is added.
    """
    until, ended = seconds(day_of(now - HOURS_ARE_KEPT)), seconds(day_of(now - _LATE))
    over = and_(TRAFFIC.c.span == "hour", TRAFFIC.c.start < ended)
    with reads(engine) as connection:
        days = connection.execute(select(DAY_OF_ROW).where(over).distinct()).scalars().all()
    for one in sorted(days):
        with writer.transaction([TRAFFIC.name], counts=False) as connection:
            _fold_day(connection, int(one), ends=one < until)
    ends = {"hour": until, "day": seconds(day_of(now - DAYS_ARE_KEPT))}
    for table in (TRAFFIC, KEPT):
        with writer.transaction([table.name], counts=False) as connection:
            for span, end in ends.items():
                connection.execute(delete(table).where(table.c.span == span, table.c.start < end))
    _fold_months(engine, writer, month_number(ended))


def _fold_day(connection: Connection, day: int, ends: bool) -> None:
    """Sum up the hours of a day; where that ``ends`` them, add what the day has of earlier ones, for good."""
    of_day = and_(TRAFFIC.c.span.in_(["hour", "day"]), TRAFFIC.c.start.between(day, day + DAY - 1))
    connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "day", TRAFFIC.c.run == _BY_HOURS, of_day))
    summed = of_day if ends else and_(of_day, TRAFFIC.c.span == "hour")
    columns = (*TRAFFIC_KEY, *TRAFFIC_SUMS)
    rows = connection.execute(select(*(TRAFFIC.c[name] for name in columns)).where(summed)).mappings()
    sums = bounded_traffic(TrafficRow(start=moment(day), **row) for row in rows)
    if ends:
        connection.execute(delete(TRAFFIC).where(of_day))
    run = _FOR_GOOD if ends else _BY_HOURS
    connection.execute(insert(TRAFFIC), [written(one, "day") | {"node": "", "run": run} for one in sums])


def _fold_months(engine: Engine, writer: Writer, until: int) -> None:
    """Make the months before ``until`` of their days, the oldest first: one that has rows has all before.

    Later ones were made while a clock was ahead, and would hide what still comes.
    """
    with writer.transaction([TRAFFIC.name], counts=False) as connection:
        connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "month", TRAFFIC.c.start >= until))
    held, wanted = _totals(engine, "month"), defaultdict[int, Counter[str]](Counter)
    for day, amounts in _totals(engine, "day").items():
        wanted[month_number(day)].update(amounts)
    for month in sorted({*held, *wanted}):
        if month < until and wanted[month] != held.get(month, Counter()):
            _fold_month(engine, writer, month)


def _totals(engine: Engine, span: Span) -> dict[int, Counter[str]]:
    """What each day or month has in all, by its start."""
    sums = (func.sum(TRAFFIC.c[name]).label(name) for name in TRAFFIC_SUMS)
    asked = select(TRAFFIC.c.start, *sums).where(TRAFFIC.c.span == span).group_by(TRAFFIC.c.start)
    with reads(engine) as connection:
        rows = connection.execute(asked).mappings().all()
    return {int(row["start"]): Counter({name: int(row[name]) for name in TRAFFIC_SUMS}) for row in rows}


def _fold_month(engine: Engine, writer: Writer, month: int) -> None:
    """Sum up the days of a month; they are read before, as those that store may have to wait for a writer."""
    begun, end = month_begins(month), month_begins(month + 1)
    of_month = and_(TRAFFIC.c.span == "day", TRAFFIC.c.start >= begun, TRAFFIC.c.start < end)
    key = [TRAFFIC.c[name] for name in TRAFFIC_KEY]
    asked = select(*key, *(func.sum(TRAFFIC.c[name]) for name in TRAFFIC_SUMS)).where(of_month).group_by(*key)
    with reads(engine) as connection:
        rows = connection.execute(asked).all()
    sums = bounded_traffic(TrafficRow(moment(begun), *row[:3], *map(int, row[3:])) for row in rows)
    new = [written(one, "month") | {"node": "", "run": 0} for one in sums]
    with writer.transaction([TRAFFIC.name], counts=False) as connection:
        connection.execute(delete(TRAFFIC).where(TRAFFIC.c.span == "month", TRAFFIC.c.start == month))
        if new:
            connection.execute(insert(TRAFFIC), new)
