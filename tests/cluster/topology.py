"""Several nodes behind HAProxy: the topology of compose.cluster.yml as processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from servers_haproxy import SOURCE, Backend, HAProxy, nodes
from waiting import until
from wire.conftest import ExecutedNode

from bench.mixed.made import IMPLICIT
from bench.mixed.wire import VERIFICATION, Peer
from bench.processes import descendants

_START_SECONDS = 60.0
# Below those that Linux gives to connections that are made: the port of a node that is away stays free.
_PORTS = range(20_000, 31_000)


def steady_ports(count: int) -> list[int]:
    """Free ports of loopback that nothing takes while the server that has them is started again."""
    found: list[int] = []
    start = (os.getpid() * 41 + time.monotonic_ns() // 1000) % len(_PORTS)
    for step in range(len(_PORTS)):
        port = _PORTS[(start + step) % len(_PORTS)]
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            break
    assert len(found) == count, "there are no free ports"
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before do not count
        probe.bind(("127.0.0.1", port))
        return True
    return False


class ClusterNode(ExecutedNode):
    """A node that keeps its ports, believes HAProxy's headers, and can be killed with all its processes."""

    # Several nodes, a database and a store of objects start at once, and each process loads their libraries.
    start_seconds = _START_SECONDS

    def __init__(self, root: Path, **tables: Any) -> None:
        root.mkdir(parents=True)
        self.port, self.http = steady_ports(2)
        own = {"node": {"port": self.port, "proxies": [SOURCE], "workers": 1}, "http": {"port": self.http}}
        super().__init__(root, shipped=True, **own, **tables)

    def backend(self) -> Backend:
        return Backend(self.port, self.http)

    def ready(self) -> int:
        """The status of /ready; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/ready", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def lose_power(self) -> None:
        """End all its processes at once: no worker ends what it began."""
        if self.process is None or self.process.poll() is not None:
            return
        for pid in descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(_START_SECONDS)
        until(lambda: _is_free(self.port) and _is_free(self.http), "all its processes have ended")

    def peers(self) -> list[str]:
        """The addresses of peers whose associations are over, as it logged them since its last start."""
        return [str(event["peer"]) for event in self.events() if event.get("event") == "association"]


class Topology:
    """Nodes by the names that HAProxy has for them: node1, node2, …

    ``tables`` are the configuration that all nodes share, as in compose.cluster.yml; without any, each is an
    archive of its own. ``own`` gives what a node alone has, such as its spool, by its folder.
    """

    def __init__(
        self, folder: Path, count: int = 2, own: Any = lambda folder: {}, **tables: dict[str, Any]
    ) -> None:
        self.nodes: dict[str, ClusterNode] = {}
        for number in range(1, count + 1):
            name = f"node{number}"
            given = {key: {**tables.get(key, {}), **more} for key, more in own(folder / name).items()}
            self.nodes[name] = ClusterNode(folder / name, **{**tables, **given})
        dicom, figures = steady_ports(2)
        backends = [node.backend() for node in self.nodes.values()]
        self.haproxy = HAProxy(folder, nodes(backends), dicom, figures)

    @property
    def address(self) -> tuple[str, int]:
        """Where peers call."""
        return self.haproxy.address

    def start(self) -> None:
        """Start everything, and wait until all nodes get associations."""
        self.start_nodes()
        until(lambda: all(one.ready() == 200 for one in self.nodes.values()), "all are ready", _START_SECONDS)
        self.haproxy.start()
        self.all_up()

    def start_nodes(self) -> None:
        """Start all nodes at once, and wait until they listen."""
        for node in self.nodes.values():
            node.begin()
        for node in self.nodes.values():
            node.listens()

    def restore(self) -> None:
        """Start the nodes that are away, and wait until all get associations and none has one."""
        for node in self.nodes.values():
            if node.process.poll() is not None:
                node.start()
        self.all_up()
        self.idle()

    def all_up(self, seconds: float = _START_SECONDS) -> None:
        """Wait until HAProxy finds all nodes ready."""
        until(lambda: self.haproxy.up() == set(self.nodes), "HAProxy finds the nodes ready", seconds)

    def idle(self) -> None:
        """Wait until HAProxy knows of no association any more."""
        until(lambda: not any(self.haproxy.carried().values()), "all associations are over")

    def carrying(self) -> str:
        """The one node that has an association."""
        (name,) = [one for one, count in self.haproxy.carried().items() if count]
        return name

    def others(self, name: str) -> set[str]:
        """All nodes but one."""
        return set(self.nodes) - {name}

    def echo(self) -> Peer:
        """An association by HAProxy on which a C-ECHO succeeded."""
        peer = Peer(self.address, [(VERIFICATION, IMPLICIT)], calling="ECHO")
        peer.echo()
        return peer

    def __enter__(self) -> Topology:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End everything at once."""
        self.haproxy.kill()
        for node in self.nodes.values():
            node.lose_power()
