"""Nodes to talk to: one inside this process, and one as a process of its own."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import forked
import pytest
import structlog
from certificates import Authority, authority_in
from process_state import put_back
from pynetdicom import _config
from typer.testing import CliRunner

from bench.processes import descendants
from scp.archive.archive import Archive
from scp.cli.main import app
from scp.index.sql import SqlIndex
from scp.lifecycle.stages import Stages
from scp.model import Instance
from scp.node.build import open_archive
from scp.node.node import Node

from .aging import FAST, OBJECTS, policy
from .configured import as_toml, environment, settings_of, stored_files, tables_of
from .peers import SECONDS, VERIFICATION, Answer, Scu, Sent, until

_PROJECT = Path(__file__).parents[2]


class RunningNode:
    """A node inside this process, on a port of its own."""

    def __init__(self, root: Path, tables: dict[str, Any], **parts: Any) -> None:
        self.root = root
        self._tables = tables_of(root, tables)
        self.node = Node(settings_of(self._tables), **parts)
        self.address = self.node.start()

    @property
    def archive(self) -> Any:
        return self.node.archive

    def reload(self, **tables: Any) -> None:
        """Change the configuration as SIGHUP does."""
        self._tables |= tables
        self.node.reload(settings_of(self._tables))

    def wake(self) -> None:
        """Have what is done in the background look for work at once."""
        for loop in self.node.loops:
            loop.wake()

    def peer(self, aet: str, port: int, **more: Any) -> None:
        """Make a peer known, in place of those before."""
        self.reload(peer=[{"aet": aet, "host": "127.0.0.1", "port": port, **more}])

    def scu(self, *contexts: tuple[str, list[str]], **more: Any) -> Scu:
        return Scu(self.address, contexts, **more)

    def store(self, *objects: Sent, calling: str = "TESTER") -> list[Answer]:
        """Send objects over one association."""
        wanted = dict.fromkeys((sent.sop_class, sent.syntax) for sent in objects)
        with self.scu(*((uid, [syntax]) for uid, syntax in wanted), calling=calling) as scu:
            return [scu.store(sent) for sent in objects]

    def keep(self, *objects: Sent) -> None:
        """Send objects that have to be taken."""
        assert [answer.status for answer in self.store(*objects)] == [0] * len(objects)

    def held(self, sent: Sent) -> Instance:
        found = self.archive.index.newest(sent.instance)
        assert found is not None
        return found

    def path(self, sent: Sent) -> Path:
        """The stored file of an object."""
        return self.root / "objects" / self.held(sent).key

    def files(self) -> list[Path]:
        """All stored files, those outside the journal."""
        return stored_files(self.root / "objects")

    def answers_echo(self) -> None:
        with self.scu((VERIFICATION, ["1.2.840.10008.1.2"])) as scu:
            assert scu.echo() == 0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of requests are logged; nobody reads them unless a test captures them.

    A command that is run inside this process sends logs to a stream that is soon closed: that is undone.
    """
    handlers = logging.root.handlers[:]
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _dropped],
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    yield
    logging.root.handlers[:] = handlers
    logging.captureWarnings(False)


def _dropped(*_: Any) -> Any:
    raise structlog.DropEvent


Starter = Callable[..., RunningNode]


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """What the nodes of a module are given besides their configuration."""
    return {}


def _starting(folder: Callable[[], Path], parts: dict[str, Any]) -> Iterator[Starter]:
    started: list[RunningNode] = []

    def start(more: dict[str, Any] | None = None, **tables: Any) -> RunningNode:
        started.append(RunningNode(folder(), tables, **parts | (more or {})))
        return started[-1]

    yield start
    for running in started:
        running.node.stop()
    for running in started:  # hundreds of them would take room in memory (tests/temporary.py)
        shutil.rmtree(running.root, ignore_errors=True)
    started.clear()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any]) -> Iterator[Starter]:
    """Starts nodes with a configuration, for one test."""
    yield from _starting(lambda: tmp_path_factory.mktemp("node"), parts)


@pytest.fixture
def node(start: Starter) -> RunningNode:
    """A node that encodes before it answers, and decodes what it serves each time; nothing is in it."""
    return start()


WAYS = pytest.mark.parametrize("shipped", [False, True], ids=["encoded before", "as shipped"])


@pytest.fixture
def either(start: Starter, shipped: bool) -> RunningNode:
    """The same, and for tests marked WAYS one as it is shipped: with a backlog and a cache."""
    return start(shipped=shipped)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any]) -> Iterator[Starter]:
    """Starts nodes that the tests of a module share."""
    yield from _starting(lambda: tmp_path_factory.mktemp("node"), parts)


