"""``zscp import`` of what others wrote: without preamble or File Meta Information, or with a forged one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import NATIVE, Shape, bundled_file, element, kept, phantom

from scp.archive import foreign
from scp.archive.archive import Archive
from scp.archive.foreign import files_below
from scp.config.rules import DEFAULT_POLICY, Stage
from scp.encoding.dataset import encoding_of
from scp.errors import ObjectDamaged
from scp.index.sql import SqlIndex
from scp.lifecycle.transfer import Imported, import_files
from scp.model import Provenance
from scp.objects import part10
from scp.objects.local import LocalStore
from scp.objects.part10 import Part10, pack, unpack
from scp.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEG_BASELINE, lookup

SENT = {syntax: phantom(Shape(rows=40, columns=40, noise=0.01), syntax) for syntax in NATIVE[:3]}
PREFIX = bytes(128) + b"DICM"
WRITERS = {EXPLICIT: "+te", IMPLICIT: "+ti", BIG_ENDIAN: "+tb"}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    one = Archive(
        LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), DEFAULT_POLICY
    )
    yield one
    one.close()


def imported(archive: Archive, data: bytes, tmp_path: Path) -> Imported:
    path = tmp_path / "file"
    path.write_bytes(data)
    (found,) = import_files(archive, [path], "ZSCP")
    return found


def meta(syntax: str | None, encoding: str = EXPLICIT) -> bytes:
    """A File Meta Information in any encoding, without a group length, as some writers leave it."""
    named = {0x00020002: "1.2.840.10008.5.1.4.1.1.7", 0x00020003: "1.2.3", 0x00020010: syntax}
    return b"".join(
        element(tag, "UI", uid.encode() + b"\0" * (len(uid) % 2), encoding=encoding_of(lookup(encoding)))
        for tag, uid in named.items()
        if uid is not None
    )


# Guessing


@pytest.mark.parametrize("syntax", WRITERS)
def test_what_dcmconv_writes_without_a_meta_information(archive, syntax: str, tmp_path: Path) -> None:
    source, bare = bundled_file("CT_small.dcm"), tmp_path / "bare"
    subprocess.run(["dcmconv", "-q", "-F", WRITERS[syntax], source, bare], check=True)
    found = imported(archive, bare.read_bytes(), tmp_path)
    assert found.outcome == "kept", found
    assert found.note == f"nothing says its transfer syntax; {lookup(syntax).keyword} was guessed"
    (instance,) = archive.index.all()
    assert instance.received_transfer_syntax == syntax
    assert b"".join(archive.fetch(instance, [syntax]).chunks) == bare.read_bytes()


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize("prefix", [b"", PREFIX], ids=["bare", "preamble"])
@pytest.mark.parametrize("encoding", [None, EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_nothing_names_the_transfer_syntax(
    archive, encoding, prefix: bytes, syntax: str, tmp_path: Path
) -> None:
    sent = SENT[syntax]
    data = prefix + (b"" if encoding is None else meta(None, encoding)) + bytes(sent.dataset)
    found = imported(archive, data, tmp_path)
    assert (found.outcome, "was guessed" in found.note) == ("kept", True), found
    assert archive.index.newest(sent.sop_instance_uid).received_sha256 == sent.sha256


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize(("encoding", "prefix"), [(EXPLICIT, b""), (EXPLICIT, PREFIX), (IMPLICIT, PREFIX)])
def test_what_is_named_is_not_guessed(archive, prefix, encoding, syntax: str, tmp_path: Path) -> None:
    sent = SENT[syntax]
    found = imported(archive, prefix + meta(syntax, encoding) + bytes(sent.dataset), tmp_path)
    assert found.outcome == "kept", found
    assert "was guessed" not in found.note
    assert archive.index.newest(sent.sop_instance_uid).received_transfer_syntax == syntax


@pytest.mark.parametrize("wrong", [0, 10, 40, 5000, 0xFFFFFFFE])
def test_a_wrong_group_length(archive, wrong: int, tmp_path: Path) -> None:
    """Where it ends within an element, or behind the file, the group ends where it changes."""
    sent = SENT[IMPLICIT]
    count = element(0x00020000, "UL", wrong.to_bytes(4, "little"))
    found = imported(archive, PREFIX + count + meta(IMPLICIT) + bytes(sent.dataset), tmp_path)
    assert found.outcome == "kept", found
    assert archive.index.newest(sent.sop_instance_uid).received_sha256 == sent.sha256


@pytest.mark.parametrize("syntax", WRITERS)
def test_the_guess_is_dcmdumps(syntax: str, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    for tag, vr in ((0x00080005, "CS"), (0x00100010, "PN"), (0x00090010, "LO"), (0x00020010, "UI")):
        first = element(tag, vr, b"1.2.3.  ", encoding=encoding_of(lookup(syntax)))
        bare.write_bytes(first + bytes(SENT[syntax].dataset))
        dumped = subprocess.run(["dcmdump", "-q", bare], check=False, capture_output=True, text=True)
        used = dumped.stdout.partition("Data-Set\n# Used TransferSyntax: ")[2].splitlines()
        assert used, dumped.stderr
        expected = {"Little Endian Explicit": EXPLICIT, "Little Endian Implicit": IMPLICIT}.get(
            used[0], BIG_ENDIAN
        )
        assert foreign._guess(memoryview(bare.read_bytes())) == expected, hex(tag)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a DICOM"),
        (b"not DICOM at all, but some text", "not a DICOM"),
        (b"%PDF-1.7 " * 40, "not a DICOM"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" * 40, "not a DICOM"),
        (PREFIX, "transfer syntax"),
        (bytes(500), "transfer syntax"),
        (bytes(SENT[EXPLICIT].dataset[:-1]), "ExplicitVRLittleEndian is not it"),
        (bytes(SENT[EXPLICIT].dataset[:52]), "no SOP Class or Instance UID"),
    ],
)
def test_what_is_no_dicom_file_is_skipped_with_a_reason(
    archive, data: bytes, why: str, tmp_path: Path
) -> None:
    found = imported(archive, data, tmp_path)
    assert found.outcome == "skipped"
    assert why in found.reason


def test_a_codestream_that_nothing_names_is_skipped(archive, tmp_path: Path) -> None:
    """It would be kept as what it is not; ``dcmdump`` reads it, but its pixels mean nothing."""
    file = unpack(bundled_file("JPEG-lossy.dcm").read_bytes())
    found = imported(archive, bytes(file.dataset), tmp_path)
    assert found.outcome == "skipped"
    assert "encapsulated" in found.reason
    named = imported(archive, PREFIX + meta(JPEG_BASELINE) + bytes(file.dataset), tmp_path)
    assert named.outcome == "kept"


@examples(300, derandomize=True)
@given(st.sampled_from([b"", PREFIX, PREFIX + meta(None), meta(None, IMPLICIT)]), st.binary(max_size=200))
def test_garbage_is_no_file_and_breaks_nothing(start: bytes, data: bytes) -> None:
    try:
        found, note = foreign.read(start + data)
    except ObjectDamaged:
        return
    assert found.transfer_syntax
    assert note


# What a file says of itself

KNOWN = Provenance(
    transfer_syntax=EXPLICIT,
    sha256=SENT[EXPLICIT].sha256,
    size=len(SENT[EXPLICIT].dataset),
    received_at=datetime(2026, 1, 2, tzinfo=UTC),
    calling_aet="CT1",
    called_aet="OLD",
    rule="r",
    form="received",
)


def with_private(known: Provenance, dataset: bytes = bytes(SENT[EXPLICIT].dataset)) -> bytes:
    uids = (SENT[EXPLICIT].sop_class_uid, SENT[EXPLICIT].sop_instance_uid)
    return bytes(pack(Part10(*uids, EXPLICIT, dataset, known, "SOURCE")))


def test_an_archives_file_brings_its_time_and_sender(archive, tmp_path: Path) -> None:
    for form in ("received", "htj2k", "zstd"):
        sent = replace(SENT[IMPLICIT], calling_aet="CT1")
        found = imported(archive, bytes(kept(sent, Stage(forms=(form,))).data), tmp_path)
        assert (found.outcome, found.note) in (("kept", ""), ("duplicate", ""))
        held = archive.index.newest(sent.sop_instance_uid)
        assert (held.calling_aet, held.received_at, held.received_sha256) == (
            "CT1",
            sent.received_at,
            sent.sha256,
        )


@pytest.mark.parametrize(
    "forged",
    [
        {"sha256": "00" * 32},
        {"size": 1},
        {"transfer_syntax": IMPLICIT},
        {"transfer_syntax": "1.2.3", "sha256": "00" * 32},
        {"native_sha256": "00" * 32, "sha256": "00" * 32},
        {"native_sha256": "00" * 32, "sha256": "00" * 32, "transfer_syntax": JPEG_BASELINE},
        {"calling_aet": "A" * 17},
        {"called_aet": "A" * 17},
        {"received_at": datetime(1, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
def test_what_does_not_match_is_not_believed(archive, forged, tmp_path: Path) -> None:
    found = imported(archive, with_private(replace(KNOWN, **forged)), tmp_path)
    assert found.outcome == "kept"
    assert "not believed" in found.note
    held = archive.index.newest(SENT[EXPLICIT].sop_instance_uid)
    assert (held.calling_aet, held.received_sha256) == ("SOURCE", SENT[EXPLICIT].sha256)
    assert datetime.now(UTC) - held.received_at < timedelta(minutes=5)


def test_a_time_to_come_is_now(archive, tmp_path: Path) -> None:
    """The later one counts where an instance lies twice: nothing may be later than what is yet to come."""
    forged = replace(KNOWN, received_at=datetime(2999, 1, 1, tzinfo=UTC))
    imported(archive, with_private(forged), tmp_path)
    held = archive.index.newest(SENT[EXPLICIT].sop_instance_uid)
    assert held.calling_aet == "CT1"
    assert held.received_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"garbage ",
        b'{"syntax":"1.2","sha256":"00","size":-1,"at":"2020-01-01T00:00:00+00:00"}',
        b'{"syntax":"1.2","sha256":"00","size":1,"at":"2020-01-01T00:00:00"}',
        b'{"syntax":"1.2","sha256":7,"size":1,"at":"2020-01-01T00:00:00+00:00"}',
        b'{"syntax":"1.2","sha256":"0","size":1,"at":"2020-01-01T00:00:00+00:00","from":["A"]}',
        b'{"syntax":"1.2","sha256":"0","size":1,"at":"2020-01-01T00:00:00+00:00","restore":{"vr":"OW","prefix":-1}}',
    ],
)
def test_private_information_that_makes_no_sense_is_ignored(archive, text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ObjectDamaged):
        part10.private.decoded(text)  # type: ignore[attr-defined]
    data = bytes(pack(Part10("1.2", "1.2.3", EXPLICIT, SENT[EXPLICIT].dataset, KNOWN)))
    at = 144 + int.from_bytes(data[140:144], "little")
    begin = data.index(b"\2\0\2\1OB\0\0")
    text += b" " * (len(text) % 2)
    private = element(0x00020102, "OB", text)
    size = at - 144 - (at - begin) + len(private)
    forged = data[:140] + size.to_bytes(4, "little") + data[144:begin] + private + data[at:]
    found = imported(archive, forged, tmp_path)
    assert found.outcome == "kept"
    assert "private information" in found.note
    assert archive.index.newest(SENT[EXPLICIT].sop_instance_uid).received_sha256 == SENT[EXPLICIT].sha256


def test_of_an_archives_folder_the_objects_are_imported(tmp_path: Path) -> None:
    """What was deleted does not come back, and its dictionaries and journal are no files to keep."""
    store = tmp_path / "objects"
    for name in (
        ".incoming/lock",
        ".trash/1.dcm",
        ".holds/1.json",
        "dictionaries/1.2/0001-1-2.zdict",
        ".damaged/x.dcm",
    ):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).touch()
    wanted = [store / "aa/bb/1.2/1.dcm", store / ".landing/1-a/000001.log", tmp_path / ".hidden" / "IM1"]
    for path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(files_below([tmp_path])) == set(wanted)
    assert list(files_below([store / ".trash"])) == [store / ".trash/1.dcm"]
