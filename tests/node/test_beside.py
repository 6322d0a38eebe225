"""Programs beside a node can be asked to end, though the node blocks the signals that ask for it."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from scp.cli import main as cli
from scp.node import beside
from scp.node.beside import begin, end

ASKING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@pytest.fixture(autouse=True)
def _blocked_as_in_a_node() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def blocked_in(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))


def test_a_plan_that_is_asked_to_end_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine it did not get to listen within a minute.
    monkeypatch.setattr(beside, "_NICE", 0)
    with tempfile.TemporaryFile() as out:
        process = begin([sys.executable, "-m", "scp.node.planned"], out, out, subprocess.PIPE)
        try:
            until(lambda: not blocked_in(process.pid), "it listens to signals", 60)
        finally:
            end(process)
            process.communicate()
    assert process.returncode == -signal.SIGINT


def test_it_has_a_low_priority() -> None:
    with tempfile.TemporaryFile() as out:
        process = begin([sys.executable, "-c", "import os; print(os.nice(0))"], out, out)
        assert process.wait(60) == 0
        out.seek(0)
        assert int(out.read()) == min(os.nice(0) + beside._NICE, 19)


def test_so_does_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: list[set[signal.Signals | int]] = []
    monkeypatch.setattr(cli, "main", lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    runpy.run_module("scp", run_name="__main__")
    (found,) = blocked
    assert not found & ASKING
