"""Reading: an identifier of PS3.4 C.4 → one SELECT. Pure.

All levels from the query's up to the patient are joined. Entities below are queried only in subqueries, on
aliases, so that no further statement is needed for each match.

Each study has the description of its patient. At patient level the newest study's is used: that of the latest
Study Date, then of the last arrival.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.sql import visitors

from scp.errors import QueryError
from scp.index import names, sequences
from scp.index.attributes import COMPUTED_BY_KEYWORD, HELD_BY_KEYWORD, Attribute, Computed
from scp.index.columns import ID, NEWEST, Tables, answers, below, holding, joined, lifted, rank
from scp.index.index import NO_RANKS, Ranks
from scp.index.keys import VALUES
from scp.index.matching import Condition, check_parameters, combined, condition, universal, values
from scp.index.schema import INSTANCE_COLUMNS, PENDING, SOUND, TABLES
from scp.model import CALLING_AET, LEVELS, UNIQUE_KEYS, Query, QueryKey

# What a query may be limited to: what the index holds, and who sent an object.
_LIMITING = {**HELD_BY_KEYWORD, CALLING_AET: Attribute("IMAGE", CALLING_AET, "AE")}
_ISSUER, _NAME = HELD_BY_KEYWORD["IssuerOfPatientID"], HELD_BY_KEYWORD["PatientName"]
_ROW: ColumnElement[Any] = literal_column(
    "1"
)  # EXISTS of all columns would read the row, though the index suffices
MOST_COUNTED = 5000  # index rows read in half a millisecond; beyond that the order matters little
_RANGED = ("PatientName", "StudyDate")


def find(
    query: Query,
    later: str = "",
    ranks: Ranks = NO_RANKS,
    *,
    among: BindParameter[Any] | Select[Any] | None = None,
    named: str | Select[Any] = "",
) -> Select[Any]:
    """The matches of a C-FIND identifier, with a column for each keyword that is answered.

    Keys of the next level below match if one entity there matches all of them, and are answered too
    (docs/decisions/0100). Keys of lower levels match in relational queries only, and are never answered:
    there may be many values (PS3.4 C.4.1.2.2.2). Keys that are sequences only narrow down the matches
    (:mod:`scp.index.sequences`). ``later`` is a keyword that is tested only after a row was found by other
    keys; see :func:`ranges`. ``among`` are ids, of :func:`found` or :func:`scp.index.names.newest_named`,
    to which the matches are limited: rows are found by these and nothing else. So they are by
    ``named``: what :func:`scp.index.names.trigrams` asks for, or the ids of studies.

    Raises :class:`scp.errors.QueryError` for a level or a value that the standard does not allow.
    """
    levels = _levels(query)
    check_parameters(query.keys, HELD_BY_KEYWORD)
    above = {level: TABLES[level] for level in levels}
    not_narrowed = among is None and isinstance(named, str) and not named
    conditions = [
        *_matching(query, above, later, indexed=not_narrowed),
        *_matching_below(query, above),
        *_seen(query, above),
        *_named(query.level, above),  # last, as it reads the row
    ]
    identified = above[query.level].c.id
    if among is not None:
        conditions.append(identified.in_(among))
    tables, study = _found_in(above), holding(_NAME, above)
    if isinstance(named, Select):
        conditions.append(study.c.id.in_(named))
    elif named:
        tables = tables.join(names.TRIGRAMS, names.TRIGRAMS.c.rowid == study.c.id)
        conditions.append(names.matching_trigrams(named))
    asked = [
        identified.label(ID),
        *answers(query, above, partial(_seen_among, query)),
        *(rank(query.level, above, ranks) if ranks else ()),
    ]
    return select(*asked).select_from(tables).where(*conditions)


def found(query: Query, *, named: str | Select[Any] = "") -> Select[Any]:
    """The ids of all entities that :func:`find` finds."""
    return ids_of(find(query, named=named), query.level)


def ids_of(finding: Select[Any], level: str) -> Select[Any]:
    """The ids alone of what a statement of :func:`find` finds."""
    return finding.with_only_columns(TABLES[level].c.id, maintain_column_froms=True)


def seen_instances(query: Query) -> Select[Any] | None:
    """The ids of the instances that a query without keys is limited to; None where it has keys, or no limit.

    Among a million studies, to look below each for an AE title that sent nothing takes ten times as long.
    """
    if not query.seen or not all(universal(key.value) for key in query.keys):
        return None
    instance = TABLES["IMAGE"]
    return select(instance.c.id).where(*_matching(replace(query, keys=query.seen), {"IMAGE": instance}))


def holders(level: str, instances: Collection[int]) -> Select[Any]:
    """The ids of the entities of a level that hold these instances."""
    tables = {name: TABLES[name] for name in LEVELS[LEVELS.index(level) :]}
    named = TABLES["IMAGE"].c.id.in_(instances)
    return select(tables[level].c.id).select_from(joined(tables)).where(named)


def ranges(query: Query) -> dict[str, Select[Any]]:
    """Keyword → a count of the studies, up to :data:`MOST_COUNTED`, that its key finds in an index.

    Empty unless studies can be found by two ranges: the beginning of a name, and a date. A database cannot
    know from statistics which range is shorter if the values are parameters, and reading the longer one takes
    up to 20 times as long. It is empty for a unique key too, as the index of that is best.

    Raises :class:`scp.errors.QueryError` as :func:`find` does.
    """
    given = {key.keyword: key for key in query.keys if not universal(key.value)}
    if "STUDY" not in _levels(query) or any(keyword in given for keyword in names.BEST):
        return {}
    found = {}
    for keyword in _RANGED:
        key = given.get(keyword)
        if key is None or key.value.startswith(("*", "?")):
            return {}
        matching = condition(key, HELD_BY_KEYWORD[keyword], TABLES["STUDY"])
        if matching is None:
            return {}
        rows = select(TABLES["STUDY"].c.id).where(matching).limit(MOST_COUNTED).subquery()
        found[keyword] = select(func.count()).select_from(rows)
    return found


def instances(query: Query) -> Select[Any]:
    """All instances below the entities that a retrieve identifier names, and the numbers to sort by.

    The entities are named as PS3.4 C.4.2.1.4 says.
    Only the unique keys count, and the Issuer of Patient ID if it is given, as it tells apart two patients
    with one ID.

    Raises :class:`scp.errors.QueryError` if the unique key of the query's level is missing, or a UID is
    invalid.
    """
    levels = _levels(query)
    given = {key.keyword: key for key in query.keys}
    unique = UNIQUE_KEYS[query.level]
    if unique not in given or not values(given[unique], HELD_BY_KEYWORD[unique]):
        raise QueryError(f"{unique}: a retrieve at level {query.level} must name what it wants")
    named = [HELD_BY_KEYWORD[UNIQUE_KEYS[level]] for level in levels] + [_ISSUER]
    conditions = [
        _exactly(given[attribute.keyword], attribute) for attribute in named if attribute.keyword in given
    ]
    numbers = (TABLES["SERIES"].c.series_number_key, TABLES["IMAGE"].c.instance_number_key)
    conditions += _seen(replace(query, level="IMAGE"), TABLES)
    return (
        select(*INSTANCE_COLUMNS, *numbers)
        .select_from(joined(TABLES))
        .where(*(each for each in conditions if each is not None))
    )


def pending(most: int) -> Select[Any]:
    """The pending instances, in the order of arrival."""
    return select(*INSTANCE_COLUMNS).where(PENDING, SOUND).order_by(TABLES["IMAGE"].c.id).limit(most)


def pending_at(key: str) -> Select[Any]:
    """The pending instance that is stored under a key."""
    return select(*INSTANCE_COLUMNS).where(PENDING, TABLES["IMAGE"].c.key == key).limit(1)


def _levels(query: Query) -> tuple[str, ...]:
    """The query's level and those above, from the patient down."""
    if query.level not in LEVELS:
        raise QueryError(f"QueryRetrieveLevel: none of {', '.join(LEVELS)}")
    return LEVELS[: LEVELS.index(query.level) + 1]


