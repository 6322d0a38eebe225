"""PostgreSQL finds names that begin with a wildcard by trigrams, whose indexes are made beside all else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import servers_postgresql
from servers_postgresql import PASSWORD
from sqlalchemy import text
from structlog.testing import capture_logs
from test_index_contract import DOE, ROE, instance, query

from scp.index import trigrams
from scp.index.databases import Database
from scp.index.sql import SqlIndex
from scp.lifecycle.name_indexing import NameIndexing

pytestmark = pytest.mark.cluster


@pytest.fixture
def database() -> Database:
    return servers_postgresql.shared().database()


@pytest.fixture
def index(database: Database) -> Iterator[SqlIndex]:
    index = SqlIndex.open(database)
    index.record(instance("1"), DOE)
    index.record(instance("2", study="2", series="2.1"), ROE)
    yield index
    index.close()


def made(index: SqlIndex) -> dict[str, bool]:
    with index._engine.connect() as connection:
        return {row.relname: row.indisvalid for row in connection.execute(trigrams._MADE)}


def found(index: SqlIndex, name: str) -> list[str]:
    asked = query("STUDY", PatientName=name, StudyInstanceUID="")
    return sorted(match["StudyInstanceUID"] for match in index.find(asked))


ALL = {"trigrams_alphabetic": True, "trigrams_ideographic": True, "trigrams_phonetic": True}


def test_they_are_made_and_used(index: SqlIndex) -> None:
    assert made(index) == {}
    before = [found(index, name) for name in ("*OE*", "*oe^*", "*NOBODY*", "?OE*")]
    assert index.index_names().fault == ""
    assert made(index) == ALL
    assert [found(index, name) for name in ("*OE*", "*oe^*", "*NOBODY*", "?OE*")] == before
    assert (len(before[0]), len(before[2])) == (2, 0)
    with index._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET enable_seqscan = off"))  # with two studies it would read both
        name = text("EXPLAIN SELECT id FROM study WHERE patient_name_alphabetic LIKE '%nobody%'")
        plan = "\n".join(connection.execute(name).scalars())
    assert "trigrams_alphabetic" in plan


def test_those_that_are_there_stay(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.index_names()

    def refused(_: Any) -> str:
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(trigrams, "_without_extension", refused)
    assert index.index_names().fault == ""


def test_one_that_broke_off_is_made_anew(index: SqlIndex, database: Database) -> None:
    index.index_names()
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'trigrams_phonetic'::regclass"
    servers_postgresql.shared().execute(broken, database.parsed.database or "")
    assert made(index) == {**ALL, "trigrams_phonetic": False}
    assert index.index_names().fault == ""
    assert made(index) == ALL


def test_another_node_makes_them(index: SqlIndex) -> None:
    with index.exclusive("names"):
        assert index.index_names().fault == ""
        assert made(index) == {}


def test_a_server_without_the_extension(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigrams, "_IS_OFFERED", text("SELECT 1 WHERE false"))
    assert "contrib" in index.index_names().fault
    assert made(index) == {}
    assert len(found(index, "*OE*")) == 2


def test_a_role_without_the_right(index: SqlIndex, database: Database) -> None:
    server, name = servers_postgresql.shared(), database.parsed.database or ""
    server.execute(f"CREATE ROLE poor_{name} LOGIN PASSWORD '{PASSWORD}'")
    server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor_{name}", name)
    url = database.parsed.set(username=f"poor_{name}").render_as_string(hide_password=False)
    poor = SqlIndex.open(Database(url, PASSWORD))

    with capture_logs() as logs:
        NameIndexing(poor.index_names).turn()
    poor.close()
    assert ["read all studies" in one["event"] for one in logs] == [True]
    assert "permission denied" in logs[0]["reason"]
    assert "CREATE EXTENSION pg_trgm" in logs[0]["reason"]
    assert made(index) == {}
