"""SQLite finds names that begin with a wildcard by a table of trigrams, whoever writes to the index."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from test_index_contract import DOE, ROE, instance, query

from scp.background.progress import Silent
from scp.index import sqlite_trigrams as trigrams
from scp.index.databases import Database, HeldTrigrams
from scp.index.move import move
from scp.index.sql import SqlIndex
from scp.lifecycle.name_indexing import NameIndexing

COMPLETE, INCOMPLETE = HeldTrigrams(True, False), HeldTrigrams(False, False)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(database: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{database}")
    index.record(instance("1"), DOE)
    index.record(instance("2", "2", "2.1"), ROE)
    yield index
    index.close()


def held(index: SqlIndex) -> HeldTrigrams:
    with index._engine.connect() as connection:
        return trigrams.held(connection)


def found(index: SqlIndex, name: str) -> list[str]:
    """The studies of a name."""
    asked = query("STUDY", PatientName=name, StudyInstanceUID="")
    return sorted(match["StudyInstanceUID"] for match in index.find(asked))


def listed(index: SqlIndex, three: str) -> list[int]:
    """The numbers of the studies that the table itself has for three letters."""
    with index._engine.connect() as connection:
        asked = "SELECT rowid FROM trigrams WHERE trigrams MATCH ?"
        return sorted(connection.exec_driver_sql(asked, (f'"{three}"',)).scalars())


def make_all(index: SqlIndex) -> None:
    while index.index_names().again != trigrams._LOOK_SECONDS:
        pass


def fill(index: SqlIndex, count: int, first: int = 100) -> None:
    index.record_many(
        (instance(f"{n}", f"{n}", f"{n}.1"), {"PatientID": f"P{n}", "PatientName": f"Many^Number{n}"})
        for n in range(first, first + count)
    )


def test_it_is_made_of_what_is_held_and_used(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(index) == INCOMPLETE
    before = [found(index, name) for name in ("*OE*", "*oe^*", "*NOBODY*", "?OE*", "*山田^*", "*=山田^太*")]
    make_all(index)
    assert held(index) == COMPLETE
    assert [
        found(index, name) for name in ("*OE*", "*oe^*", "*NOBODY*", "?OE*", "*山田^*", "*=山田^太*")
    ] == before
    assert before == [["1", "2"], ["1", "2"], [], ["1", "2"], ["1"], ["1"]]
    assert (listed(index, "doe"), listed(index, "oe^"), listed(index, "山田^")) == ([1], [1, 2], [1])


def test_what_is_not_in_it_is_not_found_so_that_it_is_used(index: SqlIndex) -> None:
    make_all(index)
    with index._engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO trigrams (trigrams) VALUES ('delete-all')")
    assert found(index, "*DOE^*") == []
    assert found(index, "DOE^*") == ["1"]


@pytest.mark.parametrize("filled", [False, True])
def test_what_was_just_recorded_is_found_before_it_is_in_the_table(index: SqlIndex, filled: bool) -> None:
    make_all(index)
    fill(index, 3)
    assert held(index) == HeldTrigrams(True, True)
    if filled:
        make_all(index)
        assert held(index) == COMPLETE
        assert len(listed(index, "man")) == 3
    assert found(index, "*NUMBER101*") == ["101"]
    assert found(index, "*ANY^*") == ["100", "101", "102"]


def test_a_corrected_name_is_found_and_the_former_is_not(index: SqlIndex) -> None:
    make_all(index)
    index.record(instance("1", received_sha256="7" * 64), DOE | {"PatientName": "Dolittle^John"})
    for _ in range(2):
        assert (found(index, "*DOE*"), found(index, "*LITTLE*")) == ([], ["1"])
        make_all(index)
    assert listed(index, "itt") == [1]
    assert listed(index, "doe") == [1]  # until the table is made anew


def test_what_changes_besides_the_name_costs_nothing(index: SqlIndex) -> None:
    make_all(index)
    index.record(instance("1.2"), DOE | {"StudyDescription": "more"})
    index.record(instance("1.3"), DOE)
    assert held(index) == COMPLETE


def test_a_removed_study_is_not_found_nor_another_one_of_its_number(index: SqlIndex) -> None:
    make_all(index)
    index.remove("2")
    assert held(index) == COMPLETE
    assert found(index, "*ROE*") == []
    index.record(instance("3", "3", "3.1"), {"PatientID": "N", "PatientName": "Nemo^Roald"})
    for _ in range(2):
        assert (found(index, "*ROE*"), found(index, "*EMO*")) == ([], ["3"])
        make_all(index)
    assert listed(index, "roe") == listed(index, "emo") == [2]  # SQLite uses the number again


def test_one_that_is_removed_before_it_is_added_is_forgotten(index: SqlIndex) -> None:
    make_all(index)
    fill(index, 1)
    index.remove("100")
    assert held(index) == COMPLETE


def test_another_program_that_writes_leaves_nothing_out(index: SqlIndex, database: Path) -> None:
    """As does an earlier version of zscp, of which nothing but the triggers knows of the table."""
    make_all(index)
    with closing(sqlite3.connect(database)) as other, other:
        other.execute(
            "INSERT INTO study (parent, study_instance_uid, patient_name_alphabetic, patient_name)"
            " VALUES (1, '77', 'older^one', 'Older^One')"
        )
        other.execute("UPDATE study SET patient_name_phonetic = 'shinmyou' WHERE id = 1")
        other.execute("UPDATE study SET patient_name_alphabetic = '' WHERE id = 2")
    for _ in range(2):
        assert (found(index, "*LDER*"), found(index, "*INMYOU"), found(index, "*ROE*")) == (["77"], ["1"], [])
        make_all(index)


def test_a_writer_without_full_text_tables_notes_what_it_writes(index: SqlIndex, database: Path) -> None:
    """A SQLite without FTS5 cannot touch the table: the triggers do not either."""
    make_all(index)
    touched: set[str] = set()

    def look(_action: int, table: str | None, *_: Any) -> int:
        touched.add(table or "")
        return sqlite3.SQLITE_OK

    with closing(sqlite3.connect(database)) as other, other:
        other.set_authorizer(look)
        other.execute("INSERT INTO study (parent, patient_name_alphabetic) VALUES (1, 'x')")
        other.execute("UPDATE study SET patient_name_alphabetic = 'yyyy' WHERE patient_name_alphabetic = 'x'")
        other.execute("DELETE FROM study WHERE patient_name_alphabetic = 'yyyy'")
    assert {name for name in touched if name.startswith("trigrams")} == {"trigrams_due", "trigrams_state"}


def test_a_sqlite_without_it_reads_all_studies_and_tells_so(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.31.0")
    monkeypatch.setattr(trigrams, "_FULL_TEXT", "fts9({})")
    trigrams.fault.cache_clear()
    try:
        assert found(index, "*OE^*") == ["1", "2"]
        with capture_logs() as logs:
            assert NameIndexing(index.index_names).turn() == trigrams._DAY_SECONDS
        assert "read all studies" in logs[0]["event"]
        assert logs[0]["reason"] == "SQLite 3.31.0 has no tables of trigrams: no such module: fts9"
        assert held(index) == INCOMPLETE
    finally:
        trigrams.fault.cache_clear()


def test_a_node_without_it_beside_one_that_has_it(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    make_all(index)
    fill(index, 2)
    monkeypatch.setattr(trigrams, "fault", lambda: "none here")
    assert held(index) == INCOMPLETE
    fill(index, 1, 200)
    assert found(index, "*NUMBER*") == ["100", "101", "200"]
    monkeypatch.undo()
    assert found(index, "*NUMBER*") == ["100", "101", "200"]


def test_it_is_built_in_portions_and_others_write_between_them(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigrams, "PORTION", 10)
    monkeypatch.setattr(trigrams, "_WORK_SECONDS", 0)
    fill(index, 45)
    states: list[HeldTrigrams] = []
    while index.index_names().again != trigrams._LOOK_SECONDS:
        states.append(held(index))
        number = 1000 + len(states)
        fill(index, 1, number)
        assert found(index, f"*NUMBER{number}*") == [str(number)]
        if len(states) == 2:
            index.record(instance("1", received_sha256="7" * 64), DOE | {"PatientName": "Late^Name"})
        if len(states) >= 8:
            monkeypatch.undo()
    assert states.count(INCOMPLETE) + states.count(HeldTrigrams(False, True)) >= 5
    assert held(index) == COMPLETE
    assert len(listed(index, "man")) == 45 + len(states)
    assert found(index, "*ATE^NAME*") == ["1"]


def test_others_have_their_turn_while_it_is_built(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigrams, "PORTION", 1)
    fill(index, 300)
    building = threading.Thread(target=make_all, args=(index,))
    building.start()
    for number in range(2000, 2020):
        fill(index, 1, number)
    building.join()
    make_all(index)
    assert len(found(index, "*NUMBER*")) == len(listed(index, "man")) == 320


KILLED = """
import os, signal, sys
from scp.index import sqlite_trigrams as trigrams
from scp.index.sql import SqlIndex
trigrams.PORTION = 10
add, done = trigrams._build, []
def build(connection, built):
    add(connection, built)
    done.append(built)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
