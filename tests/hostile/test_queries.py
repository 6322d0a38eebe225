"""Identifiers and keys that would take a node's memory or time, beside an echo and a store from others."""

from __future__ import annotations

import json
import signal
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from wire.conftest import ExecutedNode, NodeProcess
from wire.peers import DEFLATED, EXPLICIT, IMPLICIT, MR_IMAGE, STUDY_FIND, identifier, image, written

from bench import window
from scp.dimse.verdict import PUSH_INSTANCE
from scp.dimse.wire.messages import Value

from .watching import Bystanders, Memory, ended

PUSH_MODEL = "1.2.840.10008.1.20.1"
# Multi-valued, and each value all "A": what patterns of stars are worst on.
IMAGE_TYPE = "\\".join(["A" * 16] * 40)
# A worker has 85 MB. What these ask for comes to gigabytes.
MOST_KB = 200_000
_FIND: dict[str, Value] = {
    "CommandField": 0x20,
    "MessageID": 1,
    "AffectedSOPClassUID": STUDY_FIND,
    "Priority": 0,
}
_ACTION: dict[str, Value] = {
    "CommandField": 0x130,
    "MessageID": 1,
    "RequestedSOPClassUID": PUSH_MODEL,
    "RequestedSOPInstanceUID": PUSH_INSTANCE,
    "ActionTypeID": 1,
}


def _bomb() -> bytes:
    """100 KB that inflate to 100 MB, again and again: 2 GB in all."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
    part = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(100)) + deflater.flush(zlib.Z_FULL_FLUSH)
    data = part * 20 + deflater.flush()
    return data + b"\0" * (len(data) % 2)


def _nested(depth: int) -> bytes:
    data = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
    for _ in range(depth):
        data = struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
        data = struct.pack("<HHL", 0x0040, 0x0275, len(data)) + data
    return struct.pack("<HHL", 8, 0x52, 6) + b"STUDY " + data


def _keys(**keys: str) -> Callable[[], bytes]:
    return lambda: written(identifier("IMAGE", SOPInstanceUID="", **keys), EXPLICIT)


@dataclass(frozen=True)
class Asked:
    """A request, and the status that answers it."""

    data: Callable[[], bytes]
    syntax: str
    status: int
    action: bool = False


ASKED = {
    "deflated identifier": Asked(_bomb, DEFLATED, 0xA900),
    "deflated action": Asked(_bomb, DEFLATED, 0x0213, action=True),
    "long identifier": Asked(lambda: bytes(60 << 20), EXPLICIT, 0xA900),
    "long action": Asked(lambda: bytes(60 << 20), EXPLICIT, 0x0213, action=True),
    "nested": Asked(lambda: _nested(60), IMPLICIT, 0xA900),
    "stars": Asked(_keys(ImageType="*A" * 15 + "*B"), EXPLICIT, 0),
    "many stars": Asked(_keys(ImageType="*A" * 150 + "*B"), EXPLICIT, 0),
    "patterns": Asked(_keys(ImageType="\\".join(["*A*A*A*A*B"] * 20)), EXPLICIT, 0),
    "more patterns": Asked(_keys(ImageType="\\".join(["*A*A*A*B"] * 200)), EXPLICIT, 0xA900),
    "carets": Asked(_keys(PatientName="^" * 60_000), EXPLICIT, 0xA900),
    "hyphens": Asked(_keys(StudyDate="-" * 5_000), EXPLICIT, 0xA900),
}


def _answer(node: NodeProcess, asked: Asked) -> int:
    model, command = (PUSH_MODEL, _ACTION) if asked.action else (STUDY_FIND, _FIND)
    with window.Scu(node.address, [(model, asked.syntax)], calling="GREEDY") as scu:
        sender = threading.Thread(target=scu.socket.sendall, args=(window.message(1, command, asked.data()),))
        sender.start()
        while (status := scu.response()["Status"]) == 0xFF00:
            pass
        sender.join()
        return int(str(status))


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    made = (
        ExecutedNode(tmp_path_factory.mktemp("node"), node={"workers": 2}),  # its memory is looked at
        NodeProcess(tmp_path_factory.mktemp("other"), node={"workers": 1}),
    )
    for one in made:
        one.start()
    yield made
    for one in made:
        one.kill()


def test_queries_that_ask_for_too_much(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    node, other = nodes
    with window.Scu(node.address, [(MR_IMAGE, EXPLICIT)]) as scu:
        kept = [image(instance=f"1.2.3.9.{n}", rows=8, ImageType=IMAGE_TYPE) for n in range(100)]
        assert not any(scu.store([window.Obj(MR_IMAGE, one.instance, EXPLICIT, one.data) for one in kept]))
    answers: dict[str, int] = {}

    def ask(name: str) -> None:
        answers[name] = _answer(node, ASKED[name])

    memory = Memory(node)
    with memory.sampled(), Bystanders(node, other) as bystanders:
        threads = [threading.Thread(target=ask, args=(name,)) for name in ASKED]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        bystanders.stop()
    assert answers == {name: asked.status for name, asked in ASKED.items()}
    assert bystanders.faults() == []
    assert ended(node) == []
    assert {pid: peak for pid, peak in memory.peaks.items() if pid in memory.lasting and peak > MOST_KB} == {}
    assert node.kill(signal.SIGTERM) == 0
    assert json.loads(node.run("verify", "--deep", "--json").stdout)["damaged"] == 0
    assert "Files and index agree" in node.run("fsck").stdout
