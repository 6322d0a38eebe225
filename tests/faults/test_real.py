"""The real thing: a disk that is full, read-only, without inodes or failing, below a node that runs.

Each is answered with 0xA700 (PS3.4 B.2.3), nothing acknowledged is lost, and the node goes on by itself when
the cause is gone. ``make faults`` runs these; they need root, and some need strace.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from wire.conftest import ExecutedNode, NodeProcess
from wire.peers import (
    EXPLICIT,
    MR_IMAGE,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Scu,
    Sent,
    identifier,
    image,
    until,
)

pytestmark = pytest.mark.faults

REFUSED = 0xA700
ENDED = -1  # the association ended: a process that finds its index damaged starts again
_SYSTEM_CALLS = {
    "fsync": "fsync,fdatasync",
    "link": "link,linkat",
    "rename": "rename,renameat,renameat2",
    "mkdir": "mkdir,mkdirat",
    "reserve": "fallocate",
    "write of the index": "pwrite64",
    "read of the index": "pread64",
}


class Disk:
    """A file system in memory with a node on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.node = NodeProcess(root, node={"workers": 1}, limits={"hang_seconds": 10.0})
        self.node.start()
        self.kept: list[Sent] = []
        self.sent: dict[str, bytes] = {}
        self._number = 0

    def store(self) -> int:
        """The status that a new object gets; that of an acknowledged one is remembered."""
        self._number += 1
        sent = image(instance=f"1.2.3.9.{self._number}", seed=self._number, rows=64)
        self.sent[sent.instance] = sent.data
        with Scu(self.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            if not scu.established:
                return ENDED
            try:
                answer = scu.store(sent)
            except AssertionError:  # no answer came
                return ENDED
        if not answer.status:
            self.kept.append(sent)
        return answer.status

    def serves(self) -> None:
        """All that was acknowledged can be found and retrieved."""
        with Scu(self.node.address, [(STUDY_FIND, [EXPLICIT])]) as scu:
            found = scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))
            assert [one.status for one in found] == [0xFF00, 0]
        contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
        with Scu(self.node.address, contexts, roles=[MR_IMAGE]) as scu:
            got = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
        back = {one.instance: one.data for one in got.objects}
        assert back.keys() >= {one.instance for one in self.kept}
        # One that was refused may be there, whole: its answer was lost, not the object.
        assert back == {uid: self.sent[uid] for uid in back}

    def ends_well(self) -> None:
        until(lambda: self.store() == 0, "it stores again", 20)
        self.serves()
        assert self.node.kill(signal.SIGTERM, 40) == 0
        self.node.here("fsck")
        self.node.here("verify", "--deep")

    def said(self, text: str) -> bool:
        return text in self.node.log.read_text(errors="replace")


def remounted(root: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", root], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", root], check=False, capture_output=True
    ).returncode:
        pytest.skip("a file system of its own takes root, and the right to mount")
    made = None
    try:
        made = Disk(root)
        assert made.store() == 0
        yield made
    finally:
        if made is not None:
            made.node.kill()
        subprocess.run(["umount", "-l", root], check=True)


def test_a_disk_that_fills(disk: Disk) -> None:
    filler = disk.root / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            pass
    statuses = {disk.store() for _ in range(5)}
    assert REFUSED in statuses
    assert statuses <= {0, REFUSED}
    disk.serves()
    filler.unlink()
    disk.ends_well()


