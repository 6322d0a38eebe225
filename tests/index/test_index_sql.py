"""What is the SQL index's own: schema, connections, and what becomes of the database's errors."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Select, create_engine, event, inspect, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine import MappingResult
from test_index_contract import DOE, ROE, instance, query

from scp.errors import ConfigurationError, OutOfResources
from scp.index import dialect, durable, matches, names, prepared, sqlite
from scp.index import query as reading
from scp.index import upgrade as upgrading
from scp.index.index import NO_RANKS
from scp.index.matches import Matches
from scp.index.packing import DICTIONARY_UNKNOWN
from scp.index.schema import METADATA, TABLES
from scp.index.sql import SqlIndex
from scp.index.upgrade import NEWEST, _config
from scp.index.watch import Watch, unwatched
from scp.model import Query, QueryKey


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(database: Path) -> Iterator[SqlIndex]:
    index = SqlIndex.open(f"sqlite:///{database}")
    yield index
    index.close()


def test_migrations_make_exactly_the_schema(index):
    """What is made at once where a database is empty."""
    migrated = create_engine("sqlite://")
    with migrated.begin() as connection:
        upgrading.migrate(connection)
    assert _columns(migrated) == _columns(index._engine)
    with index._engine.connect() as made, migrated.connect() as connection:
        contexts = [MigrationContext.configure(each) for each in (made, connection)]
        assert [compare_metadata(each, METADATA) for each in contexts] == [[], []]
        assert [each.get_current_revision() for each in contexts] == [NEWEST, NEWEST]


@pytest.mark.parametrize(
    ("study", "series", "asks"),
    [
        ("1", "1.1", False),
        (None, "1.1", True),
        ("1", None, True),
        ("1\\2", "1.1", True),
        ("1%_/", "1.1", False),
    ],
)
def test_a_rebuild_is_asked_for_where_objects_have_no_uid(index, database, study, series, asks):
    """Earlier versions left these empty; the derived ones stand in the files only."""
    index.record(instance("1.1.1"), DOE)
    with index._engine.begin() as connection:
        connection.execute(update(TABLES["STUDY"]).values(study_instance_uid=study))
        connection.execute(update(TABLES["SERIES"]).values(series_instance_uid=series))
        _downgrade(connection, "0011")
    index.close()
    SqlIndex.open(f"sqlite:///{database}").close()
    with closing(sqlite3.connect(database)) as plain:
        asked = plain.execute(
            "SELECT name FROM meta WHERE name NOT IN ('oldest', 'promised_since')"
        ).fetchall()
    assert asked == [("rebuild",)] * asks


def test_rows_of_the_version_before_have_no_fast_digest_and_its_nodes_go_on(index, database):
    """Nothing reads their files for it; what that version writes meanwhile has none either."""
    before = instance("1.1.1")
    index.record(before, DOE)
    with index._engine.begin() as connection:
        _downgrade(connection, "0017")
    index.close()
    again = SqlIndex.open(f"sqlite:///{database}")
    assert list(again.all()) == [replace(before, stored_xxh3="", dataset_at=0, dictionary=DICTIONARY_UNKNOWN)]
    with closing(sqlite3.connect(database)) as plain:
        (oldest,) = plain.execute("SELECT value FROM meta WHERE name = 'oldest'").fetchone()
        assert oldest <= "0017"
        names = [name for _, name, *_ in plain.execute("PRAGMA table_info(instance)")]
        kept = ", ".join(name for name in names if name not in ("id", "stored_xxh3", "dataset_at"))
        copied = kept.replace("sop_instance_uid", "'1.1.2'")
        plain.execute(f"INSERT INTO instance ({kept}) SELECT {copied} FROM instance")
        plain.commit()
    assert [(one.stored_xxh3, one.dataset_at) for one in again.all()] == [("", 0)] * 2
    again.close()


def _downgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(upgrading.__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


def _columns(engine: Engine) -> dict[str, list[dict[str, str]]]:
    """With the defaults, which Alembic does not compare well on SQLite; added columns come last there."""
    inspector = inspect(engine)
    return {
        table: sorted(
            ({name: str(value) for name, value in column.items()} for column in inspector.get_columns(table)),
            key=lambda column: column["name"],
        )
        for table in METADATA.tables
    }


def test_how_connections_are_set(index):
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
    index.record(instance("1.1.1"), DOE)
    with index._engine.connect() as reader, index._writer.transaction() as writer:
        for connection, waits in (reader, 30_000), (writer, 10_000):
            values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
            assert values[3] == pytest.approx(waits, abs=500)
            assert values[:3] + values[4:] == ["wal", 1, 1, 16_384]


class TestSync:
    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The inodes that were waited for."""
        seen: list[int] = []
        monkeypatch.setattr(durable.os, "fsync", lambda file: seen.append(os.fstat(file).st_ino))  # type: ignore[attr-defined]
        return seen

    def test_waits_for_the_log_and_leaves_the_index_usable(self, index, database, synced):
        index.record(instance("1.1.1"), DOE)
        index.sync()
        assert synced == [Path(f"{database}-wal").stat().st_ino]
        index.record(instance("1.1.2"), DOE)
        assert index.counts().instances == 2

    def test_waits_for_what_others_committed_after_the_log_was_made_anew(self, index, database, synced):
        index.record(instance("1.1.1"), DOE)
        index.close()  # the last one that closes copies the log and removes it
        assert not Path(f"{database}-wal").exists()
        index.sync()
        other = SqlIndex.open(f"sqlite:///{database}")
        other.record(instance("1.1.2"), DOE)
        synced.clear()
        index.sync()
        assert synced == [Path(f"{database}-wal").stat().st_ino]
        other.close()

    def test_copies_a_long_log_into_the_database(self, index, database, monkeypatch):
        monkeypatch.setattr(durable, "JOURNAL_BYTES", 200_000)
        index.record_many((instance(f"1.1.{number}"), DOE) for number in range(300))
        small = database.stat().st_size
        index.sync()
        assert database.stat().st_size > small + 100_000
        longest = Path(f"{database}-wal").stat().st_size
        for number in range(10):  # the log begins anew
            index.record(instance(f"1.2.{number}"), DOE)
        assert Path(f"{database}-wal").stat().st_size == longest

    def test_a_failing_disk_is_out_of_resources(self, index, monkeypatch):
        def failing(_file: int) -> None:
            raise OSError(5, "Input/output error")

        index.record(instance("1.1.1"), DOE)
        monkeypatch.setattr(durable.os, "fsync", failing)  # type: ignore[attr-defined]
        with pytest.raises(OutOfResources, match="Input/output"):
            index.sync()


