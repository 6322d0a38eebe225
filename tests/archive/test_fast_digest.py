"""What is served is checked by a fast digest; damage is never sent, and SHA-256 stays what proves a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import bucket_in_memory
from objects import Shape, phantom

from scp.archive import records, stored_files
from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.background.doorbell import Doorbell
from scp.background.progress import Silent
from scp.config.keys import EncryptionKey
from scp.config.rules import PolicyRule
from scp.errors import ObjectDamaged
from scp.index.sql import SqlIndex
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.reindex import reindex
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.bucket_store import BucketStore
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import LANDING, is_landed
from scp.spool import IN_MEMORY, sha256, xxh3
from scp.syntaxes import EXPLICIT, HTJ2K, IMPLICIT

KEYED = Cipher([EncryptionKey("2026", bytes(range(32)))])
SENT = phantom(Shape(rows=64, columns=48))
LARGE = phantom(Shape(rows=1500, columns=1500))  # more than is read into memory: it is mapped
PLACES = ("folder", "bucket", "encrypted folder")
Opened = Callable[..., Archive]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Opened]:
    archives = list[Archive]()

    def opens(
        place: str = "folder", form: str = "received", wrap: str = "none", lands: bool = False
    ) -> Archive:
        own = tmp_path / "own"
        own.mkdir(exist_ok=True)
        store: JournaledStore = LocalStore(tmp_path / "objects")
        if place == "bucket":
            store = BucketStore(bucket_in_memory(monkeypatch), own)
        if place == "encrypted folder":
            store = EncryptedStore(store, KEYED)
        rule = PolicyRule.model_validate({"name": "rule", "stages": [{"form": form, "wrap": wrap}]})
        pending = PendingBound(lambda: 0, 1 << 30, Doorbell()) if lands else None
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        landed = LandedStore(store, LandingLog(own) if lands else None)
        archives.append(Archive(landed, index, [rule], Options(pending=pending)))
        return archives[-1]

    yield opens
    for archive in archives:
        archive.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the files whose SHA-256 was computed."""
    seen: list[str] = []
    whole = stored_files.StoredFiles.digest

    def digest(files: stored_files.StoredFiles, key: str, data: bytes) -> str:
        seen.append(key)
        return whole(files, key, data)

    monkeypatch.setattr(stored_files.StoredFiles, "digest", digest)
    return seen


def served(archive: Archive, instance: Instance, syntax: str = EXPLICIT) -> bytes:
    return b"".join(archive.fetch(instance, [syntax]).chunks)


def row(archive: Archive, sent: Received) -> Instance:
    (found,) = archive.named(sent.sop_instance_uid)
    return found


