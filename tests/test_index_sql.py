"""What is the SQL index's own: schema, connections, and what becomes of the database's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from test_index_contract import DOE, instance, query

from scp.errors import ConfigurationError, OutOfResources
from scp.index import dialect
from scp.index import query as reading
from scp.index.schema import METADATA, TABLES
from scp.index.sql import SqlIndex


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(database: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{database}")
    yield index
    index.close()


def test_migrations_make_exactly_the_schema(index):
    with index._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    created = create_engine("sqlite://")
    METADATA.create_all(created)
    assert _columns(index._engine) == _columns(created)


def _columns(engine: Engine) -> dict[str, list[dict[str, str]]]:
    """With the defaults, which Alembic does not compare well on SQLite."""
    inspector = inspect(engine)
    return {
        table: [
            {name: str(value) for name, value in column.items()} for column in inspector.get_columns(table)
        ]
        for table in METADATA.tables
    }


def test_a_commit_waits_for_the_disk(index):
    with index._engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    assert values == ["wal", 2, 1, 30_000]


def test_an_iterator_closed_early_gives_its_connection_back(index):
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(2000))
    matches = index.find(query("IMAGE", SOPInstanceUID=""))
    assert index._engine.pool.checkedout() == 0  # nothing is held before the first match is asked for
    next(matches)
    assert index._engine.pool.checkedout() == 1
    matches.close()
    assert index._engine.pool.checkedout() == 0


def test_many_searches_at_once_do_not_wait_for_each_other(index):
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(600))
    searches = [index.find(query("IMAGE", SOPInstanceUID="")) for _ in range(40)]
    assert len([next(each) for each in searches]) == 40
    for each in searches:
        each.close()


def test_a_full_disk_is_out_of_resources_and_leaves_the_index_usable(index):
    index.record(instance("1.1.1"), DOE)
    with index._engine.connect() as connection:  # the pool hands this one out again
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(OutOfResources, match="full"):
        index.record_many((instance(f"1.2.{number}"), DOE) for number in range(2000))
    with index._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert index.record(instance("1.1.2"), DOE) is None
    assert index.counts().instances == 2


def test_a_locked_database_is_out_of_resources(database, monkeypatch):
    monkeypatch.setattr(dialect, "_BUSY_MS", 50)
    index = SqlIndex.open(f"sqlite:///{database}")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutOfResources, match="locked"):
            index.record(instance("1.1.1"), DOE)
        other.execute("ROLLBACK")
    assert index.record(instance("1.1.1"), DOE) is None
    index.close()


def test_a_folder_that_cannot_be_made_is_out_of_resources(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutOfResources, match="folder"):
        SqlIndex.open(f"sqlite:///{tmp_path}/file/index.db")


@pytest.mark.parametrize(
    "url", ["", "index.db", "nosuchdatabase://host/name", "sqlite://", "sqlite:///:memory:"]
)
def test_a_url_that_is_none_is_a_fault_of_the_configuration(url):
    with pytest.raises(ConfigurationError, match=r"index\.url"):
        SqlIndex.open(url)


def test_the_index_of_a_later_version_is_left_alone(index, database):
    with closing(sqlite3.connect(database)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="another version"):
        SqlIndex.open(f"sqlite:///{database}")


@pytest.mark.parametrize(
    ("keys", "used"),
    [
        ({"PatientName": "DOE*"}, "ix_patient_name_alphabetic"),
        ({"PatientName": "DOE^JOHN"}, "ix_patient_name_ideographic"),
        ({"PatientID": "D*"}, "ux_patient_id"),
        ({"StudyDate": "20240101-20240131"}, "ix_study_date"),
        ({"AccessionNumber": "A1"}, "ix_study_accession_number"),
        ({"StudyInstanceUID": "1.2"}, "ux_study_instance_uid"),
    ],
)
def test_the_usual_queries_use_an_index(index, keys, used):
    statement = reading.find(query("STUDY", **keys)).compile(
        dialect=sqlite_dialect(), compile_kwargs={"literal_binds": True}
    )
    with index._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
    assert used in str(plan)


@pytest.mark.parametrize("level", TABLES)
def test_statements_are_postgresql_too(level):
    keys = {
        "PatientName": "DOE*",
        "ModalitiesInStudy": "CT",
        "OtherPatientIDs": "A*",
        "SOPClassesInStudy": "",
    }
    statement = reading.find(query(level, relational=True, InstanceNumber="1", **keys))
    text = str(statement.compile(dialect=postgresql.dialect()))
    assert "group_concat" not in text
    assert "~" in text
