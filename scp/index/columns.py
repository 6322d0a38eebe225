"""What is answered of an entity: columns of its row and of those above, and subqueries of what lies below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, RowMapping, Select, case, func, select

from scp.index import sequences
from scp.index.attributes import COMPUTED_BY_KEYWORD, HELD_BY_KEYWORD, Attribute, Computed
from scp.index.index import RANK, Ranks
from scp.index.keys import VALUES
from scp.index.matching import Condition, text_of
from scp.index.schema import TABLES
from scp.model import LEVELS, UNIQUE_KEYS, Query

Tables = Mapping[str, FromClause]
# What the peer must see of the entities at a level, by the tables down to it.
Seen = Callable[[str, Tables], list[Condition]]
ID = "@id"  # the label of the entity's own id
NEWEST = TABLES["STUDY"].alias("newest")  # the study that describes a patient
# Subqueries beside each other use the same aliases. To make one takes half a millisecond, as it gets all the
# columns of its table.
_SHARED: Tables = {level: TABLES[level].alias() for level in LEVELS[1:]}
for _shared in _SHARED.values():
    _shared.c.keys()  # makes the columns, before several threads ask for them
_UNIQUE = frozenset(UNIQUE_KEYS.values())


def joined(tables: Tables) -> FromClause:
    """``tables``, which are in the order of LEVELS, each joined to the one above it."""
    first, *others = tables.values()
    joined = above = first
    for table in others:
        joined, above = joined.join(table, table.c.parent == above.c.id), table
    return joined


def holding(attribute: Attribute, tables: Tables) -> FromClause:
    """The one of ``tables`` that has the attribute's columns; the attribute's level is among them."""
    return tables.get(attribute.table, NEWEST)


def below(level: str, lowest: str, above: Tables) -> tuple[dict[str, FromClause], Condition]:
    """Aliases of the tables below ``level`` down to ``lowest``, and the condition that joins them to it."""
    between = LEVELS[LEVELS.index(level) + 1 : LEVELS.index(lowest) + 1]
    aliases = {name: _alias(name, above) for name in between}
    return aliases, aliases[between[0]].c.parent == above[level].c.id


def _alias(level: str, above: Tables) -> FromClause:
    """An alias of a level's table, which statements share; another one where that is among those above."""
    shared = _SHARED[level]
    return TABLES[level].alias() if any(shared is table for table in above.values()) else shared


def answers(query: Query, tables: Tables, seen: Seen) -> Iterator[ColumnElement[Any]]:
    """A column for each keyword that is answered, labelled with it; of what lies below, only what is seen."""
    keywords = [UNIQUE_KEYS[level] for level in tables] + [key.keyword for key in query.keys]
    for keyword in dict.fromkeys(keywords):
        held, computed = HELD_BY_KEYWORD.get(keyword), COMPUTED_BY_KEYWORD.get(keyword)
        if held is not None and held.level in tables:
            yield text_of(held, holding(held, tables)).label(keyword)
        elif held is not None and lifted(held, query.level) and keyword not in _UNIQUE:
            yield _lifted(held, query.level, tables, seen).label(keyword)
        elif computed is not None and computed.level in tables:
            yield _computed(computed, tables, seen).label(keyword)


def answer(row: RowMapping) -> dict[str, str]:
    """A row of :func:`scp.index.query.find` as keyword → text; gathered values sorted (PS3.4 C.3.4)."""
    return {keyword: _answer(keyword, value) for keyword, value in row.items() if keyword != ID}


def lifted(attribute: Attribute, level: str) -> bool:
    """Whether an attribute of the level below is matched and answered at ``level``, study or series."""
    return attribute.level == {"STUDY": "SERIES", "SERIES": "IMAGE"}.get(level)


def _lifted(attribute: Attribute, level: str, tables: Tables, seen: Seen) -> ColumnElement[Any]:
    """The value of the first entity below that has one; for sequences, the values of all."""
    aliases, tie = below(level, attribute.level, tables)
    table = aliases[attribute.level]
    column = text_of(attribute, table)
    values_ = select(column.label("value")).where(tie, column != "", *seen(attribute.level, aliases))
    if attribute.vr == "SQ":
        return _gathering(values_, tables[level], sequences.BETWEEN)
    return values_.order_by(table.c.id).limit(1).scalar_subquery()


def rank(level: str, tables: Tables, ranks: Ranks) -> Iterator[ColumnElement[Any]]:
    """The highest rank of the instances below a match."""
    if level == "IMAGE":
        yield _ranked(tables["IMAGE"], ranks).label(RANK)
        return
    aliases, tie = below(level, "IMAGE", tables)
    highest = select(func.max(_ranked(aliases["IMAGE"], ranks))).select_from(joined(aliases))
    yield highest.where(tie).scalar_subquery().label(RANK)


def _ranked(table: FromClause, ranks: Ranks) -> ColumnElement[int]:
    return case(
        *((table.c.key.startswith(prefix, autoescape=True), rank) for prefix, rank in ranks.items()), else_=0
    )


def _computed(computed: Computed, tables: Tables, seen: Seen) -> ColumnElement[Any]:
    """The subquery that counts or gathers; rows without a unique key are not counted."""
    attribute = HELD_BY_KEYWORD[computed.gathers or UNIQUE_KEYS[computed.counts]]
    aliases, tie = below(computed.level, attribute.level, tables)
    column = aliases[attribute.level].c[attribute.column]
    lower = select(column.label("value")).select_from(joined(aliases))
    lower = lower.where(tie, *seen(attribute.level, aliases))
    if computed.counts:
        # Instances are counted in the index by series, which lacks their UID; all instances have one.
        counted = func.count() if computed.counts == "IMAGE" else func.count(column)
        return lower.with_only_columns(counted).scalar_subquery()
    between = sequences.BETWEEN if attribute.vr == "SQ" else VALUES
    return _gathering(lower.where(column != ""), tables[computed.level], between)


def _gathering(values_: Select[Any], above: FromClause, between: str) -> ColumnElement[Any]:
    # DISTINCT is in a separate subquery: SQLite's group_concat(DISTINCT …) takes no separator.
    distinct = values_.distinct().correlate(above).subquery()
    return select(func.aggregate_strings(distinct.c.value, between)).scalar_subquery()


def _answer(keyword: str, value: Any) -> str:
    if value is None:
        return ""
    computed = COMPUTED_BY_KEYWORD.get(keyword)
    if computed is None or not computed.gathers or sequences.is_sequence(keyword):
        return str(value)
    return VALUES.join(sorted(value.split(VALUES)))
