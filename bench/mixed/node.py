"""The node under the mixed soak: its configuration, what it takes of the machine, what its log says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import processes
from bench.mixed.wire import SINK_AET
from bench.processes import BenchError, Child

_WORKERS = 2
_COMMAND_SECONDS = 3600.0


def configuration(folder: Path, port: int, sink: int, seconds: float) -> str:
    """All as shipped, but for a later stage and a scrub that come about within the soak."""
    later, scrub = max(10, round(seconds / 6)), max(60, round(seconds / 3))
    return f"""
[node]
host = "127.0.0.1"
port = {port}
workers = {_WORKERS}
[storage]
url = "file://{folder}/objects"
[index]
url = "sqlite:///{folder}/index.db"
[scrub]
interval = "{scrub}s"
[[peer]]
aet = "{SINK_AET}"
host = "127.0.0.1"
port = {sink}
[[policy]]
name = "already compressed"
match = {{ transfer_syntax = ["JPEG*", "HTJ2K*", "RLE*", "MPEG*", "HEVC*", "Deflated*"] }}
stages = [{{ form = "received", wrap = "auto" }}]
[[policy]]
name = "everything else"
stages = [
  {{ form = "received" }}, {{ after = "0s", form = "htj2k" }},
  {{ after = "{later}s", form = ["jpegls", "htj2k"], keep = "smallest", wrap = "zstd" }},
]
"""


@dataclass(frozen=True)
class Sample:
    """What all processes of the node take together; memory in MB, shared pages counted once."""

    at: float
    pss: float
    descriptors: int
    processes: int


def sample(pid: int, at: float) -> Sample:
    """Of a process and all that came of it."""
    pids = processes.descendants(pid)
    pss = sum(processes_pss(pid) for pid in pids)
    descriptors = 0
    for each in pids:
        with suppress(OSError):
            descriptors += sum(1 for _ in Path(f"/proc/{each}/fd").iterdir())
    return Sample(at, pss / 1024, descriptors, len(pids))


def processes_pss(pid: int) -> int:
    """Proportional set size in KB, with what is swapped out; 0 for a process that is over."""
    found = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss:", "SwapPss:")):
                found += int(line.split()[1])
    return found


@dataclass
class Node:
    """A started node."""

    folder: Path
    config: Path
    port: int
    child: Child

    @property
    def address(self) -> tuple[str, int]:
        return processes.LOOPBACK, self.port

    def stop(self) -> int:
        """End it as an admin does; its exit status."""
        processes.stop(self.child)
        return int(self.child.process.returncode)

    def command(self, *words: str) -> tuple[int, str]:
        """Exit status and output of a zscp command; what it says goes into the folder too."""
        command = processes.python("-m", "scp", *words, "-c", self.config)
        done = subprocess.run(
            command, env=processes.environment(True), capture_output=True, timeout=_COMMAND_SECONDS,
            check=False, cwd=self.folder, text=True,
        )  # fmt: skip
        (self.folder / f"{words[0]}.out").write_text(done.stdout + done.stderr)
        return done.returncode, done.stdout

    def statistics(self) -> dict[str, Any]:
        status, told = self.command("stats", "--json")
        if status:
            raise BenchError(f"zscp stats ended with {status}: {told}")
        return dict(json.loads(told))

    def complaints(self) -> Iterator[str]:
        """Lines of the log that tell of an error, and what is no line of the log at all."""
        for line in self.child.log.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                yield line
                continue
            if event.get("level") in ("error", "critical") or "exception" in event or "Traceback" in line:
                yield line


def started(folder: Path, sink: int, seconds: float) -> Node:
    """Start a node with nothing in it."""
    folder.mkdir(parents=True)
    port, config = processes.free_port(), folder / "zscp.toml"
    config.write_text(configuration(folder, port, sink, seconds), encoding="utf-8")
    command = processes.python("-m", "scp", "serve", "-c", config)
    child = processes.start(command, folder / "serve.log", processes.environment(True), folder)
    node = Node(folder, config, port, child)
    try:
        processes.until(lambda: child.check_runs() or processes.listens(port), "zscp listens", 60)
    except BaseException:
        node.stop()
        raise
    return node
