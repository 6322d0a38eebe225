"""Sums by facts on the tables of a SQL index: one statement that groups, or some for picked rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, FromClause, RowMapping, Select, case, func, literal, select

from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.dialect import reads, watched
from scp.index.fact_sums import FactSum, SumKeys, SummedFacts
from scp.index.record import as_instance
from scp.index.schema import INSTANCE, INSTANCE_COLUMNS, PATIENT, SERIES, STUDY
from scp.index.watch import Watch, unwatched
from scp.model import Instance

_TABLES = {"PATIENT": PATIENT, "STUDY": STUDY, "SERIES": SERIES, "IMAGE": INSTANCE}
_PICKED_AT_ONCE = 500
# Where most rows were deleted, most picked numbers are no row's: so many times as many are picked at most.
_MOST_MORE = 4
_OWN = ("form", "rule", "stage", "outcome", "pending")


def sums(engine: Engine, keys: SumKeys, most: int | None, watch: Watch | None) -> SummedFacts:
    """See :meth:`scp.index.fact_sums.FactSums.sums`."""
    statement = summed(keys)
    with reads(engine) as connection, watched(connection, watch or unwatched()):
        counted = select(func.count(), func.min(INSTANCE.c.id), func.max(INSTANCE.c.id))
        total, first, last = connection.execute(counted).one()
        if most is None or total <= most:
            rows = connection.execute(statement).mappings().all()
            return SummedFacts(tuple(_sum(row, keys) for row in rows), total, total)
        found: list[RowMapping] = []
        for some in _picked(first, last, most, total):
            found += connection.execute(statement.where(INSTANCE.c.id.in_(some))).mappings().all()
    picked = tuple(_sum(row, keys) for row in found)
    return SummedFacts(picked, sum(one.instances for one in picked), total)


def picked(engine: Engine, most: int) -> list[Instance]:
    """See :meth:`scp.index.fact_sums.FactSums.picked`."""
    counted = select(func.count(), func.min(INSTANCE.c.id), func.max(INSTANCE.c.id))
    rows = select(*INSTANCE_COLUMNS).where(~INSTANCE.c.pending)
    found: list[Instance] = []
    with reads(engine) as connection:
        total, first, last = connection.execute(counted).one()
        for some in _picked(first, last, most, total) if total else ():
            named = rows.where(INSTANCE.c.id.in_(some))
            found += [as_instance(row) for row in connection.execute(named).mappings()]
    random.Random(0).shuffle(found)  # noqa: S311 - the first of them stand for all, too
    return found


def _picked(first: int, last: int, most: int, total: int) -> Iterable[Sequence[int]]:
    """Numbers of rows at random, so many that about ``most`` of them are there."""
    span = last - first + 1
    count = min(round(most * min(span / total, _MOST_MORE)), span)
    pick = random.Random(0)  # noqa: S311 - the same each time: what differs is then the policy
    numbers = sorted(pick.sample(range(first, last + 1), count))
    return (numbers[start : start + _PICKED_AT_ONCE] for start in range(0, count, _PICKED_AT_ONCE))


def summed(keys: SumKeys) -> Select[Any]:
    """The statement: what the keys tell apart, and the sums of each."""
    own = INSTANCE.c
    groups: list[ColumnElement[Any]] = [own[name] for name in _OWN]
    groups.append((own.refused != "").label("is_refused"))
    groups += [_column(keyword) for keyword in keys.keywords]
    if keys.transfer_syntax:
        groups.append(own.received_transfer_syntax)
    if keys.calling_aet:
        groups.append(own.calling_aet)
    for bound in keys.sizes:
        groups += [_is(own.received_size < bound), _is(own.received_size <= bound)]
    groups += [_is(own.received_at <= datetime.fromtimestamp(moment, UTC)) for moment in keys.received]
    groups += [_is(own.accessed <= moment) for moment in keys.accessed]
    figures = (
        func.count().label("instances"),
        func.sum(own.received_size).label("received"),
        func.sum(own.stored_size).label("stored"),
        func.min(own.received_size).label("least"),
        func.min(own.received_at).label("since"),
        func.min(own.accessed).label("used"),
        func.min(case((own.planned == keys.policy, own.due))).label("next"),
    )
    named = [group.label(f"g{number}") for number, group in enumerate(groups)]
    return select(*named, *figures).select_from(_needed(keys.keywords)).group_by(*named)


def _is(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, literal(1)), else_=literal(0))


def _column(keyword: str) -> ColumnElement[Any]:
    attribute = HELD_BY_KEYWORD[keyword]
    return _TABLES[attribute.table].c[attribute.column]


def _needed(keywords: Sequence[str]) -> FromClause:
    """The instances, joined with the tables above that have the attributes, and no further."""
    asked = {HELD_BY_KEYWORD[keyword].table for keyword in keywords}
    tables: FromClause = INSTANCE
    if asked - {"IMAGE"}:
        tables = tables.join(SERIES, INSTANCE.c.parent == SERIES.c.id)
    if asked & {"STUDY", "PATIENT"}:
        tables = tables.join(STUDY, SERIES.c.parent == STUDY.c.id)
    if "PATIENT" in asked:
        tables = tables.join(PATIENT, STUDY.c.parent == PATIENT.c.id)
    return tables


def _sum(row: RowMapping, keys: SumKeys) -> FactSum:
    values = [row[f"g{number}"] for number in range(len(_OWN) + 1 + len(keys.keywords))]
    own, refused = dict(zip(_OWN, values, strict=False)), values[len(_OWN)]
    texts = values[len(_OWN) + 1 :]
    at = len(values)
    syntax = row[f"g{at}"] if keys.transfer_syntax else ""
    aet = row[f"g{at + keys.transfer_syntax}"] if keys.calling_aet else ""
    instance = Instance(
        *("",) * 5,
        form=own["form"],
        transfer_syntax="",
        stored_size=0,
        stored_sha256="",
        received_transfer_syntax=syntax,
        received_size=int(row["least"]),
        received_sha256="",
        received_at=row["since"],
        calling_aet=aet,
        rule=own["rule"],
        pending=bool(own["pending"]),
        stage=own["stage"],
        outcome=own["outcome"],
        accessed=int(row["used"]),
        refused="refused" if refused else "",
    )
    attributes = {keyword: text or "" for keyword, text in zip(keys.keywords, texts, strict=True)}
    sizes = (int(row["received"]), int(row["stored"]))
    due = None if row["next"] is None else int(row["next"])
    return FactSum(instance, attributes, int(row["instances"]), *sizes, due)
