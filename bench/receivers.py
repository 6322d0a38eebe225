"""The receivers: zscp, DCMTK's storescp and dcmqrscp, Orthanc. Each a child process on loopback.

All get PDUs of 128 KB, the longest that DCMTK takes: with its default of 16 KB every one of them is slower.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import processes
from bench.processes import LOOPBACK, ROOT, START_SECONDS, BenchError, Child

PDU_BYTES = 131072
CLIENT_AET = "BENCH"  # calls, and is the destination of C-MOVE
DRAIN_SECONDS = 900.0
POLL_SECONDS = 0.5  # each look at zscp's statistics takes some processor time from what it looks at
JPEG_LS = "1.2.840.10008.1.2.4.80"

SERVERS = "zscp on servers"  # bench/clustered.py

Toml = dict[str, Any]
RECEIVED: Toml = {"name": "all", "stages": [{"form": "received", "wrap": "none"}]}
HTJ2K: Toml = {"name": "all", "stages": [{"form": "htj2k"}]}


@dataclass(frozen=True)
class Receiver(ABC):
    """A row of the table: which program, with what configuration, of which checkout."""

    name: str
    program: str
    options: dict[str, Any] = field(default_factory=dict)
    checkout: Path = ROOT


RECEIVERS = {
    receiver.name: receiver
    for receiver in (
        Receiver("zscp", "zscp"),
        Receiver("zscp, htj2k first", "zscp", {"policy": [HTJ2K]}),
        Receiver("zscp, as received", "zscp", {"policy": [RECEIVED]}),
        Receiver("zscp on PostgreSQL", SERVERS),
        Receiver("zscp on PostgreSQL and SeaweedFS", SERVERS, {"bucket": True, "landing": False}),
        Receiver("zscp on PostgreSQL and SeaweedFS, encoded first", SERVERS, {"bucket": True, "backlog": 0}),
        Receiver("zscp on PostgreSQL and SeaweedFS, spool", SERVERS, {"bucket": True}),
        Receiver("two nodes behind HAProxy", SERVERS, {"bucket": True, "landing": False, "nodes": 2}),
        Receiver("two nodes behind HAProxy, spool", SERVERS, {"bucket": True, "nodes": 2}),
        Receiver("zscp, encoded first", "zscp", {"storage": {"backlog": 0}}),
        Receiver("storescp", "storescp"),
        Receiver("dcmqrscp", "dcmqrscp"),
        Receiver("Orthanc", "orthanc"),
        Receiver("Orthanc, zlib", "orthanc", {"StorageCompression": True}),
        Receiver("Orthanc, JPEG-LS", "orthanc", {"IngestTranscoding": JPEG_LS}),
    )
}


def of_checkout(name: str, checkout: Path) -> str:
    """The name of the same receiver of zscp in another checkout, which has its own .venv; made a row."""
    other = f"{name}, {checkout.name}"
    RECEIVERS[other] = replace(RECEIVERS[name], name=other, checkout=checkout)
    return other


@dataclass
class Running:
    """A receiver at work. What holds for all; the programs differ in the methods below."""

    folder: Path
    port: int
    move_port: int
    nodelay: bool
    options: dict[str, Any]
    aet: str = "ARCHIVE"
    child: Child | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @abstractmethod
    def prepare(self) -> list[str]:
        """Write the configuration; returns the command."""

    @abstractmethod
    def count(self) -> int:
        """How many objects it holds."""

    def pending(self) -> int:
        """How many objects wait for work in the background."""
        return 0

    def kept(self) -> int:
        """Bytes of the objects on the disk, without indexes."""
        return sum(path.stat().st_size for path in self.stored())

    def stored(self) -> list[Path]:
        return [path for path in self.data.rglob("*") if path.is_file() and path.name != "index.dat"]

    @property
    def pid(self) -> int:
        """The process to end; another than the child's where a profiler lies between."""
        return self.child.process.pid if self.child else 0

    def memory(self, key: str) -> tuple[float, ...]:
        """VmRSS or VmHWM of each of its processes, in MB."""
        found = processes.status_kb(processes.descendants(self.pid), key)
        return tuple(round(kb / 1024, 1) for kb in found.values())

    def cpu(self) -> float:
        """Processor seconds of its processes so far."""
        return processes.cpu_seconds(processes.descendants(self.pid))

    def environment(self, nodelay: bool) -> dict[str, str]:
        """Of its processes."""
        return processes.environment(nodelay)

    def open(self) -> None:
        """Let peers in, where more than the port of the program is between."""

    def close(self) -> None:
        """End what was started besides the child."""

    def drain(self) -> None:
        """Wait until nothing is pending."""
        what = "work in the background ends"
        processes.until(lambda: self.pending() == 0, what, DRAIN_SECONDS, POLL_SECONDS)

    def check_count(self, expected: int) -> None:
        """A figure counts only if the work was done."""
        found = self.count()
        if found != expected:
            raise BenchError(f"{type(self).__name__} holds {found} objects, {expected} were sent")


