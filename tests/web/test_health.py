"""Liveness and readiness, and a sentence for each thing that is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scp.archive.archive import Archive
from scp.errors import OutOfResources
from scp.metrics.counting import NodeFigures
from scp.resources.pressure import Pressure
from scp.resources.room import Room
from scp.web.health import Health
from scp.web.looks import ArchiveLooks, Look, fault_of_store

pytestmark = pytest.mark.quick

NOW = 1000.0


class Watched:
    """A node with two workers, all of it well."""

    def __init__(self) -> None:
        self.figures, self.look = NodeFigures(), Look(index_at=NOW, index_fault="", store_fault="")
        for name in ("worker 1", "worker 2", "encoder"):
            self.figures.reserve(name)
            self.figures.processes()[name].alive = NOW
        self.figures.own.alive = NOW
        self.now = NOW
        self.shortage = ""
        self.health = Health(self.figures, lambda: self.look, lambda: self.now, lambda: self.shortage)

    def faults(self) -> list[str]:
        status, body = self.health.ready()
        told = json.loads(body)
        assert told["ready"] == (status == 200) == (not told["faults"])
        return list(told["faults"])


@pytest.fixture
def node() -> Watched:
    return Watched()


def test_all_is_well(node: Watched) -> None:
    assert node.faults() == []
    assert node.health.live() == (200, b'{"live": true, "faults": []}\n')


def test_one_worker_that_serves_is_enough(node: Watched) -> None:
    node.figures.ended("worker 1")
    assert node.faults() == []
    node.figures.ended("worker 2")
    assert node.faults() == ["no worker serves; the log says why workers end"]
    assert node.health.live()[0] == 200


def test_a_worker_that_says_nothing_does_not_serve(node: Watched) -> None:
    for name in ("worker 1", "worker 2"):
        node.figures.processes()[name].alive = NOW - 21
    assert node.faults() == ["no worker serves; the log says why workers end"]


def test_a_node_that_stops_is_not_ready(node: Watched) -> None:
    node.figures.own.stopping = True
    assert node.faults() == ["the node is stopping"]


def test_a_supervisor_that_waits_for_the_others_to_end_does_not_hang(node: Watched) -> None:
    node.figures.own.alive, node.figures.own.stopping = NOW - 61, True
    assert node.health.live()[0] == 200


def test_a_supervisor_that_hangs_is_not_alive(node: Watched) -> None:
    node.figures.own.alive = NOW - 61
    status, body = node.health.live()
    assert status == 503
    assert json.loads(body)["faults"] == ["the supervisor has not turned for 61 s; start the node again"]


def test_an_index_that_does_not_answer(node: Watched) -> None:
    node.look = replace(node.look, index_fault="the database is locked")
    assert node.faults() == ["the index cannot be used: the database is locked"]
    node.look = replace(node.look, index_fault="", index_at=NOW - 40)
    assert node.faults() == ["the index has not answered for 40 s"]


def test_a_store_that_takes_nothing(node: Watched, tmp_path: Path) -> None:
    assert fault_of_store(Room(tmp_path)) == ""
    assert "cannot be written" in fault_of_store(Room(tmp_path / "gone"))  # its disk is not there
    node.look = replace(node.look, store_fault=fault_of_store(Room(tmp_path, reserve=2**62)))
    assert node.faults()[0].startswith("nothing can be stored: ")
    assert "storage.reserve" in node.faults()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_rejects_associations_for_a_lack_of_memory(node: Watched) -> None:
    node.shortage = Pressure(100, lambda: 91, lambda: 91).shortage()
    assert node.faults() == ["associations are rejected: the node uses 0 MB, limits.node_memory is 0"]
    assert node.health.live()[0] == 200
    assert Pressure(100, lambda: 90, lambda: 90).shortage() == ""


def test_looking_says_what_is_wrong_and_goes_on(tmp_path: Path) -> None:
    def opened() -> Archive:
        raise OutOfResources("the index cannot be opened")

    looks = ArchiveLooks(opened, lambda _: None, lambda: Room(tmp_path))
    assert looks.turn() == 5
    assert (looks.latest.index_fault, looks.latest.store_fault) == ("the index cannot be opened", "")
    assert looks.turn() == 5
