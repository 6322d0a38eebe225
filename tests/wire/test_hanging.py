"""A process that hangs is ended and started again; what it held is free. One that works long goes on."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scp.config.keys import write_key

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, VERIFICATION, Answer, Scu, Sent, free_port, image, until

pytestmark = pytest.mark.slow

HANG = 3.0  # the least that limits.hang_seconds may be
_LIMITS = {"hang_seconds": HANG}
_NAMES = {"worker 1", "encoder", "lifecycle 2", "web"}
# A worker that is stopped in the midst of a transaction, when a file asks for it, and while it has the lock.
_STOPS = """
    import os, signal, threading
    from pathlib import Path
    from scp.index import dialect, writer
    look = writer.Writer._look_around
    dialect.TURN_SECONDS = 1.0
    def stops(self):
        try:
            Path("stop").rename("stopped")
        except FileNotFoundError:
            return look(self)
        Path("stopped").write_text(str(os.getpid()))
        # Of the process, another thread would take it, and this one might commit before it stands still.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return look(self)
    writer.Writer._look_around = stops
"""
# A C-STORE that works for longer than a process may hang, as one of gigabytes does.
_WORKS_LONG = f"""
    import hashlib, time
    from scp.archive import receive
    ingest = receive.Receiver.ingest
    def long(*given, **named):
        until = time.monotonic() + {HANG * 1.4}
        while time.monotonic() < until:
            hashlib.sha256(bytes(1 << 20)).digest()
            sum(range(10_000))
        return ingest(*given, **named)
    receive.Receiver.ingest = long
"""


class ChangedNode(NodeProcess):
    """A node whose processes are changed by a script before they start."""

    script = ""

    def command(self) -> list[str]:
        script = f"{textwrap.dedent(self.script)}\nfrom scp.cli.main import main\nmain()\n"
        return [sys.executable, "-c", script, "serve", "-c", str(self.config)]


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Callable[..., ChangedNode]]:
    made: list[ChangedNode] = []

    def make(script: str, **tables: Any) -> ChangedNode:
        node = ChangedNode(tmp_path, limits=_LIMITS, **tables)
        node.script = script
        made.append(node)
        node.start()
        return node

    yield make
    for one in made:
        one.kill()


def store(node: NodeProcess, sent: Sent) -> Answer:
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        return scu.store(sent)


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def hung(node: NodeProcess) -> list[dict[str, Any]]:
    return [one for one in node.events() if one.get("event") == "process hangs"]


def beats(node: NodeProcess) -> bool:
    """Whether each process has said that it is alive: none is watched before it has."""
    port = node.tables["http"]["port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            up = re.findall(r"^zscp_process_up\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
    except OSError:  # it does not listen yet
        return False
    return bool(up) and set(up) == {"1.0"}


def children(node: NodeProcess) -> set[int]:
    pid = node.process.pid
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_one_stopped_with_the_lock_of_the_index_gives_it_back(changed: Callable[..., ChangedNode]) -> None:
    """Meanwhile each C-STORE is answered 0xA700 within the writer's turn (PS3.4 B.2.3, Out of Resources)."""
    node = changed(_STOPS, node={"workers": 2}, http={"port": free_port()})
    until(lambda: beats(node), "all are watched")
    assert store(node, image(instance="1.2.3.1")).status == 0
    (node.root / "stop").touch()
    statuses, slowest = [], 0.0
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as first:
        first.begin_store(image(instance="1.2.3.2"))
        stopped = until(lambda: pid_in(node.root / "stopped"), "one is stopped")
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            while not hung(node) and len(statuses) < 20:
                began = time.monotonic()
                statuses.append(scu.store(image(instance="1.2.3.3")).status)
                slowest = max(slowest, time.monotonic() - began)
        first.association.abort()
    assert 0xA700 in statuses
    assert set(statuses) <= {0xA700, 0}
    assert slowest < 2 * 1.0 + 1.5
    assert hung(node)[0]["pid"] == stopped
    until(lambda: store(node, image(instance="1.2.3.3")).status == 0, "it is stored again")
    assert stopped not in children(node)
    assert node.kill(signal.SIGTERM) == 0
    node.here("fsck")
    node.here("verify", "--deep")


def test_what_works_long_is_not_ended(changed: Callable[..., ChangedNode]) -> None:
    """The sign of life is that the loops of a process turn, not that a request ends."""
    node = changed(_WORKS_LONG, node={"workers": 1})
    began = time.monotonic()
    assert store(node, image()).status == 0
    assert time.monotonic() - began > HANG
    assert hung(node) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_each_process_in_turn(process: Callable[..., NodeProcess], number: int, tmp_path: Path) -> None:
    """All at the same time, and none of the node's processes is left out.

    The others have its encryption key, though the key's file is away by then.
    """
    write_key(key := tmp_path / "2026.key")
    tables = {"node": {"workers": 1}, "lifecycle": {"workers": 2}, "http": {"port": free_port()}}
    node = process(limits=_LIMITS, storage={"encryption_keys": [f"2026={key}"]}, **tables)
    node.start()
    away = key.rename(tmp_path / "away")
    until(lambda: beats(node), "all are watched")
    assert store(node, image(instance="1.2.3.1")).status == 0
    before = children(node)
    assert len(before) == len(_NAMES)  # one less than those after whose death within 2 s the node gives up
    for pid in before:
        os.kill(pid, number)
    until(
        lambda: len(children(node) - before) == len(_NAMES) and not children(node) & before,
        "others are there",
    )
    names = {one["process"] for one in hung(node)}
    assert names == (_NAMES if number == signal.SIGSTOP else set())
    until(lambda: Scu(node.address, [(VERIFICATION, [EXPLICIT])]).established, "it serves")
    assert store(node, image(instance="1.2.3.2")).status == 0
    away.rename(key)
    assert node.kill(signal.SIGTERM) == 0
    node.here("fsck")
    node.here("verify", "--deep")