def test_a_disk_that_becomes_read_only(disk: Disk) -> None:
    objects = disk.root / "objects"
    subprocess.run(["mount", "--bind", objects, objects], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", objects], check=True)
        assert disk.store() == REFUSED
        disk.serves()
    finally:
        subprocess.run(["umount", "-l", objects], check=True)
    disk.ends_well()


def test_a_disk_without_inodes(disk: Disk) -> None:
    used = os.statvfs(disk.root)
    remounted(disk.root, f"nr_inodes={used.f_files - used.f_ffree}")
    assert disk.store() == REFUSED
    disk.serves()
    remounted(disk.root, "nr_inodes=100000")
    disk.ends_well()


def test_an_index_that_is_locked_for_long(disk: Disk) -> None:
    """A C-STORE waits for its turn, 10 s, and no query waits."""
    with sqlite3.connect(disk.root / "index.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert disk.store() == REFUSED
        assert 9 < time.monotonic() - began < 21
        disk.serves()
        other.execute("ROLLBACK")
    other.close()
    disk.ends_well()


@pytest.mark.parametrize("lost", ["truncated", "deleted"])
def test_an_index_that_is_lost(disk: Disk, lost: str) -> None:
    """The node makes it again from the stored files, and nobody has to do anything."""
    index = disk.root / "index.db"
    if lost == "truncated":
        os.truncate(index, 100)
    else:
        for path in disk.root.glob("index.db*"):
            path.unlink()
    before = set(children(disk.node))
    if lost == "truncated":  # what is read comes from SQLite's log and memory: the next start finds it
        assert {disk.store() for _ in range(3)} <= {0, REFUSED, ENDED}
        disk.node.kill(signal.SIGTERM, 40)
        disk.node.start()
    until(lambda: not before & set(children(disk.node)), "each process opens it again", 60)
    disk.ends_well()


@contextmanager
def failing(pids: list[int], calls: str, error: str, paths: list[Path]) -> Iterator[None]:
    """Each of some system calls fails in running processes."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (scripts/install-tools.sh)")
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error={error}"]
    for path in paths:
        command += ["-P", str(path)]
    for pid in pids:
        command += ["-p", str(pid)]
    tracing = subprocess.Popen(command, stderr=subprocess.PIPE)
    time.sleep(1.0)
    if tracing.poll() is not None:
        pytest.skip(f"strace may not attach: {tracing.stderr.read().decode()}")  # type: ignore[union-attr]
    try:
        yield
    finally:
        tracing.terminate()
        tracing.wait(10)


def children(node: NodeProcess) -> list[int]:
    pid = node.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("name", _SYSTEM_CALLS)
def test_a_disk_that_fails(disk: Disk, name: str) -> None:
    """EIO of each call of a process that serves: refused, and served again when the disk is well."""
    index = [disk.root / f"index.db{end}" for end in ("", "-wal")] if "index" in name else []
    with failing(children(disk.node), _SYSTEM_CALLS[name], "EIO", index):
        statuses = {disk.store() for _ in range(3)}
    assert statuses <= {0, REFUSED, *([ENDED] if name == "read of the index" else [])}
    if name in ("fsync", "link"):
        assert statuses == {REFUSED}
    disk.ends_well()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_the_first_process(disk: Disk, number: int) -> None:
    """Killed, it takes the others with it, and the next start goes on. Stopped, the others go on serving."""
    others = children(disk.node)
    os.kill(disk.node.process.pid, number)
    if number == signal.SIGSTOP:
        assert disk.store() == 0
        time.sleep(12)  # longer than limits.hang_seconds
        os.kill(disk.node.process.pid, signal.SIGCONT)
        time.sleep(3)
        assert children(disk.node) == others
    else:
        until(lambda: not any(Path(f"/proc/{one}/exe").exists() for one in others), "all end", 40)
        disk.node.process.wait(10)
        disk.node.start()
    disk.ends_well()


def test_a_codec_process_that_is_killed(tmp_path: Path) -> None:
    """Its frame is tried again: the sender notices nothing."""
    node = ExecutedNode(tmp_path, node={"workers": 1})
    node.start()
    try:
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            assert scu.store(image(instance="1.2.3.1")).status == 0
            for pid in codecs(node):
                os.kill(pid, signal.SIGKILL)
            assert scu.store(image(instance="1.2.3.2", seed=2)).status == 0
        with Scu(node.address, [(VERIFICATION, [EXPLICIT])]) as scu:
            assert scu.echo() == 0
    finally:
        node.kill(signal.SIGTERM, 40)
    node.here("fsck")


def codecs(node: NodeProcess) -> list[int]:
    """Processes below the children of a node: the nurseries and their codec processes."""
    found: list[int] = []
    for child in children(node):
        for task in Path(f"/proc/{child}/task").iterdir():
            found += [int(one) for one in (task / "children").read_text().split()]
    return found
