"""The restore drill of docs/operations.md: its commands are run as the page has them, on real servers.

Paths and names of the page are exchanged for those of the test, and ``systemctl`` starts and stops nodes of
the test. A comment ``# status 1`` is the status that a command ends with; an output line of the page has to
be printed, where ``…`` stands for any text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from waiting import until
from wire.configured import environment
from wire.conftest import NodeProcess
from wire.peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, Sent, identifier, image

from scp.cli.main import app
from scp.errors import ConfigurationError, ZscpError
from scp.index.nodes import EXPIRES_SECONDS

pytestmark = pytest.mark.cluster

_PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_STATUS = re.compile(r"\s+# status (\d)$")
_COUNT = 12  # as the page has it


def steps(heading: str) -> list[tuple[str, int, list[str]]]:
    """The commands of a section of the page: each with its status, and the lines that it prints."""
    section = re.split(f"\n##+ {heading}\n", _PAGE.read_text(encoding="utf-8"), maxsplit=1)[1]
    block = section.split("```console\n", 1)[1].split("```", 1)[0]
    found: list[tuple[str, int, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            status = _STATUS.search(line)
            found.append((_STATUS.sub("", line[2:]), int(status[1]) if status else 0, []))
        else:
            found[-1][2].append(line)
    return found


def _inside(arguments: list[str]) -> tuple[int, str]:
    """The status of a command of zscp, and what it prints."""
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, ZscpError):  # as scp.cli.main ends
        return (2 if isinstance(done.exception, ConfigurationError) else 1), str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


class Drill:
    """An archive of some nodes, and the names that it has in the place of those of the page."""

    def __init__(self, root: Path, nodes: list[NodeProcess], names: dict[str, str], **more: str) -> None:
        self.root, self.nodes, self._more = root, nodes, more
        self.sent: dict[str, bytes] = {}
        self.edit: Callable[[], None] = lambda: None  # what the admin changes in the configuration
        self._names = {
            "/etc/zscp/zscp.toml": str(nodes[0].config),
            "/backup": str(root / "backup"),
            **names,
        }
        (root / "backup").mkdir()

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def stop(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                assert node.kill(signal.SIGTERM, 60) == 0

    def lose_power(self) -> None:
        for node in self.nodes:
            node.lose_power()

    def lose_bucket(self) -> None:
        """All that is below the archive's prefix is gone."""
        self._shell("rclone purge archive:archive/zscp", 0)

    def run(self, heading: str) -> None:
        """Run the commands of a section."""
        for line, status, told in steps(heading):
            begun = time.monotonic()
            said = ""
            if line.startswith("systemctl "):
                getattr(self, line.split()[1])()
            elif line.startswith("nano "):
                self.edit()
            else:
                said = self._shell(line, status)
            print(f"{time.monotonic() - begun:5.1f} s $ {line}\n{said}")  # noqa: T201 - pytest -s
            for wanted in told:
                pattern = ".*".join(map(re.escape, wanted.split("…")))
                assert re.search(f"(?m)^{pattern}$", said), (line, wanted, said)

    def _shell(self, line: str, status: int) -> str:
        """Run a command; those of zscp inside this process, as a process each takes seconds."""
        for name, own in self._names.items():
            line = line.replace(name, own)
        code, said = _inside(shlex.split(line)[1:]) if line.startswith("zscp ") else self._outside(line)
        assert code == status, (line, code, said)
        return said

    def _outside(self, line: str) -> tuple[int, str]:
        # What is set for a tool of this machine is not meant for the test's server.
        kept = {name: value for name, value in environment().items() if not name.startswith(("AWS_", "PG"))}
        done = subprocess.run(
            ["bash", "-c", line], env={**kept, **self._more}, cwd=self.root, timeout=120, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    def store(self, count: int) -> list[Sent]:
        """As :meth:`send`, and wait until none lies in a spool alone."""
        made = self.send(count)
        until(lambda: not self._pending(), "all have their form", 60)
        return made

    def send(self, count: int) -> list[Sent]:
        """Store objects by all nodes in turn."""
        made = [image(instance=f"1.2.3.1.{len(self.sent) + n}", seed=n, rows=64) for n in range(count)]
        for number, node in enumerate(self.nodes):
            with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
                some = made[number :: len(self.nodes)]
                assert [scu.store(one).status for one in some] == [0] * len(some)
        self.sent |= {one.instance: one.data for one in made}
        return made

    def _pending(self) -> int:
        """How many objects wait for their form; each node knows of its own."""
        told = [json.loads(node.here("stats", "--json")) for node in self.nodes]
        return sum(one["pending"]["instances"] for one in told)

    def gives_all(self) -> None:
        """Each node gives what is held, byte for byte."""
        for node in self.nodes:
            contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
            with Scu(node.address, contexts, roles=[MR_IMAGE]) as scu:
                found = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
            assert {one.instance: one.data for one in found.objects} == self.sent

    def forget(self, lost: list[Sent]) -> None:
        """What came after the copy is lost with the objects."""
        for one in lost:
            del self.sent[one.instance]


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Drill]:
    root = tmp_path / "zscp"
    root.mkdir()
    node = NodeProcess(root, shipped=True, node={"workers": 1})
    drill = Drill(tmp_path, [node], {"/var/lib/zscp": str(root)})
    drill.start()
    yield drill
    drill.lose_power()


