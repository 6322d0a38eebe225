"""An index of the version before holds long values whole: a migration changes these rows, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import servers_postgresql
from sqlalchemy import text
from test_index_contract import DOE, instance, queued
from test_index_sql import _downgrade

from scp.index.databases import Database
from scp.index.index import REBUILD
from scp.index.keys import bounded
from scp.index.sql import SqlIndex
from scp.model import Query, QueryKey

LONG = "Ä" * 130 + "12"  # 262 bytes
ISSUER, NUMBER, MODALITY, NAME = (f"{what} " * 100 for what in ("ward", "no", "ct", "someone else"))
VALUES = {
    "patient": {"patient_id": LONG, "issuer_of_patient_id": ISSUER},
    "study": {"accession_number": NUMBER, "patient_name_alphabetic": NAME * 4},
    "series": {"modality": MODALITY},
    "outgoing": {"patient_id": LONG, "issuer_of_patient_id": ISSUER},
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.cluster)])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> str | Database:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/index.db"
    return servers_postgresql.shared().database()


def of_the_version_before(database: str | Database) -> None:
    """Three objects of three patients, of which only one has long values."""
    index = SqlIndex.open(database)
    for number in range(3):
        uid = f"1.{number}.1"
        given = {**DOE, "PatientID": f"D{number}", "StudyInstanceUID": f"1.{number}"}
        made = instance(uid, f"1.{number}", f"1.{number}.0", patient_id=f"D{number}")
        index.record(made, given, [queued(uid, study_instance_uid=f"1.{number}", patient_id=f"D{number}")])
    with index._engine.begin() as connection:
        _downgrade(connection, "0014")
        for table, values in VALUES.items():
            for name, value in values.items():
                # In PostgreSQL an entry of the database index that long is refused, and was then.
                changed = f"UPDATE {table} SET {name} = :value WHERE id = (SELECT min(id) + 1 FROM {table})"
                connection.execute(text(changed), {"value": value})
    index.close()


def test_only_rows_with_a_long_value_are_changed(database: str | Database) -> None:
    of_the_version_before(database)
    index = SqlIndex.open(database)
    try:
        assert REBUILD not in index.meta.all()
        held = sorted(index.all(), key=lambda one: one.sop_instance_uid)
        assert [one.patient_id for one in held] == ["D0", bounded(LONG), "D2"]
        assert held[1].issuer_of_patient_id == bounded(ISSUER.strip())
        assert index.current(held[1].identity) == held[1]
        for keyword, vr, value in [
            ("PatientID", "LO", LONG),
            ("IssuerOfPatientID", "LO", ISSUER),
            ("AccessionNumber", "SH", NUMBER),
            ("Modality", "CS", MODALITY),
        ]:
            keys = (QueryKey(keyword, vr, value), QueryKey("SOPInstanceUID", "UI", ""))
            found = index.find(Query("PATIENT", "IMAGE", keys, relational=True))
            assert [one["SOPInstanceUID"] for one in found] == [held[1].sop_instance_uid], keyword
        with index._engine.connect() as connection:
            columns = "sop_instance_uid, study_instance_uid, patient_id, issuer_of_patient_id"
            waiting = {tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM outgoing"))}
        assert waiting == {tuple(one.identity) for one in held}, "an object that is to be sent is still found"
        with index._engine.connect() as connection:
            names = connection.execute(
                text("SELECT patient_name_alphabetic FROM study ORDER BY id")
            ).scalars()
            assert [len(one) for one in names] == [
                len("doe^john"),
                len(bounded(NAME * 4, 2048)),
                len("doe^john"),
            ]
    finally:
        index.close()