def test_an_iterator_holds_no_connection(index):
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(2000))
    matches = index.find(query("IMAGE", SOPInstanceUID=""))
    assert index._engine.pool.checkedout() == 0  # nothing is held before the first match is asked for
    next(matches)
    assert index._engine.pool.checkedout() == 0  # nor between two matches
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
    with index._writer.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(OutOfResources, match="full"):
        index.record_many((instance(f"1.2.{number}"), DOE) for number in range(2000))
    recorded = 0
    with suppress(OutOfResources):
        for number in range(2000):
            index.record(instance(f"1.3.{number}"), DOE)
            recorded += 1
    assert recorded < 2000
    with index._writer.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert index.record(instance("1.1.2"), DOE) is None
    assert index.counts().instances == 2 + recorded


def test_a_locked_database_is_out_of_resources(database, monkeypatch):
    monkeypatch.setattr(dialect, "TURN_SECONDS", 0.05)
    index = SqlIndex.open(f"sqlite:///{database}")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutOfResources, match="locked"):
            index.record(instance("1.1.1"), DOE)
        assert index.are_named([instance("1.1.1")]) == [False]  # so that its file need not wait for a start
        other.execute("ROLLBACK")
    assert index.record(instance("1.1.1"), DOE) is None
    index.close()


def test_a_process_that_is_stopped_while_it_writes(index, database, monkeypatch):
    """Its lock holds: all threads that wait are told in time, and writing goes on when it does."""
    index.record(instance("1.1.1"), DOE)
    monkeypatch.setattr(dialect, "TURN_SECONDS", 0.6)
    begin = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
    program = begin + "c.execute('BEGIN IMMEDIATE'); print(flush=True); input()"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout
        other.stdout.readline()
        other.send_signal(signal.SIGSTOP)

        def waited(number: int) -> float:
            began = time.monotonic()
            with pytest.raises(OutOfResources, match="does not answer"):
                index.add(instance(f"1.2.{number}"), DOE) if number % 2 else index.meta.put({"name": "value"})
            return time.monotonic() - began

        with ThreadPoolExecutor(8) as threads:
            assert max(threads.map(waited, range(8))) < 2
        assert index.counts().instances == 1  # queries go on
        other.send_signal(signal.SIGCONT)
        other.communicate("")
    assert index.record(instance("1.1.2"), DOE) is None


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
        (
            {"PatientID": "D1", "StudyDate": "20240101-"},
            "INDEX ix_study_parent_date (parent=? AND study_date",
        ),
        ({"ModalitiesInStudy": "CT"}, "COVERING INDEX ix_series_parent_modality (parent=? AND modality=?)"),
        ({"ModalitiesInStudy": ""}, "COVERING INDEX ix_series_parent_modality (parent=?)"),
        ({"NumberOfStudyRelatedInstances": ""}, "COVERING INDEX ix_instance_parent (parent=?)"),
    ],
)
def test_the_usual_queries_use_an_index(index, keys, used):
    assert used in plan(index, reading.find(query("STUDY", **keys)))