def _found_in(above: Tables) -> FromClause:
    """The tables of a query's levels, and at patient level the study that describes the patient."""
    tables = joined(above)
    if "STUDY" in above:
        return tables
    patient, study = above["PATIENT"], TABLES["STUDY"].alias()
    order = (study.c.study_date_key.desc(), study.c.id.desc())
    named = (study.c.parent == patient.c.id, study.c.study_instance_uid.is_not(None))
    newest = select(study.c.id).where(*named).order_by(*order).limit(1).correlate(patient).scalar_subquery()
    return tables.join(NEWEST, and_(NEWEST.c.parent == patient.c.id, NEWEST.c.id == newest))


def _named(level: str, tables: Tables) -> Iterator[Condition]:
    """Studies and series without a UID cannot be requested, so they are not returned.

    Nor are patients who have only such studies: see :func:`_found_in`.
    """
    if level in {"STUDY", "SERIES"}:
        yield tables["STUDY"].c.study_instance_uid.is_not(None)
    if level == "SERIES":
        yield tables["SERIES"].c.series_instance_uid.is_not(None)


def _matching(query: Query, tables: Tables, later: str = "", *, indexed: bool = True) -> list[Condition]:
    """The conditions of the keys on ``tables``; keys of other levels are left out.

    With ``indexed`` false no row is to be found by an index of them, only tested.
    """
    paired = _paired(query) if query.combined_datetime else {}
    found: list[Condition | None] = []
    # SQLite tests in this order: ``later`` first, as the index by which rows are found may have it.
    for key in sorted(query.keys, key=lambda key: key.keyword != later):
        held, computed = _LIMITING.get(key.keyword), COMPUTED_BY_KEYWORD.get(key.keyword)
        if held is not None and held.level in tables:
            time = paired.get(key.keyword)
            if time is not None:
                matching: Condition | None = _combined(key, time, holding(held, tables))
            else:
                matching = None if key in paired.values() else _condition(key, held, holding(held, tables))
            tested = not indexed or _is_tested_later(key.keyword, held, later)
            found.append(_without_index(matching) if tested else matching)
        elif computed is not None and computed.level in tables:
            found.append(_gathered(query, key, computed, tables))
    return [each for each in found if each is not None]