def test_a_single_node(single: Drill) -> None:
    data = single.nodes[0].root
    single.store(_COUNT)
    single.run("Back up a single node")
    single.store(2)
    single.run("The index of a single node is lost")
    single.gives_all()

    single.run("Back up a single node")
    later = single.store(2)
    single.lose_power()
    shutil.rmtree(data / "objects")
    (data / "objects").mkdir()
    single.run("The objects of a single node are lost")
    single.forget(later)
    single.gives_all()

    single.lose_power()
    shutil.rmtree(data / "objects")
    for path in data.glob("index.db*"):
        path.unlink()
    single.run("All of a single node is lost")
    single.gives_all()


def rclone(storage: dict[str, str]) -> dict[str, str]:
    """The environment in which rclone knows a bucket as ``archive:``."""
    bucket = {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": storage["endpoint"], "REGION": "us-east-1",
        "ACCESS_KEY_ID": storage["access_key"], "SECRET_ACCESS_KEY": storage["secret_key"],
    }  # fmt: skip
    return {f"RCLONE_CONFIG_ARCHIVE_{key}": value for key, value in bucket.items()}


def in_rclone(storage: dict[str, str]) -> dict[str, str]:
    """The name of the page for a place in a bucket, and the test's."""
    return {"archive:archive/zscp": f"archive:{storage['url'].removeprefix('s3://')}"}


@pytest.fixture
def to_bucket(tmp_path: Path) -> Iterator[Drill]:
    """A node on a folder, and the bucket to which it is to move."""
    root = tmp_path / "zscp"
    root.mkdir()
    node = NodeProcess(root, shipped=True, node={"workers": 1}, storage={"trash": "30d"})
    with import_module("servers_seaweedfs").SeaweedFS(tmp_path / "store") as store:
        storage = store.storage()
        names = {"/var/lib/zscp": str(root), **in_rclone(storage)}
        drill = Drill(tmp_path, [node], names, **rclone(storage))
        moved = {**storage, "spool": f"file://{root}/objects", "trash": "30d", "reserve": 0}
        drill.edit = lambda: node.write_config(storage=moved)
        drill.start()
        yield drill
        drill.lose_power()


def test_a_folder_becomes_a_bucket(to_bucket: Drill) -> None:
    """Also the trash, a legal hold, a dictionary, and what waits in the landing log."""
    (node,) = to_bucket.nodes
    section = _PAGE.read_text(encoding="utf-8").split("\n## From a folder to a bucket\n", 1)[1]
    rules = section.split("```text\n", 1)[1].split("```", 1)[0]
    (to_bucket.root / "backup" / "bucket.filter").write_text(rules, encoding="utf-8")
    deleted, held, *_ = to_bucket.store(_COUNT)
    node.here("delete", deleted.instance, "--level", "image", "--reason", "trial", "--yes")
    node.here("hold", "add", held.instance, "--level", "image", "--reason", "trial")
    to_bucket.send(3)  # the node is stopped at once
    gone = to_bucket.sent.pop(deleted.instance)

    to_bucket.run("From a folder to a bucket")
    to_bucket.gives_all()
    assert [one["uid"] for one in json.loads(node.here("hold", "list", "--json"))] == [held.instance]
    assert "1 object restored" in node.here("trash", "restore", deleted.instance)
    to_bucket.sent[deleted.instance] = gone
    to_bucket.store(2)
    to_bucket.gives_all()
    assert "Files and index agree" in node.here("fsck")
    left = [path.name for path in (node.root / "objects").iterdir()]
    assert all(name.startswith(".") for name in left), left


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Drill]:
    """Two nodes; the database and the prefix of the bucket are the test's own."""
    postgresql: Any = import_module("servers_postgresql")
    server, programs = postgresql.shared(), Path(postgresql.binary("pg_dump")).parent
    server.execute("CREATE DATABASE zscp TEMPLATE template0")
    database = server.named("zscp")
    with import_module("servers_seaweedfs").SeaweedFS(tmp_path / "store") as store:
        storage = store.storage()
        nodes = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            spool = {"storage": {**storage, "spool": f"file://{tmp_path}/{name}/spool", "backlog": "1GB"}}
            nodes.append(
                NodeProcess(
                    tmp_path / name, shipped=True, node={"workers": 1}, **spool, **server.tables(database)
                )
            )
        libpq = {
            "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "zscp",
            "PGPASSWORD": database.password, "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip
        drill = Drill(tmp_path, nodes, in_rclone(storage), **rclone(storage), **libpq)
        drill.start()
        yield drill
        drill.lose_power()
        server.execute("DROP DATABASE IF EXISTS zscp WITH (FORCE)")


def test_several_nodes(several: Drill) -> None:
    several.store(_COUNT)
    several.run("Back up several nodes")
    copied = time.monotonic()
    several.store(2)
    # In a copy that is only seconds old, the nodes still count as living: a rebuild would be refused.
    until(lambda: time.monotonic() > copied + EXPIRES_SECONDS, "the nodes of the copy count as dead")

    several.run("The index of several nodes is lost")
    several.gives_all()
    several.run("The index of several nodes is lost, and there is no dump")
    several.gives_all()

    several.run("Back up several nodes")
    later = several.store(2)
    several.lose_bucket()
    several.run("The bucket is lost")
    several.forget(later)
    several.gives_all()

    several.lose_power()
    several.lose_bucket()
    several._shell("dropdb --force zscp", 0)
    for node in several.nodes:
        shutil.rmtree(node.root / "spool")
    several.run("All of several nodes is lost")
    several.gives_all()
