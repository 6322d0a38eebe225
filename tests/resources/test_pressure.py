"""What all processes of a node take together, and what becomes of requests when that is too much."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scp.errors import OutOfResources
from scp.resources.pressure import Pressure, ProcessTree

pytestmark = pytest.mark.quick

MB = 1 << 20


def test_a_node_is_measured_with_all_that_it_started() -> None:
    """A process, and one that it starts in a thread: each takes 50 MB as long as it lives."""
    holding = "held = bytearray(50 << 20); print(flush=True); input()"
    starting = (
        "import subprocess, sys, threading; held = bytearray(50 << 20)\n"
        f"run = lambda: subprocess.run([sys.executable, '-c', {holding!r}])\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join(); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starting], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        node = ProcessTree(process.pid)
        process.stdout.readline()
        both = node.about(), node.exactly()
        process.stdin.write(b"\n")  # the inner one reads it
        process.stdin.flush()
        process.stdout.readline()
        one = node.about(), node.exactly()
        process.stdin.write(b"\n")
    assert all(100 * MB < size < 160 * MB for size in both)
    assert all(50 * MB < size < 80 * MB for size in one)
    assert node.about() == node.exactly() == 0


def test_pages_that_processes_share_count_once() -> None:
    held = bytearray(os.urandom(MB)) * 50
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(writes)
        os.read(reads, 1)
        os._exit(0)
    os.close(reads)
    node = ProcessTree(os.getpid())
    about, exactly = node.about(), node.exactly()
    os.close(writes)
    os.waitpid(child, 0)
    assert about - exactly > 40 * MB
    assert len(held) == 50 * MB


def test_without_proc_nothing_is_measured(tmp_path: Path) -> None:
    assert ProcessTree(1, tmp_path).about() == 0


class _Node:
    """A node that takes ``about`` bytes at first sight, and ``exactly`` when one looks closely."""

    def __init__(self) -> None:
        self.about = self.exactly = 0
        self.pressure = Pressure(100, lambda: self.about, lambda: self.exactly)

    def takes(self, about: int, exactly: int = 0) -> str:
        self.about, self.exactly = about, exactly or about
        with capture_logs() as logged:
            self.pressure.look()
        return " ".join(line["event"] for line in logged)


def _is_refused(node: _Node) -> bool:
    try:
        node.pressure.check()
    except OutOfResources as error:
        return error.limit == "limits.node_memory"
    return False


def test_associations_are_rejected_before_requests_are_refused() -> None:
    node = _Node()
    assert (node.takes(60), node.pressure.is_crowded, _is_refused(node)) == ("", False, False)
    assert (node.takes(95), node.pressure.is_crowded, _is_refused(node)) == ("memory is short", True, False)
    assert (node.takes(101), node.pressure.is_crowded, _is_refused(node)) == ("", True, True)
    assert (node.takes(50), node.pressure.is_crowded, _is_refused(node)) == (
        "memory is free again",
        False,
        False,
    )


def test_shared_pages_refuse_nobody() -> None:
    node = _Node()
    assert node.takes(about=150, exactly=80) == ""
    assert not node.pressure.is_crowded


def test_a_process_into_which_nobody_may_look_counts_with_all_that_it_has(tmp_path: Path) -> None:
    """As a codec process, where the node is not root's: its page tables cannot be read, its status can."""
    for pid, children in ((1, "2"), (2, "")):
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"{pid}/task/{pid}/children").write_text(children)
        (tmp_path / f"{pid}/status").write_text("VmRSS:\t 9 kB\nRssAnon:\t 30 kB\nRssShmem:\t 4 kB\n")
    (tmp_path / "1/smaps_rollup").write_text("Pss_Anon:   10 kB\nPss_Shmem:   2 kB\n")
    (tmp_path / "2/smaps_rollup").mkdir()  # as unreadable, also for root
    node = ProcessTree(1, tmp_path)
    assert node.about() == 2 * 34 * 1024
    assert node.exactly() == (12 + 34) * 1024
