"""Acknowledged, and not recorded yet: who waits for its row on a real node, who makes it after kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scp.archive.behind import Unrecorded

from .conftest import NodeProcess, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, VERIFICATION, Scu, identifier, image, until

pytestmark = pytest.mark.slow

_LANDING = {"backlog": "1GB"}
_CONTEXTS = [(MR_IMAGE, [EXPLICIT]), (STUDY_FIND, [EXPLICIT]), (VERIFICATION, [EXPLICIT])]


@contextmanager
def nobody_writes(node: NodeProcess) -> Iterator[Callable[[], None]]:
    """Hold the index's lock, until the block ends or calls what it is given."""
    with closing(sqlite3.connect(node.root / "index.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")

        def let_go() -> None:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

        try:
            yield let_go
        finally:
            let_go()


def recorded(node: NodeProcess) -> int:
    with closing(sqlite3.connect(node.root / "index.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM instance").fetchone()[0])


def found(scu: Scu) -> int:
    return len(scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))) - 1


def children(node: NodeProcess) -> set[int]:
    pid = node.process.pid
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_query_of_the_same_association_waits_for_the_row(process: Callable[..., NodeProcess]) -> None:
    node = process(storage=_LANDING)
    node.start()
    with Scu(node.address, _CONTEXTS) as scu, nobody_writes(node) as let_go:
        assert scu.store(image()).status == 0
        assert scu.echo() == 0  # asks the index for nothing
        assert recorded(node) == 0
        asked = threading.Thread(target=lambda: answers.append(found(scu)))
        answers: list[int] = []
        asked.start()
        asked.join(0.3)
        assert answers == []
        let_go()
        asked.join(60)
    assert answers == [1]


def test_a_release_is_answered_when_the_row_is_there(process: Callable[..., NodeProcess]) -> None:
    node = process(storage=_LANDING)
    node.start()
    scu = Scu(node.address, _CONTEXTS)
    with nobody_writes(node) as let_go:
        assert scu.store(image()).status == 0
        released = threading.Thread(target=scu.association.release)
        released.start()
        released.join(0.3)
        assert released.is_alive()
        assert recorded(node) == 0
        let_go()
        released.join(60)
    assert scu.association.is_released
    assert recorded(node) == 1


def test_where_the_index_stays_away_a_query_fails_and_a_release_is_not_answered(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start(storage=_LANDING)
    scu = Scu(node.address, _CONTEXTS)
    assert scu.store(image()).status == 0
    monkeypatch.setattr(Unrecorded, "wait", lambda *_: False)  # as after 20 s
    (answer,) = scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert answer.status == 0xA700
    assert scu.echo() == 0
    scu.association.release()
    assert not scu.association.is_released
    assert scu.association.is_aborted


def test_an_association_that_breaks_off_leaves_nothing_behind(process: Callable[..., NodeProcess]) -> None:
    node = process(storage=_LANDING)
    node.start()
    scu = Scu(node.address, _CONTEXTS)
    assert scu.store(image()).status == 0
    scu.association.abort()
    until(lambda: recorded(node) == 1, "the row is there")
    until(lambda: [one for one in node.events() if one["event"] == "c-store"], "its line is there")


def test_a_worker_that_is_killed_before_the_row(process: Callable[..., NodeProcess]) -> None:
    """Another process reads its landing log, its successor or the encoder: the node is not started again."""
    node = process(storage=_LANDING)
    node.start()
    scu = Scu(node.address, _CONTEXTS)
    with nobody_writes(node):
        before = children(node)
        assert scu.store(image()).status == 0
        assert recorded(node) == 0
        worker = min(before)  # forked first
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in children(node), "it is gone")
    until(lambda: recorded(node) == 1, "another has recorded it")
    with Scu(node.address, _CONTEXTS) as again:
        assert found(again) == 1
    ended = [one["process"] for one in node.events() if one["event"] == "process ended"]
    assert ended == ["worker 1"]


def test_a_node_that_stops_records_what_it_acknowledged(process: Callable[..., NodeProcess]) -> None:
    node = process(storage=_LANDING)
    node.start()
    scu = Scu(node.address, _CONTEXTS)
    for number in range(10):
        assert scu.store(image(instance=f"1.2.3.1.{number}", seed=number)).status == 0
    assert node.kill(signal.SIGTERM) == 0
    assert recorded(node) == 10
