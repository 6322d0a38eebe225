"""zscp on servers: the index on PostgreSQL, the objects in a bucket, two nodes behind HAProxy.

The servers are those of the tests, on loopback and on free ports: one PostgreSQL and one SeaweedFS for all
receivers of a run, each of which gets a database and a prefix of its own. PostgreSQL is configured as it is
shipped: its commits wait for the disk.
"""

from __future__ import annotations

import atexit
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import processes
from bench.processes import LOOPBACK, ROOT, START_SECONDS, Child
from bench.receivers import CLIENT_AET, Zscp, as_toml


def _servers() -> tuple[Any, Any]:
    """The modules of the tests that start servers; they need what only development installs."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    import servers_postgresql  # noqa: PLC0415 - needs psycopg
    import servers_seaweedfs  # noqa: PLC0415 - needs obstore

    return servers_postgresql, servers_seaweedfs


def can_start(nodes: int) -> bool:
    """Whether this machine has the servers."""
    try:
        postgresql, seaweedfs = _servers()
        postgresql.binary("postgres")
        seaweedfs.weed()
    except (ImportError, AssertionError, FileNotFoundError):
        return False
    return nodes == 1 or _haproxy().PROGRAM is not None


def _haproxy() -> Any:
    _servers()
    import servers_haproxy  # noqa: PLC0415 - only several nodes need it

    return servers_haproxy


@lru_cache(maxsize=1)
def _postgresql() -> Any:
    server = _servers()[0].PostgreSQL(durable=True)
    server.__enter__()
    atexit.register(server.remove)
    return server


@lru_cache(maxsize=1)
def _seaweedfs() -> Any:
    folder = tempfile.TemporaryDirectory(prefix=".bench-weed-", dir=ROOT)
    server = _servers()[1].SeaweedFS(Path(folder.name))
    server.start()
    atexit.register(folder.cleanup)
    atexit.register(server.kill)  # runs before the folder is removed
    return server


class OnServers(Zscp):
    """One node or several, by the options of its row: ``bucket``, ``nodes``; all others are storage's."""

    _others: list[Child]
    _proxy: Any = None

    def prepare(self) -> list[str]:
        """Start what the node needs, and all other nodes; returns the command of the first."""
        self._others = []
        options = dict(self.options)
        nodes, bucket = (options.pop(name, None) for name in ("nodes", "bucket"))
        shared = self._shared(bool(bucket), options)
        if not nodes:
            self.config.write_text(as_toml(self._node(self.folder, self.port, shared)), encoding="utf-8")
            return self.command("serve", "-c", self.config)
        return self._behind_haproxy(int(nodes), shared)

    def _shared(self, bucket: bool, more: dict[str, Any]) -> dict[str, Any]:
        tables = dict(_postgresql().tables(_postgresql().database(), connections=8))
        storage: dict[str, Any] = {"url": f"file://{self.data}", "reserve": 0}
        if bucket:
            storage |= _seaweedfs().storage()
        return {**tables, "storage": storage | more}

    def _node(self, folder: Path, port: int, shared: dict[str, Any]) -> dict[str, Any]:
        storage = dict(shared["storage"])
        if storage["url"].startswith("s3://"):
            storage["spool"] = f"file://{folder}/spool"
        return {
            "node": {"aet": self.aet, "host": LOOPBACK, "port": port},
            "index": shared["index"],
            "peer": [{"aet": CLIENT_AET, "host": LOOPBACK, "port": self.move_port}],
            "storage": storage,
        }

    def _behind_haproxy(self, count: int, shared: dict[str, Any]) -> list[str]:
        haproxy = _haproxy()
        backends, commands = [], []
        for number in range(count):
            folder = self.folder / f"node{number}"
            folder.mkdir()
            backend = haproxy.Backend(processes.free_port(), processes.free_port())
            tables = self._node(folder, backend.port, shared)
            tables["node"] |= {"proxies": [haproxy.SOURCE], "workers": 1}
            tables["http"] = {"port": backend.http}
            config = self.config if number == 0 else folder / "zscp.toml"
            config.write_text(as_toml(tables), encoding="utf-8")
            backends.append(backend)
            commands.append((processes.python("-m", "scp", "serve", "-c", config), folder))
        env = processes.environment(self.nodelay)
        for command, folder in commands[1:]:
            self._others.append(processes.start(command, folder / "log", env, folder))
        self._proxy = haproxy.HAProxy(self.folder, haproxy.nodes(backends), self.port, processes.free_port())
        return commands[0][0]

    def open(self) -> None:
        """Let HAProxy in front, once all nodes are ready."""
        if self._proxy is not None:
            self._proxy.start()
            names = {f"node{number + 1}" for number in range(len(self._others) + 1)}
            processes.until(lambda: self._proxy.up() == names, "HAProxy finds the nodes", START_SECONDS)

    def close(self) -> None:
        """End the other nodes and HAProxy."""
        if self._proxy is not None:
            self._proxy.kill()
        for child in self._others:
            processes.stop(child)

    def memory(self, key: str) -> tuple[float, ...]:
        """See Running: of all nodes."""
        pids = [one for child in self._others for one in processes.descendants(child.process.pid)]
        others = processes.status_kb(pids, key)
        return (*super().memory(key), *(round(kb / 1024, 1) for kb in others.values()))

    def kept(self) -> int:
        """Bytes of the objects in the folder; 0 with a bucket, where nobody counts them."""
        return 0 if self.options.get("bucket") else super().kept()
