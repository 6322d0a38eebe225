"""Deleting, and being killed while at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.archive.replacement import Change, moved
from scp.background.progress import Silent
from scp.config.rules import DEFAULT_POLICY, PolicyRule, Stage
from scp.config.settings import Settings
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.reindex import reindex
from scp.lifecycle.retention import Retention
from scp.model import Instance
from scp.objects.holds import Hold
from scp.objects.local import LocalStore
from scp.objects.names import with_token
from scp.objects.tiers import MediumMark, Tier, TieredStore
from scp.objects.trash import Trash
from scp.objects.trash_folder import FolderCan
from scp.policy.retention import ExpiredStudy, excess_of, going

pytestmark = pytest.mark.quick


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
    return Deletion(archive, {"": tmp_path / "objects"})


@pytest.fixture
def one(archive: Archive) -> Instance:
    return archive.ingest(received(bundled_file("CT_small.dcm"))).instance


def content(archive: Archive, instance: Instance) -> bytes:
    return bytes(archive.store.get(instance.key))


def test_deleted_and_restored_it_is_the_same_to_the_byte(archive, deletion, one) -> None:
    before = content(archive, one)
    assert deletion.delete([one], "by hand: test").deleted == (one.sop_instance_uid,)
    assert archive.index.newest(one.sop_instance_uid) is None
    assert list(archive.files.keys()) == []
    (entry,) = deletion.trash.entries()
    assert (entry.state, entry.reason) == ("gone", "by hand: test")
    list(deletion.restore([entry]))
    assert content(archive, one) == before
    archive.verify(archive.index.newest(one.sop_instance_uid), deep=True)
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


def test_a_file_that_came_back_is_not_removed_late(archive, deletion, one, monkeypatch) -> None:
    """It was to be removed as another had replaced it; the same object sent again gets the same name."""
    moved_on = replace(one, key=with_token(one.key, "0a" * 4))
    with monkeypatch.context() as patched:
        patched.setattr(archive.index, "sync", Mock(side_effect=OutOfResources("a disk error")))
        with pytest.raises(OutOfResources):
            archive.replace([Change(one, moved_on, content(archive, one))])
    (held,) = archive.named(one.sop_instance_uid)
    assert held.key == moved_on.key
    deletion.delete([held], "test")
    again = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    assert again.key == one.key
    archive.remove_replaced()
    archive.verify(again, deep=True)
    assert list(archive.files.keys()) == [again.key]


@pytest.mark.parametrize("lost", ["the answer of the index", "the removal"])
def test_an_old_file_is_removed_later(archive, deletion, one, monkeypatch, lost: str) -> None:
    """An old record of the landing log that stayed would be taken up again once its object is deleted."""
    moved_on = replace(one, key=with_token(one.key, "0a" * 4))
    change_many = archive.index.change_many

    def answer_lost(changes: Any) -> None:
        change_many(changes)
        raise OutOfResources("a disk error")

    with monkeypatch.context() as patched:
        if lost == "the removal":
            patched.setattr(archive.store, "delete_many", Mock(side_effect=OSError(5, "a disk error")))
        else:
            patched.setattr(archive.index, "change_many", answer_lost)
        with pytest.raises((OSError, OutOfResources)):
            archive.replace([Change(one, moved_on, content(archive, one))])
    assert set(archive.files.keys()) == {one.key, moved_on.key}
    archive.remove_replaced()
    assert list(archive.files.keys()) == [moved_on.key]
    (held,) = archive.named(one.sop_instance_uid)
    archive.verify(held, deep=True)


STEPS = [(FolderCan, "_note"), (SqlIndex, "forget"), (SqlIndex, "sync"), (Trash, "take"), (Trash, "mark")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_at_each_step(archive, deletion, one, monkeypatch, part: Any, step: str, after: bool) -> None:
    whole = getattr(part, step)

    def dies(*given: Any) -> None:
        if after:
            whole(*given)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(part, step, dies)
        with pytest.raises(Killed):
            deletion.delete([one], "test")
    held = archive.index.newest(one.sop_instance_uid)
    if held is not None:
        archive.verify(held)
    deletion.resume()
    assert deletion.resume() == 0
    held = archive.index.newest(one.sop_instance_uid)
    assert [entry.state for entry in deletion.trash.entries()] == ([] if held else ["gone"])
    assert list(archive.files.keys()) == ([held.key] if held else [])


def test_what_is_sent_again_while_it_goes_stays(archive, deletion, one, monkeypatch) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Trash, "take", dies)
        with pytest.raises(Killed):
            deletion.delete([one], "test")
    archive.ingest(received(bundled_file("CT_small.dcm")))
    deletion.resume()
    archive.verify(archive.index.newest(one.sop_instance_uid))


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_what_gets_another_form_while_it_goes_stays(
    archive, deletion, one, monkeypatch, killed: bool
) -> None:
    """Of a stage whose claim has run out: an object is never both held and in the trash."""
    forget = SqlIndex.forget
    archive.use_policy([PolicyRule(name="small", stages=(Stage(forms=("zstd",)),))])

    def after_a_swap(index: SqlIndex, *given: Any) -> bool:
        archive.replace([archive.encode(archive.index.newest(one.sop_instance_uid))])
        if killed:
            raise Killed
        return forget(index, *given)

    with monkeypatch.context() as patched:
        patched.setattr(SqlIndex, "forget", after_a_swap)
        if killed:
            with pytest.raises(Killed):
                deletion.delete([one], "test")
        else:
            assert deletion.delete([one], "test").left == (one.sop_instance_uid,)
    deletion.resume()
    held = archive.index.newest(one.sop_instance_uid)
    assert held.key != one.key
    archive.verify(held, deep=True)
    assert deletion.trash.entries() == []
    assert list(archive.files.keys()) == [held.key]


def test_a_new_index_does_not_bring_back_what_was_deleted(archive, deletion, one) -> None:
    class Still:
        def advance(self, steps: int = 1) -> None: ...
        def total(self, steps: int) -> None: ...

    deletion.delete([one], "test")
    assert reindex(archive, Still()).recorded == 0


def test_a_hold_that_comes_after_a_crash_still_counts(archive, deletion, one, monkeypatch) -> None:
    """What is visible still stays; what is in the trash already is not purged."""

    def dies(*_: Any) -> None:
        raise Killed

    for step in ("forget", "take"):
        with monkeypatch.context() as patched:
            patched.setattr(SqlIndex if step == "forget" else Trash, step, dies)
            with pytest.raises(Killed):
                deletion.delete([one], "test")
        deletion.holds.add(Hold("STUDY", one.study_instance_uid, "court", 1.0))
        deletion.resume()
        if step == "forget":
            archive.verify(archive.index.newest(one.sop_instance_uid))
            assert deletion.trash.entries() == []
        else:
            assert archive.index.newest(one.sop_instance_uid) is None
            assert deletion.purge(float("inf"), 0.0) == []
        deletion.holds.remove(deletion.holds.all())
    assert len(deletion.purge(float("inf"), 0.0)) == 1


def test_purged_is_gone(archive, deletion, one) -> None:
    deletion.delete([one], "test")
    (entry,) = deletion.trash.entries()
    assert deletion.purge(entry.at - 1, 0.0) == []
    assert deletion.purge(entry.at, 0.0) == [entry]
    assert deletion.trash.entries() == []


def settings(tmp_path: Path, **storage: Any) -> Settings:
    rule = {"name": "old", "after": "10y", "match": {"Modality": "CT"}, **storage.pop("rule", {})}
    url = f"file://{tmp_path}/objects"
    return Settings.model_validate({"storage": {"url": url, **storage}, "retention": [rule]})


def years(one: Instance, count: float) -> float:
    return one.received_at.timestamp() + count * 365 * 86_400


def test_a_rule_lets_go_by_age_and_purges_later(archive, one, tmp_path) -> None:
    chosen = settings(tmp_path)
    loop = Retention(archive, lambda: chosen)
    assert loop.plan(years(one, 9.9)).studies == ()
    loop.round(years(one, 10.1))
    assert archive.index.newest(one.sop_instance_uid) is None


def test_what_may_go_when_is_noted_for_those_who_look(archive, deletion, one, tmp_path) -> None:
    chosen = settings(tmp_path)
    loop = Retention(archive, lambda: chosen)
    loop.round(years(one, 1))
    at, (row,) = archive.history.retention()
    assert at.timestamp() == int(years(one, 1))
    due = datetime.fromtimestamp(years(one, 10), UTC)
    assert (row.start.year, row.start.month, row.start.day) == (due.year, due.month, 1)
    assert (row.instances, row.stored_size) == (1, archive.index.newest(one.sop_instance_uid).stored_size)
    deletion.holds.add(Hold("IMAGE", one.sop_instance_uid, "court", 1.0))
    assert loop.plan(years(one, 1)).schedule == ()


def test_a_study_stays_whole_while_one_of_its_objects_must(archive, deletion, one, tmp_path) -> None:
    chosen = settings(tmp_path)
    deletion.holds.add(Hold("IMAGE", one.sop_instance_uid, "court", 1.0))
    plan = Retention(archive, lambda: chosen).plan(years(one, 11))
    assert (plan.studies, plan.held) == ((), 1)


def test_when_full_goes_only_above_the_high_mark(archive, one, tmp_path) -> None:
    chosen = settings(tmp_path, high_watermark="90%", low_watermark="80%", rule={"delete": "when full"})
    assert Retention(archive, lambda: chosen, lambda _: (90, 100)).plan(years(one, 11)).studies == ()
    (expired,) = Retention(archive, lambda: chosen, lambda _: (91, 100)).plan(years(one, 11)).studies
    assert expired.study == one.study_instance_uid


def test_the_oldest_go_until_the_low_mark() -> None:
    old, newer, always = (
        ExpiredStudy(name, "rule", 1, 10, at, 10, full)
        for name, at, full in (("1", 1.0, True), ("2", 2.0, True), ("3", 3.0, False))
    )
    assert going([newer, old, always], 0) == [always]
    assert going([newer, old, always], 15) == [always, old]
    assert going([newer, old, always], 25) == [always, old, newer]
    assert excess_of(91, 100, 0.9, 0.8) == 11


def test_fsck_finishes_what_a_dead_process_had_begun(archive, deletion, one, monkeypatch) -> None:
    """Without it, the file whose row is gone already would come back."""

    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Trash, "take", dies)
        with pytest.raises(Killed):
            deletion.delete([one], "test")
    found = list(fsck(archive, Silent(), deletion=deletion))
    assert [finding.kind for finding in found] == ["interrupted", "file without a row"]
    (finding,) = fsck(archive, Silent(), repair=True, deletion=deletion)
    assert finding.repaired == "finished"
    assert archive.index.newest(one.sop_instance_uid) is None
    assert list(fsck(archive, Silent(), deletion=deletion)) == []


def test_what_lies_in_another_store_goes_to_the_trash_there(tmp_path: Path) -> None:
    roots = {"": tmp_path / "objects", "cold": tmp_path / "cold"}
    mark = MediumMark(roots["cold"], "cold")
    mark.make()
    store = TieredStore(LocalStore(roots[""]), [Tier("cold", LocalStore(roots["cold"]), mark.is_there)])
    archive = Archive(store, SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), DEFAULT_POLICY)
    deletion = Deletion(archive, roots)
    instance = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    archive.replace([moved(instance, archive.store.get(instance.key), Stage(forms=("htj2k",), store="cold"))])
    instance = archive.index.newest(instance.sop_instance_uid) or instance
    before = content(archive, instance)
    assert deletion.delete([instance], "test").deleted == (instance.sop_instance_uid,)
    assert not list((roots[""] / ".trash").glob("*.gone"))
    (entry,) = deletion.trash.entries()
    assert entry.key == instance.key
    assert list(archive.files.keys()) == []
    roots["cold"].rename(tmp_path / "away")  # the medium is not there: what lies in its trash stays
    assert deletion.purge(entry.at, 0.0) == []
    (tmp_path / "away").rename(roots["cold"])
    list(deletion.restore(deletion.trash.entries()))
    assert content(archive, instance) == before
    archive.close()


def test_the_last_link_of_a_file_stays_in_the_trash_without_its_note(
    archive, deletion, one, tmp_path
) -> None:
    """A note may be lost, and what it was of is the only copy there is."""
    before = content(archive, one)
    deletion.delete([one], "by hand: test")
    trash = tmp_path / "objects" / ".trash"
    (note,) = trash.glob("*.gone")
    note.unlink()
    deletion.resume()
    assert [path.read_bytes() for path in trash.glob("*.dcm")] == [before]


def test_a_link_that_was_never_noted_goes(archive, deletion, one, tmp_path) -> None:
    before = content(archive, one)
    trash = tmp_path / "objects" / ".trash"
    trash.mkdir()
    (trash / "0123.dcm").hardlink_to(tmp_path / "objects" / one.key)
    deletion.resume()
    assert list(trash.glob("*.dcm")) == []
    assert content(archive, one) == before
