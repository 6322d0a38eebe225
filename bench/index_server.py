"""A PostgreSQL server of the benchmark's own, in a folder that stays; it can be put out of all memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg

from scp.index.databases import Database

USER = "zscp"
# As an admin sets a server up on a machine like this one; everything else is PostgreSQL's default.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "2GB",
    "effective_cache_size": "12GB",
    "random_page_cost": "1.1",
    "max_wal_size": "4GB",
}
# While an index is filled, whose loss costs nothing.
_HASTY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "1GB",
    "autovacuum": "off",
}


class Server:
    """The server of a folder: made if it is not there, started, stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._owner = "postgres" if os.geteuid() == 0 else None
        self._port = 0
        if not self._data.exists():
            self._make()

    def start(self, hasty: bool = False) -> None:
        """Start it: with commits that wait for the disk, unless it is ``hasty``."""
        self.stop()
        self._port = _free_port()
        settings = SETTINGS | (_HASTY if hasty else {}) | {"port": str(self._port)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._control(
            "-w", "-t", "300", "-l", str(self.folder / "log"), "-o", f"{options} -k {self.folder}", "start"
        )

    def stop(self) -> None:
        """Stop it if it runs; all that was written is on the disk."""
        if (self._data / "postmaster.pid").exists():
            self._control("-w", "-t", "300", "-m", "fast", "stop")

    def favour(self) -> None:
        """Give all processes that serve now the niceness of this one."""
        own = (self._data / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        for pid in (own, *children):
            spread_niceness(int(pid))

    def evict(self) -> None:
        """Start it anew with none of its files in memory, where the system takes the advice."""
        self.stop()
        for path in self._data.rglob("*"):
            if path.is_file():
                evict(path)
        self.start()

    def named(self, name: str) -> Database:
        """A database as the index opens it."""
        return Database(f"postgresql+psycopg://{USER}@127.0.0.1:{self._port}/{name}")

    def connect(self, name: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that commits each statement."""
        return psycopg.connect(host="127.0.0.1", port=self._port, user=USER, dbname=name, autocommit=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._owner:
            shutil.chown(self.folder, self._owner)
        told = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D", str(self._data)]
        self._run([_binary("initdb"), *told])

    def _control(self, *told: str) -> None:
        self._run([_binary("pg_ctl"), "-D", str(self._data), *told])

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, user=self._owner, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)


def spread_niceness(pid: int) -> None:
    """Let the niceness of this process count for a session as a whole, of which ``pid`` is the first process.

    Linux divides the processor among sessions first (autogroups), and within these by niceness. Each process
    of a server is a session of its own.
    """
    group = Path(f"/proc/{pid}/autogroup")
    wanted = f"nice {os.nice(0)}\n"
    while group.exists() and not group.read_text().endswith(wanted):
        with suppress(BlockingIOError):  # one may be set each 0.1 s
            group.write_text(str(os.nice(0)))
        time.sleep(0.1)


def evict(path: Path) -> None:
    """A file out of the page cache; what was not yet written to the disk is written first."""
    with path.open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _binary(name: str) -> str:
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if found is None:
        raise SystemExit(f"{name} is missing: scripts/install-cluster.sh installs it")
    return found


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
