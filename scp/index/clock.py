"""The database's clock: leases and due times count by it, as the clocks of several nodes differ.

Rows have the database's time. What callers give and get is in the time of their own node. The two are taken
for equal where they differ by less than a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from scp.index.dialect import kind, kind_of, reads

_KNOWN_SECONDS = 60.0  # clocks are set, and drift


@dataclass(frozen=True, slots=True)
class _Difference:
    seconds: int
    until: float  # by the monotonic clock


_known: WeakKeyDictionary[Engine, _Difference] = WeakKeyDictionary()


def ahead(engine: Engine) -> int:
    """How many whole seconds the database's clock is ahead of this node's; negative: behind it.

    The database is asked once a minute. Raises :class:`scp.errors.OutOfResources`.
    """
    if engine.dialect.name == "sqlite":
        return 0  # one machine, one clock
    found = _known.get(engine)
    if found is None or time.monotonic() > found.until:
        with reads(engine) as connection:
            before = time.time()
            there = kind(engine).time_of(connection)
            here = (before + time.time()) / 2
        found = _known[engine] = _Difference(int(there - here), time.monotonic() + _KNOWN_SECONDS)
    return found.seconds


def there(engine: Engine, moment: datetime) -> datetime:
    """A moment of this node in the database's time. Raises as :func:`ahead`."""
    return moment + timedelta(seconds=ahead(engine))


def here(engine: Engine, moment: datetime) -> datetime:
    """A moment of the database in this node's time. Raises as :func:`ahead`."""
    return moment - timedelta(seconds=ahead(engine))


def now(connection: Connection) -> datetime:
    """The time of the database. A SQLite file has none: all its processes run on one machine."""
    return datetime.fromtimestamp(kind_of(connection.dialect.name).time_of(connection), UTC)