trigrams._build = build
SqlIndex.open(sys.argv[1]).index_names()
"""


def test_killed_while_it_is_built_it_goes_on(
    index: SqlIndex, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(index, 60)
    ran = subprocess.run([sys.executable, "-c", KILLED, f"sqlite:///{database}"], check=False)
    assert ran.returncode == -signal.SIGKILL
    with index._engine.connect() as connection:
        state = trigrams._state(connection)
    assert state is not None
    assert state.built == 20  # the third portion is gone with its transaction
    assert (found(index, "*NUMBER159*"), len(listed(index, "man"))) == (["159"], 18)
    make_all(index)
    assert held(index) == COMPLETE
    assert len(found(index, "*NUMBER*")) == len(listed(index, "man")) == 60


def test_one_process_at_a_time_makes_it(index: SqlIndex, database: Path) -> None:
    other = SqlIndex.open(f"sqlite:///{database}")
    with other.exclusive("names"):
        assert index.index_names().fault == ""
        assert held(index) == INCOMPLETE
    other.close()


BROKEN = {
    "a migration that made the studies anew": "DROP TRIGGER trigrams_update",
    "a table that is gone": "DROP TABLE trigrams_due",
    "another format": "UPDATE trigrams_state SET format = 99",
    "no state": "DELETE FROM trigrams_state",
    "no table": "DROP TABLE trigrams",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_not_whole_is_not_used_and_made_anew(index: SqlIndex, broken: str) -> None:
    make_all(index)
    with index._engine.begin() as connection:
        connection.exec_driver_sql(broken)
    assert held(index) == INCOMPLETE
    assert found(index, "*DOE^*") == ["1"]
    make_all(index)
    assert held(index) == COMPLETE
    assert (found(index, "*DOE^*"), listed(index, "doe")) == (["1"], [1])


def test_it_is_made_anew_when_most_of_it_was_removed(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigrams, "MOST_STALE", 2)
    fill(index, 4)
    make_all(index)
    for number in range(100, 104):
        index.remove(str(number))
    assert len(listed(index, "man")) == 4
    make_all(index)
    assert (listed(index, "man"), listed(index, "doe")) == ([], [1])
    assert held(index) == COMPLETE


def test_begun_anew_while_a_peer_reads(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first matches came by the table; the others are found without it."""
    fill(index, 700)
    make_all(index)
    found = index.find(query("STUDY", PatientName="*ANY^*", StudyInstanceUID=""))
    uids = [next(found)["StudyInstanceUID"]]
    with index._writer.transaction() as connection:
        trigrams._begin(connection)
    uids += [match["StudyInstanceUID"] for match in found]
    assert sorted(uids) == [str(number) for number in range(100, 800)]


