"""A PostgreSQL server of the tests' own: a private cluster in a temporary folder, on a free port.

``with PostgreSQL() as server`` makes and starts it, and removes it afterwards; :func:`shared` gives all tests
of a process the same one. Each test takes a database of its own, :meth:`PostgreSQL.database`. PostgreSQL
refuses to run as root: then it runs as the user ``postgres`` of Debian's package.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import closing, suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from waiting import until

from scp.index.databases import Database
from scp.index.schema import METADATA
from scp.index.sql import SqlIndex

USER, PASSWORD = "zscp", "word of the tests"
# One line of pytest for a whole file of such tests.
CLUSTER = pytest.mark.cluster
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}
# Nothing of these tests has to outlive a power cut; kill -9 of the server loses nothing without it either.
_HASTY = {"fsync": "off", "full_page_writes": "off"}


def binary(name: str) -> str:
    """Where Debian, or the system's PATH, has a program of PostgreSQL's server."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    found = shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ["PATH"]]))
    assert found, f"{name} is missing: scripts/install-cluster.sh installs it"
    return found


class PostgreSQL:
    """One server; if ``durable``, its commits wait for the disk, as they do unless configured otherwise."""

    def __init__(self, durable: bool = False, **settings: str) -> None:
        self._settings = _SETTINGS | ({} if durable else _HASTY) | settings
        self._owner = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self._shared: Database | None = None  # see emptied()
        self.folder = Path(tempfile.mkdtemp(prefix="zscp-postgresql-"))
        self.port = _free_port()

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        places = ["-D", self._data, "-p", str(self.port), "-k", str(self.folder)]
        command = [binary("postgres"), *places, *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, user=self._owner)
        until(self._answers, "PostgreSQL answers", 60)

    def stop(self) -> None:
        """End it as an admin does: connections are cut, what is committed stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End all its processes at once, as a power cut does; the next start recovers from the log."""
        assert self._process is not None
        for pid in self._backends():
            with suppress(ProcessLookupError):  # some end by themselves meanwhile
                os.kill(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def follow(self) -> None:
        """Have a standby that has all that is committed by now, and nothing of what comes later."""
        self.stop()
        shutil.rmtree(self._standby, ignore_errors=True)
        subprocess.run(["cp", "-a", self._data, self._standby], check=True)
        self.start()

    def fail_over(self) -> None:
        """Lose the server, and let the standby take over at its address."""
        self.kill()
        shutil.rmtree(self._data)
        Path(self._standby).rename(self._data)
        self.start()

    def freeze(self) -> None:
        """Let it answer nothing, though its connections stay."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal_all(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it where it runs, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, made: bool = True) -> Database:
        """A new database; with the tables of an index, unless not ``made``."""
        if made and not self._has("template_zscp"):
            self._create("template_zscp")
            SqlIndex.open(self.named("template_zscp")).close()
        name = f"test{os.getpid()}_{next(self._names)}"
        self._create(name, "template_zscp" if made else "template0")
        return self.named(name)

    def emptied(self) -> Database:
        """One with the tables of an index, empty: that of the test before, whose connections end.

        A new one takes 0.1 s of processor time.
        """
        if self._shared is None:
            self._shared = self.database()
            return self._shared
        ends = "pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        tables = [table.name for table in reversed(METADATA.sorted_tables)]
        deletes = "; ".join(f"DELETE FROM {name}" for name in tables)
        name = str(self._shared.parsed.database)
        self.execute(f"SELECT {ends} AND pid <> pg_backend_pid(); {deletes}", name)
        return self._shared

    def named(self, name: str) -> Database:
        """The database of that name, as the index opens it."""
        return Database(f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}", PASSWORD, connections=4)

    def tables(self, database: Database, **more: Any) -> dict[str, Any]:
        """The ``[index]`` of a configuration with this database."""
        given = {"url": database.url, "password": PASSWORD, "connections": database.connections}
        return {"index": given | more}

    def execute(self, statement: str, name: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows if it has any."""
        with closing(self._connect(name)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _make(self) -> None:
        if self._owner:
            shutil.chown(self.folder, self._owner)
        word = self.folder / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        options = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={word}", "--no-sync", "-E", "UTF8"]
        command = [binary("initdb"), "-D", self._data, "--locale=C.UTF-8", *options]
        done = subprocess.run(command, user=self._owner, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (self.folder / "log").touch()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def _standby(self) -> str:
        return str(self.folder / "standby")

    def _connect(self, name: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname=name,
            autocommit=True,
            connect_timeout=5,
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _has(self, name: str) -> bool:
        return bool(self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def _create(self, name: str, template: str = "template0") -> None:
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _backends(self) -> list[int]:
        assert self._process is not None
        command = ["ps", "-o", "pid=", "--ppid", str(self._process.pid)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        for pid in [self._process.pid, *self._backends()]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)


@lru_cache(maxsize=1)
def shared() -> PostgreSQL:
    """The server that all tests of this process share; it is stopped when the process ends."""
    server = PostgreSQL().__enter__()
    own = os.getpid()
    atexit.register(lambda: server.remove() if os.getpid() == own else None)
    return server


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
