"""What is PostgreSQL's own: servers that go, hang and come back; nodes that write at once; their clocks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import servers_postgresql
from servers_postgresql import PASSWORD, PostgreSQL
from sqlalchemy import event, func, inspect, select
from test_index_contract import DOE, ROE, instance, query
from waiting import until
from wire.configured import settings_of, tables_of

from scp.errors import ConfigurationError, IndexUnfit, OutOfResources
from scp.index import clock, dialect, names, postgresql
from scp.index.databases import Database
from scp.index.index import EntityCounts
from scp.index.nodes import NodeReport
from scp.index.queue import Lease
from scp.index.schema import METADATA
from scp.index.sql import SqlIndex
from scp.index.upgrade import NEWEST
from scp.index.watch import Watch
from scp.model import QueuedSend
from scp.node.build import require_index

pytestmark = pytest.mark.cluster


@pytest.fixture
def database() -> Database:
    return servers_postgresql.shared().database()


@pytest.fixture
def index(database: Database) -> Iterator[SqlIndex]:
    index = SqlIndex.open(database)
    yield index
    index.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that may be stopped."""
    with PostgreSQL() as server:
        yield server


def running(database: Database) -> int:
    """How many statements the nodes of a database have running."""
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = 'zscp'"
    return int(servers_postgresql.shared().execute(active, database.parsed.database or "")[0][0])


class TestWatch:
    def slow(self, index: SqlIndex, watch: Watch) -> None:
        with dialect.reads(index._engine) as connection, dialect.watched(connection, watch):
            connection.execute(select(func.pg_sleep(60)))

    def test_a_query_ends_on_the_server_when_its_time_is_up(self, index, database):
        begun = time.monotonic()
        with pytest.raises(OutOfResources, match=r"query\.seconds"):
            self.slow(index, Watch(0.2, lambda: None))
        assert time.monotonic() - begun < 30
        until(lambda: running(database) == 0, "the server runs nothing")
        assert index.counts().instances == 0

    def test_a_query_ends_when_nobody_waits_for_it(self, index, database):
        def gone() -> None:
            raise ConnectionAbortedError("released")

        with pytest.raises(ConnectionAbortedError):
            self.slow(index, Watch(60, gone))
        until(lambda: running(database) == 0, "the server runs nothing")
        assert index.record(instance("1"), DOE) is None

    def test_connections_are_bounded_and_waited_for(self, database, monkeypatch):
        monkeypatch.setattr(dialect, "TURN_SECONDS", 0.5)
        index = SqlIndex.open(Database(database.url, database.password, connections=1))
        with dialect.reads(index._engine), pytest.raises(OutOfResources, match=r"index\.connections"):
            index.counts()
        assert index.counts().instances == 0
        index.close()


class TestOutage:
    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_a_server_that_goes_and_comes_back(self, server, how):
        index = SqlIndex.open(server.database())
        index.record(instance("1.1.1"), DOE)
        getattr(server, how)()
        for act in (
            lambda: index.record(instance("1.1.2"), DOE),
            index.counts,
            lambda: index.newest("1.1.1"),
        ):
            with pytest.raises(OutOfResources, match="does not answer"):
                act()
        server.start()
        assert index.newest("1.1.1") is not None  # at once: no connection of before is used
        assert index.record(instance("1.1.2"), DOE) is None
        assert index.counts() == EntityCounts(1, 1, 1, 2)
        index.close()

    def test_connections_that_wait_idle_are_made_anew(self, server):
        index = SqlIndex.open(server.database())
        index.record(instance("1.1.1"), DOE)
        index.counts()
        server.stop()
        server.start()
        assert index.record(instance("1.1.2"), DOE) is None
        assert index.counts().instances == 2
        index.close()

    def test_a_server_that_answers_nobody(self, server, monkeypatch):
        monkeypatch.setattr(postgresql, "_SILENT_SECONDS", 0.5)
        monkeypatch.setattr(postgresql, "_ANSWER_SECONDS", 0.5)
        index = SqlIndex.open(server.database())
        index.record(instance("1.1.1"), DOE)
        server.freeze()
        try:
            for act in (lambda: index.record(instance("1.1.2"), DOE), index.counts):
                with pytest.raises(OutOfResources, match="does not answer"):
                    act()
        finally:
            server.thaw()
        until(lambda: _answers(index), "the index answers")
        index.close()

    def test_errors_do_not_tell_the_password(self, server):
        database = server.database()
        for wrong in (
            Database(database.url, PASSWORD + "x"),
            Database(database.url.replace(str(server.port), "1"), PASSWORD),
            Database(database.url + "none", PASSWORD),
        ):
            with pytest.raises(OutOfResources) as caught:
                SqlIndex.open(wrong)
            assert PASSWORD not in f"{caught.value!r} {caught.value.__cause__!r} {wrong!r}"

    def test_a_lock_that_is_held_for_too_long(self, index, database, monkeypatch):
        monkeypatch.setattr(dialect, "TURN_SECONDS", 0.3)
        other = SqlIndex.open(database)
        with other._writer.transaction(), pytest.raises(OutOfResources, match="lock timeout"):
            index.record(instance("1"), DOE)
        assert index.record(instance("1"), DOE) is None
        other.close()


