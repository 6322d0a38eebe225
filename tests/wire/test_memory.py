"""An object that is larger than the memory it may take: received, encoded, proven, and served decoded."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import window
from scp.dimse.wire.messages import write_command
from scp.node.tasks import guards

from .conftest import NodeProcess, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, identifier, image, read, written

pytestmark = pytest.mark.slow

# 260 MB show what 2048 do, in an eighth of the time: TEST_LARGE_MB=2048 for the whole. The processes
# had 130 MB at most, for either.
_MEGABYTES = int(os.environ.get("TEST_LARGE_MB", "260"))
_LIMIT_KB = 220_000
_ROWS = 1024
_FRAME = _ROWS * _ROWS * 2
_FRAMES = _MEGABYTES * 1_000_000 // _FRAME
_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture


def _header() -> bytes:
    """All before the samples."""
    dataset = read(
        image(sop_class=_MULTI_FRAME, instance="1.2.3.1.1", rows=4, NumberOfFrames=str(_FRAMES)).data,
        EXPLICIT,
    )
    dataset.Rows = dataset.Columns = _ROWS
    del dataset.PixelData
    return written(dataset, EXPLICIT) + struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OW", _FRAMES * _FRAME)


def _frames() -> Iterator[bytes]:
    """Each of the frames is another; all are as smooth as pictures are, and compress."""
    ramp = np.add.outer(np.arange(_ROWS, dtype="<u2"), np.arange(_ROWS, dtype="<u2")) // 2
    noise = np.random.default_rng(1).integers(0, 4, (_ROWS, _ROWS), dtype="<u2")
    for number in range(_FRAMES):
        yield (ramp + np.roll(noise, number) + np.uint16(number) & np.uint16(4095)).tobytes()


def _send(scu: window.Scu) -> str:
    """Store the object as it is made; returns its SHA-256."""
    command = write_command(
        {
            "CommandField": 1,
            "MessageID": 1,
            "AffectedSOPClassUID": _MULTI_FRAME,
            "AffectedSOPInstanceUID": "1.2.3.1.1",
            "Priority": 0,
            "CommandDataSetType": 0,
        }
    )
    digest, step = hashlib.sha256(), 100_000
    scu.socket.sendall(_pdu(command, 3))
    parts = (part for whole in (_header(), *_frames()) for part in _cut(whole, step))
    held = next(parts)
    for part in parts:
        digest.update(held)
        scu.socket.sendall(_pdu(held, 0))
        held = part
    digest.update(held)
    scu.socket.sendall(_pdu(held, 2))
    assert scu.response()["Status"] == 0
    return digest.hexdigest()


def _cut(whole: bytes, step: int) -> Iterator[bytes]:
    return (whole[at : at + step] for at in range(0, len(whole), step))


def _pdu(data: bytes, control: int) -> bytes:
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, 1, control) + data


def _get(address: tuple[str, int]) -> str:
    """Get the object as explicit VR little endian; returns the SHA-256 of what came."""
    contexts = [(_MULTI_FRAME, EXPLICIT), (STUDY_GET, EXPLICIT)]
    command = {"CommandField": 0x10, "MessageID": 1, "AffectedSOPClassUID": STUDY_GET, "Priority": 0}
    query = written(identifier("STUDY", StudyInstanceUID="1.2.3"), EXPLICIT)
    with window.Scu(address, contexts, roles=[_MULTI_FRAME]) as scu:
        scu.socket.sendall(window.message(3, command, query))  # type: ignore[arg-type]
        request, digest = scu._value(1), hashlib.sha256()
        assert b"1.2.3.1.1" in request
        last = False
        while not last:
            kind, body = scu.pdu()
            assert kind == 4
            digest.update(body[6:])
            last = bool(body[5] & 2)
        answer = {
            "CommandField": 0x8001,
            "MessageIDBeingRespondedTo": int.from_bytes(_field(request, 0x0110), "little"),
            "AffectedSOPClassUID": _MULTI_FRAME,
            "Status": 0,
        }
        scu.socket.sendall(window.message(1, answer))  # type: ignore[arg-type]
        assert scu.response()["Status"] == 0
        scu.release()
    return digest.hexdigest()


def _field(command: bytes, number: int) -> bytes:
    at = command.index(struct.pack("<HH", 0, number))
    return command[at + 8 : at + 8 + struct.unpack_from("<L", command, at + 4)[0]]


def _peaks(node: NodeProcess) -> dict[int, int]:
    """The most that each process of a node ever had in memory, in KB."""
    assert node.process is not None
    pid = node.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = {int(child): Path(f"/proc/{child}/status").read_text() for child in (pid, *children)}
    return {child: int(text.partition("VmHWM:")[2].split()[0]) for child, text in status.items()}


# What encodes is the same before the response (tests/encoding/test_streaming.py), but in a worker.
@pytest.mark.parametrize(
    "backlog",
    [pytest.param(0, id="encoded before", marks=pytest.mark.long), pytest.param("4GB", id="encoded behind")],
)
def test_memory_is_bounded(executed: Callable[..., NodeProcess], backlog: object) -> None:
    # The budget bounds what is worked on at a time, however many cores there are.
    limits = {"memory": "100MB"}
    node = executed(storage={"backlog": backlog}, node={"workers": 1}, limits=limits)
    node.start()
    with window.Scu(node.address, [(_MULTI_FRAME, EXPLICIT)], seconds=300.0) as scu:
        sent = _send(scu)
        scu.release()
    node.encodes_all(300)
    assert '"htj2k"' in node.here("stats", "--json")
    assert _get(node.address) == sent
    node.run("verify", "--deep")
    assert max(_peaks(node).values()) < _LIMIT_KB, _peaks(node)


_PROGRAM = """
import sys
from pathlib import Path
from scp.config.settings import Settings
from scp.node import build, service
from scp.resources import budget
made = []
build.keep_large_apart = service.keep_large_apart = lambda: made.append(1)
settings = Settings.model_validate({
    "storage": {"url": f"file://{sys.argv[1]}/objects"}, "index": {"url": f"sqlite:///{sys.argv[1]}/index.db"},
    "limits": {"memory": "300MB"},
})
if sys.argv[2] == "node":
    service.Service(settings, lambda: None)
