"""``storage.landing = false``: an object is durable in the store, as received, before its response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import bucket_in_memory
from objects import Shape, phantom

from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.background.doorbell import Doorbell
from scp.config.rules import DEFAULT_POLICY
from scp.errors import DuplicateRejected
from scp.index.sql import SqlIndex
from scp.lifecycle.encoder import Encoder
from scp.objects.bucket_store import BucketStore
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import is_landed

Opened = Callable[..., Archive]
SENT = phantom(Shape(64, 64))
# The same SOP instance with other content.
OTHER = phantom(Shape(64, 64, noise=0.3))


@pytest.fixture(params=["folder", "bucket"])
def opened(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Opened]:
    """Opens an archive whose store is a folder, or a bucket, where each file has a key of its own."""
    own, archives = tmp_path / "own", list[Archive]()
    own.mkdir()

    def opens(**options: Any) -> Archive:
        store: JournaledStore = LocalStore(tmp_path / "objects")
        if request.param == "bucket":
            store = BucketStore(bucket_in_memory(monkeypatch), own)
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        pending = PendingBound(lambda: index.count_pending().size, 10**6, Doorbell())
        chosen = Options(landing=False, **{"pending": pending, **options})
        archives.append(Archive(LandedStore(store, LandingLog(own)), index, DEFAULT_POLICY, chosen))
        return archives[-1]

    yield opens
    for archive in archives:
        archive.close()


def files(archive: Archive) -> list[str]:
    """The keys of all files; none is noted as unsettled."""
    assert dict(archive.files.store.unsettled()) == {}
    return list(archive.files.keys())


def test_it_is_in_the_store_as_received_and_encoded_later(opened: Opened) -> None:
    archive = opened()
    kept = archive.ingest(SENT)
    assert (kept.outcome, kept.instance.form, kept.instance.pending) == ("kept", "received", True)
    assert files(archive) == [kept.instance.key]
    assert not is_landed(kept.instance.key)
    assert list(archive.pending(10)) == [kept.instance]
    encoder = Encoder(archive, Doorbell())
    assert encoder.round()
    encoder.close()
    row = archive.current(kept.instance.identity)
    assert row is not None
    assert (row.form, row.pending) == ("htj2k", False)
    assert files(archive) == [row.key]
    archive.verify(row, deep=True)


def test_sent_again_it_is_stored_once(opened: Opened) -> None:
    archive = opened()
    first = archive.ingest(SENT)
    again = archive.ingest(SENT)
    assert (again.outcome, again.instance) == ("duplicate", first.instance)
    assert files(archive) == [first.instance.key]


def test_other_content_takes_its_place(opened: Opened) -> None:
    archive = opened()
    first, second = archive.ingest(SENT), archive.ingest(OTHER)
    assert second.outcome == "replaced"
    assert files(archive) == [second.instance.key] != [first.instance.key]


@pytest.mark.parametrize("duplicates", ["keep", "reject"])
def test_other_content_is_not_wanted(opened: Opened, duplicates: str) -> None:
    archive = opened(duplicates=duplicates)
    first = archive.ingest(SENT)
    if duplicates == "keep":
        assert archive.ingest(OTHER).outcome == "discarded"
    else:
        with pytest.raises(DuplicateRejected):
            archive.ingest(OTHER)
    assert files(archive) == [first.instance.key]
    assert archive.current(first.instance.identity) == first.instance


def test_a_row_that_cannot_be_written_leaves_no_file(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = opened()

    def fails(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(archive.index, "add", fails)
    with pytest.raises(LookupError):
        archive.ingest(SENT)
    assert files(archive) == []


def test_with_a_full_backlog_it_is_encoded_first(opened: Opened) -> None:
    archive = opened(pending=PendingBound(lambda: 0, 100, Doorbell()))
    kept = archive.ingest(SENT)
    assert (kept.instance.form, kept.instance.pending) == ("htj2k", False)
    assert files(archive) == [kept.instance.key]
