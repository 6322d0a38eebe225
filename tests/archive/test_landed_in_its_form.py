"""An object that its rule wants encoded before the response lands in that form, and gets its file behind."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import zstandard
from buckets import bucket_in_memory
from objects import SECONDARY_CAPTURE, Shape, phantom

from scp.archive import behind, form_maker
from scp.archive.archive import Archive
from scp.archive.behind import Unrecorded
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import Safekeeping
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.keys import EncryptionKey
from scp.config.rules import PolicyRule, Stage
from scp.errors import DictionaryNeeded, ObjectDamaged
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.dictionary_use import remove_dictionary
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import recover
from scp.lifecycle.reindex import reindex
from scp.model import Instance, Kept, Received
from scp.objects import part10
from scp.objects.bucket_store import BucketStore
from scp.objects.encrypted import Cipher
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import is_landed
from scp.objects.trash import Trash

pytestmark = pytest.mark.usefixtures("codecs_here")
Opened = Callable[..., Archive]
FORMS = ("htj2k", "zstd")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens an archive on the same folders and index as the others: as another process does."""
    archives: list[Archive] = []
    # Until it is asked for, no group is committed, however slow the machine is.
    monkeypatch.setattr(behind, "WINDOW_SECONDS", 3600.0)

    def opens(
        form: str = "htj2k",
        most: int = 10**9,
        cipher: Cipher | None = None,
        bucket: bool = False,
        dictionary: bool = False,
        **options: Any,
    ) -> Archive:
        own = tmp_path / "own"
        own.mkdir(exist_ok=True)
        store: JournaledStore = LocalStore(tmp_path / "objects")
        if bucket:
            store = BucketStore(bucket_in_memory(monkeypatch), own)
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        pending = PendingBound(lambda: index.count_pending().size, most, Doorbell())
        places = Safekeeping({"": tmp_path / "objects"})
        chosen = Options(**{"pending": pending, "safekeeping": places, **options})
        policy = [PolicyRule(name="first", stages=(Stage(forms=(form,), dictionary=dictionary),))]
        archives.append(Archive(LandedStore(store, LandingLog(own), cipher), index, policy, chosen))
        return archives[-1]

    yield opens
    for archive in archives:
        archive.close()


def sent(noise: float = 0.1, rows: int = 64, seed: int = 0) -> Received:
    """An object that was received now; another ``noise`` is other content. Of few ``rows``, its file is in a
    zstd frame.
    """
    return replace(phantom(Shape(rows, rows, noise=noise, seed=seed)), received_at=datetime.now(UTC))


def content(archive: Archive, received: Received) -> bytes:
    (held,) = archive.named(received.sop_instance_uid)
    return b"".join(map(bytes, archive.fetch(held, [received.transfer_syntax]).chunks))


def filed(archive: Archive) -> None:
    encoder = Encoder(archive, Doorbell())
    while encoder.round():
        pass
    encoder.close()


def left_behind(archive: Archive, received: Received) -> Kept:
    """It is acknowledged, and its process is gone before its row is committed."""
    kept = archive.ingest(received, follow=lambda _: None)
    archive.receiver._behind.close = Mock()  # type: ignore[method-assign]
    archive.close()
    return kept