else:
    build.open_archive(settings).close()
print(budget._budget.limit, len(made))
"""


@pytest.mark.parametrize("what", ["node", "command"])
def test_limits_of_memory_hold_in_each_process(tmp_path: Path, what: str) -> None:
    """In those of a node they are made before any is forked: the budget is one, and so is the arena."""
    run = [sys.executable, "-c", _PROGRAM, str(tmp_path), what]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["300000000", "1"], done.stderr


def test_memory_that_is_free_is_given_back(start: Starter) -> None:
    """By a loop in each process that has an archive open."""
    node = start()
    assert "trimming" in [thread.name for thread in threading.enumerate()]
    for counts in (True, False):
        assert "trimming" in [task.name for task in guards(node.archive, lambda: None, counts)]


def test_all_threads_share_one_arena(executed: Callable[..., NodeProcess]) -> None:
    """Of more than one, malloc_trim leaves what lies at their ends: 8 MB each."""
    node = executed(node={"workers": 1})
    node.start()
    assert node.process is not None
    with ExitStack() as stack:
        scus = [stack.enter_context(Scu(node.address, [(MR_IMAGE, [EXPLICIT])])) for _ in range(4)]
        for number, scu in enumerate(scus):
            assert scu.store(image(instance=f"1.2.3.4.{number + 1}")).status == 0
        assert {pid: arenas_of(pid) for pid in _peaks(node)} == dict.fromkeys(_peaks(node), 0)


def arenas_of(pid: int) -> int:
    """Arenas beside the first: glibc reserves 64 MB for each, and uses the beginning of it."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    spans = [[int(end, 16) for end in fields[0].split("-")] for fields in lines]
    return sum(
        first[0] % (64 << 20) == 0 and rest[1] - first[0] == 64 << 20 and first[1] == rest[0]
        for first, rest in pairwise(spans)
    )
