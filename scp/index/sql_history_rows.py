"""The rows of the history as figures, and moments as the rows have them.

``start`` is in seconds since 1970, but that of a month's rows in months since then: a node of the version
before takes every row that begins within a day for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, RowMapping, literal_column

from scp.index.history import KeptRow, Span, TrafficRow
from scp.index.schema import TRAFFIC

# When a row began, from what the database has for that.
Begun = Callable[[int], datetime]

DAY = 86_400
TRAFFIC_KEY = ("service", "peer", "modality")
TRAFFIC_SUMS = ("requests", "failures", "instances", "wire_size", "received_size", "stored_size")
KEPT_KEY = ("modality", "form", "store", "calling_aet")
KEPT_SUMS = ("instances", "received_size", "stored_size")
# Without parameters, of which PostgreSQL does not know that they are the same in SELECT and GROUP BY.
DAY_OF_ROW: ColumnElement[int] = TRAFFIC.c.start - TRAFFIC.c.start % literal_column(str(DAY), BigInteger)


def written(row: TrafficRow | KeptRow, span: Span) -> dict[str, Any]:
    """The columns of a figure. Raises ValueError for one without a moment."""
    begun = seconds(row.start)
    return asdict(row) | {"span": span, "start": month_number(begun) if span == "month" else begun}


def traffic_row(row: RowMapping, begun: Begun) -> TrafficRow:
    """A figure of what came in or went out; it began at the row's ``begun``, if that was asked for."""
    sums = (int(row[name]) for name in TRAFFIC_SUMS)
    return TrafficRow(_start(row, begun), *(row.get(name, "") for name in TRAFFIC_KEY), *sums)


def kept_row(row: RowMapping, begun: Begun) -> KeptRow:
    """A figure of what was kept; as :func:`traffic_row`."""
    sums = (int(row[name]) for name in KEPT_SUMS)
    return KeptRow(_start(row, begun), *(row.get(name, "") for name in KEPT_KEY), *sums)


def _start(row: RowMapping, begun: Begun) -> datetime | None:
    return begun(int(row["begun"])) if "begun" in row else None


def seconds(at: datetime | None) -> int:
    """Seconds since 1970. Raises ValueError for no moment: every row has one."""
    if at is None:
        raise ValueError("a row of the history needs the moment at which it began")
    return int(at.timestamp())


def moment(begun: int) -> datetime:
    """The moment so many seconds after 1970 began."""
    return datetime.fromtimestamp(begun, UTC)


def month_of(begun: int) -> datetime:
    """The beginning of the month of UTC that has this second."""
    return moment(month_begins(month_number(begun)))


def day_of(at: datetime) -> datetime:
    """The beginning of a day of UTC."""
    whole = int(at.timestamp())
    return datetime.fromtimestamp(whole, UTC) - timedelta(seconds=whole % DAY)


def month_number(begun: int) -> int:
    """The months from January 1970 to that of UTC which has this second."""
    found = moment(begun)
    return (found.year - 1970) * 12 + found.month - 1


def month_begins(number: int) -> int:
    """The second at which a month begins; the reverse of :func:`month_number`."""
    years, months = divmod(number, 12)
    return seconds(datetime(1970 + years, months + 1, 1, tzinfo=UTC))