@pytest.mark.parametrize("form", FORMS)
def test_it_lands_in_its_form_and_its_file_is_the_same(
    opened: Opened, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, sender = opened(form), Unrecorded()
    received = sent()
    told = archive.ingest(received, follow=sender.add)
    assert told.outcome == "kept"
    assert [(one.form, one.outcome) for one in told.attempts] == [(form, "kept")]
    assert archive.named(received.sop_instance_uid) == []  # its row follows
    assert sender.wait()
    (row,) = archive.named(received.sop_instance_uid)
    assert row == told.instance
    assert (row.form, row.pending, is_landed(row.key)) == (form, True, True)
    assert [one.form for one in archive.statistics().by_form] == [form]
    assert content(archive, received) == received.dataset
    archive.verify(row, deep=True)
    record = bytes(archive.files.get(row.key))
    monkeypatch.setattr(form_maker, "keep", Mock(side_effect=AssertionError("it is encoded again")))
    filed(archive)
    (moved,) = archive.named(received.sop_instance_uid)
    assert (moved.form, moved.pending, is_landed(moved.key)) == (form, False, False)
    assert moved.key.endswith(".dcm.zst") == part10.is_framed(record)
    assert bytes(archive.files.get(moved.key)) == record
    assert content(archive, received) == received.dataset
    assert (archive.files.has(row.key), archive.count_pending().instances) == (False, 0)
    assert dict(archive.files.store.unsettled()) == {}


@pytest.mark.parametrize("rows", [64, 512], ids=["in a frame", "plain"])
def test_its_row_and_that_of_its_file_are_what_the_file_says(opened: Opened, rows: int) -> None:
    archive = opened()
    received = sent(rows=rows)
    landed = archive.ingest(received).instance
    assert archive.reader.read_back(landed.key)[0] == landed
    filed(archive)
    (moved,) = archive.named(received.sop_instance_uid)
    assert replace(archive.reader.read_back(moved.key)[0], checked=moved.checked) == moved
    assert bool(moved.dataset_at) == (rows == 512)
    assert archive.index.stages.unplanned(archive.policy.fingerprint, (), 9) == []


def test_what_became_of_it_is_told_with_its_attempts(opened: Opened) -> None:
    archive, told = opened(), list[Kept]()
    archive.ingest(sent(), follow=lambda one: one.then(told.append))
    archive.close()
    assert [(one.outcome, [each.form for each in one.attempts]) for one in told] == [("kept", ["htj2k"])]


@pytest.mark.parametrize(
    "options",
    [
        {"landing": False},
        {"most": 100},
        {"pending": None},
        {"landing": False, "bucket": True},
    ],
    ids=["landing off", "backlog full", "nothing may be pending", "durable in the bucket"],
)
def test_else_it_gets_its_own_file_first(opened: Opened, options: dict[str, Any]) -> None:
    archive = opened(**options)
    kept = archive.ingest(sent(), follow=Mock())
    assert (kept.instance.form, kept.instance.pending, is_landed(kept.instance.key)) == (
        "htj2k",
        False,
        False,
    )
    assert archive.named(kept.instance.sop_instance_uid) == [kept.instance]


def test_a_bucket_gets_it_behind(opened: Opened) -> None:
    archive = opened(bucket=True)
    received = sent()
    assert is_landed(archive.ingest(received).instance.key)
    filed(archive)
    (moved,) = archive.named(received.sop_instance_uid)
    assert not is_landed(moved.key)
    assert content(archive, received) == received.dataset


def test_with_keys_what_lands_is_encrypted(opened: Opened, tmp_path: Path) -> None:
    archive = opened(cipher=Cipher([EncryptionKey("k", bytes(range(32)))]))
    received = sent()
    landed = archive.ingest(received).instance
    log = b"".join(path.read_bytes() for path in (tmp_path / "own").rglob("*.log"))
    assert b"zscp-enc" in log
    assert b"DICM" not in log
    archive.verify(landed, deep=True)
    assert content(archive, received) == received.dataset
    filed(archive)
    assert content(archive, received) == received.dataset


@pytest.mark.parametrize("form", FORMS)
def test_what_a_dead_process_left_is_taken_up_in_its_form(
    opened: Opened, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = sent()
    told = left_behind(opened(form), received)
    monkeypatch.setattr(form_maker, "keep", Mock(side_effect=AssertionError("it is encoded again")))
    after = opened(form)
    assert after.named(received.sop_instance_uid) == []
    assert recover(after).recorded == 1
    assert after.named(received.sop_instance_uid) == [told.instance]
    filed(after)
    assert content(after, received) == received.dataset
    assert [(one.form, one.pending) for one in after.all()] == [(form, False)]
    assert recover(opened(form)).recorded == 0


@pytest.mark.parametrize("at", [300, -100])
@pytest.mark.parametrize("rows", [64, 512], ids=["in a frame", "plain"])
def test_a_torn_record_is_no_object(opened: Opened, tmp_path: Path, rows: int, at: int) -> None:
    """In its File Meta Information, or in its dataset: as where the power fails before the sync."""
    received = sent(rows=rows)
    key = left_behind(opened(), received).instance.key
    damage(tmp_path, key, at)
    after = opened()
    found = recover(after)
    assert (found.recorded, after.count()) == (0, 0)
    assert found.unfinished == (
        at < 0
    )  # one whose beginning is sound is set aside alone, else its segment is


def damage(root: Path, key: str, at: int) -> None:
    """Change a byte of a record."""
    segment, _, name = key.rpartition("/")
    begin, size = map(int, name.removesuffix(".dcm").split("-"))
    path = root / "own" / f"{segment}.log"
    data = bytearray(path.read_bytes())
    data[begin + (at if at > 0 else size + at)] ^= 255
    path.write_bytes(data)


def trained() -> bytes:
    """A zstd dictionary of the headers of such objects."""
    samples = [bytes(phantom(Shape(noise=0.05, seed=seed)).dataset) for seed in range(100, 160)]
    made = zstandard.train_dictionary(8 << 10, samples, k=200, d=8, f=20, accel=1, split_point=1.0)
    return made.as_bytes()


def test_without_its_dictionary_it_stays_in_the_log_until_that_is_back(
    opened: Opened, tmp_path: Path
) -> None:
    archive, received = opened("zstd", dictionary=True), sent()
    archive.dictionaries.add(SECONDARY_CAPTURE, trained())
    left_behind(archive, received)
    (tmp_path / "objects" / "dictionaries").rename(tmp_path / "away")
    without = opened("zstd")
    found = recover(without)
    assert (found.recorded, found.unfinished, without.count()) == (0, 0, 0)
    assert ["dictionary" in fault for fault in found.damaged] == [True]
    (tmp_path / "away").rename(tmp_path / "objects" / "dictionaries")
    again = opened("zstd")
    assert recover(again).recorded == 1
    assert content(again, received) == received.dataset


def test_while_a_record_that_no_row_names_needs_a_dictionary_that_stays(
    opened: Opened, tmp_path: Path
) -> None:
    """A node was killed right after the response, and nobody has started it since."""
    archive, received = opened("zstd", dictionary=True), sent()
    needed = archive.dictionaries.add(SECONDARY_CAPTURE, trained()).id
    left_behind(archive, received)
    after, trash = opened("zstd"), Trash({"": tmp_path / "objects"})
    now = time.time()
    with pytest.raises(DictionaryNeeded, match="in 60 minutes"):
        remove_dictionary(after, trash, needed, now)
    with pytest.raises(DictionaryNeeded, match="in the landing log may need"):
        remove_dictionary(after, trash, needed, now + 3601)
    assert recover(after).recorded == 1
    with pytest.raises(DictionaryNeeded, match="1 objects need"):
        remove_dictionary(after, trash, needed, now + 3601)
    assert content(after, received) == received.dataset


def test_without_its_dictionary_it_gets_its_file_and_goes_to_the_trash(
    opened: Opened, tmp_path: Path
) -> None:
    archive, first = opened("zstd", dictionary=True), sent()
    archive.dictionaries.add(SECONDARY_CAPTURE, trained())
    archive.ingest(first)
    landed = archive.ingest(other := sent(seed=1)).instance
    assert part10.dictionary_id(bytes(archive.files.get(landed.key)))
    (tmp_path / "objects" / "dictionaries").rename(tmp_path / "away")
    without = opened("zstd")
    assert without.ingest(again := sent(noise=0.3)).outcome == "replaced"
    assert content(without, first) == again.dataset
    assert without._options.safekeeping is not None
    assert [one.received_sha256 for one in without._options.safekeeping.trash.entries()] == [first.sha256]
    filed(without)
    assert without.count_pending().instances == 0
    (tmp_path / "away").rename(tmp_path / "objects" / "dictionaries")
    assert content(opened("zstd"), other) == other.dataset


def test_a_damaged_one_is_noticed_and_gets_no_file(opened: Opened, tmp_path: Path) -> None:
    archive = opened()
    received = sent()
    landed = archive.ingest(received).instance
    damage(tmp_path, landed.key, -100)
    with pytest.raises(ObjectDamaged):
        archive.verify(landed)
    filed_once = Encoder(archive, Doorbell())
    filed_once.round()
    filed_once.close()
    assert [one.key for one in archive.all()] == [landed.key]
    assert [one.sop_instance_uid for one in archive.integrity.damaged()] == [landed.sop_instance_uid]
    assert archive.ingest(sent()).outcome == "replaced"  # it repairs what is damaged
    assert content(archive, received) == received.dataset


@pytest.mark.parametrize(
    ("duplicates", "noise", "outcome"),
    [("replace", 0.1, "duplicate"), ("replace", 0.3, "replaced"), ("keep", 0.3, "discarded")],
)
def test_sent_again_while_it_waits_for_its_file(
    opened: Opened, duplicates: str, noise: float, outcome: str
) -> None:
    archive = opened(duplicates=duplicates)
    first, again = sent(), sent(noise=noise)
    archive.ingest(first, follow=lambda _: None)
    assert archive.ingest(again).outcome == outcome
    wanted = again if outcome == "replaced" else first
    assert content(archive, first) == wanted.dataset
    filed(archive)
    assert content(archive, first) == wanted.dataset
    assert archive._options.safekeeping is not None
    trashed = archive._options.safekeeping.trash.entries()
    assert [one.received_sha256 for one in trashed] == ([first.sha256] if outcome == "replaced" else [])
    assert len(list(archive.files.keys())) == 1


def test_beside_one_that_another_process_acknowledged_later(opened: Opened) -> None:
    """Neither has found the other in the index: the earlier one goes to the trash, in its form."""
    archive, other = opened(), opened()
    sender = Unrecorded()
    archive.ingest(earlier := sent(), follow=sender.add)
    later = sent(noise=0.3)
    other.ingest(later)
    assert sender.wait()
    assert content(archive, later) == later.dataset
    assert archive._options.safekeeping is not None
    (entry,) = archive._options.safekeeping.trash.entries()
    assert (entry.received_sha256, ".htj2k" in entry.key) == (earlier.sha256, True)
    filed(archive)
    assert content(archive, later) == later.dataset


def test_replaced_while_its_file_is_written(opened: Opened) -> None:
    archive = opened()
    archive.ingest(first := sent())
    (landed,) = archive.named(first.sop_instance_uid)
    change = archive.encode(landed)
    assert archive.ingest(again := sent(noise=0.3)).outcome == "replaced"
    archive.replace([change])
    assert content(archive, first) == again.dataset
    filed(archive)
    assert [archive.files.has(one.key) for one in archive.all()] == [True]
    assert len(list(archive.files.keys())) == 1


def test_two_give_it_a_file_at_once(opened: Opened) -> None:
    """The encoder, and a node that asks for it: one file is named, and no other is left."""
    archive = opened()
    landed = archive.ingest(received := sent()).instance
    change = archive.encode(landed)
    archive.upload(landed.key)
    (uploaded,) = archive.named(received.sop_instance_uid)
    assert (uploaded.pending, uploaded.form, is_landed(uploaded.key)) == (False, "htj2k", False)
    assert uploaded.key != change.after.key  # neither removes what the other has put
    archive.replace([change])
    assert list(archive.files.keys()) == [uploaded.key]
    assert dict(archive.files.store.unsettled()) == {}
    assert content(archive, received) == received.dataset
    assert archive.encode(landed).data is None  # it has moved on


def test_a_deletion_gives_it_a_file_for_the_trash(opened: Opened, tmp_path: Path) -> None:
    archive = opened()
    landed = archive.ingest(received := sent()).instance
    deletion = Deletion(archive, {"": tmp_path / "objects"})
    assert deletion.delete([landed], "a test").deleted == (received.sop_instance_uid,)
    assert (archive.count(), list(archive.files.keys())) == (0, [])
    recover(opened())
    assert archive.count() == 0


def test_the_index_is_made_anew_from_the_log(opened: Opened, tmp_path: Path) -> None:
    archive = opened()
    landed = archive.ingest(received := sent()).instance
    archive.close()
    with sqlite3.connect(tmp_path / "index.db") as index:
        index.execute("DELETE FROM instance")
    again = opened()
    assert reindex(again, Silent()).recorded == 1
    assert [replace(one, checked=landed.checked) for one in again.all()] == [landed]
    assert list(fsck(again, Silent())) == []
    filed(again)
    assert content(again, received) == received.dataset


def test_under_another_policy_it_keeps_its_form_until_a_stage_is_due(opened: Opened) -> None:
    archive = opened()
    landed: Instance = archive.ingest(received := sent()).instance
    archive.use_policy([PolicyRule(name="other", stages=(Stage(forms=("zstd",)),))])
    filed(archive)
    (moved,) = archive.named(received.sop_instance_uid)
    assert (moved.form, moved.stored_sha256) == ("htj2k", landed.stored_sha256)
    assert content(archive, received) == received.dataset


def test_beside_rules_that_let_objects_wait(opened: Opened) -> None:
    """What was written before its rule was known is withdrawn; one record is left of each object."""
    archive = opened()
    waiting = Stage.model_validate({"form": "htj2k", "after": "0s"})
    rest = PolicyRule(name="rest", stages=(Stage(forms=("received",)), waiting))
    own = PolicyRule(name="first", match={"Rows": ("64",)}, stages=(Stage(forms=("htj2k",)),))
    archive.use_policy([own, rest])
    small = replace(phantom(Shape(32, 32)), received_at=datetime.now(UTC))
    for one in (sent(), small):
        archive.ingest(one)
    assert sorted((one.form, one.pending) for one in archive.all()) == [("htj2k", True), ("received", True)]
    assert sorted(archive.store.log.keys()) == sorted(one.key for one in archive.all())
    filed(archive)
    assert [(one.form, one.pending) for one in archive.all()] == [("htj2k", False)] * 2
