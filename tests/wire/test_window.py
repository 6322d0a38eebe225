"""Asynchronous operations (PS3.7 D.3.3.3): a scripted peer on a raw socket against a whole node."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import window
from scp.errors import OutOfResources
from scp.model import Received

from .conftest import RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, VERIFICATION, image, until

CONTEXTS = [(MR_IMAGE, EXPLICIT), (VERIFICATION, IMPLICIT), (STUDY_FIND, EXPLICIT)]
CANCEL = {"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 1}
ECHO = {"CommandField": 0x0030, "AffectedSOPClassUID": VERIFICATION}


@pytest.fixture
def node(start: Starter) -> Iterator[RunningNode]:
    """After each test no association and none of its threads are left."""
    node = start(limits={"operations": 4})
    yield node
    until(lambda: not node.node.server.associations.all(), "the association is gone")
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if "/" in name] == []


def objects(count: int, rows: int = 8) -> list[window.Obj]:
    sent = [image(instance=f"1.2.3.1.{n}", seed=n, rows=rows) for n in range(1, count + 1)]
    return [window.Obj(one.sop_class, one.instance, one.syntax, one.data) for one in sent]


def connect(node: RunningNode, asked: int = 4, **more: Any) -> window.Scu:
    return window.Scu(node.address, more.pop("contexts", CONTEXTS), window=asked, **more)


class Gate:
    """Holds up what the archive is given, until each object is let through."""

    def __init__(self, node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside: list[str] = []
        self.most = 0
        self._opened: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._ingest = node.archive.ingest
        monkeypatch.setattr(node.archive, "ingest", self._held)

    def _event(self, uid: str) -> threading.Event:
        with self._lock:
            return self._opened.setdefault(uid, threading.Event())

    def _held(self, received: Received, **more: Any) -> Any:
        uid = received.sop_instance_uid
        with self._lock:
            self.inside.append(uid)
            self.most = max(self.most, len(self.inside))
        try:
            assert self._event(uid).wait(20)
            return self._ingest(received, **more)
        finally:
            with self._lock:
                self.inside.remove(uid)

    def open(self, *uids: str) -> None:
        for uid in uids:
            self._event(uid).set()


@pytest.fixture
def gate(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(node, monkeypatch)
    yield gate
    gate.open(*(f"1.2.3.1.{n}" for n in range(1, 40)))


@pytest.mark.parametrize(
    ("limit", "asked", "granted"),
    [
        (4, None, None),
        (4, (1, 1), None),
        (4, (2, 1), (2, 1)),
        (4, (9, 3), (4, 3)),
        (4, (0, 0), (4, 4)),
        (1, (9, 9), None),
    ],
)
def test_what_is_agreed(
    start: Starter, limit: int, asked: tuple[int, int] | None, granted: tuple[int, int] | None
) -> None:
    """Only where it is asked for, and never more than asked or allowed."""
    node = start(limits={"operations": limit})
    with window.Scu(node.address, CONTEXTS, window=1) as plain:
        assert plain.granted is None
    with socket.create_connection(node.address, 10) as connection:
        connection.sendall(window.associate_rq(CONTEXTS, window=asked))
        head = connection.recv(6, socket.MSG_WAITALL)
        body = connection.recv(struct.unpack(">xxL", head)[0], socket.MSG_WAITALL)
    assert head[0] == 2
    assert window._agreed(body)[1] == granted


@pytest.mark.parametrize("asked", [1, 4])
def test_all_are_kept_and_answered_once(node: RunningNode, asked: int) -> None:
    sent = objects(30, rows=64)
    with connect(node, asked) as scu:
        assert scu.window == asked
        assert scu.store(sent) == [0] * len(sent)
        assert sorted(scu.order) == list(range(1, len(sent) + 1))
        scu.release()
    for one in sent:
        held = node.archive.index.newest(one.instance)
        assert held.received_sha256 == Received("", "", "", one.dataset, "", "", held.received_at).sha256
        node.archive.verify(held, deep=True)


def test_answers_come_as_each_is_done(node: RunningNode, gate: Gate) -> None:
    sent = objects(3, rows=256)  # large enough for threads of their own
    with connect(node) as scu:
        for data in scu.prepared(sent):
            scu.socket.sendall(data)
        until(lambda: len(gate.inside) == 3, "all three are being kept")
        for number in (3, 1, 2):
            gate.open(f"1.2.3.1.{number}")
            response = scu.response()
            assert (response["MessageIDBeingRespondedTo"], response["Status"]) == (number, 0)
            assert response["AffectedSOPInstanceUID"] == f"1.2.3.1.{number}"
            until(lambda uid=f"1.2.3.1.{number}": node.archive.index.newest(uid), "it is recorded")
        scu.release()


def test_more_requests_than_the_window(node: RunningNode, gate: Gate) -> None:
    """What is beyond it is not read; nothing of it is lost, and nothing piles up."""
    sent = objects(12, rows=256)
    with connect(node) as scu:
        sender = threading.Thread(target=lambda: [scu.socket.sendall(one) for one in scu.prepared(sent)])
        sender.start()
        until(lambda: len(gate.inside) == 4, "the window is full")
        (association,) = node.node.server.associations.all()
        until(lambda: association.requests == 5, "one more is read, and waits")
        gate.open(*(one.instance for one in sent))
        statuses = [scu.response()["Status"] for _ in sent]
        assert statuses == [0] * len(sent)
        sender.join()
        scu.release()
    assert gate.most == 4


def test_one_at_a_time_without_negotiation(node: RunningNode, gate: Gate) -> None:
    """A peer that sends more all the same is served in order, by one thread."""
    sent = objects(5, rows=256)
    gate.open(*(one.instance for one in sent))
    with connect(node, 1) as scu:
        scu.socket.sendall(b"".join(scu.prepared(sent)))
        assert [scu.response()["MessageIDBeingRespondedTo"] for _ in sent] == [1, 2, 3, 4, 5]
        scu.release()
    assert gate.most == 1


def test_one_fails_among_good_ones(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = objects(12, rows=256)
    original = node.archive.ingest

    def ingest(received: Received, **more: Any) -> Any:
        if received.sop_instance_uid == sent[5].instance:
            raise OutOfResources("no room")
        if received.sop_instance_uid == sent[7].instance:
            raise KeyError("a bug")
        return original(received, **more)

    monkeypatch.setattr(node.archive, "ingest", ingest)
    with connect(node) as scu:
        statuses = scu.store(sent)
        scu.release()
    assert [n for n, status in enumerate(statuses) if status] == [5, 7]
    assert (statuses[5], statuses[7]) == (0xA700, 0xC000)


def test_release_waits_for_the_answers(node: RunningNode, gate: Gate) -> None:
    sent = objects(3, rows=256)
    with connect(node) as scu:
        for data in scu.prepared(sent):
            scu.socket.sendall(data)
        scu.socket.sendall(window.RELEASE_RQ)
        until(lambda: len(gate.inside) == 3, "all three are being kept")
        gate.open(*(one.instance for one in sent))
        assert {scu.response()["MessageIDBeingRespondedTo"] for _ in sent} == {1, 2, 3}
        assert scu.pdu()[0] == 6


@pytest.mark.parametrize("how", ["abort", "gone"])
def test_the_end_with_requests_outstanding(node: RunningNode, gate: Gate, how: str) -> None:
    """What is under way is kept whole or not at all; nothing was said of it."""
    sent = objects(3, rows=256)
    with connect(node) as scu:
        for data in scu.prepared(sent):
            scu.socket.sendall(data)
        until(lambda: len(gate.inside) == 3, "all three are being kept")
        if how == "abort":
            scu.socket.sendall(window.ABORT)
            with pytest.raises(ConnectionError):
                scu.response()
    gate.open(*(one.instance for one in sent))
    until(lambda: not node.node.server.associations.all(), "the association is gone")
    for one in sent:
        node.archive.verify(node.archive.index.newest(one.instance), deep=True)


def test_the_node_stops_with_requests_outstanding(node: RunningNode, gate: Gate) -> None:
    """They are answered before it ends."""
    sent = objects(3, rows=256)
    with connect(node) as scu:
        for data in scu.prepared(sent):
            scu.socket.sendall(data)
        until(lambda: len(gate.inside) == 3, "all three are being kept")
        stopping = threading.Thread(target=node.node.server.stop)
        stopping.start()
        until(lambda: node.node.server.associations.all()[0]._stopping, "it is told to end")
        gate.open(*(one.instance for one in sent))
        assert {scu.response()["Status"] for _ in sent} == {0}
        assert scu.pdu()[0] == 7
        stopping.join()


def test_other_requests_between_stores(node: RunningNode, gate: Gate) -> None:
    """C-ECHO is answered while a store is under way; a C-CANCEL of a store is no fault."""
    (sent,) = objects(1, rows=256)
    with connect(node) as scu:
        scu.socket.sendall(next(scu.prepared([sent])))
        scu.socket.sendall(window.message(1, CANCEL))
        scu.socket.sendall(window.message(3, {**ECHO, "MessageID": 2}))
        assert scu.response()["MessageIDBeingRespondedTo"] == 2
        gate.open(sent.instance)
        assert scu.response()["MessageIDBeingRespondedTo"] == 1
        scu.release()


def test_no_room_to_receive(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset is read to its end, that one object is refused, and the others are taken."""
    sent = objects(3, rows=256)
    from scp.spool import Spool  # noqa: PLC0415

    written = 0
    original = Spool.write

    def write(self: Spool, data: Any) -> None:
        nonlocal written
        written += 1
        if written == 2:
            raise OutOfResources("No space left on device")
        original(self, data)

    monkeypatch.setattr(Spool, "write", write)
    with connect(node, 1) as scu:
        scu.longest = 16384
        assert scu.store(sent) == [0xA700, 0, 0]
        scu.release()
    assert node.archive.index.newest(sent[0].instance) is None


