"""The index is gone, older, damaged or another one, at each moment: no acknowledged object is lost for it.

Objects are acknowledged and wait in the landing log, or have files of their own, on one or two stores. Then
the index is lost, and any command or a node comes next. In the end all objects are held, as they were sent.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import forked
import pytest
from typer.testing import CliRunner

from scp.cli.main import app

from .configured import as_toml, environment, tables_of
from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, identifier, image, until

pytestmark = pytest.mark.slow

COUNT = 12  # of 130 KB, in segments of 512 KB
Live = Callable[..., None]


class Lost:
    """An archive in a folder, and what may happen to its index."""

    def __init__(self, root: Path, program: forked.Python, tiers: bool = False) -> None:
        self.root, self._program = root, program
        self.config, self.index = root / "zscp.toml", root / "index.db"
        more: dict[str, Any] = {}
        if tiers:
            more["tiers"] = [{"name": "cold", "url": f"file://{root}/cold", "reserve": 0}]
            later = {"after": "1d", "form": "htj2k", "wrap": "none", "store": "cold"}
            more["policy"] = [{"name": "all", "stages": [{"form": "htj2k", "wrap": "none"}, later]}]
        self.tables = tables_of(root, {"storage": {"backlog": "1GB"}, **more})
        self.write_config()
        self.sent = {
            f"1.2.3.1.{n}": image(instance=f"1.2.3.1.{n}", seed=n, rows=256).data for n in range(COUNT)
        }
        for name, half in (("first", 0), ("second", 1)):
            (root / name).mkdir()
            for uid, data in list(self.sent.items())[half::2]:
                (root / name / uid).write_bytes(data)

    def write_config(self) -> None:
        self.config.write_text(as_toml(self.tables), encoding="utf-8")

    def live(self, *steps: str, status: int = 0) -> None:
        """A process that takes up the archive as a node does, and does this."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps({"config": str(self.config), "steps": steps}) + "\n")
        self._program.stdin.flush()
        assert self._program.stdout.readline().strip() == str(status)

    def receive(self, half: str) -> str:
        return f"receive {self.root / half}"

    def run(self, *arguments: object, status: int | None = 0) -> str:
        done = CliRunner().invoke(app, [*map(str, arguments), "-c", str(self.config)])
        if done.exception and not isinstance(done.exception, SystemExit):
            if status == 1:  # cli.main tells it and ends with 1
                return str(done.exception)
            raise done.exception
        assert status is None or done.exit_code == status, done.output
        return done.stdout if "--json" in arguments else done.output

    def remove(self) -> None:
        for path in self.root.glob("index.db*"):
            path.unlink()

    def lost_count(self) -> int:
        """How many of what was sent are not held, byte for byte."""
        target = self.root / "exported"
        shutil.rmtree(target, ignore_errors=True)
        self.run("export", target, status=None)
        back = {}
        for path in target.rglob("*.dcm"):
            content = path.read_bytes()
            length = int.from_bytes(content[140:144], "little")
            back[path.stem] = content[144 + length :]
        return sum(back.get(uid) != data for uid, data in self.sent.items())


@pytest.fixture(scope="module")
def program() -> Iterator[forked.Python]:
    command = [sys.executable, str(Path(__file__).with_name("losing.py"))]
    pipe = subprocess.PIPE
    with forked.Python(command, stdin=pipe, stdout=pipe, text=True, env=environment()) as running:
        yield running


@pytest.fixture
def tiered(tmp_path: Path, program: forked.Python) -> Lost:
    return Lost(tmp_path, program, tiers=True)


@pytest.fixture
def single(tmp_path: Path, program: forked.Python) -> Lost:
    return Lost(tmp_path, program)


def removed(archive: Lost) -> None:
    archive.remove()


def older(archive: Lost) -> None:
    """The copy that was made after the first half came."""
    archive.remove()
    shutil.copy(archive.root / "copied.db", archive.index)


