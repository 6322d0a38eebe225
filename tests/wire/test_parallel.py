"""C-MOVE over several associations, and with several objects in flight (PS3.4 C.4.2, PS3.7 D.3.3.3)."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import structlog

from bench import window
from scp.archive.deliver import Outgoing
from scp.dimse.wire.messages import read_command
from scp.errors import CannotDecode

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PENDING,
    STUDY_GET,
    STUDY_MOVE,
    Retrieved,
    Sent,
    Sink,
    identifier,
    image,
)

STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")
COUNT = 24


@pytest.fixture
def sent() -> list[Sent]:
    return [image(instance=f"1.2.3.1.{n}", InstanceNumber=n, seed=n) for n in range(1, COUNT + 1)]


def move(node: RunningNode, destination: str = "SINK", cancel_after: int = 0) -> Retrieved:
    with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
        return scu.move(STUDY_MOVE, STUDY, destination, cancel_after=cancel_after)


def failed(done: Retrieved) -> list[str]:
    listed = done.final.identifier.FailedSOPInstanceUIDList if done.final.identifier else []
    return [listed] if isinstance(listed, str) else list(listed)


def check_counts(done: Retrieved) -> None:
    """Each response counts one more, and nothing is counted twice."""
    assert {one.status for one in done.answers[:-1]} <= set(PENDING)
    sums = [sum(number or 0 for number in one.counts) for one in done.answers]
    assert set(sums) == {COUNT}
    remaining = [one.counts[0] for one in done.answers[:-1]]
    assert remaining == sorted(remaining, reverse=True)  # type: ignore[type-var]
    assert len(set(remaining)) == len(remaining)


def test_objects_are_spread(node: RunningNode, sent: list[Sent]) -> None:
    node.keep(*sent)
    with Sink() as sink:
        node.peer("SINK", sink.port, associations=3)
        done = move(node)
    assert (done.final.status, done.final.counts) == (0, (None, COUNT, 0, 0))
    check_counts(done)
    assert len(sink.proposals) == 3
    assert Counter(one.sent.instance for one in sink.arrived) == Counter(one.instance for one in sent)
    assert {one.originator for one in sink.arrived} == {("TESTER", 1)}


def test_no_more_associations_than_objects(node: RunningNode, sent: list[Sent]) -> None:
    node.keep(sent[0])
    with Sink() as sink:
        node.peer("SINK", sink.port, associations=3)
        assert move(node).final.status == 0
    assert len(sink.proposals) == 1


def test_a_destination_that_takes_fewer(node: RunningNode, start: Starter, sent: list[Sent]) -> None:
    """Those that it takes do the work."""
    node.keep(*sent)
    other = start(node={"aet": "OTHER"}, limits={"associations": 2})
    node.peer("OTHER", other.address[1], associations=4)
    done = move(node, "OTHER")
    assert (done.final.status, done.final.counts) == (0, (None, COUNT, 0, 0))
    for one in sent:
        other.archive.verify(other.held(one), deep=True)


def test_one_of_several_breaks(node: RunningNode, sent: list[Sent]) -> None:
    """What was in flight on it failed; the others take the rest."""
    node.keep(*sent)
    with Sink() as sink:

        def leave(one: Sent) -> int:
            if one.instance == sent[3].instance:
                threading.current_thread().abort()  # type: ignore[attr-defined]  # pynetdicom's association
            return 0

        sink.status = leave
        node.peer("SINK", sink.port, associations=3)
        done = move(node)
    assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 1, 1, 0))
    assert failed(done) == [sent[3].instance]
    check_counts(done)


def test_some_are_refused(node: RunningNode, sent: list[Sent]) -> None:
    """Failed ones are listed in the order of the study, however they came back."""
    node.keep(*sent)
    bad = [sent[n].instance for n in (2, 9, 17)]
    with Sink(status=lambda one: 0xA700 if one.instance in bad else 0) as sink:
        node.peer("SINK", sink.port, associations=3)
        done = move(node)
    assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 3, 3, 0))
    assert failed(done) == bad
    check_counts(done)


def test_cancel_over_several(node: RunningNode, sent: list[Sent]) -> None:
    node.keep(*sent)
    with Sink() as sink:
        node.peer("SINK", sink.port, associations=3)
        done = move(node, cancel_after=1)
    assert done.final.status == 0xFE00
    remaining, completed, wrong, _ = done.final.counts
    assert completed == len(sink.arrived) < COUNT
    assert (remaining, wrong) == (COUNT - len(sink.arrived), 0)


def test_node_to_node_with_a_window(node: RunningNode, start: Starter, sent: list[Sent]) -> None:
    node.keep(*sent)
    other = start(node={"aet": "OTHER"}, limits={"operations": 5})
    node.peer("OTHER", other.address[1], associations=2)
    inside, most, lock = 0, 0, threading.Lock()
    ingest = other.archive.ingest

    def slow(received: Any, **more: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.02)
        with lock:
            inside -= 1
        return ingest(received, **more)

    other.archive.ingest = slow
    done = move(node, "OTHER")
    assert (done.final.status, done.final.counts) == (0, (None, COUNT, 0, 0))
    check_counts(done)
    assert 2 < most <= 10
    for one in sent:
        other.archive.verify(other.held(one), deep=True)


class Scripted:
    """A destination on a raw socket: it takes a window's objects, and answers them backwards."""

    def __init__(self, agreed: tuple[int, int] | None, leave_after: int = 0) -> None:
        self.agreed, self.leave_after = agreed, leave_after
        self.seen: list[str] = []
        self.most = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        connection.settimeout(10)
        with connection, suppress(OSError):
            asked = self._pdu(connection)[1]
            connection.sendall(self._accept(asked))
            flying: list[dict[str, Any]] = []
            while True:
                kind, body = self._pdu(connection)
                if kind == 5:
                    connection.sendall(struct.pack(">BxLL", 6, 4, 0))
                    return
                if body[5] & 1:
                    flying.append({**read_command(body[6:]), "context": body[4]})
                    continue
                if not body[5] & 2:
                    continue
                self.seen.append(flying[-1]["AffectedSOPInstanceUID"])
                self.most = max(self.most, len(flying))
                if self.leave_after == len(self.seen):
                    return
                if len(flying) == (self.agreed or (1, 1))[0] or len(self.seen) == COUNT:
                    for command in reversed(flying):
                        connection.sendall(self._answer(command))
                    flying.clear()

    def _pdu(self, connection: socket.socket) -> tuple[int, bytes]:
        head = connection.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            raise ConnectionError
        return head[0], connection.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL)

    def _accept(self, asked: bytes) -> bytes:
        contexts = [value[0] for kind, value in window._items(asked[68:]) if kind == 0x20]
        body = asked[:68] + window.item(0x10, b"1.2.840.10008.3.1.1.1")
        for number in contexts:
            body += window.item(0x21, bytes((number, 0, 0, 0)) + window.item(0x40, EXPLICIT.encode()))
        user = window.item(0x51, struct.pack(">L", 16_384)) + window.item(0x52, b"1.2.3")
        if self.agreed is not None:
            user += window.item(0x53, struct.pack(">HH", *self.agreed))
        body += window.item(0x50, user)
        return struct.pack(">BxL", 2, len(body)) + body

    def _answer(self, command: dict[str, Any]) -> bytes:
        bad = command["AffectedSOPInstanceUID"] == "1.2.3.1.5"
        response = {
            "CommandField": 0x8001,
            "MessageIDBeingRespondedTo": command["MessageID"],
            "AffectedSOPClassUID": command["AffectedSOPClassUID"],
            "AffectedSOPInstanceUID": command["AffectedSOPInstanceUID"],
            "Status": 0xA700 if bad else 0,
        }
        return window.message(command["context"], response)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listening.close()