def with_bit(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def put_again(archive: Archive, key: str, data: bytes) -> None:
    """A file in the place of another; an encrypted one is encrypted anew, so that only a digest tells."""
    archive.store.delete(key)
    archive.store.put(key, data)
    archive.store.settle(key)


# ---- what it saves ----


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sent", [SENT, LARGE], ids=["read", "mapped"])
def test_as_stored_nothing_else_is_computed(
    opened: Opened, slow: list[str], sent: Received, place: str
) -> None:
    archive = opened(place)
    instance = archive.ingest(sent).instance
    data = bytes(archive.files.get(instance.key))
    assert (instance.stored_sha256, instance.stored_xxh3) == (sha256(data), xxh3(data))
    assert data[instance.dataset_at :] == sent.dataset
    assert served(archive, instance) == sent.dataset
    assert slow == []
    archive.verify(instance)
    assert slow == [instance.key]


def test_what_lies_in_a_log_is_waited_for_whatever_its_row_says_of_the_file_before(opened: Opened) -> None:
    """A node of an earlier version replaces the key of a row, and leaves what it does not know."""
    archive = opened()
    instance = archive.ingest(SENT).instance
    assert archive.reader.unchanged(instance) is not None
    assert archive.reader.unchanged(replace(instance, key=f"{LANDING}/another/000001/8-9.dcm")) is None


def test_what_is_looked_into_here_is_checked_by_sha256(opened: Opened, slow: list[str]) -> None:
    """A forged file may fit the fast digest, and codecs trust what this node has proven."""
    archive = opened(form="htj2k")
    instance = archive.ingest(SENT).instance
    assert served(archive, instance, HTJ2K)
    assert slow == []
    for syntax in (EXPLICIT, IMPLICIT):
        served(archive, instance, syntax)
    assert slow == [instance.key] * 2


def test_a_file_in_a_frame_has_none(opened: Opened, slow: list[str]) -> None:
    archive = opened(form="htj2k", wrap="zstd")
    instance = archive.ingest(SENT).instance
    assert (instance.stored_xxh3, instance.dataset_at) == ("", 0)
    assert served(archive, instance, HTJ2K)
    assert slow == [instance.key]


def test_what_waited_in_the_landing_log_is_served_by_sha256_until_it_has_a_file(opened: Opened) -> None:
    archive = opened(lands=True)
    landed = archive.ingest(SENT).instance
    assert is_landed(landed.key)
    assert (landed.stored_xxh3, landed.dataset_at) == ("", 0)
    assert served(archive, landed) == SENT.dataset
    encoder = Encoder(archive, Doorbell())
    assert encoder.round()
    encoder.close()
    instance = row(archive, SENT)
    assert instance.stored_xxh3
    assert served(archive, instance) == SENT.dataset


def test_what_lacks_a_uid_is_not_sent_as_it_lies_there(opened: Opened) -> None:
    archive = opened()
    at = SENT.dataset.index(b"\x20\0\x0d\0UI")
    behind = at + 8 + int.from_bytes(SENT.dataset[at + 6 : at + 8], "little")
    sent = replace(SENT, dataset=SENT.dataset[:at] + SENT.dataset[behind:], sha256="")
    instance = archive.ingest(sent).instance
    outgoing = archive.fetch(instance, [EXPLICIT])
    assert outgoing.given == {"StudyInstanceUID": instance.study_instance_uid}
    assert (instance.stored_xxh3, instance.dataset_at) == ("", 0)


# ---- damage ----


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("form", "wrap"), [("received", "none"), ("htj2k", "none"), ("htj2k", "zstd")], ids="{0}".format
)
def test_one_bit_is_noticed_wherever_it_lies(opened: Opened, place: str, form: str, wrap: str) -> None:
    archive = opened(place, form, wrap)
    instance = archive.ingest(SENT).instance
    sound = bytes(archive.files.get(instance.key))
    for at in {0, 131, 300, *(len(sound) * n // 12 for n in range(12)), len(sound) - 1}:
        put_again(archive, instance.key, with_bit(sound, at))
        for syntax in (EXPLICIT, IMPLICIT, HTJ2K):
            with pytest.raises(ObjectDamaged):
                served(archive, instance, syntax)
    put_again(archive, instance.key, sound)
    assert served(archive, instance) == SENT.dataset


def test_one_bit_of_a_mapped_file_is_noticed(opened: Opened) -> None:
    archive = opened()
    instance = archive.ingest(LARGE).instance
    assert instance.stored_size > IN_MEMORY
    sound = bytes(archive.files.get(instance.key))
    for at in (instance.dataset_at, len(sound) // 2, len(sound) - 1):
        put_again(archive, instance.key, with_bit(sound, at))
        with pytest.raises(ObjectDamaged):
            served(archive, instance)


def test_one_bit_of_a_landed_record_is_noticed(opened: Opened, tmp_path: Path) -> None:
    archive = opened(lands=True)
    instance = archive.ingest(SENT).instance
    files = [path for path in (tmp_path / "own" / LANDING).rglob("*") if path.is_file()]
    (segment,) = (path for path in files if SENT.dataset in path.read_bytes())
    data = segment.read_bytes()
    begin = data.index(SENT.dataset)
    for at in (begin, begin + len(SENT.dataset) // 2, begin + len(SENT.dataset) - 1):
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(with_bit(data, at)[at : at + 1])
        with pytest.raises(ObjectDamaged):
            served(archive, instance)
        segment.write_bytes(data)
    assert served(archive, instance) == SENT.dataset


def test_a_file_of_another_length_is_noticed(opened: Opened) -> None:
    archive = opened()
    instance = archive.ingest(SENT).instance
    sound = bytes(archive.files.get(instance.key))
    for other in (b"", sound[:-1], sound + b"\0"):
        put_again(archive, instance.key, other)
        with pytest.raises(ObjectDamaged):
            served(archive, instance)


# ---- which digest is for what ----


def test_sha256_decides_where_the_two_differ(opened: Opened, slow: list[str]) -> None:
    """A node of the version before replaces a file, and leaves the columns that it does not know."""
    archive = opened()
    instance = archive.ingest(SENT).instance
    stale = replace(instance, stored_xxh3="0" * 32, dataset_at=instance.dataset_at + 2)
    archive.index.change_many([(instance, stale)])
    assert served(archive, stale) == SENT.dataset
    assert slow == [instance.key]


def test_a_row_of_the_version_before_is_served_by_sha256(opened: Opened, slow: list[str]) -> None:
    archive = opened()
    instance = archive.ingest(SENT).instance
    older = replace(instance, stored_xxh3="", dataset_at=0)
    archive.index.change_many([(instance, older)])
    assert served(archive, row(archive, SENT)) == SENT.dataset
    assert slow == [instance.key]


def test_what_is_forged_to_fit_the_fast_digest_is_found_by_the_other(opened: Opened) -> None:
    archive = opened()
    instance = archive.ingest(SENT).instance
    forged = with_bit(bytes(archive.files.get(instance.key)), instance.stored_size - 1)
    put_again(archive, instance.key, forged)
    fitting = replace(instance, stored_xxh3=xxh3(forged))
    archive.index.change_many([(instance, fitting)])
    with pytest.raises(ObjectDamaged, match="is not what was written"):
        archive.verify(fitting)


# ---- from the files alone ----


@pytest.mark.parametrize(("form", "wrap"), [("received", "none"), ("htj2k", "none"), ("htj2k", "zstd")])
def test_the_index_is_made_again_with_both(opened: Opened, form: str, wrap: str) -> None:
    archive = opened(form=form, wrap=wrap)
    instance = archive.ingest(SENT).instance
    archive.forget(instance.sop_instance_uid, instance.key)
    assert reindex(archive, Silent()).recorded == 1
    again = row(archive, SENT)
    assert bool(again.stored_xxh3) == (wrap == "none")
    assert (again.stored_sha256, again.stored_xxh3, again.dataset_at) == (
        instance.stored_sha256,
        instance.stored_xxh3,
        instance.dataset_at,
    )


def test_damage_from_before_a_rebuild_is_not_taken_for_sound(opened: Opened) -> None:
    archive = opened()
    instance = archive.ingest(SENT).instance
    sound = bytes(archive.files.get(instance.key))
    assert records.provenance_of(part10.unpack(sound)).xxh3 == xxh3(SENT.dataset)
    put_again(archive, instance.key, with_bit(sound, len(sound) - 2))
    archive.forget(instance.sop_instance_uid, instance.key)
    outcome = reindex(archive, Silent())
    assert [key for key, _ in outcome.damaged] == [instance.key]
    assert archive.named(SENT.sop_instance_uid) == []
