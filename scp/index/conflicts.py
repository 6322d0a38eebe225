"""Objects that contradict each other about their study or patient: noticed when one arrives, and listed.

Nothing is decided here. Each object stays with the identity that it claims; a person has to find out which is
right.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import groupby
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from scp.identity import Claimant, Conflict, ConflictKind
from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.prepared import Prepared, compiled_once
from scp.index.schema import INSTANCE, PATIENT, SERIES, STUDY, TEXT

Row = Mapping[str, Any]
# Patients that differ in one of these may be two persons. Keys are compared: case and padding do not count.
_PERSON = tuple(
    name
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex")
    for name in HELD_BY_KEYWORD[keyword].key_columns
)
_MOST_REMEMBERED = 10_000
_ONE: ColumnElement[int] = literal_column("1")
_EMPTY: ColumnElement[str] = literal_column("''")


class Warnings:
    """Logs conflicts once for each study, when their transaction is committed; used in the writer's turn."""

    def __init__(self) -> None:
        self._noticed: list[tuple[ConflictKind, str]] = []
        self._told: OrderedDict[tuple[ConflictKind, str], None] = OrderedDict()

    def notice(self, kind: ConflictKind, study: str) -> None:
        """Note a conflict that the running transaction begins."""
        self._noticed.append((kind, study))

    def rolled_back(self) -> None:
        """Forget the noted conflicts: their transaction was rolled back."""
        self._noticed.clear()

    def committed(self) -> None:
        """Log the new conflicts."""
        for found in dict.fromkeys(self._noticed):
            if found not in self._told:
                self._told[found] = None
                log = structlog.get_logger("zscp")
                log.warning("identity conflict", conflict=str(found[0]), study=found[1])
        while len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        self._noticed.clear()


def differ(held: Row, new: Row) -> bool:
    """Whether name, birth date or sex differ; a missing value differs from no other."""
    return any(held[name] and new[name] and held[name] != new[name] for name in _PERSON)


def begun(connection: Connection, before: Row | None, study: int, new: Row) -> Iterator[ConflictKind]:
    """The conflicts that the study's row with the id ``study`` has, and did not have ``before``.

    ``new`` are the values that were written to the row.
    """
    values = {**new, "study": study}
    if before is None and new["study_instance_uid"] and _finds(connection, _sharing, values):
        yield ConflictKind.STUDY
    within = new.get("differs_within") and before is not None and not before["differs_within"]
    told_anew = before is None or any(new[name] and new[name] != before[name] for name in _PERSON)
    if within or (told_anew and _finds(connection, _contradicting, values)):
        yield ConflictKind.PATIENT


def listed(connection: Connection) -> Iterator[Conflict]:
    """All conflicts among the held objects. Reads all studies, and the database index of all instances."""
    for kind, uid, condition in (
        (ConflictKind.STUDY, STUDY.c.study_instance_uid, _shared_study()),
        (ConflictKind.PATIENT, PATIENT.c.patient_id, _contradicted_patient()),
    ):
        studies = _claimants(uid).where(condition).order_by(uid, PATIENT.c.id, STUDY.c.id)
        by = (lambda row: row["uid"]) if kind is ConflictKind.STUDY else (lambda row: row["patient_row"])
        yield from _grouped(connection, kind, studies, by)
    uid = INSTANCE.c.sop_instance_uid
    below = _claimants(uid, counted=False).join(SERIES, SERIES.c.parent == STUDY.c.id).join(INSTANCE)
    several = select(uid).group_by(uid).having(func.count() > 1)
    statement = below.where(uid.in_(several)).order_by(uid, INSTANCE.c.id)
    yield from _grouped(connection, ConflictKind.INSTANCE, statement, lambda row: row["uid"])


def _shared_study() -> ColumnElement[bool]:
    uid = STUDY.c.study_instance_uid
    return uid.in_(select(uid).where(uid.is_not(None)).group_by(uid).having(func.count() > 1))


def _contradicted_patient() -> ColumnElement[bool]:
    """Patients whose studies name two persons, or one of whose studies does."""
    differs = [
        func.min(func.nullif(STUDY.c[name], "")) != func.max(func.nullif(STUDY.c[name], ""))
        for name in _PERSON
    ]
    within = func.sum(case((STUDY.c.differs_within, 1), else_=0)) > 0
    return PATIENT.c.id.in_(select(STUDY.c.parent).group_by(STUDY.c.parent).having(or_(within, *differs)))


def _claimants(uid: ColumnElement[Any], counted: bool = True) -> Select[Any]:
    series, instance = SERIES.alias(), INSTANCE.alias()
    below = select(func.count()).select_from(instance.join(series, instance.c.parent == series.c.id))
    count = below.where(series.c.parent == STUDY.c.id).scalar_subquery() if counted else _ONE
    columns = (
        PATIENT.c.patient_id,
        PATIENT.c.issuer_of_patient_id,
        STUDY.c.patient_name,
        STUDY.c.patient_birth_date,
        STUDY.c.patient_sex,
        STUDY.c.study_instance_uid,
        STUDY.c.differs_within,
    )
    labelled = (uid.label("uid"), PATIENT.c.id.label("patient_row"), count.label("instances"))
    return select(*columns, *labelled).select_from(PATIENT.join(STUDY))


def _grouped(
    connection: Connection, kind: ConflictKind, statement: Select[Any], by: Any
) -> Iterator[Conflict]:
    rows = connection.execute(statement).mappings()
    for _, of in groupby(rows, by):
        claimants = list(of)
        yield Conflict(kind, claimants[0]["uid"] or "", tuple(map(_claimant, claimants)))


def _claimant(row: Row) -> Claimant:
    return Claimant(
        row["patient_id"] or "",
        row["issuer_of_patient_id"],
        row["patient_name"],
        row["patient_birth_date"],
        row["patient_sex"],
        row["study_instance_uid"] or "",
        row["instances"],
        row["differs_within"],
    )


def _finds(connection: Connection, statement: Any, values: Row) -> bool:
    with closing(connection.connection.cursor()) as cursor:
        return statement(connection.dialect).run(cursor, values).fetchone() is not None


@compiled_once
def _sharing(dialect: Dialect) -> Prepared:
    """Finds another study of the same Study Instance UID."""
    same = STUDY.c.study_instance_uid == bindparam("study_instance_uid")
    other = STUDY.c.id != bindparam("study")
    return Prepared(select(_ONE).where(exists().where(same, other)), dialect)


@compiled_once
def _contradicting(dialect: Dialect) -> Prepared:
    """Finds another study of the same patient that names another person."""
    differs = [
        and_(STUDY.c[name] != _EMPTY, bindparam(name, type_=TEXT) != _EMPTY, STUDY.c[name] != bindparam(name))
        for name in _PERSON
    ]
    others = and_(STUDY.c.parent == bindparam("parent"), STUDY.c.id != bindparam("study"))
    return Prepared(select(_ONE).where(exists().where(others, or_(*differs))), dialect)
