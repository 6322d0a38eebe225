"""Killed at each system call between an acknowledgement and the commit of its row: the object is there."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import forked
import pytest
from wire.configured import environment
from wire.peers import EXPLICIT, image

from scp.background.progress import Silent
from scp.config.load import load
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.node.build import open_archive

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

# Each call dies in a child of its own. strace counts the calls of the one thread that records, and kills it.
_CALLS = """
    import os, shutil, signal, subprocess, sys
    from datetime import UTC, datetime
    from pathlib import Path

    from scp.archive import behind
    from scp.background.doorbell import Doorbell
    from scp.config.load import load
    from scp.model import Received
    from scp.node.build import open_archive

    base, data = Path(sys.argv[1]), (Path(sys.argv[1]) / "sent").read_bytes()
    behind.WINDOW_SECONDS = 3600.0

    def store(tell):
        archive = open_archive(load(base / "zscp.toml", {}), Doorbell())
        sender = behind.Unrecorded()
        assert archive.receiver._behind.takes(0)
        os.write(tell, str(archive.receiver._behind._thread.native_id).encode())
        os.kill(os.getpid(), signal.SIGSTOP)
        uids = ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.1.1", "1.2.840.10008.1.2.1")
        archive.ingest(Received(*uids, data, "A", "B", datetime.now(UTC)), follow=sender.add)
        Path("acknowledged").touch()
        assert sender.wait()

    def died(folder, call):
        reads, tell = os.pipe()
        if not (child := os.fork()):
            os.chdir(folder)
            try:
                store(tell)
            finally:
                os._exit(1 if sys.exc_info()[1] else 0)
        thread = os.read(reads, 20).decode()
        os.waitpid(child, os.WUNTRACED)
        kill = f"inject=all:signal=SIGKILL:when={call}"
        command = ["strace", "-p", thread, "-o", folder / "calls", "-e", kill]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert "attached" in strace.stderr.readline()
        os.kill(child, signal.SIGCONT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        strace.wait()
        return status

    call, status = 0, -9
    while status == -9:
        call += 1
        folder = base / str(call)
        folder.mkdir()
        status = died(folder, call)
        print(call, status, (folder / "acknowledged").exists(), flush=True)
"""


@pytest.mark.parametrize("first", ["received", "zstd"], ids=["as received", "in its form"])
def test_killed_at_each_system_call_before_the_row_is_committed(tmp_path: Path, first: str) -> None:
    sent = image(instance="1.2.3.1.1")
    (tmp_path / "sent").write_bytes(sent.data)
    (tmp_path / "zscp.toml").write_text(
        f'[storage]\nreserve = 0\n[[policy]]\nname = "all"\nstages = [{{ form = "{first}" }}]\n'
    )
    script = tmp_path / "calls.py"
    script.write_text(textwrap.dedent(_CALLS))
    done = forked.run([sys.executable, script, tmp_path], timeout=500, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-1][1:] == ["0", "True"]
    recovered = set()
    for call, _, acknowledged in lines:
        count, contents = after_restart(tmp_path / call / "zscp-data")
        recovered.add(count)
        if acknowledged == "True":
            assert contents == [sent.data], call
        assert contents in ([], [sent.data])
    assert recovered >= {0, 1}  # before the commit, and after it
    assert len(lines) > 20


def after_restart(data: Path) -> tuple[int, list[bytes]]:
    """How many objects the next start has to record, and what is held then."""
    urls = {"ZSCP_STORAGE__URL": f"file://{data}/objects", "ZSCP_INDEX__URL": f"sqlite:///{data}/index.db"}
    archive = open_archive(load(None, urls))
    try:
        found = recover(archive)
        contents = [b"".join(map(bytes, archive.fetch(one, [EXPLICIT]).chunks)) for one in archive.all()]
        assert list(fsck(archive, Silent())) == []
        return found.recorded, contents
    finally:
        archive.close()