def plan(index: SqlIndex, statement: Select) -> str:
    text = statement.compile(dialect=sqlite_dialect(), compile_kwargs={"literal_binds": True})
    with index._engine.connect() as connection:
        return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())


def steps(index: SqlIndex, statement: Select) -> list[tuple[str, int, int]]:
    """The program that SQLite runs: operation and its first two operands."""
    text = statement.compile(dialect=sqlite_dialect(), compile_kwargs={"literal_binds": True})
    with index._engine.connect() as connection:
        return [tuple(row[1:4]) for row in connection.exec_driver_sql(f"EXPLAIN {text}")]


def test_what_is_pending_is_read_from_the_index_of_these_few(index):
    planned = plan(index, reading.pending(10))
    assert "ix_instance_pending" in planned
    assert "ORDER BY" not in planned


GROUPS = ("alphabetic", "ideographic", "phonetic")
NAME_AND_DATE = {"PatientName": "DOE*", "StudyDate": "20240131-20240201"}


def _later(index: SqlIndex, asked: Query) -> str:
    return Matches(index._engine, asked, NO_RANKS, unwatched())._later


def test_the_way_in_is_the_shorter_of_two_ranges(index):
    """Ten patients of that name, one study of that day, or the other way round."""
    for number in range(10):
        patient = {"PatientID": f"D{number}", "PatientName": f"Doe^{number}", "StudyDate": f"2020010{number}"}
        index.record(instance(f"1.{number}", f"1.{number}", f"1.{number}.1"), patient)
        index.record(instance(f"2.{number}", f"2.{number}", f"2.{number}.1"), ROE)
    day = query("STUDY", PatientName="DOE*", StudyDate="20200103")
    name = query("STUDY", PatientName="ROE*", StudyDate="20240201")
    assert [_later(index, asked) for asked in (day, name)] == ["PatientName", "StudyDate"]
    assert [match["StudyInstanceUID"] for match in index.find(day)] == ["1.3"]
    assert len(list(index.find(name))) == 10


@pytest.mark.parametrize(
    ("later", "used", "unused"),
    [
        ("StudyDate", "ix_patient_name_alphabetic", "ix_study_date"),
        ("PatientName", "ix_study_date", "ix_patient_name"),
    ],
)
def test_what_is_looked_at_later_is_no_way_in_and_matches_the_same(index, later, used, unused):
    for patient in (DOE, ROE, DOE | {"StudyDate": "20240202"}):
        index.record(instance(patient["StudyDate"], patient["StudyDate"]), patient)
    for combined in (False, True):
        asked = query("STUDY", combined=combined, StudyTime="00-24", **NAME_AND_DATE)
        statement = reading.find(asked, later)
        assert used in plan(index, statement)
        assert unused not in plan(index, statement)
        with index._engine.connect() as connection:
            assert connection.execute(statement).all() == connection.execute(reading.find(asked)).all()