class Zscp(Running):
    aet = "ZSCP"
    profile: Path | None = None
    checkout: Path = ROOT

    def command(self, *arguments: object) -> list[str]:
        """A command of zscp, by the Python and the packages of its checkout."""
        if self.checkout == ROOT:
            return processes.python("-m", "scp", *arguments)
        return [str(self.checkout / ".venv/bin/python"), "-m", "scp", *map(str, arguments)]

    def prepare(self) -> list[str]:
        tables = {
            "node": {"aet": self.aet, "host": LOOPBACK, "port": self.port},
            "index": {"url": f"sqlite:///{self.folder}/index.db"},
            "peer": [{"aet": CLIENT_AET, "host": LOOPBACK, "port": self.move_port}],
            **self.options,
            "storage": {"url": f"file://{self.data}", "reserve": 0, **self.options.get("storage", {})},
        }
        self.config.write_text(as_toml(tables), encoding="utf-8")
        serve = self.command("serve", "-c", self.config)
        if self.profile is None:
            return serve
        options = ["--format", "speedscope", "--subprocesses", "--idle", "--output", str(self.profile)]
        return ["py-spy", "record", *options, "--", *serve]

    def environment(self, nodelay: bool) -> dict[str, str]:
        """See Running."""
        return processes.environment(nodelay, self.checkout)

    @property
    def config(self) -> Path:
        return self.folder / "zscp.toml"

    @property
    def pid(self) -> int:
        pid = super().pid
        return next(iter(processes.descendants(pid)[1:]), pid) if self.profile else pid

    def statistics(self) -> dict[str, Any]:
        command, env = self.command("stats", "--json", "-c", self.config), self.environment(True)
        # In the present folder Python would find another checkout's packages first.
        done = subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, timeout=120, check=False
        )
        if done.returncode:
            raise BenchError(f"zscp stats: {done.stderr.decode(errors='replace')}")
        return dict(json.loads(done.stdout))

    def count(self) -> int:
        return int(self.statistics()["counts"]["instances"])

    def pending(self) -> int:
        return int(self.statistics()["pending"]["instances"])

    def stored(self) -> list[Path]:
        return [path for path in super().stored() if ".incoming" not in path.parts]


class Storescp(Running):
    def prepare(self) -> list[str]:
        # Without --fork it serves one association after the other; with it, a process an association.
        options = ["-q", "--fork", "+B", "-pdu", str(PDU_BYTES), "-aet", self.aet]
        return [str(processes.tool("storescp")), *options, "-od", str(self.data), str(self.port)]

    def count(self) -> int:
        return len(self.stored())


