"""HAProxy, as it is configured for a cluster, in front of two nodes that are each an archive of its own.

Here only what HAProxy does is tested, which needs neither PostgreSQL nor an object store.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from waiting import until

from bench.mixed.made import study_uid
from bench.mixed.wire import getter

from .senders import Senders, compare
from .topology import Topology

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# What a retrieve of a stopping node may end with: all was sent, some was, none was (PS3.4 C.4.3.1.4).
_ENDS_OF_GET = (0x0000, 0xB000, 0xA702)
_WATCHED_SECONDS = 3.0


def tell(*figures: object) -> None:
    """What was measured; nothing is claimed of it, as the machine may be busy."""
    print(*figures)  # noqa: T201 - pytest -s shows the figures


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    # On a busy machine a node that stops has to wait for a slow peer as long as the test takes.
    with Topology(tmp_path_factory.mktemp("pair"), limits={"stop_seconds": 120.0}) as topology:
        yield topology


@pytest.fixture
def pair(started: Topology) -> Topology:
    started.restore()
    return started


def test_associations_go_to_the_node_with_the_fewest(pair: Topology) -> None:
    nodes = pair.nodes.values()
    before = sum(len(node.peers()) for node in nodes)
    with ExitStack() as stack:
        for _ in range(6):
            stack.callback(pair.echo().leave)
        assert pair.haproxy.carried() == {"node1": 3, "node2": 3}
    pair.idle()
    until(lambda: sum(len(node.peers()) for node in nodes) == before + 6, "the nodes have logged them")
    assert {peer for node in nodes for peer in node.peers()} == {"127.0.0.1"}  # as the PROXY header says


def test_a_node_that_stops_gets_no_more_and_ends_what_it_has(pair: Topology, tmp_path: Path) -> None:
    for number, node in enumerate(pair.nodes.values()):
        with Senders(node.address, tmp_path / str(number), count=1, most=12) as senders:
            senders.wait()
        assert senders.seen.faults == []
    peer = getter(pair.address, "GETTER")
    name = pair.carrying()
    (other,) = pair.others(name)
    retrieving = peer.get(QueryRetrieveLevel="STUDY", StudyInstanceUID=study_uid(0, 0))
    assert isinstance(next(retrieving), tuple)
    told = time.monotonic()
    pair.nodes[name].process.send_signal(signal.SIGTERM)
    # From the first moment on, before HAProxy has asked /ready: nobody is sent to the node in vain. It may
    # abort one more association, which it accepted just before it shut its sockets.
    broken_off = 0
    while time.monotonic() - told < _WATCHED_SECONDS:
        try:
            pair.echo().leave()
        except ConnectionError:
            broken_off += 1
    assert broken_off <= 1
    assert pair.haproxy.up() == {other}
    assert pair.nodes[name].ready() == 503
    *came, final = retrieving
    assert isinstance(final, dict)
    assert final["Status"] in _ENDS_OF_GET
    assert final["NumberOfCompletedSuboperations"] == len(came) + 1
    assert pair.nodes[name].process.wait(60) == 0


def test_a_killed_node_is_taken_out_and_comes_back(pair: Topology) -> None:
    held = pair.echo()
    name = pair.carrying()
    (other,) = pair.others(name)
    pair.nodes[name].lose_power()
    killed = time.monotonic()
    with pytest.raises(ConnectionError):
        held.message()
    held.socket.close()
    pair.echo().leave()
    tell(f"served by the other node {time.monotonic() - killed:.2f} s after the kill")
    until(lambda: pair.haproxy.up() == {other}, "HAProxy takes the killed node out")
    tell(f"out {time.monotonic() - killed:.2f} s after the kill")
    pair.nodes[name].start()
    started = time.monotonic()
    pair.all_up()
    pair.idle()
    tell(f"back {time.monotonic() - started:.2f} s after it listened again")
    with ExitStack() as stack:
        for _ in range(4):
            stack.callback(pair.echo().leave)
        assert pair.haproxy.carried() == {"node1": 2, "node2": 2}


def test_senders_lose_nothing_while_nodes_die_and_stop(pair: Topology, tmp_path: Path) -> None:
    """Eight associations; one node is killed and started again, then the other one is stopped."""
    with Senders(pair.address, tmp_path) as senders:
        seen = senders.seen
        until(lambda: senders.stored() > 100, "objects are stored", 60)
        for name in pair.nodes:
            before = senders.stored()
            if name == "node1":
                pair.nodes[name].lose_power()
            else:
                assert pair.nodes[name].kill(signal.SIGTERM, 60) == 0
            until(lambda: senders.stored() > before + 50, "the other node takes them", 60)  # noqa: B023
            pair.nodes[name].start()
            pair.all_up()
            until(lambda: pair.haproxy.carried()[name] > 0, "associations go to it again", 60)  # noqa: B023
    assert seen.faults == []
    assert seen.counts["broken off"] > 0
    tell(dict(seen.counts), f"longest without a Success: {seen.longest_gap():.2f} s")
    compared = compare(senders.ledger, [node.address for node in pair.nodes.values()])
    assert (compared.lost, compared.wrong, compared.twice) == ([], [], [])
    assert compared.same == senders.stored()