@pytest.mark.parametrize("combined", [False, True])
@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_of_a_name_only_studies_of_the_dates_are_read(index, level, combined):
    """The index of names has the dates; the row of each study of the name would take many times as long."""
    more = {"StudyTime": "00-24", "PatientSex": "F", "ModalitiesInStudy": "CT"}
    asked = query(level, combined=combined, **more, **NAME_AND_DATE)
    program = steps(index, reading.find(asked, "StudyDate"))
    with index._engine.connect() as connection:
        root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'study'").scalar()
        columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(study)")]
    cursor = next(p1 for code, p1, p2 in program if code == "OpenRead" and p2 == root)
    dates = [place for place, (code, *_) in enumerate(program) if code == "Concat"]
    indexed = {*(f"patient_name_{group}" for group in GROUPS), "study_date_key"}
    read = [
        place
        for place, (code, p1, p2) in enumerate(program)
        if code == "Column" and p1 == cursor and columns[p2] not in indexed
    ]
    assert max(dates[:2]) < min(read)


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientName": "DOE*"},
        {"StudyDate": "2024-"},
        {"PatientName": "*DOE", "StudyDate": "20240131"},
        {"PatientName": "^^", "StudyDate": "20240131", "StudyInstanceUID": "1"},
        {"PatientName": "DOE*", "StudyDate": "20240131", "AccessionNumber": "1"},
    ],
)
def test_nothing_is_counted_where_there_is_one_way_in(keys):
    assert reading.ranges(query("PATIENT", **keys)) == {}
    assert reading.ranges(query("STUDY", **keys)) == {}


@pytest.mark.parametrize(
    ("level", "keys", "is_begun", "is_newest"),
    [
        ("STUDY", {"PatientName": "*OE*", "StudyDate": "20240101-"}, False, True),
        ("STUDY", {"PatientName": "?OE"}, False, True),
        ("STUDY", {"PatientName": "*OE*", "StudyDate": "20240131\\20240202"}, False, False),
        ("STUDY", {"PatientName": "*OE*", "PatientID": "D1"}, False, False),
        ("SERIES", {"PatientName": "*OE*", "StudyDate": "20240101-"}, False, False),
        ("STUDY", {"PatientName": "D*", "StudyDate": "20240101-"}, True, False),
        ("STUDY", {"PatientName": "D*", "PatientID": "D1"}, False, False),
        ("STUDY", {"PatientName": "DOE^JOHN", "StudyDate": "20240101-"}, False, False),
        ("STUDY", {"PatientName": "*", "StudyDate": "20240101-"}, False, False),
        ("STUDY", {"StudyDate": "20240101-"}, False, False),
    ],
)
def test_which_queries_a_name_finds(level, keys, is_begun, is_newest):
    asked = query(level, **keys)
    assert names.is_by_name(asked) == is_begun
    assert (names.newest_named(asked) is not None) == is_newest


def test_the_first_match_is_not_kept_back_for_others(index, monkeypatch):
    """Where the database takes its time, what it found is given on."""
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(1500))
    fetched: list[int] = []
    fetchmany = MappingResult.fetchmany
    monkeypatch.setattr(
        MappingResult, "fetchmany", lambda rows, size: fetched.append(size) or fetchmany(rows, size)
    )
    monkeypatch.setattr(matches, "_FIRST_SECONDS", 0)
    found = index.find(query("IMAGE", SOPInstanceUID=""))
    one = next(found)
    assert fetched == [1]
    rest = [match["SOPInstanceUID"] for match in found]
    assert sorted([one["SOPInstanceUID"], *rest]) == sorted(f"1.1.{number}" for number in range(1500))


def test_matches_of_many_pieces_come_once_while_others_come_and_go(index, monkeypatch):
    monkeypatch.setattr(matches, "_AT_ONCE", 8)
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(60))
    found = index.find(query("IMAGE", relational=True, PatientName="DOE*", SOPInstanceUID=""))
    uids = [next(found)["SOPInstanceUID"] for _ in range(20)]  # the first 15, and some by their ids
    index.remove("1.1.59")
    index.record(instance("1.2.1", "2", "2.1"), ROE)  # under the number of the one that was removed
    index.record(instance("1.1.60"), DOE)
    uids += [match["SOPInstanceUID"] for match in found]
    assert len(uids) == len(set(uids))
    assert {f"1.1.{number}" for number in range(59)} <= set(uids) <= {f"1.1.{n}" for n in range(61)}


def test_matches_that_are_skipped_are_not_read(index):
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(30))
    ran = []
    event.listen(index._engine, "before_cursor_execute", lambda *told: ran.append(told[2:4]))
    page = index.pages.page(query("IMAGE", SOPInstanceUID=""), 3, None, Watch(60, lambda: None), skip=20)
    assert [one.attributes["SOPInstanceUID"] for one in page.entries] == ["1.1.9", "1.1.8", "1.1.7"]
    selects = [each for each in ran if each[0].startswith("SELECT")]
    with index._engine.connect() as connection:
        assert max(len(connection.exec_driver_sql(*each).all()) for each in selects) == 4


