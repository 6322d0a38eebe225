"""A node of two workers whose index is on a real PostgreSQL: served, killed, and without its database."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from servers_postgresql import PASSWORD, PostgreSQL

from .conftest import NodeProcess, zscp
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    STUDY_FIND,
    STUDY_MOVE,
    Scu,
    Sent,
    Sink,
    identifier,
    image,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_FAILURES = {0xA700}  # PS3.4 B.2.3: out of resources, so that the sender comes again
_AWAY_SECONDS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL(durable=True) as server:
        yield server


@pytest.fixture
def node(server: PostgreSQL, process: Callable[..., NodeProcess]) -> NodeProcess:
    node = process(
        node={"workers": 2, "host": "127.0.0.1", "port": 0}, **server.tables(server.database(made=False))
    )
    node.start()
    return node


class Sender(threading.Thread):
    """Stores one object after the other until told to stop; associates again when the association ends."""

    def __init__(self, node: NodeProcess, number: int) -> None:
        super().__init__()
        self._node, self._number, self._over = node, number, threading.Event()
        self.acknowledged: list[Sent] = []
        self.statuses: set[int] = set()

    def run(self) -> None:
        each = 0
        while not self._over.is_set():
            with suppress(Exception), Scu(self._node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
                while scu.established and not self._over.is_set():
                    each += 1
                    sent = image(study=f"1.2.{self._number}.{each // 10}", rows=8)
                    status = scu.store(sent).status
                    self.statuses.add(status)
                    if status == 0:
                        self.acknowledged.append(sent)
                    else:
                        time.sleep(0.2)

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive()


@pytest.fixture
def senders(node: NodeProcess) -> Iterator[list[Sender]]:
    senders = [Sender(node, number) for number in range(4)]
    for one in senders:
        one.start()
    yield senders
    for one in senders:
        one.stop()


def _goes_on(sender: Sender, before: int) -> bool:
    return len(sender.acknowledged) > before


def listed(node: NodeProcess) -> set[str]:
    told = json.loads(node.run("ls", "--level", "image", "--json").stdout)
    return {one["SOPInstanceUID"] for one in told}


def held(node: NodeProcess, senders: list[Sender]) -> None:
    for one in senders:
        one.stop()
    acknowledged = {sent.instance for one in senders for sent in one.acknowledged}
    assert acknowledged
    assert acknowledged <= listed(node)
    assert json.loads(node.run("fsck", "--json").stdout)


def test_served_and_looked_after(node: NodeProcess, server: PostgreSQL, tmp_path: Path) -> None:
    sent = [image(study=f"1.2.{number % 2}", rows=8) for number in range(4)]
    contexts = [(uid, [EXPLICIT]) for uid in (MR_IMAGE, STUDY_FIND, STUDY_MOVE)]
    with Scu(node.address, contexts) as scu:
        assert [scu.store(one).status for one in sent] == [0, 0, 0, 0]
        found = scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID=""))
        assert {one.identifier.StudyInstanceUID for one in found[:-1]} == {"1.2.0", "1.2.1"}
        with Sink() as sink:
            node.write_config(peer=[{"aet": "SINK", "host": "127.0.0.1", "port": sink.port}])
            node.process.send_signal(signal.SIGHUP)
            asked = identifier("STUDY", StudyInstanceUID="1.2.0")
            until(lambda: scu.move(STUDY_MOVE, asked, "SINK").final.status == 0, "the study is moved", 60)
            assert {one.sent.instance for one in sink.arrived} == {sent[0].instance, sent[2].instance}
    assert listed(node) == {one.instance for one in sent}
    told = node.run("check", "--json").stdout
    assert json.loads(told)["usable"]
    assert PASSWORD not in told + node.run("check").stdout + node.log.read_text()
    assert json.loads(node.run("stats", "--json").stdout)
    node.run("delete", sent[0].instance, "--level", "image", "--reason", "a test", "--yes")
    left = {one.instance for one in sent[1:]}
    assert listed(node) == left
    until(lambda: node.run("fsck", status=None).returncode == 0, "all is well", 60)
    node.kill(signal.SIGTERM)
    _moved_and_made_anew(node, server, tmp_path, left)


def _moved_and_made_anew(node: NodeProcess, server: PostgreSQL, folder: Path, left: set[str]) -> None:
    """The index in a file of SQLite, and in an empty database from the objects alone."""
    copied = f"sqlite:///{folder}/copied.db"
    zscp("migrate-index", node.tables["index"]["url"], copied, "-c", node.config, cwd=folder)
    node.write_config(index={"url": copied})
    assert listed(node) == left  # it fits the stores: nothing has to be read again
    node.write_config(**server.tables(server.database(made=False)))
    node.run("reindex")
    assert listed(node) == left
    node.run("fsck")


def test_killed_under_load(node: NodeProcess, senders: list[Sender]) -> None:
    until(lambda: all(one.acknowledged for one in senders), "something is stored")
    node.kill()
    node.start()
    before = [len(one.acknowledged) for one in senders]
    until(
        lambda: all(len(o.acknowledged) > b for o, b in zip(senders, before, strict=True)),
        "it is served again",
        60,
    )
    held(node, senders)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_without_its_database_for_a_while(
    node: NodeProcess, server: PostgreSQL, senders: list[Sender], how: str
) -> None:
    until(lambda: all(one.acknowledged for one in senders), "something is stored")
    getattr(server, how)()
    assert node.process.poll() is None
    time.sleep(_AWAY_SECONDS if how == "stop" else 1)
    server.start()
    before = [len(one.acknowledged) for one in senders]
    until(
        lambda: all(len(o.acknowledged) > b for o, b in zip(senders, before, strict=True)),
        "it is served again",
        60,
    )
    assert node.process.poll() is None
    assert {status for one in senders for status in one.statuses} - {0} <= _FAILURES
    held(node, senders)
