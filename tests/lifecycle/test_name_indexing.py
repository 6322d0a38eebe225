"""A node keeps up what finds names; whatever changes the index leaves it right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from objects import bundled_file, received
from structlog.testing import capture_logs

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.rules import DEFAULT_POLICY
from scp.index.databases import HeldTrigrams
from scp.index.self_description import NamesIndexed
from scp.index.sql import SqlIndex
from scp.index.sqlite_trigrams import held
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.name_indexing import NameIndexing
from scp.lifecycle.reindex import reindex
from scp.model import Query, QueryKey
from scp.objects.local import LocalStore

pytestmark = pytest.mark.quick


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    archive = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY)
    yield archive
    archive.close()


@pytest.fixture
def two(archive: Archive) -> list[str]:
    """The studies of two patients, after the node has indexed their names."""
    kept = [
        archive.ingest(received(bundled_file(name))).instance for name in ("CT_small.dcm", "MR_small.dcm")
    ]
    index_all(archive)
    return [one.study_instance_uid for one in kept]


def index_all(archive: Archive) -> None:
    task = NameIndexing(archive.index_names)
    while task.turn() < 5:
        pass


def found(archive: Archive, name: str) -> list[str]:
    keys = (QueryKey("PatientName", "", name), QueryKey("StudyInstanceUID", "", ""))
    return sorted(match["StudyInstanceUID"] for match in archive.find(Query("STUDY", "STUDY", keys)))


def use(archive: Archive) -> HeldTrigrams:
    assert isinstance(archive.index, SqlIndex)
    with archive.index._engine.connect() as connection:
        return held(connection)


@pytest.mark.parametrize("added", [False, True])
def test_what_is_deleted_restored_and_indexed_again_is_found(archive, two, tmp_path, added) -> None:
    ct, mr = two
    assert [found(archive, name) for name in ("*SAMPLES^CT*", "*SAMPLES^MR*", "*SAMPLES*")] == [
        [ct],
        [mr],
        sorted(two),
    ]
    deletion = Deletion(archive, {"": tmp_path / "objects"})
    deletion.delete([one for one in archive.index.all() if one.study_instance_uid == ct], "test")
    assert found(archive, "*SAMPLES*") == [mr]
    list(deletion.restore(deletion.trash.entries()))
    if added:
        index_all(archive)
    assert found(archive, "*SAMPLES^CT*") == [ct]
    assert use(archive) == HeldTrigrams(True, not added)


@pytest.mark.parametrize("added", [False, True])
def test_reindex_finds_what_the_index_had_lost(archive, two, added) -> None:
    for one in list(archive.index.all()):
        archive.index.remove(one.sop_instance_uid)
    assert found(archive, "*SAMPLES*") == []
    reindex(archive, Silent())
    if added:
        index_all(archive)
    assert found(archive, "*SAMPLES*") == sorted(two)
    assert use(archive) == HeldTrigrams(True, not added)


@pytest.mark.parametrize("added", [False, True])
def test_fsck_records_a_file_and_its_name_is_found(archive, two, added) -> None:
    ct = next(one for one in archive.index.all() if one.study_instance_uid == two[0])
    archive.index.remove(ct.sop_instance_uid)
    assert [one.kind for one in fsck(archive, Silent(), repair=True)] == ["file without a row"]
    if added:
        index_all(archive)
    assert found(archive, "*SAMPLES^CT*") == [two[0]]
    assert use(archive) == HeldTrigrams(True, not added)


def test_an_index_that_was_set_aside_is_built_with_its_own(archive, two, tmp_path) -> None:
    archive.close()
    for each in tmp_path.glob("index.db*"):
        each.unlink()
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    again = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY)
    index_all(again)
    reindex(again, Silent())
    assert found(again, "*SAMPLES*") == sorted(two)
    again.close()


def test_the_node_is_told_when_to_look_again_and_why_it_cannot() -> None:
    told = iter([NamesIndexed("", 0.4), NamesIndexed("no such thing", 86_400.0)])
    task = NameIndexing(lambda: next(told))
    with capture_logs() as logs:
        assert [task.turn(), task.turn()] == [0.4, 86_400.0]
    assert [(one["reason"], one["log_level"]) for one in logs] == [("no such thing", "warning")]
