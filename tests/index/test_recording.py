"""A group of stores on PostgreSQL: what is asked and written together is what each would have done alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import psycopg
import pytest
from psycopg.pq import PipelineStatus
from sqlalchemy.exc import DBAPIError
from test_index_contract import DOE, ROE, found, instance

from scp.index.index import EntityCounts
from scp.index.postgresql import WatchedConnection
from scp.index.recording import as_json
from scp.index.rows import texts
from scp.index.sql import SqlIndex


def test_rows_are_json_without_what_postgresql_cannot_store() -> None:
    moment = datetime(2026, 11, 29, 1, 2, 3, 4, tzinfo=UTC)
    rows = [{"a": "x\0y", "b": 1, "c": True, "d": moment}, {"a": "\\u0000", "b": 2**60, "c": False, "d": ""}]
    assert json.loads(as_json(rows)) == [
        {"a": "xy", "b": 1, "c": True, "d": "2026-11-29 01:02:03.000004+00:00"},
        {"a": "\\u0000", "b": 2**60, "c": False, "d": ""},
    ]


def test_texts_are_the_same_of_chosen_attributes_and_of_all() -> None:
    """A dict has those that were chosen before; others are asked for one by one."""
    assert texts(instance("1.1.1"), dict(DOE)) == texts(instance("1.1.1"), MappingProxyType(DOE))


@pytest.mark.cluster
class TestOnPostgreSQL:
    @pytest.fixture
    def nodes(self) -> Iterator[list[SqlIndex]]:
        import servers_postgresql  # noqa: PLC0415 - starts what only these need

        database = servers_postgresql.shared().database()
        nodes = [SqlIndex.open(database) for _ in range(2)]
        yield nodes
        for one in nodes:
            one.close()

    def test_the_next_instance_of_a_series_takes_two_round_trips(
        self, nodes: list[SqlIndex], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = nodes[0]
        node.record(instance("1.1.1"), DOE)
        piped: list[bool] = []
        alone: list[str] = []
        wait, execute = WatchedConnection.wait, psycopg.Cursor.execute

        def waited(connection: WatchedConnection, *given: Any, **more: Any) -> Any:
            piped.append(connection.pgconn.pipeline_status == PipelineStatus.ON)
            return wait(connection, *given, **more)

        def executed(cursor: Any, statement: Any, *given: Any, **more: Any) -> Any:
            alone.append(str(statement))
            return execute(cursor, statement, *given, **more)

        monkeypatch.setattr(WatchedConnection, "wait", waited)
        monkeypatch.setattr(psycopg.Cursor, "execute", executed)
        node.record(instance("1.1.2"), DOE)
        assert (sum(piped), alone) == (2, [])
        assert node.counts() == EntityCounts(1, 1, 1, 2)

    def test_one_instance_twice_in_a_transaction(self, nodes: list[SqlIndex]) -> None:
        first, second = (instance("1.1.1", key=key) for key in "ab")
        given = [(first, DOE), (instance("1.1.2"), DOE), (second, DOE)]
        replaced = nodes[0].record_many(given)
        assert [one and one.key for one in replaced] == [None, None, "a"]
        assert nodes[0].counts() == EntityCounts(1, 1, 1, 2)

    def test_a_row_that_cannot_be_written_takes_all_of_its_transaction_back(
        self, nodes: list[SqlIndex]
    ) -> None:
        good, bad = instance("1.1.1"), replace(instance("1.1.2"), stored_size=2**70)
        nodes[0].record(instance("1.1.0"), DOE)
        for given in ([good, bad], [bad, good]):
            with pytest.raises((DBAPIError, psycopg.Error)):
                nodes[0].record_many([(one, DOE) for one in given])
            assert nodes[0].counts().instances == 1
        assert nodes[0].record(good, DOE) is None
        assert nodes[0].counts() == EntityCounts(1, 1, 1, 2)

    @pytest.mark.parametrize("how", ["removed", "renamed", "moved"])
    def test_what_another_node_changed_is_not_taken_for_what_it_was(
        self, nodes: list[SqlIndex], how: str
    ) -> None:
        node, other = nodes
        node.record(instance("1.1.1"), DOE)
        node.record(instance("1.1.2"), DOE)  # its place is known now
        if how == "removed":
            other.remove("1.1.1")
            other.remove("1.1.2")
        elif how == "renamed":
            other.record(instance("1.1.3"), DOE | {"PatientName": "Dorn^Jane"})
        else:
            other.record(instance("1.1.1"), ROE)
        node.record(instance("1.1.9"), DOE)
        assert "1.1.9" in found(node, "IMAGE", "SOPInstanceUID", PatientID="D1")
        assert found(node, "STUDY", "PatientName", PatientID="D1") == [DOE["PatientName"]]

    def test_nul_in_what_is_recorded_is_left_out(self, nodes: list[SqlIndex]) -> None:
        nodes[0].record(replace(instance("1.1.1"), calling_aet="A\0B"), DOE)
        held = nodes[0].newest("1.1.1")
        assert held is not None
        assert held.calling_aet == "AB"

    @pytest.mark.parametrize("uid", ['a"b', "a,b", "{a}", "a b", "NULL"])
    def test_an_odd_uid_is_looked_up_as_it_is(self, nodes: list[SqlIndex], uid: str) -> None:
        assert nodes[0].add(instance(uid), DOE) is None
        held = nodes[0].add(instance(uid), DOE)
        assert held is not None
        assert held.sop_instance_uid == uid

    def test_after_a_failure_and_on_a_new_connection_all_is_prepared_anew(
        self, nodes: list[SqlIndex]
    ) -> None:
        node = nodes[0]
        node.record(instance("1.1.1"), DOE)
        writer = node._writer
        writer._cursor.connection.execute("DEALLOCATE ALL")
        with pytest.raises((DBAPIError, psycopg.Error)):
            node.record(instance("1.1.2"), DOE)
        assert node.record(instance("1.1.2"), DOE) is None
        writer._cursor.connection.pgconn.finish()
        assert node.record(instance("1.1.3"), DOE) is None
        assert node.counts().instances == 3

    def test_failures_leave_no_more_prepared_statements_on_the_server(self, nodes: list[SqlIndex]) -> None:
        """The server would hold those that are forgotten for as long as the connection lasts."""
        node, bad = nodes[0], replace(instance("1.1.2"), stored_size=2**70)
        counts: list[int] = []
        for number in range(4):
            with pytest.raises((DBAPIError, psycopg.Error)):
                node.record(bad, DOE)
            assert node.record(instance(f"1.1.9{number}"), DOE) is None
            connection = node._writer._cursor.connection
            told = connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'zscp%'")
            counts.append(told.fetchone()[0])
        assert counts[1:] == counts[1:2] * 3
        assert node.counts().instances == 4