def _answers(index: SqlIndex) -> bool:
    try:
        index.counts()
    except OutOfResources:
        return False
    return True


class TestSeveralNodes:
    @pytest.fixture
    def nodes(self, database) -> Iterator[list[SqlIndex]]:
        nodes = [SqlIndex.open(database) for _ in range(4)]
        yield nodes
        for one in nodes:
            one.close()

    def test_the_same_instance_at_once_is_held_once(self, nodes):
        start = threading.Barrier(4)

        def store(node: SqlIndex) -> list[bool]:
            start.wait()
            return [node.add(instance(f"1.{n}", key=f"{id(node)}/{n}"), DOE) is None for n in range(25)]

        with ThreadPoolExecutor(4) as threads:
            added = list(threads.map(store, nodes))
        assert [sum(one) for one in zip(*added, strict=True)] == [1] * 25
        assert nodes[0].counts() == EntityCounts(1, 1, 1, 25)

    def test_patients_come_and_go_at_once(self, nodes):
        """What one node removes, with all that is empty above it, another one records anew."""

        def work(number: int) -> None:
            for each in range(20):
                mine = instance(f"{number}.{each}", "1", "1.1", key=f"{number}/{each}")
                nodes[number].record(mine, DOE)
                assert nodes[number].forget(mine.sop_instance_uid, mine.key)
            nodes[number].record(instance(f"{number}", "1", "1.1", key=str(number)), DOE)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
        assert nodes[0].counts() == EntityCounts(1, 1, 1, 4)

    def test_patients_of_several_groups_in_any_order(self, nodes):
        """Each thread writes the same patients in another order, many in one commit."""
        patients = [{"PatientID": f"P{number}", "PatientName": "A^B"} for number in range(6)]

        def store(number: int) -> None:
            for each in range(30):
                patient = (each * (number + 1)) % 6
                made = instance(f"{number}.{each}", f"s{patient}", f"s{patient}.1", key=f"{number}/{each}")
                nodes[number % 4].record(made, patients[patient])

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(store, range(12)))
        assert nodes[0].counts().instances == 360
        assert nodes[0].counts().patients == len({(e * (n + 1)) % 6 for n in range(12) for e in range(30)})

    def test_each_claims_what_no_other_has(self, nodes):
        nodes[0].record_many((instance(f"1.{number}"), DOE) for number in range(40))
        held = list(nodes[0].all())

        def claim(node: SqlIndex) -> list[str]:
            return [one.sop_instance_uid for one in node.claims.claim(Lease.begin(), held[:30])]

        with ThreadPoolExecutor(4) as threads:
            claimed = list(threads.map(claim, nodes))
        assert sorted(uid for one in claimed for uid in one) == sorted(f"1.{n}" for n in range(30))

    def test_a_queue_gives_each_row_to_one(self, nodes):
        now = datetime.now(UTC)
        nodes[0].send_queue.add([QueuedSend(str(n), "A", "rule", now, now) for n in range(40)])
        with ThreadPoolExecutor(4) as threads:
            rows = list(threads.map(lambda node: node.send_queue.claim(Lease.begin(), 10), nodes))
        assert len({row.number for of in rows for row in of}) == 40


