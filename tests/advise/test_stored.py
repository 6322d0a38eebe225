"""``zscp advise`` on what is stored, and for a limited time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import objects
import pydicom
import pytest

from scp.advise import advise as advising
from scp.advise import stored
from scp.advise.advise import Wanted
from scp.advise.sampling import SampledGroup, Seen
from scp.advise.stored import StoredSample, advise_stored
from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.node.build import open_archive
from scp.syntaxes import EXPLICIT


@contextmanager
def told(_: str, __: str) -> Iterator[Silent]:
    yield Silent()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    tables = {
        "storage": {"url": f"file://{tmp_path}/objects", "reserve": 0},
        "index": {"url": f"sqlite:///{tmp_path}/index.db"},
    }
    opened = open_archive(Settings.model_validate(tables))
    for number in range(6):
        uid = f"1.2.{number}"
        data = objects.written(objects.described(objects.Shape(), uid), explicit=True, little=True)
        opened.ingest(objects.as_received(data, EXPLICIT, sop_instance=uid))
    yield opened
    opened.close()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are compared; nothing is measured."""
    seen: list[Path] = []

    def compare(paths: Sequence[Path], *_: Any) -> None:
        seen.extend(sorted(paths[0].iterdir()))
        for path in seen:
            assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == EXPLICIT
        assert paths[0].stat().st_mode & 0o077 == 0

    monkeypatch.setattr(stored, "advise", compare)
    return seen


def test_stored_objects_are_files_while_they_are_compared(archive: Archive, compared: list[Path]) -> None:
    advise_stored(archive, Wanted(), StoredSample(objects=9), told)
    assert len(compared) == 6
    assert not any(path.exists() or path.parent.exists() for path in compared)


def test_no_more_are_taken_than_there_may_be_bytes(archive: Archive, compared: list[Path]) -> None:
    size = archive.named("1.2.0")[0].received_size
    advise_stored(archive, Wanted(), StoredSample(objects=9, bytes=3 * size), told)
    assert len(compared) == 3


def test_an_object_that_cannot_be_read_is_left_out(
    archive: Archive, compared: list[Path], tmp_path: Path
) -> None:
    next((tmp_path / "objects").rglob("*.dcm*")).unlink()
    advise_stored(archive, Wanted(), StoredSample(), told)
    assert len(compared) == 5


def test_when_the_time_is_up_one_object_of_a_group_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SimpleNamespace(raw=1, header_bytes=1, cut=False)
    monkeypatch.setattr(advising, "load", lambda _: sample)
    monkeypatch.setattr(advising, "measure", lambda *_: [])
    seen = tuple(Seen(Path(f"{number}"), "sound") for number in range(5))
    group = SampledGroup("CT", seen, (), 5, 5, 1, 5)
    assert len(advising._measured(group, [], Silent(), [], until=-math.inf)) == 1
    assert len(advising._measured(group, [], Silent(), [], until=math.inf)) == 5
