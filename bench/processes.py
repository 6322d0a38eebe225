"""Child processes: started in a session of their own, bounded in time, ended by their own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 60.0


class BenchError(Exception):
    """A figure that would have been wrong: the run ends here and says why."""


def tool(name: str) -> str | None:
    """The path of one of DCMTK's tools, or None.

    Only dcmsend is DCMTK's alone: pynetdicom installs a storescp and a getscu of its own, which an active
    virtual environment puts first. The others are taken from where dcmsend lies.
    """
    dcmsend = shutil.which("dcmsend")
    path = Path(dcmsend).with_name(name) if dcmsend else None
    return str(path) if path and path.exists() else None


def orthanc() -> str | None:
    """Orthanc's path, or None. Debian installs it where ordinary users do not look."""
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def environment(nodelay: bool, checkout: Path = ROOT) -> dict[str, str]:
    """The environment of clients and receivers: TCP_NODELAY=1, or what DCMTK does without it."""
    dropped = ("ZSCP_", "TCP_NODELAY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(checkout), **({"TCP_NODELAY": "1"} if nodelay else {})}


def python(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


@dataclass(frozen=True)
class Child:
    """A started process and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def check_runs(self) -> None:
        if self.process.poll() is not None:
            raise BenchError(f"{self.process.args} ended with {self.process.returncode}:\n{self.tail()}")


def start(command: Sequence[str], log: Path, env: dict[str, str], cwd: Path | None = None) -> Child:
    """Start a process whose output goes to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd,
            start_new_session=True,
        )  # fmt: skip
    return Child(process, log)


def stop(child: Child, main: int = 0) -> None:
    """End a process that this program started, by SIGTERM to ``main`` or itself, and what it forked."""
    if child.process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(main or child.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(STOP_SECONDS)
    # Its session is its own, so the group holds only what came of it: dcmqrscp's and storescp's forks.
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait(STOP_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def until(condition: Callable[[], object], what: str, seconds: float, pause: float = 0.05) -> None:
    """Wait for a condition; when it does not come in time, the run fails."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def run_together(commands: Sequence[Sequence[str]], log: Path, env: dict[str, str], seconds: float) -> float:
    """Run clients side by side to their end; the seconds from the first start to the last end."""
    begin = time.perf_counter()
    children = [start(command, log, env) for command in commands]
    too_long = threading.Timer(seconds, lambda: [child.process.kill() for child in children])
    too_long.start()
    try:
        for child in children:
            child.process.wait()  # with a time limit it would look every 50 ms only
    finally:
        taken = time.perf_counter() - begin
        too_long.cancel()
        for child in children:
            stop(child)
    if taken >= seconds:
        raise BenchError(f"{commands[0][0]}: not done within {seconds:.0f} s")
    for child in children:
        if child.process.returncode:
            raise BenchError(f"{commands[0][0]} ended with {child.process.returncode}:\n{child.tail()}")
    return taken


@contextmanager
def running(command: Sequence[str], log: Path, env: dict[str, str]) -> Iterator[Child]:
    """A process for as long as the block takes."""
    child = start(command, log, env)
    try:
        yield child
    finally:
        stop(child)


def descendants(pid: int) -> list[int]:
    """A process and all that came of it."""
    found = [pid]
    for each in found:
        threads: list[Path] = []
        with suppress(OSError):  # the process may be over
            threads = list(Path(f"/proc/{each}/task").iterdir())
        for thread in threads:
            with suppress(OSError):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor seconds that processes, and those that came of them and have ended, took so far."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime and cstime of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def status_kb(pids: Iterable[int], key: str) -> dict[int, int]:
    """A figure of /proc/PID/status, such as VmRSS or VmHWM, in kB for each process that has it."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{key}:"):
                    found[pid] = int(line.split()[1])
    return found