def truncated(archive: Lost) -> None:
    for path in archive.root.glob("index.db-*"):
        path.unlink()
    content = archive.index.read_bytes()
    archive.index.write_bytes(content[: len(content) // 2])


def corrupted(archive: Lost) -> None:
    for path in archive.root.glob("index.db-*"):
        path.unlink()
    content = bytearray(archive.index.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    archive.index.write_bytes(content)


def garbage(archive: Lost) -> None:
    for path in archive.root.glob("index.db-*"):
        path.unlink()
    archive.index.write_bytes(b"not a database, by far" * 1000)


def elsewhere(archive: Lost) -> None:
    """``[index] url`` names another file, which is not there."""
    archive.index = archive.root / "other.db"
    archive.tables["index"] = {"url": f"sqlite:///{archive.index}"}
    archive.write_config()


LOSSES = [removed, older, truncated, corrupted, garbage, elsewhere]


# All in two ways, and the likeliest two in all four. For a change: the likeliest in four, the others in one.
_WAYS = [("waiting", "stopped"), ("encoded", "killed"), ("waiting", "killed"), ("encoded", "stopped")]
CASES = [
    pytest.param(loss, *way, marks=[] if loss is removed or turn == number % 2 else pytest.mark.long)
    for number, loss in enumerate(LOSSES)
    for turn, way in enumerate(_WAYS if loss in (removed, older) else _WAYS[:2])
]


@pytest.mark.parametrize(("loss", "waiting", "end"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_nothing_is_lost(single: Lost, loss: Callable[[Lost], None], waiting: str, end: str) -> None:
    """The node starts, encodes and frees, and receives more: so that what was freed is used again."""
    lose(single, loss, waiting, end)


@pytest.mark.parametrize("waiting", ["waiting", "encoded"])
@pytest.mark.parametrize("loss", [removed, older], ids=lambda loss: loss.__name__)
def test_nothing_is_lost_in_two_stores(tiered: Lost, loss: Callable[[Lost], None], waiting: str) -> None:
    tiered.live(tiered.receive("first"), "encode")
    tiered.run("recompress", "--now")
    assert list((tiered.root / "cold").rglob("*.dcm*"))
    lose(tiered, loss, waiting, "killed")


def lose(archive: Lost, loss: Callable[[Lost], None], waiting: str, end: str) -> None:
    archive.live(archive.receive("first"), *(["encode"] if waiting == "encoded" else []))
    shutil.copy(archive.index, archive.root / "copied.db")
    tail = ["kill"] if end == "killed" else []
    last = ["encode"] if waiting == "encoded" else []
    archive.live(archive.receive("second"), *last, "advance", *tail, status=9 if tail else 0)
    loss(archive)
    archive.live("encode", archive.receive("first"), "encode")
    assert archive.lost_count() == 0
    archive.run("fsck")


def test_removed_while_it_runs(single: Lost) -> None:
    """What is recorded then goes to a file that nobody will find; the objects are there all the same."""
    single.live(single.receive("first"), f"remove {single.index}", single.receive("second"), "try", "try")
    assert not single.index.exists()
    single.live("encode", "encode")
    assert single.lost_count() == 0


COMMANDS: list[tuple[str, ...]] = [
    ("check",), ("fsck",), ("fsck", "--repair"), ("reindex",), ("verify",), ("ls",), ("recompress",),
    ("trash", "purge", "--now"), ("delete", "--match", "PatientID=nobody", "--reason", "x", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_whatever_command_is_run_next(single: Lost, command: tuple[str, ...]) -> None:
    single.live(single.receive("first"), single.receive("second"))
    single.remove()
    reads = command[0] in ("check", "verify", "ls", "stats", "plan", "retention", "hold", "dictionary")
    reads = reads or command in (("fsck",), ("trash", "list"))
    told = single.run(*command, status=1 if reads else None)
    if reads:
        assert "zscp reindex" in told
        assert not single.index.exists(), "a command that only reads makes nothing"
    single.live("encode", "encode", single.receive("first"))
    assert single.lost_count() == 0


def test_commands_tell_of_an_older_copy_and_reindex_mends_it(single: Lost) -> None:
    single.live(single.receive("first"), "encode")
    shutil.copy(single.index, single.root / "copied.db")
    single.live(single.receive("second"), "encode")
    older(single)
    assert "older copy" in single.run("stats", status=1)
    assert "older copy" in json.loads(single.run("check", "--json", status=1))["index"]
    assert json.loads(single.run("fsck", "--json", status=1))["findings"][0]["kind"] == "unfit index"
    assert json.loads(single.run("reindex", "--json"))["recorded"] == COUNT
    assert json.loads(single.run("check", "--json"))["index"] == ""
    assert "nothing is left over" in single.run("fsck")
    assert single.lost_count() == 0


def test_a_damaged_index_is_kept_under_another_name(single: Lost) -> None:
    single.live(single.receive("first"))
    truncated(single)
    content = single.index.read_bytes()
    assert "damaged" in single.run("ls", status=1)
    assert single.index.read_bytes() == content
    single.live(single.receive("second"))
    assert [
        path.read_bytes() for path in single.root.glob("index.db.damaged-*") if path.suffix[-1].isdigit()
    ] == [content]
    assert single.lost_count() == 0


def test_another_archives_index_is_not_touched(single: Lost, tmp_path_factory: Any, program: Any) -> None:
    other = Lost(tmp_path_factory.mktemp("other"), program)
    other.live(other.receive("first"))
    single.live(single.receive("second"))
    single.tables["index"] = other.tables["index"]
    single.write_config()
    for command in ("ls", "reindex", "check", "fsck"):
        with pytest.raises(Exception, match="belongs to another archive"):
            single.run(command)
    single.live(status=1)
    assert len(json.loads(other.run("ls", "--level", "image", "--json"))) == COUNT // 2


def test_a_disk_that_is_not_mounted_is_not_a_new_store(single: Lost) -> None:
    single.live(single.receive("first"), single.receive("second"), "encode")
    (single.root / "objects").rename(single.root / "unmounted")
    with pytest.raises(Exception, match="mounted"):
        single.run("check")
    assert not (single.root / "objects").exists(), "a command that only reads makes nothing"
    (single.root / "objects").mkdir()
    with pytest.raises(Exception, match="mounted"):
        single.run("ls")
    single.live(status=1)
    shutil.rmtree(single.root / "objects")
    (single.root / "unmounted").rename(single.root / "objects")
    assert single.lost_count() == 0


def test_a_store_that_is_away_when_the_index_is_made_anew_is_read_later(tiered: Lost) -> None:
    """Its folder is an empty mount point, and is not taken for a new store because the index is empty."""
    tiered.live(tiered.receive("first"), tiered.receive("second"), "encode")
    tiered.run("recompress", "--now")
    cold = tiered.root / "cold"
    assert list(cold.rglob("*.dcm*"))
    cold.rename(tiered.root / "shelf")
    cold.mkdir()
    tiered.remove()
    tiered.live()
    assert list(cold.iterdir()) == []
    assert tiered.lost_count() == COUNT
    cold.rmdir()
    (tiered.root / "shelf").rename(cold)
    tiered.live()
    assert tiered.lost_count() == 0


def test_a_migration_that_asks_for_it_has_the_index_made_anew(single: Lost) -> None:
    """What only the index knows stays: when an object was last retrieved."""
    single.live(single.receive("first"), single.receive("second"), "encode")
    with sqlite3.connect(single.index) as connection:
        connection.execute("INSERT INTO meta VALUES ('rebuild', 'the colour of the walls')")
        connection.execute("UPDATE instance SET accessed = 12345")
        connection.execute("UPDATE study SET study_description = 'wrong'")
    assert "the colour of the walls" in single.run("ls", status=1)
    single.live()
    with sqlite3.connect(single.index) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE name = 'rebuild'").fetchone() == (0,)
        assert connection.execute("SELECT DISTINCT accessed FROM instance").fetchall() == [(12345,)]
    assert single.lost_count() == 0


def test_check_migrates_nothing(single: Lost) -> None:
    """It is run before a restart with a new version, while the old one works on."""
    single.live(single.receive("first"))
    with sqlite3.connect(single.index) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0008'")
        connection.execute("DROP TABLE meta")
    single.run("check")
    with sqlite3.connect(single.index) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0008",)


def test_a_node_whose_index_is_removed_under_it_goes_on(tmp_path: Path) -> None:
    """As a peer sees it: all that was answered with Success can be retrieved, without a start by hand."""
    node = NodeProcess(tmp_path, storage={"backlog": "1GB"}, node={"workers": 1})
    node.start()
    try:
        acknowledged: dict[str, bytes] = {}

        def send(numbers: range) -> None:
            with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
                for number in numbers:
                    sent = image(instance=f"1.2.3.1.{number}", seed=number, rows=48)
                    if scu.store(sent).status == 0:
                        acknowledged[sent.instance] = sent.data

        send(range(20))
        assert len(acknowledged) == 20
        for path in tmp_path.glob("index.db*"):
            path.unlink()
        with suppress(AssertionError, OSError):  # its processes end in these seconds
            send(range(20, 40))
        until(lambda: _is_anew(node, tmp_path / "index.db"), "the index is rebuilt", 90)
        assert until(lambda: _retrieved(node, acknowledged), "all can be retrieved", 60)
        assert node.kill(signal.SIGTERM) == 0
    finally:
        node.kill()


def _is_anew(node: NodeProcess, index: Path) -> bool:
    return index.exists() and any(one["event"] == "the index was rebuilt" for one in node.events())


def _retrieved(node: NodeProcess, acknowledged: dict[str, bytes]) -> bool:
    try:
        with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    except (AssertionError, OSError):
        return False  # its processes are being started again
    back = {one.instance: one.data for one in done.objects}
    return acknowledged.items() <= back.items()
