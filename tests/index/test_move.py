"""An index copied between SQLite and PostgreSQL, both ways, with rows of all kinds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import servers_postgresql
from sqlalchemy import select
from test_index_contract import DOE, ROE, asked, instance
from typer.testing import CliRunner

from scp.background.progress import Silent
from scp.cli.main import app
from scp.errors import ConfigurationError, IndexDamaged
from scp.index import move as moving
from scp.index import sqlite
from scp.index.databases import Database
from scp.index.move import move
from scp.index.promises import PROMISED_SINCE
from scp.index.schema import METADATA
from scp.index.sql import SqlIndex
from scp.model import QueuedSend

ODD = {
    "PatientName": "Ελένη^Παπαδοπούλου=山田^太郎=やまだ^たろう",
    "PatientID": "ü%_/\\'\"\U0001f480",
    "PatientComments": "line\r\nline\ttab " + "long " * 3000,
    "StudyDescription": "'; DROP TABLE study; --",
    "OtherPatientIDs": "A\\B\\",
    "StudyDate": "no date",
}
PLACES: dict[str, Callable[[Path], Database]] = {
    "sqlite": lambda folder: Database(f"sqlite:///{folder}/other/index.db"),
    "postgresql": lambda _: servers_postgresql.shared().database(made=False),
}
SERVERS = pytest.param("postgresql", marks=pytest.mark.cluster)
WAYS = [
    ("sqlite", "sqlite"),
    pytest.param("sqlite", "postgresql", marks=pytest.mark.cluster),
    pytest.param("postgresql", "sqlite", marks=pytest.mark.cluster),
    pytest.param("postgresql", "postgresql", marks=pytest.mark.cluster),
]
MANY = 120


def fill(place: Database) -> None:
    index = SqlIndex.open(place)
    index.record(instance("1.1.1", fault="a file\0of NUL", pending=True), DOE)
    index.record(instance("9", "9", "9.1", received_at=datetime(1999, 1, 1, tzinfo=UTC)), ODD)
    index.record(instance("8", "8", "8.1", key="k" * 3000), {})
    for number in range(MANY):
        index.record(instance(f"2.{number}", "2", "2.1"), ROE | {"InstanceNumber": str(number)})
    index.commitments.add(asked("1.2.3"))
    now = datetime.now(UTC)
    sent = QueuedSend("1.1.1", "A", "rule", now, now, study_instance_uid="1", patient_id="D1")
    index.send_queue.add([sent])
    index.meta.put({"archive": "a", "sequence": "7"})
    index.remove("2.3")  # numbers have gaps
    index.close()


def rows_of(place: Database) -> dict[str, list[tuple[object, ...]]]:
    index = SqlIndex.open(place)
    with index._engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for name, table in METADATA.tables.items()
        }
    index.close()
    return json.loads(json.dumps(found, default=str).replace("\\u0000", ""))


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_all_rows_come_over_and_the_index_goes_on(source, target, tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "_BATCH", 50)
    before = Database(f"sqlite:///{tmp_path}/index.db") if source == "sqlite" else PLACES[source](tmp_path)
    after = PLACES[target](tmp_path)
    fill(before)
    copied = move(before, after, Silent())
    assert rows_of(before) == rows_of(after)
    assert copied["instance"].rows == MANY + 2
    index = SqlIndex.open(after)
    assert index.record(instance("new", "3", "3.1"), ROE) is None
    assert index.commitments.add(asked("1.2.4")) is not None
    told = dict(index.meta.all())
    assert told.pop(PROMISED_SINCE)  # that of the source, as its other rows
    assert told == {"archive": "a", "sequence": "7"}
    index.close()


@pytest.mark.parametrize("target", ["sqlite", SERVERS])
def test_a_copy_that_was_stopped_begins_again(target, tmp_path, monkeypatch):
    before, after = Database(f"sqlite:///{tmp_path}/index.db"), PLACES[target](tmp_path)
    fill(before)

    class Stopping(Silent):
        def advance(self, count: int = 1) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(before, after, Stopping())
    index = SqlIndex.open(after)
    assert "incarnation" not in index.meta.all()
    index.close()
    move(before, after, Silent())
    assert rows_of(before) == rows_of(after)
    with pytest.raises(ConfigurationError, match="holds an index already"):
        move(before, after, Silent())


@pytest.mark.parametrize("kind", ["sqlite", SERVERS])
def test_an_index_in_use_is_left_alone(kind, tmp_path):
    used, empty = PLACES[kind](tmp_path), Database(f"sqlite:///{tmp_path}/index.db")
    fill(used)
    index = SqlIndex.open(used)
    index.record(instance("5"), DOE)
    with pytest.raises(ConfigurationError, match="in use"):
        move(used, empty, Silent())
    assert index.record(instance("6"), DOE) is None
    index.close()
    move(used, empty, Silent())


def test_a_copy_that_differs_is_told(tmp_path, monkeypatch):
    before, after = (Database(f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "two"))
    fill(before)
    load = sqlite.load

    def wrongly(connection, table, rows):
        names = table.columns.keys()
        changed = [dict(zip(names, row, strict=True)) for row in rows]
        load(
            connection,
            table,
            [list((row | {"rule": "other"} if "rule" in row else row).values()) for row in changed],
        )

    monkeypatch.setattr(sqlite, "load", wrongly)
    with pytest.raises(IndexDamaged, match="table outgoing has 1 rows"):
        move(before, after, Silent())


def test_the_command(tmp_path):
    before, after = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
    runner = CliRunner()
    assert runner.invoke(app, ["migrate-index", before, after]).exit_code != 0
    fill(Database(before))
    done = runner.invoke(app, ["migrate-index", before, after, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["tables"]["patient"]["rows"] == 4
    with closing(sqlite3.connect(f"{tmp_path}/two.db")) as plain:
        assert plain.execute("SELECT count(*) FROM patient").fetchone() == (4,)
