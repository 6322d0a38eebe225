"""A peer that asks for 100,000 images and hardly reads what it is answered, beside an echo and a store."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from wire.conftest import ExecutedNode, NodeProcess
from wire.peers import EXPLICIT, MR_IMAGE, STUDY_FIND, identifier, image, until, written

from bench import window
from scp.dimse.wire.messages import Value

from .watching import Bystanders, Memory, ended

IMAGES = 100_000
# A worker has 85 MB.
MOST_KB = 200_000
_COPIED = "1.2.3.9"
# So many matches are read slowly. Sockets hold 5 MB that was not read, and all matches are 25 MB.
_SLOWLY, _PAUSE, _BUFFER = 50, 0.1, 1 << 18
_PENDING = 0xFF00
_FIND: dict[str, Value] = {
    "CommandField": 0x20,
    "MessageID": 1,
    "AffectedSOPClassUID": STUDY_FIND,
    "Priority": 0,
}


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    idle = {"lifecycle": {"workers": 0}, "scrub": {"interval": "0s"}}  # most images have no files
    made = (
        ExecutedNode(tmp_path_factory.mktemp("node"), node={"workers": 2}, **idle),  # its memory is looked at
        NodeProcess(tmp_path_factory.mktemp("other"), node={"workers": 1}),
    )
    for one in made:
        one.start()
    yield made
    for one in made:
        one.kill()


@contextmanager
def _index(node: NodeProcess) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(node.root / "index.db", 30, isolation_level=None)) as connection:
        yield connection


def _fill(node: NodeProcess) -> None:
    """Copy the row of one image: to send so many takes minutes."""
    one = image(instance=_COPIED, rows=8)
    with window.Scu(node.address, [(MR_IMAGE, EXPLICIT)]) as scu:
        assert scu.store([window.Obj(MR_IMAGE, one.instance, EXPLICIT, one.data)]) == [0]
    with _index(node) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(instance)") if name != "id"]
        copied = ", ".join(f"'{_COPIED}.' || n" if name == "sop_instance_uid" else name for name in columns)
        connection.execute(
            f"""
            WITH RECURSIVE made(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM made WHERE n < {IMAGES - 1})
            INSERT INTO instance ({", ".join(columns)}) SELECT {copied} FROM instance JOIN made
            """
        )


def _take_out(node: NodeProcess) -> None:
    """The rows without files; what peers stored meanwhile stays."""
    with _index(node) as connection:
        connection.execute(f"DELETE FROM instance WHERE sop_instance_uid LIKE '{_COPIED}.%'")


def _kept_back(node: NodeProcess) -> int:
    """Pages of SQLite's log that cannot be copied into the database, as somebody reads what was before them.

    While there are any, the log begins nowhere anew: it grows with all that is written.
    """
    with _index(node) as connection:
        _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages - copied)


def _asks_for_all(node: NodeProcess) -> window.Scu:
    asked = written(identifier("IMAGE", SOPInstanceUID=""), EXPLICIT)
    scu = window.Scu(node.address, [(STUDY_FIND, EXPLICIT)], calling="SLOW")
    scu.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    scu.socket.sendall(window.message(1, _FIND, asked))
    return scu


def test_a_peer_that_reads_a_hundred_thousand_matches_slowly(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    """Matches are not kept in memory for it, and nothing is held in the database; it gets all of them."""
    node, other = nodes
    _fill(node)
    memory = Memory(node)
    with memory.sampled(), Bystanders(node, other) as bystanders, _asks_for_all(node) as scu:
        for _ in range(_SLOWLY):
            assert scu.response()["Status"] == _PENDING
            time.sleep(_PAUSE)
        until(lambda: _kept_back(node) == 0, "all of the log can be copied", 10)
        matches = _SLOWLY
        while (status := scu.response()["Status"]) == _PENDING:
            matches += 1
        bystanders.stop()
    assert status == 0
    assert matches >= IMAGES
    assert bystanders.faults() == []
    assert ended(node) == []
    assert {pid: peak for pid, peak in memory.peaks.items() if pid in memory.lasting and peak > MOST_KB} == {}
    assert node.kill(signal.SIGTERM) == 0
    _take_out(node)
    assert json.loads(node.here("verify", "--deep", "--json"))["damaged"] == 0
    assert "Files and index agree" in node.here("fsck")