@pytest.mark.parametrize(("agreed", "most"), [(None, 1), ((1, 1), 1), ((3, 1), 3), ((4, 1), 4)])
def test_answers_in_another_order(
    node: RunningNode, sent: list[Sent], agreed: tuple[int, int] | None, most: int
) -> None:
    """Each status is counted for the object that it is about, and the window is kept to."""
    node.keep(*sent)
    with Scripted(agreed) as scripted:
        node.peer("SCRIPTED", scripted.port)
        done = move(node, "SCRIPTED")
    assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 1, 1, 0))
    assert failed(done) == ["1.2.3.1.5"]
    assert (scripted.seen, scripted.most) == ([one.instance for one in sent], most)
    check_counts(done)


def test_a_destination_that_goes_with_objects_in_flight(start: Starter, sent: list[Sent]) -> None:
    node = start(limits={"move_retry_seconds": 0})
    node.keep(*sent)
    with Scripted((4, 1), leave_after=6) as scripted:
        node.peer("SCRIPTED", scripted.port)
        done = move(node, "SCRIPTED")
    assert (done.final.status, done.final.counts) == (0xB000, (None, 4, COUNT - 4, 0))
    assert failed(done) == [one.instance for one in sent[4:]]


# -- what shows only while it is sent ------------------------------------------------------------------------