def _is_tested_later(keyword: str, held: Attribute, later: str) -> bool:
    """Whether a study's key is tested after ``later``, of which an index may have to decide alone.

    SQLite tests a comparison with a column as it goes through an index of names, so that it reads the row for
    it, before the date, which that index has.
    """
    return bool(later) and held.table == "STUDY" and (keyword == later or keyword not in _RANGED)


def _condition(key: QueryKey, attribute: Attribute, table: FromClause) -> Condition | None:
    if attribute.vr == "SQ":
        return sequences.narrowed(key.value, table.c[attribute.column])
    return condition(key, attribute, table)


def _without_index(matching: Condition | None) -> Condition | None:
    """The same condition on expressions instead of columns: no database uses an index for these."""
    if matching is None:
        return None

    def changed(element: Any, **_kw: Any) -> Any:
        return element.concat("") if isinstance(element, Column) else None

    return visitors.replacement_traverse(matching, {}, changed)


def _matching_below(query: Query, above: Tables) -> list[Condition]:
    """One entity of each lower level must match all keys of its level, and be below the matched ones."""
    lower = LEVELS[LEVELS.index(query.level) + 1 :]
    asked = [
        key
        for key in query.keys
        if (held := _LIMITING.get(key.keyword))
        and held.level in lower
        and not universal(key.value)
        and (lifted(held, query.level) or (query.relational and held.vr != "SQ"))
    ]
    deepest = max((LEVELS.index(_LIMITING[key.keyword].level) for key in asked), default=0)
    if not deepest:
        return []
    aliases, tie = below(query.level, LEVELS[deepest], above)
    matching = _matching(replace(query, keys=tuple(asked)), aliases)
    matching += _seen_among(query, LEVELS[deepest], aliases)
    return [exists(_ROW).select_from(joined(aliases)).where(tie, *matching)]


def _seen(query: Query, above: Tables) -> list[Condition]:
    """What the peer sees at all: of an entity above, one object below must match all the keys."""
    if not query.seen:
        return []
    seen = replace(query, keys=query.seen, seen=(), relational=True, combined_datetime=False)
    return [*_matching(seen, above), *_matching_below(seen, above)]


def _seen_among(query: Query, level: str, aliases: Tables) -> list[Condition]:
    """The same of the entities at ``level`` below a match: nothing is matched or told of what is not seen."""
    return _seen(replace(query, level=level), aliases)


def _paired(query: Query) -> dict[str, QueryKey]:
    """Keyword of a date → the key of its time, if the two are matched as one moment."""
    given = {key.keyword: key for key in query.keys if not universal(key.value) and VALUES not in key.value}
    times = {
        keyword: given.get(f"{keyword.removesuffix('Date')}Time")
        for keyword in given
        if keyword.endswith("Date") and keyword in HELD_BY_KEYWORD
    }
    return {keyword: time for keyword, time in times.items() if time and time.keyword in HELD_BY_KEYWORD}


def _combined(date: QueryKey, time: QueryKey, table: FromClause) -> Condition:
    columns = [table.c[HELD_BY_KEYWORD[key.keyword].key_columns[0]] for key in (date, time)]
    return combined(date, time, (columns[0], columns[1]))


def _gathered(query: Query, key: QueryKey, computed: Computed, tables: Tables) -> Condition | None:
    """A gathered attribute matches if any of its values matches; counts are not matched."""
    if not computed.gathers:
        return None
    attribute = HELD_BY_KEYWORD[computed.gathers]
    aliases, tie = below(computed.level, attribute.level, tables)
    matching = _condition(key, attribute, aliases[attribute.level])
    if matching is None:
        return None
    seen = _seen_among(query, attribute.level, aliases)
    return exists(_ROW).select_from(joined(aliases)).where(tie, matching, *seen)


def _exactly(key: QueryKey, attribute: Attribute) -> Condition | None:
    """The condition of a retrieve's unique key: a value or list, never a pattern (PS3.4 C.4.2.2.1)."""
    if attribute.vr == "UI":
        return condition(key, attribute, TABLES[attribute.level])
    listed = values(key, attribute)
    return TABLES[attribute.level].c[attribute.column].in_(listed) if listed else None
