"""Workers and nodes that are killed at random moments while a stage makes objects lossy.

They are killed after so many objects, and a while, so that as much gets done on a busy machine.
"""

from __future__ import annotations

import random
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import forked
import pytest
from lossy_stages import NEAR, SAME, as_sent, lossless, opened, picture, rules

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.objects.stores import places
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed
from scp.spool import sha256

from .configured import environment, free_claims, journal, settings_of
from .conftest import NodeProcess
from .peers import Sent, read, until

pytestmark = pytest.mark.slow

_RANDOM = random.Random(19)
_WORKER = """
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from scp.config.load import load
    from scp.lifecycle.deletion import Deletion
    from scp.lifecycle.recovery import recover
    from scp.lifecycle.stages import Stages
    from scp.node.build import open_archive
    from scp.objects.stores import places

    settings = load(Path("zscp.toml"), {})
    archive = open_archive(settings)
    recover(archive)
    Deletion(archive, places(settings)).resume()
    with ThreadPoolExecutor(2) as pool:
        stages = Stages(archive, "killed", pool)
        while stages.round().tried or stages.plan():
            pass
    archive.close()
"""


class Worker:
    """A process that carries out what is due, and ends."""

    def __init__(self, node: NodeProcess) -> None:
        self._root = node.root
        (node.root / "worker.py").write_text(textwrap.dedent(_WORKER), encoding="utf-8")
        self.process: Any = None

    def start(self) -> None:
        command = [sys.executable, "worker.py"]
        with (self._root / "worker.log").open("wb") as log:
            self.process = forked.Python(command, cwd=self._root, env=environment(), stderr=log)

    def lose_power(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self, _: int) -> None:
        self.start()
        assert self.process.wait(300) == 0, (self._root / "worker.log").read_text()


class WholeNode:
    """A node, all processes of which are killed at once."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self.start, self.lose_power = node.start, node.lose_power

    @property
    def process(self) -> Any:
        return self._node.process

    def finish(self, count: int) -> None:
        self.start()
        # A claim of one that was killed ends after 9 s, and the next look may be a minute later.
        until(lambda: _gone(self._node) == count, "all is made lossy", 300)
        assert self._node.kill(15) == 0


def _has_done(node: NodeProcess, one: Worker | WholeNode, wanted: int) -> bool:
    return _gone(node) >= wanted or one.process.poll() is not None


def _gone(node: NodeProcess) -> int:
    """How many originals are in the trash."""
    return len(list((node.root / "objects" / ".trash").glob("*.gone")))


@contextmanager
def _archive(node: NodeProcess) -> Iterator[tuple[Archive, Settings]]:
    settings = settings_of(node.tables)
    archive = opened(settings)
    try:
        yield archive, settings
    finally:
        archive.close()


def _originals_in(trash: Trash) -> dict[str, Trashed]:
    return {one.sop_instance_uid: one for one in trash.entries(("going", "gone"))}


def _nothing_is_lost(node: NodeProcess, sent: list[Sent], stored: dict[str, str]) -> int:
    """Each object is there as it came, or its copy with the original in the trash; how many are copies.

    Nothing was recovered before: so does a peer see it that asks at once. But of a copy that keeps the UID
    the original may still lie in its place, where the journal knows it: a start brings it to the trash.
    """
    copies = 0
    with _archive(node) as (archive, settings):
        trash = Deletion(archive, places(settings)).trash
        gone = _originals_in(trash)
        by_original = {one.lossy_of: one for one in archive.all() if one.lossy_of}
        if not by_original.keys() <= gone.keys():
            recover(archive)
            gone = _originals_in(trash)
        for one in sent:
            originals = [held for held in archive.named(one.instance) if not held.lossy_of]
            if originals:
                assert lossless(archive, originals[0]) == one.data
                continue
            copy, entry = by_original[one.instance], gone[one.instance]
            archive.verify(copy, deep=True)
            told = archive.fetch(copy, [copy.transfer_syntax])
            header = read(b"".join(map(bytes, told.chunks)), copy.transfer_syntax)
            assert (header.LossyImageCompression, header.ImageType[0]) == ("01", "DERIVED")
            assert sha256(trash.begin_of(entry, entry.size)) == stored[one.instance]
            assert entry.lossy_copy == copy.sop_instance_uid
            copies += 1
        free_claims(archive.index)
    return copies


@pytest.mark.parametrize(
    ("kind", "stage", "count", "kills"),
    [
        pytest.param(Worker, NEAR, 24, 4, id="worker"),
        pytest.param(Worker, NEAR, 60, 25, id="worker, new UID, 60", marks=pytest.mark.long),
        pytest.param(Worker, SAME, 60, 25, id="worker, same UID, 60", marks=pytest.mark.long),
        pytest.param(WholeNode, SAME, 24, 2, id="node"),
        pytest.param(WholeNode, NEAR, 60, 12, id="node, new UID, 60", marks=pytest.mark.long),
        pytest.param(WholeNode, SAME, 60, 12, id="node, same UID, 60", marks=pytest.mark.long),
    ],
)
def test_killed_again_and_again(
    process: Callable[..., NodeProcess],
    kind: type[Worker | WholeNode],
    stage: dict[str, Any],
    count: int,
    kills: int,
) -> None:
    node = process(policy=rules(stage), lifecycle={"max_cpu": 2.0})
    sent = [picture(number) for number in range(count)]
    with _archive(node) as (archive, _):
        stored = {}
        for one in sent:
            kept = archive.ingest(as_sent(one)).instance
            stored[one.instance] = kept.stored_sha256
    one_of = kind(node)
    seen, killed = [], 0
    for _ in range(kills):
        wanted = _gone(node) + _RANDOM.randint(0, count // kills)
        one_of.start()
        until(partial(_has_done, node, one_of, wanted), "some are made lossy", 60)
        time.sleep(_RANDOM.uniform(0, 0.05))
        killed += one_of.process.poll() is None
        one_of.lose_power()
        seen.append(_nothing_is_lost(node, sent, stored))
    assert killed >= kills / 2, "it had done all there was to do"
    assert seen == sorted(seen)
    one_of.finish(count)
    assert _nothing_is_lost(node, sent, stored) == count
    _comes_back(node, sent)


def _comes_back(node: NodeProcess, sent: list[Sent]) -> None:
    """One copy of each, and its original; then all originals, byte for byte."""
    with _archive(node) as (archive, settings):
        recover(archive)
        deletion = Deletion(archive, places(settings))
        assert deletion.resume() == 0
        uids = sorted(one.instance for one in sent)
        assert sorted(one.lossy_of for one in archive.all()) == uids
        # One that was killed between the trash and its file's removal is put there by the next start, too.
        entries = {one.sop_instance_uid: one for one in deletion.trash.entries()}
        assert sorted(entries) == uids
        assert journal(settings.storage.path) == []
        assert list(fsck(archive, Silent())) == []
        list(deletion.restore(entries.values()))
        assert {one.sop_instance_uid for one in archive.all()} == set(uids)
        for one in sent:
            (held,) = archive.named(one.instance)
            assert lossless(archive, held) == one.data