def fragmented(data: bytes, size: int) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        for at in range(0, len(data), size):
            connection.sendall(data[at : at + size])

    return send


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_in_small_pieces(node: RunningNode, size: int) -> None:
    sent = objects(4)
    with connect(node) as scu:
        fragmented(b"".join(scu.prepared(sent)), size)(scu.socket)
        assert {scu.response()["Status"] for _ in sent} == {0}
        scu.release()


def test_get_with_several_objects_in_flight(node: RunningNode) -> None:
    """Answers to sub-operations come in any order; each is counted once (PS3.4 C.4.3)."""
    sent = objects(6)
    with connect(node) as scu:
        assert scu.store(sent) == [0] * 6
        scu.release()
    contexts = [(STUDY_GET, EXPLICIT), (MR_IMAGE, EXPLICIT)]
    with window.Scu(node.address, contexts, window=(1, 3), roles=[MR_IMAGE]) as scu:
        assert scu.granted == (1, 3)
        query = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\x06\x001.2.3\0"
        request = {"CommandField": 0x0010, "MessageID": 9, "AffectedSOPClassUID": STUDY_GET, "Priority": 0}
        scu.socket.sendall(window.message(1, request, query))
        for _ in range(2):
            for command in reversed([_object(scu) for _ in range(3)]):
                scu.socket.sendall(window.message(3, _answer(command)))
        final = scu.response()
        while final["Status"] == 0xFF00:
            final = scu.response()
        scu.release()
    assert final["Status"] == 0xB000
    assert (final["NumberOfCompletedSuboperations"], final["NumberOfFailedSuboperations"]) == (5, 1)


def _object(scu: window.Scu) -> dict[str, Any]:
    """The next C-STORE sub-operation, past pending responses."""
    command = scu.response()
    while command["CommandField"] != 0x0001:
        assert command["Status"] == 0xFF00
        command = scu.response()
    return command


def _answer(command: dict[str, Any]) -> dict[str, Any]:
    uid = command["AffectedSOPInstanceUID"]
    return {
        "CommandField": 0x8001,
        "MessageIDBeingRespondedTo": command["MessageID"],
        "AffectedSOPClassUID": MR_IMAGE,
        "AffectedSOPInstanceUID": uid,
        "Status": 0xA700 if uid == "1.2.3.1.2" else 0,
    }
