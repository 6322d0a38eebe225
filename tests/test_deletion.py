"""Deleting, and being killed while at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file, received

from scp.archive import Archive
from scp.config import DEFAULT_POLICY
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.reindex import reindex
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.local import LocalStore
from scp.objects.trash import Trash


class Killed(BaseException):
    pass


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(
        LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), DEFAULT_POLICY
    )
    yield archive
    archive.close()


@pytest.fixture
def deletion(archive: Archive, tmp_path: Path) -> Deletion:
    return Deletion(archive, tmp_path / "objects")


@pytest.fixture
def one(archive: Archive) -> Instance:
    return archive.ingest(received(bundled_file("CT_small.dcm"))).instance


def content(archive: Archive, instance: Instance) -> bytes:
    return bytes(archive.store.get(instance.key))


def test_deleted_and_restored_it_is_the_same_to_the_byte(archive, deletion, one) -> None:
    before = content(archive, one)
    assert deletion.delete([one], "by hand: test").deleted == (one.sop_instance_uid,)
    assert archive.index.held(one.sop_instance_uid) is None
    assert list(archive.keys()) == []
    (entry,) = deletion.trash.entries()
    assert (entry.state, entry.reason) == ("gone", "by hand: test")
    list(deletion.restore([entry]))
    assert content(archive, one) == before
    archive.verify(archive.index.held(one.sop_instance_uid), deep=True)
    assert deletion.trash.entries() == []


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_what_is_held_stays(archive, deletion, one, level: str) -> None:
    uid = {
        "PATIENT": archive.facts(one).attributes["PatientID"],
        "STUDY": one.study_instance_uid,
        "SERIES": one.series_instance_uid,
        "IMAGE": one.sop_instance_uid,
    }[level]
    deletion.holds.add(Hold(level, uid, "court", 1.0))
    assert deletion.delete([one], "test").held == (one.sop_instance_uid,)
    archive.verify(one)
    deletion.holds.remove(deletion.holds.all())
    assert deletion.delete([one], "test").deleted == (one.sop_instance_uid,)


STEPS = [(Trash, "_note"), (SqlIndex, "forget"), (SqlIndex, "sync"), (Trash, "take"), (Trash, "mark")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_at_each_step(archive, deletion, one, monkeypatch, part: Any, step: str, after: bool) -> None:
    whole = getattr(part, step)

    def dies(*given: Any) -> None:
        if after:
            whole(*given)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(part, step, dies)
        deletion.delete([one], "test")
    held = archive.index.held(one.sop_instance_uid)
    if held is not None:
        archive.verify(held)
    deletion.resume()
    assert deletion.resume() == 0
    held = archive.index.held(one.sop_instance_uid)
    assert [entry.state for entry in deletion.trash.entries()] == ([] if held else ["gone"])
    assert list(archive.keys()) == ([held.key] if held else [])


def test_what_is_sent_again_while_it_goes_stays(archive, deletion, one, monkeypatch) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Trash, "take", dies)
        deletion.delete([one], "test")
    archive.ingest(received(bundled_file("CT_small.dcm")))
    deletion.resume()
    archive.verify(archive.index.held(one.sop_instance_uid))


def test_a_new_index_does_not_bring_back_what_was_deleted(archive, deletion, one) -> None:
    class Still:
        def advance(self, steps: int = 1) -> None: ...
        def total(self, steps: int) -> None: ...

    deletion.delete([one], "test")
    assert reindex(archive, Still()).recorded == 0


def test_purged_is_gone(archive, deletion, one) -> None:
    deletion.delete([one], "test")
    (entry,) = deletion.trash.entries()
    assert deletion.purge(entry.at - 1) == []
    assert deletion.purge(entry.at) == [entry]
    assert deletion.trash.entries() == []