class TestClock:
    @pytest.fixture
    def late(self, monkeypatch) -> Callable[[float], None]:
        """Sets this node's clock ahead, by so many seconds, as the database's falls behind."""
        real = postgresql.time_of

        def by(seconds: float) -> None:
            clock._known.clear()
            monkeypatch.setattr(postgresql, "time_of", lambda connection: real(connection) - seconds)

        return by

    def test_a_claim_counts_by_the_database(self, index, database, late):
        """A node whose clock is an hour ahead takes no claims from others, nor keeps any for an hour."""
        index.record(instance("1"), DOE)
        held = list(index.all())
        assert len(index.claims.claim(Lease.begin(), held)) == 1
        late(3600)
        ahead = datetime.now(UTC) + timedelta(seconds=3600)
        lease = Lease("ahead", ahead, ahead + timedelta(seconds=9))
        assert index.claims.claim(lease, held) == []
        index.claims.release("")
        rows = servers_postgresql.shared().execute("SELECT until FROM claim", database.parsed.database or "")
        assert abs(rows[0][0] - time.time()) < 60

    def test_what_is_due_is_due_for_all(self, index, late):
        now = datetime.now(UTC)
        index.send_queue.add([QueuedSend("1", "A", "rule", now, now)])
        late(3600)
        ahead = now + timedelta(seconds=3600)
        assert abs((index.send_queue.next_due() or now) - ahead) < timedelta(seconds=2)
        (row,) = index.send_queue.claim(Lease("ahead", ahead, ahead + timedelta(seconds=9)), 10)
        assert index.send_queue.postpone(row, ahead + timedelta(seconds=60), "busy")
        late(0)
        assert abs((index.send_queue.next_due() or now) - now - timedelta(seconds=60)) < timedelta(seconds=5)


def test_the_schema_is_the_same(index):
    with index._engine.connect() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*METADATA.tables, "alembic_version"}
        for table in METADATA.tables.values():
            names = {one["name"] for one in found.get_indexes(table.name)}
            assert names >= {one.name for one in table.indexes}


def test_an_empty_database_is_no_index(tmp_path):
    """A command that only looks does not make one: the stores hold objects that it would not know."""
    server = servers_postgresql.shared()
    (tmp_path / "objects" / "ab").mkdir(parents=True)
    (tmp_path / "objects" / "ab" / "x.dcm").write_bytes(b"x")
    settings = settings_of(tables_of(tmp_path, server.tables(server.database(made=False))))
    with pytest.raises(IndexUnfit, match="knows nothing"):
        require_index(settings)


def test_a_later_version_is_left_alone(database):
    server = servers_postgresql.shared()
    server.execute("UPDATE alembic_version SET version_num = '9999'", database.parsed.database or "")
    with pytest.raises(ConfigurationError, match="another version"):
        SqlIndex.open(database)


def test_nodes_of_the_version_before_go_on(index, database):
    """A later version has added a table, a column and an index (docs/decisions/0154), and says so."""
    server, name = servers_postgresql.shared(), database.parsed.database or ""
    index.record(instance("1"), DOE)
    for statement in (
        "ALTER TABLE study ADD COLUMN later text NOT NULL DEFAULT ''",
        "ALTER TABLE instance ADD COLUMN later text",
        "CREATE TABLE later (id bigint PRIMARY KEY)",
        "CREATE INDEX CONCURRENTLY ix_later ON study (later)",
        "UPDATE alembic_version SET version_num = '9999'",
        f"INSERT INTO meta VALUES ('oldest', '{NEWEST}')",
    ):
        server.execute(statement, name)
    again = SqlIndex.open(database)
    for one in (index, again):
        assert one.record(instance("1", key="another"), DOE | {"StudyDescription": "x"}) is not None
        assert one.record(instance("2", series="1.2"), DOE) in {None, instance("2", series="1.2")}
        assert len(list(one.find(query("STUDY", PatientName="DOE*", ModalitiesInStudy="")))) == 1
        assert one.stages.policy_rows_of(["Modality"], one.all())
    again.close()


def test_a_forked_process_opens_its_own(database):
    index = SqlIndex.open(database)
    index.record(instance("1"), DOE)
    child = os.fork()
    if not child:
        own = SqlIndex.open(database)
        own.record(instance("2"), DOE)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert index.record(instance("3"), ROE) is None
    assert index.counts().instances == 3
    index.close()


