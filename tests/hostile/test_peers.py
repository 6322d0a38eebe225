"""Peers that ask for too much, beside an echo and a store from others: none of those fails or is slow."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from wire.conftest import NodeProcess
from wire.peers import until

from bench import window
from scp.dimse.wire.messages import Value

from .watching import Bystanders, ended

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CONTEXTS = [(MR_IMAGE, window.IMPLICIT)]
STORE: dict[str, Value] = {
    "CommandField": 1,
    "MessageID": 1,
    "AffectedSOPClassUID": MR_IMAGE,
    "AffectedSOPInstanceUID": "1.2.3",
    "Priority": 0,
}
PLACES = {"associations_by_aet": 20, "associations_by_address": 30, "stall_seconds": 1.0}


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    made = (
        NodeProcess(tmp_path_factory.mktemp("node"), node={"workers": 2}, limits=PLACES),
        NodeProcess(tmp_path_factory.mktemp("other"), node={"workers": 1}),
    )
    for one in made:
        one.start()
    yield made
    for one in made:
        one.kill()


def _huge() -> bytes:
    names = b"".join(window.item(0x40, f"1.2.3.{number}".encode()) for number in range(4000))
    one = window.item(0x20, bytes((1, 0, 0, 0)) + window.item(0x30, MR_IMAGE.encode()) + names)
    body = window.associate_rq(CONTEXTS)[6:] + one * 18
    return struct.pack(">BxL", 1, len(body)) + body


def _asks(node: NodeProcess, pdu: bytes) -> None:
    with suppress(OSError), socket.create_connection(node.address, 10) as peer:
        peer.sendall(pdu)
        peer.recv(10)


def _floods(node: NodeProcess) -> None:
    with suppress(OSError), window.Scu(node.address, CONTEXTS, calling="EMPTY") as peer:
        while True:
            peer.socket.sendall(struct.pack(">BxLLBB", 4, 6, 2, 1, 1) * 1000)


def _taken(node: NodeProcess, count: int) -> list[window.Scu]:
    held = []
    for _ in range(count):
        with suppress(ConnectionError):
            held.append(window.Scu(node.address, CONTEXTS, calling="GREEDY"))
    return held


def _is_over(peer: window.Scu) -> bool:
    peer.socket.settimeout(5)
    try:
        return peer.pdu()[0] == 7
    except ConnectionError:
        return True


def test_peers_that_ask_for_too_much(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    node, other = nodes
    announced = window.message(1, dict(STORE), b"")[:-12]
    with Bystanders(node, other) as bystanders:
        held = _taken(node, 25)
        assert len(held) == PLACES["associations_by_aet"]
        for peer in held:
            peer.socket.sendall(announced)
        threads = [threading.Thread(target=_asks, args=(node, _huge())) for _ in range(6)]
        threads += [threading.Thread(target=_floods, args=(node,)) for _ in range(3)]
        small = window.associate_rq(CONTEXTS, calling="SMALL", pdu_bytes=6)
        threads += [threading.Thread(target=_asks, args=(node, small)) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert all(map(_is_over, held)), "what they announced did not come"
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        for peer in held:
            peer.socket.close()
        again: list[window.Scu] = []

        def both() -> bool:
            again.extend(_taken(node, 2 - len(again)))
            return len(again) == 2

        until(both, "their places are free", 30)
        bystanders.stop()
    assert bystanders.faults() == []
    assert ended(node) == []
    limits = {one.get("limit") for one in node.events()}
    small_ones = [one for one in node.events() if one.get("calling_aet") == "SMALL"]
    assert [one["outcome"] for one in small_ones if one["event"] == "association"] == ["rejected"] * 8
    assert {
        "limits.associations_by_aet",
        "limits.stall_seconds",
        "association request",
        "message pieces",
    } <= limits
    for peer in again:
        peer.socket.close()
