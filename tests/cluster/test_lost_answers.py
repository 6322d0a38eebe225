"""The answer to a COMMIT is lost between PostgreSQL and a node; the server has done it, or has not.

A proxy is between: it drops the connection when the node says COMMIT, before or after the server has it. The
sender gets a failure, sends the object again, and nothing of what was acknowledged is lost.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import servers_postgresql
from servers_postgresql import CLUSTER, PASSWORD, PostgreSQL
from several_nodes import OneNode, an_object, trashed
from waiting import until

from scp.background.progress import Silent
from scp.errors import OutOfResources
from scp.index.databases import Database
from scp.lifecycle.fsck import fsck
from scp.model import Received
from scp.node.build import take_up

pytestmark = [CLUSTER, pytest.mark.usefixtures("codecs_here")]

Lost = Literal["answer", "commit"]
_COMMIT = re.compile(rb"COMMIT(?!TED)")  # not that of the isolation level


class Proxy:
    """Between a node and the server; while ``loses`` is set, the next connection that commits is cut.

    ``answer``: once the server has answered the COMMIT; ``commit``: before the server has it.
    """

    def __init__(self, server: PostgreSQL) -> None:
        self.loses: Lost | None = None
        self.lost = threading.Event()
        self._server = ("127.0.0.1", server.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(self._server)
                for end in (here, there):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._asks, args=(here, there), daemon=True).start()

    def _asks(self, here: socket.socket, there: socket.socket) -> None:
        """From the node to the server; the answers are passed on by a thread of their own."""
        cut = threading.Event()
        threading.Thread(target=self._answers, args=(there, here, cut), daemon=True).start()
        with suppress(OSError):
            while data := here.recv(1 << 16):
                if self.loses is not None and _COMMIT.search(data):
                    lost, self.loses = self.loses, None
                    cut.set()
                    if lost == "answer":
                        there.sendall(data)
                        continue  # the answer ends the connection
                    break
                there.sendall(data)
        _end(here, there)
        if cut.is_set():
            self.lost.set()

    def _answers(self, there: socket.socket, here: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := there.recv(1 << 16):
                if cut.is_set() and _COMMIT.search(data):
                    break
                here.sendall(data)
        _end(here, there)


def _end(*connections: socket.socket) -> None:
    for one in connections:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with closing(Proxy(servers_postgresql.shared())) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path: Path, proxy: Proxy) -> Iterator[Callable[[], OneNode]]:
    """Starts the node, and again, after it was killed."""
    database = servers_postgresql.shared().database()
    through = Database(
        database.url.replace(f":{servers_postgresql.shared().port}/", f":{proxy.port}/"), PASSWORD
    )
    tables = {"index": {"url": through.url, "password": PASSWORD, "connections": 4}}
    made: list[OneNode] = []

    def started() -> OneNode:
        while made:
            made.pop().close()
        made.append(OneNode(tmp_path, "a", **tables))
        take_up(made[-1].archive)
        return made[-1]

    yield started
    for node in made:
        node.close()


@pytest.fixture
def node(start: Callable[[], OneNode]) -> OneNode:
    return start()


def sent_again(node: OneNode, one: Received) -> None:
    """As a sender does that was answered with a failure; while the node connects anew, it fails again."""

    def is_kept() -> bool:
        with suppress(OutOfResources):
            return node.keep(one).outcome in ("kept", "replaced", "duplicate")
        return False

    until(is_kept, "it is kept")


def is_whole(node: OneNode, one: Received, *in_trash: Received) -> None:
    while node.encoder.round():
        pass
    node.encoder.free()
    (held,) = node.archive.all()
    assert held.received_sha256 == one.sha256
    assert node.content(one) == one.dataset
    assert trashed(node) == sorted(each.sha256 for each in in_trash)
    log = node.archive.store.log
    assert log is not None
    assert list(log.keys()) == []
    assert list(fsck(node.archive, Silent())) == []


@pytest.mark.parametrize("loses", ["answer", "commit"])
def test_a_store(node: OneNode, proxy: Proxy, loses: Lost) -> None:
    """A row that is there after all names the record that stays in the landing log."""
    one = an_object(1)
    proxy.loses = loses
    with pytest.raises(OutOfResources):
        node.keep(one)
    assert proxy.lost.wait(20)
    assert [held.received_sha256 for held in node.archive.all()] == (
        [one.sha256] if loses == "answer" else []
    )
    if loses == "answer":
        assert node.content(one) == one.dataset
    sent_again(node, one)
    is_whole(node, one)


@pytest.mark.parametrize("loses", ["answer", "commit"])
def test_a_replacement(
    start: Callable[[], OneNode], proxy: Proxy, loses: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content was acknowledged: it is held or, at the next start at the latest, in the trash."""
    node = start()
    old, new = an_object(1), an_object(1, noise=0.3)
    node.keep(old)
    while node.encoder.round():
        pass
    record = node.archive.index.record

    def recorded(*given: Any) -> Any:
        proxy.loses = loses  # the COMMIT of this one
        monkeypatch.undo()
        return record(*given)

    monkeypatch.setattr(node.archive.index, "record", recorded)
    with pytest.raises(OutOfResources):
        node.keep(new)
    assert proxy.lost.wait(20)
    (held,) = node.archive.all()
    assert held.received_sha256 == (new if loses == "answer" else old).sha256
    for one in (old, new):
        if one.sha256 == held.received_sha256:
            assert node.content(one) == one.dataset
    sent_again(node, new)
    is_whole(start(), new, old)


@pytest.mark.parametrize("loses", ["answer", "commit"])
def test_a_new_form(node: OneNode, proxy: Proxy, loses: Lost) -> None:
    one = an_object(1)
    node.keep(one)
    (held,) = node.archive.all()
    change = node.archive.encode(held)
    proxy.loses = loses
    with pytest.raises(OutOfResources):
        node.archive.replace([change])
    assert proxy.lost.wait(20)
    node.archive.remove_replaced()
    is_whole(node, one)