def test_begun_anew_after_a_query_was_planned(index: SqlIndex) -> None:
    make_all(index)
    found = index.find(
        query("STUDY", PatientName="*OE^*", StudyInstanceUID="")
    )  # nothing is read before next()
    with index._writer.transaction() as connection:
        trigrams._begin(connection)
    assert len(list(found)) == 2


@pytest.mark.parametrize("due", [0, 5, 600])
def test_the_newest_come_first_and_each_once(index: SqlIndex, due: int) -> None:
    fill(index, 1100)
    make_all(index)
    with index._writer.transaction() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO trigrams_due SELECT id FROM study ORDER BY id DESC LIMIT {due}"
        )
    uids = found_in_order(index, "*ANY^N*")
    assert sorted(uids, key=int) == [str(number) for number in range(100, 1200)]
    if not due:
        assert uids[0] == "1199"


def found_in_order(index: SqlIndex, name: str) -> list[str]:
    return [match["StudyInstanceUID"] for match in index.find(query("STUDY", PatientName=name))]


def test_a_copy_of_the_index_has_its_own(index: SqlIndex, database: Path, tmp_path: Path) -> None:
    make_all(index)
    index.close()
    target = Database(f"sqlite:///{tmp_path}/other/index.db")
    move(Database(f"sqlite:///{database}"), target, Silent())
    with closing(SqlIndex.open(target)) as copy:
        assert held(copy) == INCOMPLETE
        assert found(copy, "*DOE^*") == ["1"]
        make_all(copy)
        assert (held(copy), listed(copy, "doe")) == (COMPLETE, [1])


def test_a_copy_into_an_index_that_has_it_already(index: SqlIndex, database: Path, tmp_path: Path) -> None:
    """A node that had opened an empty index made the tables."""
    index.close()
    target = Database(f"sqlite:///{tmp_path}/other/index.db")
    with closing(SqlIndex.open(target)) as empty:
        make_all(empty)
        assert held(empty) == COMPLETE
    move(Database(f"sqlite:///{database}"), target, Silent())
    with closing(SqlIndex.open(target)) as copy:
        assert found(copy, "*DOE^*") == ["1"]
        make_all(copy)
        assert (held(copy), listed(copy, "doe")) == (COMPLETE, [1])


def test_the_database_is_whole_with_it(index: SqlIndex, database: Path) -> None:
    fill(index, 30)
    make_all(index)
    for number in range(100, 130):
        index.remove(str(number))
    fill(index, 30, 300)  # under the numbers of those
    make_all(index)
    index.close()
    with closing(sqlite3.connect(database, isolation_level=None)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        plain.execute("INSERT INTO trigrams (trigrams) VALUES ('integrity-check')")
        plain.execute("VACUUM")
    with closing(SqlIndex.open(f"sqlite:///{database}", thorough=True)) as again:
        assert held(again) == COMPLETE
        assert found(again, "*MANY*") == [str(number) for number in range(300, 330)]
