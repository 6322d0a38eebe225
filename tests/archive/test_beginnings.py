"""A header is read without the pixels behind it: what that reads, and what it tells of damage."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from buckets import bucket_in_memory
from objects import Shape, as_received, parts_of, phantom
from servers_seaweedfs import SeaweedFS

from scp.archive.archive import Archive
from scp.archive.options import Options
from scp.config.keys import EncryptionKey
from scp.config.rules import PolicyRule
from scp.encoding.dataset import join
from scp.encoding.elements import CANONICAL, IMPLICIT_LITTLE, element_header
from scp.encoding.scan import pixels_at
from scp.errors import ObjectDamaged, UnreadableDataset
from scp.index.sql import SqlIndex
from scp.lifecycle.explain import explain_stored
from scp.model import Instance, Received
from scp.objects import beginning, files
from scp.objects.bucket import Bucket
from scp.objects.bucket_store import BucketStore
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.journal import JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.local import LocalStore
from scp.spool import Buffer
from scp.syntaxes import DEFLATED, EXPLICIT, lookup
from scp.viewing.header import ElementRow, header_view, rows

pytestmark = pytest.mark.usefixtures("codecs_here")

MOST_READ = 200_000
FORMS = {
    "as received": ("received", "none"),
    "zstd": ("zstd", None),
    "htj2k": ("htj2k", "none"),
    "htj2k in zstd": ("htj2k", "zstd"),
}
# Each kind of file in a bucket, and in a folder what lies otherwise there.
KINDS = [
    *(("bucket", form) for form in FORMS),
    ("folder", "zstd"),
    ("encrypted", "htj2k in zstd"),
]


@dataclass
class Reads:
    """How often a store was asked to read, and how many bytes it gave."""

    requests: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.requests, self.size = self.requests + 1, self.size + size


class CountedLibrary:
    """obstore, whose gets are counted; all else is its own."""

    def __init__(self, library: Any, reads: Reads) -> None:
        self._library, self._reads = library, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def get(self, *given: Any, **options: Any) -> Any:
        found = self._library.get(*given, **options)
        start, end = found.range
        self._reads.add(end - start)
        return found


def counted(bucket: Bucket, reads: Reads) -> Bucket:
    opened = bucket._opened()
    bucket._asked = replace(opened, library=CountedLibrary(opened.library, reads))
    return bucket


@cache
def noise(side: int) -> Received:
    """An image that no form makes much smaller."""
    return phantom(Shape(rows=side, columns=side, noise=1.0))


@dataclass
class Held:
    """An archive with one object in it."""

    archive: Archive
    store: JournaledStore
    reads: Reads
    instance: Instance

    def view(self, whole: bool = False, **options: int) -> Any:
        self.reads.requests = self.reads.size = 0
        return header_view(self.archive, self.instance, whole=whole, **options)

    def damage(self, at: int, instead: bytes) -> None:
        """Overwrite some bytes of the stored file, beneath its encryption."""
        inner = self.store.inner if isinstance(self.store, EncryptedStore) else self.store
        data = bytearray(inner.get(self.instance.key))
        data[at : at + len(instead)] = instead
        self.overwrite(bytes(data))

    def overwrite(self, data: bytes) -> None:
        inner = self.store.inner if isinstance(self.store, EncryptedStore) else self.store
        if isinstance(inner, BucketStore):
            inner.bucket.put(self.instance.key, data)
        else:
            inner.put(self.instance.key, data)


Holds = Callable[..., Held]


@pytest.fixture
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Holds]:
    archives = list[Archive]()
    reads = Reads()
    first, read = files._first, files.read

    def counted_first(descriptor: int, most: int) -> bytes:
        found = first(descriptor, most)
        reads.add(len(found))
        return found

    def counted_read(path: Path, *given: Any, **options: Any) -> Buffer:
        found = read(path, *given, **options)
        reads.add(len(found))
        return found

    monkeypatch.setattr(files, "_first", counted_first)
    monkeypatch.setattr(files, "read", counted_read)

    def holds(place: str, form: str, sent: Received) -> Held:
        own = tmp_path / "own"
        own.mkdir()
        store: JournaledStore = LocalStore(tmp_path / "objects")
        if place == "bucket":
            store = BucketStore(counted(bucket_in_memory(monkeypatch), reads), own)
        if place == "server":
            server: SeaweedFS = request.getfixturevalue("seaweedfs")
            store = BucketStore(counted(Bucket(server.place()), reads), own)
        store = EncryptedStore(store, Cipher([KEY] if place == "encrypted" else []))
        name, wrap = FORMS[form]
        stage: dict[str, Any] = {"form": name} | ({} if wrap is None else {"wrap": wrap})
        rule = PolicyRule.model_validate({"name": "rule", "stages": [stage]})
        index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
        archives.append(Archive(LandedStore(store), index, [rule], Options()))
        instance = archives[-1].ingest(sent).instance
        assert instance.form == name
        return Held(archives[-1], store, reads, instance)

    yield holds
    for archive in archives:
        archive.close()


KEY = EncryptionKey("2026", bytes(range(32)))


@pytest.mark.parametrize(("place", "form"), KINDS)
def test_a_header_is_read_without_the_pixels(held: Holds, place: str, form: str) -> None:
    one = held(place, form, noise(700))
    check_reads(one)
    one.reads.size = 0
    explained = explain_stored(one.archive, one.instance, costs=False)
    measured = explain_stored(one.archive, one.instance, costs=True)  # by all codecs: 8 s for 20 MB
    assert one.reads.size >= one.instance.stored_size
    assert replace(measured, costs=()) == explained


@pytest.mark.cluster
@pytest.mark.parametrize("form", FORMS)
def test_a_header_of_20_mb_is_read_from_a_server(held: Holds, form: str) -> None:
    check_reads(held("server", form, noise(3200)))


def check_reads(one: Held) -> None:
    assert one.instance.stored_size > 3 * MOST_READ
    found = one.view()
    assert one.reads.size < MOST_READ
    assert one.reads.requests <= 3
    assert found.unread > one.instance.stored_size // 2
    whole = one.view(whole=True)
    assert one.reads.size >= one.instance.stored_size
    assert whole.unread == 0
    assert replace(found, unread=0) == whole
    assert found.rows[-1].keyword == "PixelData"
    one.reads.size = 0
    assert one.archive.provenance(one.instance) == found.provenance
    _, _, facts = one.archive.reader.header(one.instance)
    assert one.reads.size < 2 * MOST_READ
    assert dict(facts.attributes)["PatientName"] == "Phantom^Ünïcode"
    assert (facts.size, facts.transfer_syntax) == (one.instance.received_size, EXPLICIT)
    one.reads.size = 0
    explain_stored(one.archive, one.instance, costs=False)
    assert one.reads.size < MOST_READ


def test_a_small_file_is_read_whole_and_checked(held: Holds) -> None:
    one = held("bucket", "as received", noise(300))
    assert one.view().unread == 0
    assert (one.reads.requests, one.reads.size) == (1, one.instance.stored_size)
    one.damage(one.instance.stored_size - 1, b"?")
    with pytest.raises(ObjectDamaged, match="not what was written"):
        one.view()


def test_a_deflated_file_is_read_whole(held: Holds) -> None:
    sent = noise(700)
    deflated = phantom(Shape(rows=700, columns=700, noise=1.0), DEFLATED)
    one = held("bucket", "as received", deflated)
    found = one.view()
    assert found.unread == 0
    assert one.reads.requests == 1
    assert one.archive.reader.header(one.instance)[2].attributes["Rows"] == "700"
    assert sent.sop_instance_uid == found.sop_instance_uid


# -- damage ----------------------------------------------------------------------------------------------


def at_in_file(one: Held, wanted: bytes) -> int:
    inner = one.store.inner if isinstance(one.store, EncryptedStore) else one.store
    at = bytes(inner.get(one.instance.key)).find(wanted)
    assert 0 < at < 64 << 10
    return at


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_header_that_cannot_be_followed_is_compared_with_the_digest(held: Holds, place: str) -> None:
    one = held(place, "as received", noise(1000))
    one.damage(at_in_file(one, b"\x28\0\x10\0US") + 4, b"?!")
    for look in (one.view, lambda: one.archive.reader.header(one.instance)):
        with pytest.raises(ObjectDamaged, match="not what was written"):
            look()


@pytest.mark.parametrize(("place", "form"), [("bucket", "zstd"), ("folder", "htj2k in zstd")])
def test_a_frame_that_does_not_unpack_is_damaged(held: Holds, place: str, form: str) -> None:
    one = held(place, form, noise(700))
    one.damage(9, b"\xff" * 64)
    with pytest.raises(ObjectDamaged, match="not what was written"):
        one.view()


@pytest.mark.parametrize("form", ["as received", "zstd"])
def test_any_change_in_what_was_read_of_an_encrypted_file_is_damage(held: Holds, form: str) -> None:
    one = held("encrypted", form, noise(700))
    one.damage(40_000, b"\0?\0?")
    with pytest.raises(ObjectDamaged, match="not what was written"):
        one.view()


@pytest.mark.parametrize("place", ["folder", "encrypted", "bucket"])
def test_a_file_that_was_cut_off_is_damaged(held: Holds, place: str) -> None:
    one = held(place, "as received", noise(1000))
    inner = one.store.inner if isinstance(one.store, EncryptedStore) else one.store
    one.overwrite(bytes(inner.get(one.instance.key))[:-2])
    with pytest.raises(ObjectDamaged):
        one.view()


def test_the_file_of_another_object_is_damage(held: Holds) -> None:
    """Of the same size, and with a header that can be followed."""
    one = held("bucket", "as received", noise(1000))
    at = at_in_file(one, one.instance.received_sha256[:32].encode())
    one.damage(at, one.instance.received_sha256[1:33].encode())
    with pytest.raises(ObjectDamaged, match="not what was written"):
        one.view()


def test_what_only_the_digest_tells_is_told_by_whoever_sends_or_reads_it_whole(held: Holds) -> None:
    """The price of reading a part: the view says that it was not compared."""
    one = held("bucket", "as received", noise(1000))
    one.damage(at_in_file(one, b"Phantom^"), b"Phantom!")
    found = one.view()
    assert found.unread
    assert any(row.value.startswith("Phantom!") for row in found.rows)
    for look in (
        lambda: one.view(whole=True),
        lambda: one.archive.verify(one.instance),
        lambda: one.archive.facts(one.instance),
        lambda: b"".join(one.archive.fetch(one.instance, [EXPLICIT]).chunks),
    ):
        with pytest.raises(ObjectDamaged, match="not what was written"):
            look()


# -- where the header ends -------------------------------------------------------------------------------


def with_private(size: int) -> Received:
    """An image with so many bytes in a private element before its pixels."""
    sent = noise(1000)
    parts = parts_of(sent)
    block = element_header(0x00290010, b"LO", 8, CANONICAL) + b"MADE UP "
    block += element_header(0x00291001, b"OB", size, CANONICAL) + bytes(size)
    whole = b"".join(map(bytes, join(replace(parts, header=bytes(parts.header) + block), lookup(EXPLICIT))))
    return as_received(whole, EXPLICIT, sent.sop_class_uid, sent.sop_instance_uid)


@pytest.mark.parametrize(
    ("size", "requests"),
    [(100_000, 3), (1_000_000, 6), (beginning.MOST + 2, 9)],
    ids=["100 KB", "1 MB", "4 MB"],
)
def test_long_values_before_the_pixels(held: Holds, size: int, requests: int) -> None:
    """As much more is read as they take; where that is too much, the whole file is, and is checked."""
    one = held("bucket", "as received", with_private(size))
    found = one.view()
    assert one.reads.requests <= requests
    assert bool(found.unread) == (size < beginning.MOST)
    assert found.rows == one.view(whole=True).rows
    few = one.view(most=3)
    assert (len(few.rows), few.more) == (3, True)
    assert one.reads.requests == 1
    assert "MADE UP" in [row.value for row in found.rows]
    assert one.archive.reader.header(one.instance)[2].attributes["Rows"] == "1000"


def nested(content: bytes) -> bytes:
    item = b"\xfe\xff\0\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"


def streams() -> Iterator[tuple[str, bytes, Any]]:
    text = b"\x10\0\x20\0LO\x04\0abcd"
    pixels = b"\xe0\x7f\x10\0OB\0\0\xc8\0\0\0" + bytes(200)
    future = b"\x11\0\x01\0ZZ\0\0" + struct.pack("<L", 6) + b"future"
    old = b"\x11\0\x02\0YY\x06\0as old"
    fragments = b"\xfe\xff\0\xe0\0\0\0\0" + b"\xfe\xff\0\xe0\x04\0\0\0abcd" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    encapsulated = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + fragments
    icon = nested(encapsulated)
    unknown = b"\x09\0\x02\0UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\x0c\0\0\0\x08\0\x60\0\x04\0\0\0abcd"
    unknown += b"\xfe\xff\xdd\xe0\0\0\0\0"
    yield "native", text + nested(text) + pixels, CANONICAL
    yield "encapsulated, with an icon", text + icon + encapsulated, CANONICAL
    yield "something behind", text + pixels + b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0abcd", CANONICAL
    yield "VRs of no table", future + old + text + old + future + pixels, CANONICAL
    yield "UN", text + unknown + text + pixels, CANONICAL
    yield "no pixels", text + nested(text + nested(text)), CANONICAL
    implicit = b"\x28\0\x03\x01\2\0\0\0\1\0" + b"\x28\0\x06\x01\2\0\0\0\xff\xff" + b"\xe0\x7f\x10\0\xc8\0\0\0"
    yield "implicit", implicit + bytes(200), IMPLICIT_LITTLE


@pytest.mark.parametrize(("stream", "encoding"), [pytest.param(*rest, id=name) for name, *rest in streams()])
def test_wherever_a_stream_is_cut_no_row_is_false(stream: bytes, encoding: Any) -> None:
    """A row of a beginning is that of the whole stream; what is not known of it is told."""
    whole = list(rows(stream, encoding, 16))
    end = pixels_at(stream, encoding, len(stream))
    shown = 0
    for cut in range(len(stream)):
        found = list[ElementRow]()
        with_all = True
        try:
            found.extend(rows(stream[:cut], encoding, 16, len(stream)))
        except UnreadableDataset:
            with_all = False
        assert found == whole[: len(found)]
        if with_all:
            shown += 1
            assert found[-1].keyword == "PixelData"
        assert pixels_at(stream[:cut], encoding, len(stream)) in (None, end)
    assert bool(shown) == (b"\xe0\x7f\x10\0" in stream and b"ZZ" not in stream)
