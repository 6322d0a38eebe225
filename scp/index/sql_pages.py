"""Pages of matches on a SQL database.

A database that is asked for the newest matches either goes through all entities from the newest on, or finds
those that match and sorts them. Which is faster depends on how many match, and statistics cannot tell where
values are parameters: the wrong one takes seconds among a million studies. So the first 1,001 matches are
counted, in any order: where there are no more, these are sorted, and else the newest are soon found. Where an
AE title is all that is asked for, its first 1,001 instances are looked for before, in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
)

from scp.index import names
from scp.index import query as reading
from scp.index.columns import ID, answer, joined
from scp.index.dialect import kind, reads, watched
from scp.index.index import NO_RANKS, Ranks
from scp.index.marks import Marks
from scp.index.matching import universal
from scp.index.pages import MOST_COUNTED, KeptSum, Page, PageEntry
from scp.index.rows import ORDERING, reading_order
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, TABLES
from scp.index.sequences import narrows, selection
from scp.index.watch import Watch
from scp.model import LEVELS, Instance, Query

_IDS: BindParameter[Sequence[int]] = bindparam("ids", expanding=True)


class SqlPages:
    """:class:`scp.index.pages.Pages` on a SQL database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._marks = Marks(engine)
        self.mark, self.is_now = self._marks.now, self._marks.is_now

    def page(
        self,
        query: Query,
        most: int,
        before: int | None,
        watch: Watch,
        skip: int = 0,
        ranks: Ranks | None = None,
    ) -> Page:
        """See :meth:`scp.index.pages.Pages.page`."""
        chosen = selection(query)
        rows = reading.find(query, ranks=ranks or NO_RANKS, among=_IDS)
        with reads(self._engine) as connection, watched(connection, watch):
            few = self._few(connection, query)
            if few is None:
                numbers = self._newest(connection, query, most + 1, before, skip)
            else:
                numbers = [one for one in few if before is None or one < before][skip : skip + most + 1]
            shown = numbers[:most]
            found = {row[ID]: answer(row) for row in connection.execute(rows, {"ids": shown}).mappings()}
        told = (
            (number, chosen(found[number]) if chosen else found[number])
            for number in shown
            if number in found
        )
        entries = tuple(PageEntry(number, match) for number, match in told if match is not None)
        count = None if few is None or narrows(query) else len(few)
        return Page(entries, shown[-1] if len(numbers) > most else None, count)

    def _few(self, connection: Connection, query: Query) -> list[int] | None:
        """The numbers of all matches, the newest first; None where there are many."""
        if all(universal(key.value) for key in query.keys) and not query.seen:
            return None
        ways = self._ways(connection, query)
        seen = reading.seen_instances(query)
        if seen is not None:
            instances = connection.execute(seen.limit(MOST_COUNTED + 1)).scalars().all()
            if len(instances) <= MOST_COUNTED:
                number = TABLES[query.level].c.id
                ways = [way.where(number.in_(reading.holders(query.level, instances))) for way in ways]
        numbers: set[int] = set()
        for way in ways:
            numbers.update(connection.execute(way.limit(MOST_COUNTED + 1)).scalars())
        return None if len(numbers) > MOST_COUNTED else sorted(numbers, reverse=True)

    def _ways(self, connection: Connection, query: Query) -> list[Select[Any]]:
        """The statements that find all matches: those of a name without dates by trigrams, if there are."""
        asked = names.trigrams(query) if names.count_of_dates(query) is None else ""
        held = kind(self._engine).held_trigrams(connection) if asked else None
        if held is None or not held.complete:
            return [reading.found(query)]
        due = [reading.found(query, named=names.DUE)] if held.due else []
        return [*due, reading.found(query, named=asked)]

    def _newest(
        self, connection: Connection, query: Query, most: int, before: int | None, skip: int
    ) -> list[int]:
        number = TABLES[query.level].c.id
        statement = reading.found(query).order_by(number.desc()).limit(most).offset(skip)
        if before is not None:
            statement = statement.where(number < before)
        return list(connection.execute(statement).scalars())

    def sums(
        self, level: str, numbers: Sequence[int], stores: Mapping[str, str], watch: Watch
    ) -> list[KeptSum]:
        """See :meth:`scp.index.pages.Pages.sums`."""
        tables = {name: TABLES[name] for name in LEVELS[LEVELS.index(level) :]}
        number = tables[level].c.id
        begins = INSTANCE.c.key.startswith
        within = [(begins(prefix, autoescape=True), name) for prefix, name in stores.items()]
        store: ColumnElement[str] = case(*within, else_="") if within else literal("")
        groups = (number, INSTANCE.c.form, INSTANCE.c.transfer_syntax, store.label("store"))
        sums = (
            func.count(),
            func.sum(INSTANCE.c.received_size),
            func.sum(INSTANCE.c.stored_size),
            func.sum(case((INSTANCE.c.pending, 1), else_=0)),
            func.sum(case((INSTANCE.c.fault != "", 1), else_=0)),
        )
        statement = select(*groups, *sums).select_from(joined(tables)).where(number.in_(_IDS))
        with reads(self._engine) as connection, watched(connection, watch):
            rows = connection.execute(statement.group_by(*groups), {"ids": list(numbers)}).all()
        return [KeptSum(*row[:4], *map(int, row[4:])) for row in rows]

    def numbers(self, query: Query, watch: Watch) -> list[int]:
        """See :meth:`scp.index.pages.Pages.numbers`."""
        found = reading.instances(query)
        ordered = [column for column in found.selected_columns if column.key in ORDERING]
        statement = found.with_only_columns(INSTANCE.c.id, *ordered, maintain_column_froms=True)
        with reads(self._engine) as connection, watched(connection, watch):
            rows = connection.execute(statement).mappings()
            return [number for _, number in sorted((reading_order(row), row["id"]) for row in rows)]

    def instances(self, numbers: Sequence[int], query: Query) -> list[Instance]:
        """See :meth:`scp.index.pages.Pages.instances`."""
        statement = (
            reading.instances(query)
            .with_only_columns(INSTANCE.c.id, *INSTANCE_COLUMNS, maintain_column_froms=True)
            .where(INSTANCE.c.id.in_(_IDS))
        )
        with reads(self._engine) as connection:
            rows = connection.execute(statement, {"ids": list(numbers)}).all()
        # In the order of the columns: by their names takes three times as long.
        found = {number: Instance(*columns) for number, *columns in rows}
        return [found[number] for number in numbers if number in found]

    def order(self, query: Query, most: int) -> list[str]:
        """See :meth:`scp.index.pages.Pages.order`."""
        found = reading.instances(query)
        ordered = [column for column in found.selected_columns if column.key in ORDERING]
        statement = found.with_only_columns(*ordered, maintain_column_froms=True).limit(most + 1)
        with reads(self._engine) as connection:
            rows = connection.execute(statement).mappings().all()
        found_in_order = sorted(map(reading_order, rows)) if len(rows) <= most else ()
        return [sop_instance_uid for *_, sop_instance_uid in found_in_order]

    def close(self) -> None:
        """Close what is open."""
        self._marks.close()
