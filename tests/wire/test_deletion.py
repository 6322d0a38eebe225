"""Deleted objects on the wire, and a process killed while it deletes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import forked
from objects import Shape, phantom

from scp.archive.archive import Archive
from scp.config.rules import DEFAULT_POLICY
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.objects.local import LocalStore

from .configured import environment
from .conftest import RunningNode
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, Retrieved, identifier, image

_OBJECTS = 60
_DELETES = """
import sys
from pathlib import Path
from scp.archive.archive import Archive
from scp.config.rules import DEFAULT_POLICY
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.objects.local import LocalStore
root = Path(sys.argv[1])
archive = Archive(LocalStore(root / "objects"), SqlIndex.open(f"sqlite:///{root}/index.db"), DEFAULT_POLICY)
deletion = Deletion(archive, {"": root / "objects"})
print("begins", flush=True)
deletion.resume()
for instance in list(archive.index.all()):
    deletion.delete([instance], "test")
print("ends", flush=True)
"""


def _found(node: RunningNode) -> int:
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        return len(scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3"))) - 1


def _fetched(node: RunningNode, instance: str, series: str) -> Retrieved:
    keys = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": series, "SOPInstanceUID": instance}
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        return scu.get(STUDY_GET, identifier("IMAGE", **keys))


def test_a_deleted_study_is_not_found_and_comes_back_to_the_byte(node: RunningNode) -> None:
    sent = image(series="1.2.3.4")
    node.keep(sent)
    deletion = Deletion(node.archive, {"": node.root / "objects"})
    before = _found(node), _fetched(node, sent.instance, "1.2.3.4")
    assert before[0] == 1
    assert [one.data for one in before[1].objects] == [sent.data]
    assert deletion.delete([node.held(sent)], "by hand: test").deleted == (sent.instance,)
    assert _found(node) == 0
    assert _fetched(node, sent.instance, "1.2.3.4").objects == []
    list(deletion.restore(deletion.trash.entries()))
    assert _found(node) == 1
    assert [one.data for one in _fetched(node, sent.instance, "1.2.3.4").objects] == [sent.data]


def _archive(root: Path) -> Archive:
    index = SqlIndex.open(f"sqlite:///{root}/index.db")
    return Archive(LocalStore(root / "objects"), index, DEFAULT_POLICY)


def test_killed_at_any_moment_nothing_is_lost_or_deleted_twice(tmp_path: Path) -> None:
    archive, moments = _archive(tmp_path), random.Random(7)
    uids = {
        archive.ingest(phantom(Shape(rows=8, columns=8, seed=seed))).instance.sop_instance_uid
        for seed in range(_OBJECTS)
    }
    assert len(uids) == _OBJECTS
    deletion = Deletion(archive, {"": tmp_path / "objects"})
    for _ in range(6):
        arguments = [sys.executable, "-c", _DELETES, str(tmp_path)]
        with forked.Python(arguments, stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
        for instance in archive.index.all():  # no row without its file, at any moment
            archive.verify(instance)
    deletion.resume()
    held, gone = list(archive.index.all()), deletion.trash.entries()
    assert sorted(archive.files.keys()) == sorted(one.key for one in held)
    assert sorted([one.sop_instance_uid for one in (*held, *gone)]) == sorted(uids)  # type: ignore[attr-defined]
    assert {one.state for one in gone} <= {"gone"}
    list(deletion.restore(gone))
    assert {one.sop_instance_uid for one in archive.index.all()} == uids
    for instance in archive.index.all():
        archive.verify(instance, deep=True)
    archive.close()
