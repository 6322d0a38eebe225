"""HAProxy, as it is configured for a cluster, in front of two nodes that are each an archive of its own.

Here only what HAProxy does is tested, which needs neither PostgreSQL nor an object store.
"""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from servers_haproxy import Backend, HAProxy
from waiting import until
from wire.conftest import NodeProcess
from wire.peers import free_port

from bench.mixed.made import IMPLICIT, study_uid
from bench.mixed.wire import VERIFICATION, Peer, getter

from .senders import Senders, compare

pytestmark = pytest.mark.cluster

# What a retrieve of a stopping node may end with: all was sent, some was, none was (PS3.4 C.4.3.1.4).
_ENDS_OF_GET = (0x0000, 0xB000, 0xA702)
_WATCHED_SECONDS = 3.0


def tell(*figures: object) -> None:
    """What was measured; nothing is claimed of it, as the machine may be busy."""
    print(*figures)  # noqa: T201 - pytest -s shows the figures


class Pair:
    """Two plain nodes behind HAProxy, named as HAProxy names them."""

    def __init__(self, folder: Path) -> None:
        self.nodes: dict[str, NodeProcess] = {}
        self.http: dict[str, int] = {}
        for name in ("node1", "node2"):
            root = folder / name
            root.mkdir()
            self.http[name] = free_port()
            self.nodes[name] = NodeProcess(
                root,
                shipped=True,
                node={"port": free_port(), "workers": 1},
                http={"port": self.http[name]},
                limits={"associations_by_address": 100},
            )
            self.nodes[name].start()
        until(lambda: all(self.ready(name) == 200 for name in self.nodes), "both nodes are ready", 30)
        backends = [Backend(one.address[1], self.http[name]) for name, one in self.nodes.items()]
        self.haproxy = HAProxy(folder, backends)

    def both_up(self) -> None:
        until(lambda: self.haproxy.up() == set(self.nodes), "HAProxy finds both nodes ready", 30)

    def end(self) -> None:
        self.haproxy.kill()
        for node in self.nodes.values():
            node.kill()

    def ready(self, name: str) -> int:
        """The status of /ready; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http[name]}/ready", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        made.haproxy.start()
        made.both_up()
        yield made
    finally:
        made.end()


def echoing(pair: Pair) -> Peer:
    peer = Peer(pair.haproxy.address, [(VERIFICATION, IMPLICIT)], calling="ECHO")
    peer.echo()
    return peer


def idle(pair: Pair) -> None:
    """Wait until HAProxy knows of no association any more."""
    until(lambda: not any(pair.haproxy.carried().values()), "all associations are over")


def carrying(pair: Pair) -> str:
    """The one node that has an association."""
    (name,) = [one for one, count in pair.haproxy.carried().items() if count]
    return name


def test_associations_go_to_the_node_with_the_fewest(pair: Pair) -> None:
    with ExitStack() as stack:
        for _ in range(6):
            stack.callback(echoing(pair).leave)
        assert pair.haproxy.carried() == {"node1": 3, "node2": 3}


def test_a_node_that_stops_gets_no_more_and_ends_what_it_has(pair: Pair, tmp_path: Path) -> None:
    for number, node in enumerate(pair.nodes.values()):
        with Senders(node.address, tmp_path / str(number), count=1, most=12) as senders:
            senders.wait()
        assert senders.seen.faults == []
    peer = getter(pair.haproxy.address, "GETTER")
    name = carrying(pair)
    (other,) = pair.nodes.keys() - {name}
    retrieving = peer.get(QueryRetrieveLevel="STUDY", StudyInstanceUID=study_uid(0, 0))
    assert isinstance(next(retrieving), tuple)
    told = time.monotonic()
    pair.nodes[name].process.send_signal(signal.SIGTERM)
    # From the first moment on, before HAProxy has asked /ready: nobody is sent to the node in vain. It may
    # abort one more association, which it accepted just before it shut its sockets.
    broken_off = 0
    while time.monotonic() - told < _WATCHED_SECONDS:
        try:
            echoing(pair).leave()
        except ConnectionError:
            broken_off += 1
    assert broken_off <= 1
    assert pair.haproxy.up() == {other}
    assert pair.ready(name) == 503
    *came, final = retrieving
    assert isinstance(final, dict)
    assert final["Status"] in _ENDS_OF_GET
    assert final["NumberOfCompletedSuboperations"] == len(came) + 1
    assert pair.nodes[name].process.wait(30) == 0


def test_a_killed_node_is_taken_out_and_comes_back(pair: Pair) -> None:
    held = echoing(pair)
    name = carrying(pair)
    (other,) = pair.nodes.keys() - {name}
    pair.nodes[name].kill()
    killed = time.monotonic()
    with pytest.raises(ConnectionError):
        held.message()
    held.socket.close()
    echoing(pair).leave()
    tell(f"served by the other node {time.monotonic() - killed:.2f} s after the kill")
    until(lambda: pair.haproxy.up() == {other}, "HAProxy takes the killed node out")
    tell(f"out {time.monotonic() - killed:.2f} s after the kill")
    pair.nodes[name].start()
    started = time.monotonic()
    pair.both_up()
    idle(pair)
    tell(f"back {time.monotonic() - started:.2f} s after it listened again")
    with ExitStack() as stack:
        for _ in range(4):
            stack.callback(echoing(pair).leave)
        assert pair.haproxy.carried() == {"node1": 2, "node2": 2}


def test_senders_lose_nothing_while_nodes_die_and_stop(pair: Pair, tmp_path: Path) -> None:
    """Eight associations; one node is killed and started again, then the other one is stopped."""
    with Senders(pair.haproxy.address, tmp_path) as senders:
        seen = senders.seen
        until(lambda: senders.stored() > 100, "objects are stored", 60)
        for name, number in (("node1", signal.SIGKILL), ("node2", signal.SIGTERM)):
            before = senders.stored()
            pair.nodes[name].kill(number, 60)
            until(lambda: senders.stored() > before + 50, "the other node takes them", 60)  # noqa: B023
            pair.nodes[name].start()
            pair.both_up()
            until(lambda: pair.haproxy.carried()[name] > 0, "associations go to it again", 60)  # noqa: B023
    assert seen.faults == []
    assert seen.counts["broken off"] > 0
    tell(dict(seen.counts), f"longest without a Success: {seen.longest_gap():.2f} s")
    compared = compare(senders.ledger, [node.address for node in pair.nodes.values()])
    assert (compared.lost, compared.wrong, compared.twice) == ([], [], [])
    assert compared.same == senders.stored()
