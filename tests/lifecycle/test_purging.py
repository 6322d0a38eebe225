"""The trash is purged whatever one entry, a full disk, or a killed process does to it."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file, received
from structlog.testing import capture_logs

from scp.archive.archive import Archive
from scp.audit.events import AuditEvent
from scp.config.rules import DEFAULT_POLICY
from scp.config.settings import Settings
from scp.errors import ObjectMissing, OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.auditing import DeletionAudit
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.retention import Retention
from scp.objects.local import LocalStore
from scp.objects.trash import Trash

pytestmark = pytest.mark.quick

NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")
FAR = float("inf")


class Killed(BaseException):
    pass


class Told:
    """As scp.audit.trail.AuditTrail: what it has handed over survives the process."""

    on = True

    def __init__(self) -> None:
        self.waiting: list[AuditEvent] = []
        self.told: list[AuditEvent] = []
        self.waits, self.away = 0, False

    def record(self, event: AuditEvent) -> None:
        self.waiting.append(event)

    def handed_over(self, seconds: float) -> bool:
        self.waits += 1
        if not self.away:
            self.told += self.waiting
            self.waiting.clear()
        return not self.away

    def studies(self) -> set[str]:
        return {subject.identifier for event in self.told for subject in event.subjects}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    archive = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY)
    yield archive
    archive.close()


@pytest.fixture
def trail() -> Told:
    return Told()


@pytest.fixture
def deletion(archive: Archive, tmp_path: Path, trail: Told) -> Deletion:
    found = Deletion(archive, {"": tmp_path / "objects"}, DeletionAudit(trail))
    found.delete([archive.ingest(received(bundled_file(name))).instance for name in NAMES], "by hand")
    trail.waiting.clear()
    return found


@pytest.fixture
def can(tmp_path: Path) -> Path:
    return tmp_path / "objects" / ".trash"


def retention(archive: Archive, tmp_path: Path) -> Retention:
    tables = {"storage": {"url": f"file://{tmp_path}/objects", "trash": "0s"}}
    settings = Settings.model_validate(tables, by_alias=True, by_name=False)
    return Retention(archive, lambda: settings)


def test_an_entry_that_cannot_be_removed_holds_up_no_other(deletion: Deletion, can: Path) -> None:
    bad, *others = deletion.trash.entries()
    file = can / f"{bad.id}.dcm"
    file.unlink()
    file.mkdir()
    with capture_logs() as logs:
        assert deletion.purge(FAR, FAR) == others
    (line,) = (one for one in logs if one["event"] == "not purged")
    assert (line["objects"], line["entry"]) == (1, bad.id)
    assert deletion.trash.entries() == [bad], "it is left where it is"
    file.rmdir()
    assert deletion.purge(FAR, FAR) == [bad]


@pytest.mark.parametrize(
    "note",
    [b"", b"\xff\xfe", b"[]", {"uids": {"STUDY": ["1.2"]}}, {"key": "@other/1.2.3/4.5.6"}, {"key": 5}],
    ids=["empty", "no text", "no entry", "keys of another kind", "of a store that is not there", "no key"],
)
def test_a_note_that_cannot_be_read_holds_up_no_other(deletion: Deletion, can: Path, note: Any) -> None:
    bad, *others = deletion.trash.entries()
    path = can / f"{bad.id}.gone"
    path.write_bytes(
        note if isinstance(note, bytes) else json.dumps({**json.loads(path.read_text()), **note}).encode()
    )
    with capture_logs() as logs:
        assert deletion.purge(FAR, FAR) == others
    (line,) = (one for one in logs if one["event"] == "notes of the trash cannot be read")
    assert (line["notes"], line["first"]) == (1, str(path))
    assert [where for where, _ in deletion.trash.unreadable()] == [str(path)]
    assert path.exists()
    assert (can / f"{bad.id}.dcm").exists()


def test_a_deletion_that_cannot_be_finished_holds_up_neither_others_nor_the_purge(
    archive: Archive, deletion: Deletion, can: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other, purged = deletion.trash.entries()
    for one in (stuck, other):
        (can / f"{one.id}.gone").rename(can / f"{one.id}.going")
    real = Trash.take

    def take(self: Trash, one: Any) -> None:
        if one.id == stuck.id:
            raise PermissionError(errno.EPERM, "not permitted")
        real(self, one)

    monkeypatch.setattr(Trash, "take", take)
    with capture_logs() as logs:
        retention(archive, tmp_path).round(4e9)
    assert [(one.id, one.state) for one in deletion.trash.entries()] == [(stuck.id, "going")]
    assert [one["entry"] for one in logs if one["event"] == "trash not settled"] == [stuck.id]
    assert purged not in deletion.trash.entries()


def test_a_full_disk_does_not_keep_the_purge_from_making_room(
    archive: Archive, deletion: Deletion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutOfResources("database or disk is full")

    monkeypatch.setattr(archive.history, "put_retention", full)
    monkeypatch.setattr(archive.index.meta, "put", full)
    task = retention(archive, tmp_path)
    with pytest.raises(OutOfResources):
        task.turn()
    assert deletion.trash.entries() == []


def killed_at(monkeypatch: pytest.MonkeyPatch, name: str, which: int) -> None:
    real, calls = getattr(Trash, name), [0]

    def call(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == which:
            raise Killed
        return real(*given)

    monkeypatch.setattr(Trash, name, call)


@pytest.mark.parametrize("call", ["erase", "forget"])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_what_a_killed_purge_destroyed_is_told_by_the_next(
    deletion: Deletion, trail: Told, can: Path, monkeypatch: pytest.MonkeyPatch, call: str, which: int
) -> None:
    entries = deletion.trash.entries()
    with monkeypatch.context() as patched:
        killed_at(patched, call, which)
        with pytest.raises(Killed):
            deletion.purge(FAR, FAR)
    trail.waiting.clear()  # it was only in the memory of what was killed
    gone = {one.study_instance_uid for one in entries if not (can / f"{one.id}.dcm").exists()}
    noted = {one.study_instance_uid for one in deletion.trash.entries()}
    assert gone - noted <= trail.studies(), "what has left no note is told"
    deletion.purge(FAR, FAR)
    assert {one.study_instance_uid for one in entries} <= trail.studies()
    assert deletion.trash.entries() == []
    assert list(can.glob("*.dcm")) == []


def test_an_entry_of_which_only_the_note_is_left_cannot_be_restored(deletion: Deletion, can: Path) -> None:
    """And it does not stay as one that is being restored, which nothing purges."""
    one, *_ = deletion.trash.entries()
    (can / f"{one.id}.dcm").unlink()
    with pytest.raises(ObjectMissing, match="purged"):
        list(deletion.restore([one]))
    assert one in deletion.trash.entries(("gone",))


def test_a_collector_that_is_away_holds_up_a_purge_once(
    deletion: Deletion, trail: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scp.lifecycle.deletion._BATCH", 1)
    trail.away = True
    assert len(deletion.purge(FAR, FAR)) == 3
    assert trail.waits == 1
    assert len(trail.waiting) == 3