def _runs(pid: int) -> bool:
    """Whether a process runs: one that nobody has waited for yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class NodeProcess:
    """``python -m scp serve`` as a process of its own, which may be killed.

    It has one worker: each takes 0.2 s of processor time to start. Tests of what several do say how many.
    """

    popen: Any = forked.Python
    start_seconds = 30.0

    def __init__(self, root: Path, **tables: Any) -> None:
        self.root = root
        self.config = root / "zscp.toml"
        self.tables = tables_of(root, {**tables, "node": {"workers": 1, **tables.get("node", {})}})
        self.write_config()
        self.log = root / "serve.log"
        self.process: Any = None
        self.address = ("127.0.0.1", 0)

    def write_config(self, **tables: Any) -> None:
        self.tables |= tables
        self.config.write_text(as_toml(self.tables), encoding="utf-8")

    def start(self) -> None:
        self.begin()
        self.listens()

    def begin(self) -> None:
        """Start it; others may be started meanwhile."""
        with self.log.open("wb") as log:
            self.process = self.popen(self.command(), stderr=log, cwd=self.root, env=environment())

    def listens(self) -> None:
        """Wait until it listens."""
        self.address = ("127.0.0.1", until(self._port, "the node listens", self.start_seconds))

    def command(self) -> list[str]:
        return command("serve", "-c", self.config)

    def _port(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        for event in self.events():
            if event.get("event") == "listening":
                return int(event["port"])
        return 0

    def events(self) -> list[dict[str, Any]]:
        """What was logged since the last start."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def encodes_all(self, seconds: float = SECONDS) -> None:
        """Wait until nothing is pending.

        The index is opened once: ``stats`` opens an archive each time, which takes 0.1 s of processor time.
        """
        index = SqlIndex.open(self.tables["index"]["url"])
        try:
            until(lambda: not index.count_pending().instances, "all is encoded", seconds)
        finally:
            index.close()

    def kill(self, number: int = signal.SIGKILL, seconds: float = SECONDS) -> int:
        """End it by a signal; returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def lose_power(self) -> None:
        """End all its processes at once: those of a parent that was killed would end what they do."""
        assert self.process is not None
        found = descendants(self.process.pid)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        until(lambda: not any(map(_runs, found)), "all its processes have ended")

    def run(self, *arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A command on the same configuration."""
        return zscp(*arguments, "-c", self.config, status=status, cwd=self.root)

    def here(self, *arguments: object, status: int = 0) -> str:
        """A command on the same configuration inside this process, as a process each takes a second."""
        done = CliRunner().invoke(app, [*map(str, arguments), "-c", str(self.config)])
        assert done.exit_code == status, done.output
        return done.stdout


class ExecutedNode(NodeProcess):
    """One that is started as an admin starts it: its memory is its own, and so are its codec processes."""

    popen: Any = subprocess.Popen


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scp", *map(str, arguments)]


def zscp(*arguments: object, status: int | None = 0, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    done = forked.run(command(*arguments), cwd=cwd, env=environment())
    assert status is None or done.returncode == status, (
        f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Makes node processes, not started yet, each in a folder of its own."""
    yield from _making(tmp_path, NodeProcess)


@pytest.fixture
def executed(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """The same, for what a forked one does not show."""
    yield from _making(tmp_path, ExecutedNode)


def _making(folder: Path, kind: type[NodeProcess]) -> Iterator[Callable[..., NodeProcess]]:
    made: list[NodeProcess] = []

    def make(**tables: Any) -> NodeProcess:
        root = folder / f"process{len(made)}"
        root.mkdir()
        made.append(kind(root, **tables))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            one.kill()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates of a node and its peers."""
    return authority_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def made() -> Iterator[Callable[..., Stages]]:
    """Makes workers that carry out the stages of an archive."""
    pools: list[ThreadPoolExecutor] = []

    def make(archive: Archive, owner: str = "test", **more: Any) -> Stages:
        pools.append(ThreadPoolExecutor(2))
        return Stages(archive, owner, pools[-1], **more)

    yield make
    for pool in pools:
        pool.shutdown()


@pytest.fixture
def any_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pynetdicom, as the test's peer, send what is no UID."""
    monkeypatch.setitem(_config.VALIDATORS, "UI", lambda _: (True, ""))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a node leaves that was sent OBJECTS and stopped; it is copied, and not touched."""
    root = tmp_path_factory.mktemp("stored")
    with put_back():
        running = RunningNode(root, {"policy": policy(FAST), "lifecycle": {"workers": 0}})
        running.keep(*OBJECTS)
        running.node.stop()
    return root


@pytest.fixture
def archive(tmp_path_factory: pytest.TempPathFactory, stored: Path) -> Iterator[Archive]:
    """An archive that nobody else works on, and what was put into it by a node before."""
    root = tmp_path_factory.mktemp("archive")
    shutil.copytree(stored, root, dirs_exist_ok=True)
    opened = open_archive(settings_of(tables_of(root, {"policy": policy(FAST)})))
    yield opened
    opened.close()
    shutil.rmtree(root, ignore_errors=True)
