"""Peers that stall, drip, flood, lie, or read nothing: what they hold, they lose, and others are served."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bench import window

from .conftest import RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, VERIFICATION, image, until

CONTEXTS = [(VERIFICATION, IMPLICIT), (MR_IMAGE, EXPLICIT), (STUDY_GET, EXPLICIT), (STUDY_FIND, EXPLICIT)]
STORE = {
    "CommandField": 1,
    "MessageID": 1,
    "AffectedSOPClassUID": MR_IMAGE,
    "AffectedSOPInstanceUID": "1.2.3",
    "Priority": 0,
}
GET = {"CommandField": 0x0010, "MessageID": 9, "AffectedSOPClassUID": STUDY_GET, "Priority": 0}
QUERY = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\x06\x001.2.3\0"
_ROLES = {"roles": [MR_IMAGE]}


@pytest.fixture
def node(start: Starter) -> Iterator[RunningNode]:
    """Room for two, so that whoever is not got rid of is in the way."""
    node = start(limits={"associations": 2, "idle_seconds": 0.5, "acse_seconds": 0.5, "dimse_seconds": 0.5})
    yield node
    until(lambda: not node.node.server.associations.all(), "all are gone")
    node.answers_echo()


def _says_nothing(_: socket.socket) -> None:
    pass


def _half_a_header(peer: socket.socket) -> None:
    peer.sendall(b"\4\0\0")


def _half_a_dataset(peer: socket.socket) -> None:
    peer.sendall(window.message(3, dict(STORE), bytes(100_000))[:50_000])


def _a_command_without_its_dataset(peer: socket.socket) -> None:
    whole = window.message(3, dict(STORE), b"")
    peer.sendall(whole[: 6 + struct.unpack(">xxL", whole[:6])[0]])


def _a_giant_pdu(peer: socket.socket) -> None:
    peer.sendall(struct.pack(">BxL", 4, 0xFFFFFFF0))


def _a_giant_value(peer: socket.socket) -> None:
    peer.sendall(struct.pack(">BxLLBB", 4, 100, 0xFFFFFFF0, 1, 1) + bytes(94))


def _a_command_without_end(peer: socket.socket) -> None:
    part = struct.pack(">BxLLBB", 4, 10_006, 10_002, 1, 1) + bytes(10_000)
    for _ in range(20):
        peer.sendall(part)


def _drips(peer: socket.socket) -> None:
    _drip(peer, struct.pack(">BxLLBB", 4, 4006, 4002, 3, 1) + bytes(4000))


def _drips_whole_pdus(peer: socket.socket) -> None:
    """Each is in time and brings the dataset on by a byte; no end is in sight."""
    whole = window.message(3, dict(STORE), b"")
    peer.sendall(whole[: 6 + struct.unpack(">xxL", whole[:6])[0]])
    for _ in range(1000):
        peer.sendall(struct.pack(">BxLLBB", 4, 7, 3, 3, 0) + b"x")
        stop.wait(0.05)


def _drips_empty_pdus(peer: socket.socket) -> None:
    for _ in range(1000):
        peer.sendall(struct.pack(">BxL", 4, 0))
        stop.wait(0.05)


stop = threading.Event()


def _drip(peer: socket.socket, data: bytes) -> None:
    for byte in data:
        peer.sendall(bytes([byte]))
        stop.wait(0.02)


@pytest.mark.parametrize(
    "behave",
    [
        _says_nothing,
        _half_a_header,
        _half_a_dataset,
        _a_command_without_its_dataset,
        _a_giant_pdu,
        _a_giant_value,
        _a_command_without_end,
        _drips,
        _drips_whole_pdus,
        _drips_empty_pdus,
    ],
)
@pytest.mark.parametrize("asked", [1, 4])
def test_an_association_is_lost(
    node: RunningNode, behave: Callable[[socket.socket], None], asked: int
) -> None:
    peers = [window.Scu(node.address, CONTEXTS, window=asked, seconds=15) for _ in range(2)]

    def run(peer: window.Scu) -> None:
        with suppress(OSError):
            behave(peer.socket)

    threads = [threading.Thread(target=run, args=(peer,), daemon=True) for peer in peers]
    for thread in threads:
        thread.start()
    until(lambda: not node.node.server.associations.all(), "they are given up", 8)
    for thread in threads:
        thread.join(15)
    for peer in peers:
        peer.socket.close()


@pytest.mark.parametrize("sent", [b"", window.associate_rq(CONTEXTS)[:50], b"\1"])
def test_a_connection_that_never_associates(node: RunningNode, sent: bytes) -> None:
    with socket.create_connection(node.address, 15) as peer:
        peer.sendall(sent)
        with window.Scu(node.address, CONTEXTS) as one, window.Scu(node.address, CONTEXTS) as two:
            one.release()
            two.release()
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""


@pytest.mark.parametrize("asked", [1, 4])
def test_objects_that_nobody_reads(node: RunningNode, asked: int) -> None:
    """A C-GET whose requester reads nothing: more than the sockets take."""
    node.keep(*(image(instance=f"1.2.3.1.{n}", seed=n, rows=800) for n in range(12)))
    peer = window.Scu(node.address, CONTEXTS, **_ROLES, window=(asked, asked))
    peer.socket.sendall(window.message(5, dict(GET), QUERY))
    until(lambda: not node.node.server.associations.all(), "it is given up", 15)
    peer.socket.close()


def test_objects_that_nobody_answers(node: RunningNode) -> None:
    node.keep(*(image(instance=f"1.2.3.1.{n}", seed=n) for n in range(3)))
    with window.Scu(node.address, CONTEXTS, **_ROLES) as peer:
        peer.socket.sendall(window.message(5, dict(GET), QUERY))
        assert peer.response()["CommandField"] == 1
        until(lambda: not node.node.server.associations.all(), "it is given up", 15)


def test_a_flood_of_requests_while_one_is_served(node: RunningNode) -> None:
    """Without a window: it ends with A-ABORT, and nothing piles up."""
    node.keep(*(image(instance=f"1.2.3.1.{n}", seed=n) for n in range(3)))
    with window.Scu(node.address, CONTEXTS, **_ROLES) as peer:
        peer.socket.sendall(window.message(5, dict(GET), QUERY))
        assert peer.response()["CommandField"] == 1
        echo = {"CommandField": 0x30, "MessageID": 5, "AffectedSOPClassUID": VERIFICATION}
        with suppress(OSError):
            peer.socket.sendall(window.message(1, echo) * 100)
        answers: list[object] = []
        with suppress(OSError):  # reset, or closed after the A-ABORT
            while True:
                answers.append(peer.response())
        assert answers == []


def test_answers_to_nothing(node: RunningNode) -> None:
    """Responses that nobody asked for are passed over."""
    answer = {"CommandField": 0x8001, "MessageIDBeingRespondedTo": 3, "Status": 0}
    with window.Scu(node.address, CONTEXTS) as peer:
        peer.socket.sendall(window.message(3, answer) * 50)
        peer.socket.sendall(
            window.message(1, {"CommandField": 0x30, "MessageID": 5, "AffectedSOPClassUID": VERIFICATION})
        )
        assert peer.response()["Status"] == 0
        peer.release()


@pytest.mark.parametrize("how", [window.ABORT, window.RELEASE_RQ, b""])
def test_an_end_while_objects_are_sent(node: RunningNode, how: bytes) -> None:
    node.keep(*(image(instance=f"1.2.3.1.{n}", seed=n, rows=300) for n in range(12)))
    peer = window.Scu(node.address, CONTEXTS, **_ROLES, window=(4, 4))
    peer.socket.sendall(window.message(5, dict(GET), QUERY))
    assert peer.response()["CommandField"] == 1
    peer.socket.sendall(how)
    peer.socket.close()
    until(lambda: not node.node.server.associations.all(), "it is over", 15)