def test_the_server_chooses_between_two_ranges_itself(index):
    """To count both takes two more round trips, and it has statistics of the values."""
    index.record(instance("1"), DOE)
    said: list[str] = []
    event.listen(index._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    found = list(index.find(query("STUDY", PatientName="DOE*", StudyDate="20240131")))
    assert [match["StudyInstanceUID"] for match in found] == ["1"]
    assert len(said) == 1


def _twenty(index: SqlIndex) -> None:
    """Studies from 0 to 19, each a day later than the one before."""
    for number in reversed(range(20)):
        patient = DOE | {"StudyDate": f"202401{number + 1:02}"}
        index.record(instance(str(number), str(number), f"{number}.1"), patient)


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({"PatientName": "D*"}, postgresql.FIRST_NAMED_ROWS),
        ({"PatientName": "D*", "PatientID": "D1"}, 20),
        ({"PatientName": "*OE*"}, 20),
        ({"StudyDate": "20240101-"}, 20),
    ],
)
def test_few_matches_of_a_name_come_first_and_then_all_others(index, keys, first):
    """Each fiftieth row may match: who waits for the first match does not wait for 64."""
    _twenty(index)
    said: list[str] = []
    event.listen(index._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    matches = index.find(query("STUDY", StudyInstanceUID="", **keys))
    uids = [next(matches)["StudyInstanceUID"] for _ in range(first)]
    assert len(said) == 1
    uids += [match["StudyInstanceUID"] for match in matches]
    assert sorted(uids, key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("dates", "newest", "all_of_them"),
    [
        ("20240105-20240112", [11, 10, 9], range(4, 12)),
        ("", [19, 18, 17], range(20)),
        ("20250101-", [], []),
    ],
)
def test_of_a_name_that_begins_with_a_wildcard_the_newest_come_first(
    index, monkeypatch, dates, newest, all_of_them
):
    """Those few are looked at without the index of trigrams, which finds all studies of a common name."""
    monkeypatch.setattr(names, "NEWEST_STUDIES", 3)
    _twenty(index)
    index.record(instance("20", "20", "20.1"), ROE | {"StudyDate": "20240112"})
    asked = query("STUDY", PatientName="*DO*", StudyDate=dates, ModalitiesInStudy="CT", StudyInstanceUID="")
    uids = [int(match["StudyInstanceUID"]) for match in index.find(asked)]
    assert set(uids[: len(newest)]) >= set(newest[:2])
    assert sorted(uids) == list(all_of_them)


def test_a_name_that_none_of_the_newest_has_is_found(index, monkeypatch):
    monkeypatch.setattr(names, "NEWEST_STUDIES", 3)
    index.record(instance("20", "20", "20.1"), ROE | {"StudyDate": "20230101"})
    _twenty(index)
    assert len(list(index.find(query("STUDY", PatientName="*ROE*")))) == 1


def test_text_that_no_database_stores(index):
    """NUL in what does not pass through the attributes: a fault that quotes a file."""
    index.record(instance("1", rule="a\0b"), DOE)
    assert index.newest("1").rule == "ab"
    index.checks.note([(index.newest("1"), "c\0d")], time.time())
    assert index.newest("1").fault == "cd"


@pytest.mark.parametrize(
    "keyword", ["PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber", "Modality"]
)
def test_long_values_have_a_place(index, keyword):
    """An entry of an index has 2704 bytes in PostgreSQL, and random text does not become shorter."""
    long = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(5000))
    attributes = DOE | {keyword: long}
    assert index.record(instance("1", patient_id=attributes["PatientID"]), attributes) is None
    assert index.counts().instances == 1
    beginning = long[:50] + "*"
    assert [one["SOPInstanceUID"] for one in index.find(query("IMAGE", **{keyword: beginning}))] == ["1"]
    assert len(list(index.find(query("IMAGE", **{keyword: "no" + beginning})))) == 0


class TestAPausedNode:
    """One that has begun to write and does not go on, as a virtual machine that is moved."""

    @pytest.fixture
    def paused(self, database: Database) -> Iterator[SqlIndex]:
        index = SqlIndex.open(database)
        index._writer._connected()
        index._writer._kind.begin_writing(index._writer._cursor, ["patient 1"])
        yield index
        index.close()

    def test_others_tell_that_they_live_and_write(self, paused, index):
        index.nodes.beat(NodeReport("b", "b", "start"))
        with index._writer.transaction(["patient 2"]):
            pass
        assert [one.report.id for one in index.nodes.all()] == ["b"]

    def test_the_server_ends_its_transaction(self, paused, index):
        def all_alone() -> bool:
            try:
                with index._writer.transaction():
                    return True
            except OutOfResources:
                return False

        until(all_alone, "the turn of the paused node ends", 60)
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            paused._writer._cursor.execute("COMMIT")
        with paused._writer.transaction(["patient 1"]):
            pass  # on a new connection

    def test_a_lock_by_name_is_waited_for_with_a_limit(self, index, database):
        other = SqlIndex.open(database)
        with other.exclusive("trash"):
            with pytest.raises(OutOfResources), index.exclusive("trash", 0.1):
                pass
            with index.exclusive("trash", wait=False) as got:
                assert not got
            # The connection is used for queries again.
            with dialect.reads(index._engine) as connection:
                assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"
        with index.exclusive("trash", 0.1) as got:
            assert got
        other.close()
