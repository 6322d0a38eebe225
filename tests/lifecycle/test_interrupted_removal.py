"""What is destroyed is told, whatever becomes of the rest; after deaths the trash has one entry a thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.archive.safekeeping import Safekeeping
from scp.audit.events import AuditEvent
from scp.config.rules import DEFAULT_POLICY
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.auditing import DeletionAudit
from scp.lifecycle.deletion import Deletion
from scp.model import Instance
from scp.objects.local import LocalStore
from scp.objects.trash import Trash

pytestmark = pytest.mark.quick

NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")


class Killed(BaseException):
    pass


class Trail:
    """As scp.audit.trail.AuditTrail, in memory."""

    on = True

    def __init__(self) -> None:
        self.told: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.told.append(event)

    def handed_over(self, seconds: float) -> bool:
        return True

    def studies(self) -> set[str]:
        return {subject.identifier for event in self.told for subject in event.subjects}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    options = Options(safekeeping=Safekeeping({"": tmp_path / "objects"}))
    archive = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY, options)
    yield archive
    archive.close()


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def deletion(archive: Archive, tmp_path: Path, trail: Trail) -> Deletion:
    return Deletion(archive, {"": tmp_path / "objects"}, DeletionAudit(trail))  # type: ignore[arg-type]


def stored(archive: Archive) -> list[Instance]:
    return [archive.ingest(received(bundled_file(name))).instance for name in NAMES]


def failing_at(monkeypatch: pytest.MonkeyPatch, name: str, which: int, fault: BaseException) -> None:
    """Let a call of the trash fail, once it was called so often."""
    calls, real = [0], getattr(Trash, name)

    def call(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == which:
            raise fault
        return real(*given)

    monkeypatch.setattr(Trash, name, call)


def test_what_was_purged_before_a_fault_is_told(
    archive: Archive, deletion: Deletion, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletion.delete(stored(archive), "by hand")
    first, second, third = deletion.trash.entries()
    trail.told.clear()
    with monkeypatch.context() as patched:
        failing_at(patched, "erase", 2, OutOfResources("the server does not answer"))
        with pytest.raises(OutOfResources):
            deletion.purge_entries([first, second, third])
    assert first.study_instance_uid in trail.studies()
    assert not {second.study_instance_uid, third.study_instance_uid} & trail.studies()
    deletion.purge_entries([first])  # its file is gone, and its note is all that is left
    assert deletion.trash.entries() == [second, third]


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), Killed()])
def test_what_was_deleted_before_a_fault_is_told(
    archive: Archive,
    deletion: Deletion,
    trail: Trail,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
) -> None:
    instances = stored(archive)
    with monkeypatch.context() as patched:
        failing_at(patched, "take", 3, fault)
        with pytest.raises(type(fault)):
            deletion.delete(instances, "by hand")
    gone = {one.study_instance_uid for one in deletion.trash.entries(("gone",))}
    assert len(gone) == 2
    assert gone <= trail.studies()
    deletion.resume()
    assert {one.study_instance_uid for one in instances} <= trail.studies()


def replaced_again(archive: Archive) -> tuple[str, Instance, bytes]:
    """A file of an older content that a process left which died, and what is held."""
    old = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    data = bytes(archive.store.get(old.key))
    changed = received(bundled_file("CT_small.dcm"))
    newer = archive.ingest(type(changed)(**{**_fields(changed), **_other(changed)})).instance
    return old.key, newer, data


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _other(one: Any) -> dict[str, Any]:
    return {"dataset": bytes(one.dataset).replace(b"CompressedSamples", b"CompressedSampleX"), "sha256": ""}


@pytest.mark.parametrize("deaths", [1, 3])
def test_a_replaced_object_is_in_the_trash_once_after_deaths(
    archive: Archive, deletion: Deletion, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    key, newer, data = replaced_again(archive)
    (entry,) = deletion.trash.entries()
    assert entry.key == key
    archive.store.put(key, data)  # the process died before it was removed

    def dies(*_: Any) -> None:
        raise Killed

    store: Any = archive.recorder._files.store
    for _ in range(deaths):
        with monkeypatch.context() as patched:
            patched.setattr(store, "delete", dies)
            with pytest.raises(Killed):
                archive.recorder.put_away(key, newer)
    archive.recorder.put_away(key, newer)
    assert [one.id for one in deletion.trash.entries()] == [entry.id]
    assert not archive.files.has(key)
    list(deletion.restore([entry], replace=True))
    assert bytes(archive.store.get(key)) == data


def test_what_was_purged_from_the_trash_is_put_there_again(
    archive: Archive, deletion: Deletion, tmp_path: Path
) -> None:
    """A purge that died had removed the file, and not the note: the note alone is no entry."""
    key, newer, data = replaced_again(archive)
    (entry,) = deletion.trash.entries()
    (tmp_path / "objects" / ".trash" / f"{entry.id}.dcm").unlink()
    archive.store.put(key, data)
    archive.recorder.put_away(key, newer)
    (again,) = deletion.trash.entries()
    list(deletion.restore([again], replace=True))
    assert bytes(archive.store.get(key)) == data