def _lazy(node: RunningNode, bad: str, size: int) -> None:
    """Make the archive give an object out that breaks after ``size`` bytes."""
    fetch = node.archive.fetch

    def broken(outgoing: Outgoing) -> Iterator[bytes]:
        yield from outgoing.chunks
        for _ in range(size >> 20):
            yield bytes(1 << 20)
        raise CannotDecode("the last frame is damaged")

    def fetched(instance: Any, *arguments: Any) -> Outgoing:
        outgoing: Outgoing = fetch(instance, *arguments)
        if instance.sop_instance_uid != bad:
            return outgoing
        return Outgoing(outgoing.instance, outgoing.transfer_syntax, broken(outgoing))

    node.archive.fetch = fetched


@pytest.mark.parametrize("way", ["move", "get"])
def test_damage_that_shows_in_time_fails_alone(node: RunningNode, sent: list[Sent], way: str) -> None:
    node.keep(*sent)
    _lazy(node, sent[4].instance, 0)
    if way == "move":
        with Sink() as sink:
            node.peer("SINK", sink.port)
            done = move(node)
    else:
        with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, STUDY)
    assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 1, 1, 0))
    assert failed(done) == [sent[4].instance]


def test_damage_in_the_middle_ends_that_association(node: RunningNode, sent: list[Sent]) -> None:
    """What was sent of it cannot be taken back; with another association the rest goes on."""
    node.keep(*sent)
    _lazy(node, sent[4].instance, 8 << 20)
    with Sink() as sink:
        node.peer("SINK", sink.port, associations=2)
        with structlog.testing.capture_logs() as logged:
            done = move(node)
    assert (done.final.status, done.final.counts) == (0xB000, (None, COUNT - 1, 1, 0))
    assert failed(done) == [sent[4].instance]
    (told,) = [event for event in logged if event["event"] == "association aborted"]
    assert (told["sop_instance"], told["outcome"]) == (sent[4].instance, "CannotDecode")
    assert sent[4].instance not in sink.objects


def test_damage_in_the_middle_of_a_get_is_an_abort(node: RunningNode, sent: list[Sent]) -> None:
    node.keep(*sent)
    _lazy(node, sent[0].instance, 8 << 20)
    query = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\x06\x001.2.3\0"
    request = {"CommandField": 0x0010, "MessageID": 9, "AffectedSOPClassUID": STUDY_GET, "Priority": 0}
    contexts = [(STUDY_GET, EXPLICIT), (MR_IMAGE, EXPLICIT)]
    with window.Scu(node.address, contexts, roles=[MR_IMAGE]) as scu:
        scu.socket.sendall(window.message(1, request, query))
        kind, body = 4, b""
        while kind == 4:
            kind, body = scu.pdu()
    assert kind == 7
    assert body[2:] == b"\0\0"