def test_the_log_does_not_grow_behind_a_slow_reader(index, database):
    """SQLite cannot shorten its log while a transaction is open, however short the ones that write are."""
    index.record_many((instance(f"1.1.{number}"), DOE) for number in range(1100))
    found = index.find(query("IMAGE", SOPInstanceUID=""))
    for _ in range(600):
        next(found)
    log = database.with_name(f"{database.name}-wal")
    with closing(sqlite3.connect(database, timeout=0.1)) as other:
        for number in range(2):
            index.record_many((instance(f"1.1.{n}", key=f"{number}.{n}"), DOE) for n in range(50))
            busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert not busy
            assert log.stat().st_size == 0
    found.close()


@pytest.mark.parametrize("seconds", [0.3, 60.0])
def test_a_query_stops_when_its_time_is_up_or_nobody_waits(index, monkeypatch, seconds):
    index.record_many((instance(f"1.1.{number}"), DOE | {"ImageType": "A\\B"}) for number in range(5000))
    matched, looks = [], []

    def match(_: str) -> None:
        time.sleep(0.001)
        matched.append(1)

    monkeypatch.setattr(sqlite, "matcher_of_like", lambda _: match)
    asked = Query("STUDY", "IMAGE", (QueryKey("ImageType", "CS", "*A*"),), relational=True)

    def gone() -> None:
        looks.append(time.monotonic())
        if seconds > 1 and len(looks) == 3:
            raise KeyError("gone")

    with pytest.raises(KeyError if seconds > 1 else OutOfResources, match=r"gone|query\.seconds"):
        list(index.find(asked, watch=Watch(seconds, gone)))
    assert len(matched) < 4000, "it went on to the end"
    assert len(looks) == 3 or seconds < 1
    monkeypatch.undo()
    assert len(list(index.find(asked))) == 5000  # the connection is as it was


def test_a_query_with_all_sorts_of_keys_is_read_in_pieces(index, monkeypatch):
    """The rows that are read by their ids are those that the keys find."""
    patients = [
        patient | {"ImageType": f"A\\{n % 3}", "StudyTime": f"{n % 24:02}00"}
        for patient in (DOE, ROE)
        for n in range(9)
    ]
    index.record_many(
        (instance(f"1.{n}", f"{n}", f"{n}.1"), one | {"PatientID": f"P{n}"}) for n, one in enumerate(patients)
    )
    for level in TABLES:
        for combined in (False, True):
            asked = query(
                level,
                relational=True,
                combined=combined,
                PatientName="D*E*",
                StudyDate="20240101-20240201",
                StudyTime="02-07",
                ModalitiesInStudy="C?",
                ImageType="?*\\1*",
                SOPInstanceUID="",
            )
            whole = list(index.find(asked))
            assert whole
            with monkeypatch.context() as patched:
                patched.setattr(matches, "_AT_ONCE", 2)
                pieces = list(index.find(asked))
            assert sorted(map(str, pieces)) == sorted(map(str, whole))


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
    assert "string_to_array" in text


def test_prepared_statements_are_postgresql_too():
    """By name there, and by place in SQLite."""
    driver = postgresql.psycopg.dialect()
    made = (prepared.insert_instance, prepared.named_instances, prepared.change_held)
    inserting, held, changing = (make(driver)._text for make in made)
    assert "%(patient_id)s" in inserting
    assert "%(uid)s" in held
    assert "%(held_key)s" in changing
    assert "%(stored_size)s" in changing


_REBUILD = "SELECT value FROM meta WHERE name = 'rebuild'"


def test_an_older_index_asks_to_be_made_anew(tmp_path: Path) -> None:
    """Its rows lack what only the files have; an empty one lacks nothing."""
    for held in (True, False):
        database = tmp_path / f"{held}.db"
        index = SqlIndex.open(f"sqlite:///{database}")
        if held:
            index.record(instance("1.1.1"), DOE)
        with index._engine.begin() as connection:
            _downgrade(connection, "0010")
        index.close()
        index = SqlIndex.open(f"sqlite:///{database}")
        assert index.counts().instances == int(held)
        index.close()
        with closing(sqlite3.connect(database)) as connection:
            asked = [row[0] for row in connection.execute(_REBUILD)]
        assert asked == (["attributes that study lists ask for"] if held else [])


def test_the_newest_revision_is_where_the_migrations_end() -> None:
    assert ScriptDirectory.from_config(_config()).get_heads() == [NEWEST]
