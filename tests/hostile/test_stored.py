"""A stored file is input, too: whatever it has become, only its own object is damaged, and can be mended."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from wire.configured import environment, settings_of
from wire.conftest import NodeProcess, command
from wire.peers import EXPLICIT

from bench.processes import status_kb
from scp.node.build import open_archive

from . import requester, stored
from .objects import Bad, native
from .requester import Got
from .table import LIMITS
from .watching import Bystanders, Memory, ended

_SECONDS = 60.0
_MOST_KB = 1_000_000  # with the pages of files that are mapped; each bomb asks for 4 GB and more
_MOST_MB = 500
# Each way to keep an object, and what its file may become.
_WAYS = {
    "zstd": ({"form": "zstd"}, stored.ZSTD),
    "htj2k": ({"form": "htj2k", "wrap": "none"}, stored.PART10),
}
_ALL = [(way, attack) for way, (_, attacks) in _WAYS.items() for attack in attacks]


Key = tuple[str, str]


def _picture(way: str, attack: str) -> Bad:
    """Smooth, so that each form takes it; no two are the same."""
    pixels = bytes(n // 512 % 256 for n in range(128 * 128))
    return native(
        f"{way}, {attack}",
        EXPLICIT,
        pixels,
        rows=128,
        columns=128,
        SeriesDescription=way,
        ImageComments=attack,
    )


@dataclass
class Seen:
    node: NodeProcess
    got: dict[Key, Got | str]
    slow: list[str]
    ended: list[object]
    peak: int
    verified: dict[str, object]
    mended: dict[Key, int]
    sound: int
    remade: tuple[int, int, int]  # of reindex: exit status, most memory in KB, bytes written


def _files(node: NodeProcess) -> dict[str, Path]:
    archive = open_archive(settings_of(node.tables))
    try:
        return {one.sop_instance_uid: node.root / "objects" / one.key for one in archive.index.all()}
    finally:
        archive.close()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, other_node: NodeProcess) -> Iterator[Seen]:
    rules = [
        {"name": way, "match": {"SeriesDescription": way}, "stages": [stage]}
        for way, (stage, _) in _WAYS.items()
    ]
    node = NodeProcess(tmp_path_factory.mktemp("stored"), policy=rules, limits=LIMITS, node={"workers": 2})
    node.start()
    try:
        yield _tried(node, other_node)
    finally:
        node.kill()


def _tried(node: NodeProcess, other: NodeProcess) -> Seen:
    objects = {(way, attack): _picture(way, attack) for way, attack in _ALL}
    for one in objects.values():
        assert requester.store(node.address, one, _SECONDS) == (0, "")
    files = _files(node)
    before = {key: files[one.instance].read_bytes() for key, one in objects.items()}
    for (way, attack), one in objects.items():
        changed = _WAYS[way][1][attack](before[way, attack])
        path = files[one.instance]
        path.chmod(0o644)
        path.write_bytes(changed)
    memory = Memory(node)
    with memory.sampled(), Bystanders(node, other) as bystanders:
        got = {key: _got(node, one) for key, one in objects.items()}
        bystanders.stop()
    verified = json.loads(node.run("verify", "--deep", "--json", status=1).stdout)
    remade = _remade(node)
    mended = {key: requester.store(node.address, one, _SECONDS)[0] for key, one in objects.items()}
    sound = node.run("verify", "--deep", status=None).returncode
    told = ended(node)
    assert node.kill(signal.SIGTERM) == 0
    peak = max(memory.peaks.values())
    return Seen(node, got, bystanders.faults(), [*told], peak, verified, mended, sound, remade)


def _got(node: NodeProcess, one: Bad) -> Got | str:
    try:
        return requester.get(node.address, one, EXPLICIT, _SECONDS)
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def _remade(node: NodeProcess) -> tuple[int, int, int]:
    """The index made anew from a copy of the stores, as an admin would whose index is gone."""
    root = node.root / "again"
    shutil.copytree(node.root / "objects", root / "objects")
    tables = {**node.tables, "storage": {**node.tables["storage"], "url": f"file://{root}/objects"}}
    again = NodeProcess(root, **{**tables, "index": {"url": f"sqlite:///{root}/index.db"}})
    process = subprocess.Popen(
        command("reindex", "-c", again.config), cwd=root, env=environment(), stdout=subprocess.DEVNULL
    )
    # Not ru_maxrss: a child's begins with what its parent, this test, had when it was forked. And not
    # ru_oublock: what goes to a file that is gone before the disk has it, or lies in memory, is no block.
    peak = written = 0
    while process.poll() is None:
        peak = max(peak, status_kb([process.pid], "VmHWM").get(process.pid, 0))
        with suppress(OSError, IndexError):
            io = Path(f"/proc/{process.pid}/io").read_text()
            written = max(written, int(io.partition("wchar:")[2].split()[0]))
        time.sleep(0.02)
    shutil.rmtree(root)
    return process.returncode, peak, written


@pytest.mark.parametrize("key", _ALL, ids=" ".join)
def test_it_is_not_given_out(seen: Seen, key: Key) -> None:
    got = seen.got[key]
    assert isinstance(got, Got), got
    assert got.refused, got


def test_its_peers_go_on(seen: Seen) -> None:
    assert (seen.slow, seen.ended) == ([], [])


def test_no_process_passed_its_limit(seen: Seen) -> None:
    assert seen.peak < _MOST_KB


def test_verify_tells_of_each(seen: Seen) -> None:
    assert seen.verified["damaged"] == len(_ALL)


@pytest.mark.parametrize("key", _ALL, ids=" ".join)
def test_it_is_mended_by_who_sends_it_again(seen: Seen, key: Key) -> None:
    assert seen.mended[key] == 0


def test_all_are_sound_then(seen: Seen) -> None:
    assert seen.sound == 0
    assert "Files and index agree" in seen.node.run("fsck").stdout


def test_the_index_is_made_anew_from_what_is_whole(seen: Seen) -> None:
    """Where no row knows a digest, each file is read: in little memory, and little of it goes to the disk."""
    status, peak, written = seen.remade
    assert status == 1
    assert peak < _MOST_KB
    assert 0 < written < _MOST_MB << 20