class Dcmqrscp(Running):
    def prepare(self) -> list[str]:
        lines = [
            f"NetworkTCPPort = {self.port}",
            f"MaxPDUSize = {PDU_BYTES}",
            "MaxAssociations = 64",
            "HostTable BEGIN",
            f"client = ({CLIENT_AET}, {LOOPBACK}, {self.move_port})",
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
            f"{self.aet} {self.data} RW (200, 10gb) ANY",
            "AETable END",
        ]
        config = self.folder / "dcmqrscp.cfg"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [str(processes.tool("dcmqrscp")), "-q", "-c", str(config)]

    def count(self) -> int:
        return len(self.stored())


class Orthanc(Running):
    http_port: int = 0

    def prepare(self) -> list[str]:
        self.http_port = processes.free_port()
        settings = {
            "Name": "bench",
            "StorageDirectory": str(self.data),
            "IndexDirectory": str(self.folder / "index"),
            "Plugins": [],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {"client": [CLIENT_AET, LOOPBACK, self.move_port]},
            "DicomThreadsCount": 16,
            "MaximumPduLength": PDU_BYTES,
            "SaveJobs": False,
            **self.options,
        }
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        return [str(processes.orthanc()), str(config)]

    def statistics(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}/statistics", timeout=30) as answer:
            return dict(json.load(answer))

    def count(self) -> int:
        return int(self.statistics()["CountInstances"])

    def kept(self) -> int:
        return int(self.statistics()["TotalDiskSize"])


PROGRAMS: dict[str, type[Running]] = {
    "zscp": Zscp,
    "storescp": Storescp,
    "dcmqrscp": Dcmqrscp,
    "orthanc": Orthanc,
}


def program(name: str) -> type[Running]:
    """What runs a receiver. The servers' one needs what only some machines have."""
    if name == SERVERS:
        return importlib.import_module("bench.clustered").OnServers  # type: ignore[no-any-return]  # a module found by name
    return PROGRAMS[name]


def installed(receiver: Receiver) -> bool:
    if receiver.program == "zscp":
        return True
    if receiver.program == SERVERS:
        return bool(importlib.import_module("bench.clustered").can_start(receiver.options.get("nodes", 1)))
    if receiver.program == "orthanc":
        return processes.orthanc() is not None
    return processes.tool(receiver.program) is not None


@contextmanager
def started(
    receiver: Receiver, folder: Path, *, nodelay: bool = True, profile: Path | None = None
) -> Iterator[Running]:
    """Start a receiver with nothing in it, in ``folder``; it is ended when the block is."""
    (folder / "data").mkdir(parents=True)
    running = program(receiver.program)(
        folder, processes.free_port(), processes.free_port(), nodelay, receiver.options
    )
    if isinstance(running, Zscp):
        running.aet, running.profile, running.checkout = "ZSCP", profile, receiver.checkout
    env = running.environment(nodelay)
    child: Child | None = None
    try:
        child = running.child = processes.start(running.prepare(), folder / "log", env, folder)
        running.open()
        _wait(running, child)
        yield running
        child.check_runs()
    finally:
        running.close()
        if child is not None:
            processes.stop(child, running.pid)


def _wait(running: Running, child: Child) -> None:
    end = time.monotonic() + START_SECONDS
    ports = [running.port, *([running.http_port] if isinstance(running, Orthanc) else [])]
    while not all(processes.listens(port) for port in ports):
        child.check_runs()
        if time.monotonic() > end:
            raise BenchError(f"{child.process.args} does not listen:\n{child.tail()}")
        time.sleep(0.05)


def version(receiver: str) -> str:
    """What a program says of its version, or that it is not there."""
    path = processes.orthanc() if receiver == "orthanc" else processes.tool("storescp")
    if path is None:
        return "not installed"
    done = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False, cwd=ROOT)
    words = done.stdout.decode(errors="replace").split()
    return next((word for word in words if word.lstrip("v")[:1].isdigit()), "?").lstrip("v")


def as_toml(tables: Toml) -> str:
    """The few shapes of TOML that a node's configuration needs here."""
    lines = []
    for name, table in tables.items():
        for one in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{key} = {_value(value)}" for key, value in one.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
