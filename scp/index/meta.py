"""What a SQL index says of itself: a table of names and values, beside the tables of the held objects."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sqlalchemy import Engine, delete, select

from scp.index import clock, files
from scp.index.dialect import damage, kind, translated
from scp.index.schema import META
from scp.index.writer import Writer

_RECENT_SECONDS = 1.0


class SqlMeta:
    """:class:`scp.index.self_description.Meta` on a SQL database."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._last: tuple[float, dict[str, str]] | None = None
        self._opened = files.identity(engine)

    def all(self, recent: bool = False) -> dict[str, str]:
        """See :meth:`scp.index.self_description.Meta.all`: each look at a server is a round trip."""
        last = self._last
        if recent and last is not None and time.monotonic() < last[0] + _RECENT_SECONDS:
            return last[1]
        with translated(self._engine), self._engine.connect() as connection:
            found = {row.name: row.value for row in connection.execute(select(META))}
        if kind(self._engine).IS_REMOTE:
            self._last = time.monotonic(), found
        return found

    def put(self, values: Mapping[str, str | None]) -> None:
        """See :meth:`scp.index.self_description.Meta.put`."""
        with self._writer.transaction([META.name], counts=False) as connection:
            connection.execute(delete(META).where(META.c.name.in_(list(values))))
            rows = [{"name": name, "value": value} for name, value in values.items() if value is not None]
            if rows:
                connection.execute(META.insert(), rows)

    def ahead(self) -> int:
        """See :meth:`scp.index.self_description.Meta.ahead`."""
        return clock.ahead(self._engine)

    def stamp(self) -> object:
        """See :meth:`scp.index.self_description.Meta.stamp`."""
        return self._writer.writes()

    def damage(self) -> str:
        """See :meth:`scp.index.self_description.Meta.damage`."""
        return damage(self._engine)

    def is_in_place(self) -> bool:
        """See :meth:`scp.index.self_description.Meta.is_in_place`."""
        return files.identity(self._engine) == self._opened
