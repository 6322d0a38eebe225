"""Invariant 5: what is stored opens with stock tools, and damage is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, bundled_file, kept, phantom
from pydicom import dcmread

from scp.config.rules import Stage
from scp.encoding import forms
from scp.errors import NotReproduced, ObjectDamaged
from scp.model import Attempt, Provenance, Restoration
from scp.objects import part10, provenance
from scp.objects.part10 import Part10, pack, unpack, unwrap, wrap

pytestmark = pytest.mark.quick

SHAPE = Shape(rows=64, columns=64, noise=0.01)
FORMS = ("received", "native", "deflate", "zstd", "rle", "jpegls", "htj2k", "jpeg2000", "jpegxl")


def opens(path: Path) -> None:
    dumped = subprocess.run(["dcmdump", "-q", str(path)], capture_output=True, check=False, text=True)
    assert dumped.returncode == 0, dumped.stderr
    assert "(7fe0,0010)" in dumped.stdout
    assert dumped.stderr == ""
    dataset = dcmread(path)
    assert dataset.Modality == "OT"
    assert dataset.PatientName == "Phantom^Ünïcode"
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.SourceApplicationEntityTitle == "MODALITY"


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
@pytest.mark.parametrize("form", FORMS)
def test_stock_tools_open_what_is_stored(form: str, wrapped: bool, tmp_path: Path) -> None:
    if form == "zstd" and not wrapped:
        pytest.skip("is always wrapped")
    found = kept(phantom(SHAPE), Stage(forms=(form,), wrap="zstd" if wrapped else "none"))
    assert (found.encoded.form, found.wrapped) == (form, wrapped)
    file = tmp_path / "object.dcm"
    if wrapped:
        (tmp_path / "object.dcm.zst").write_bytes(found.data)
        subprocess.run(["zstd", "-q", "-d", "--rm", f"{file}.zst"], check=True)
    else:
        file.write_bytes(found.data)
    opens(file)


def test_the_group_length_of_the_meta_information_is_right() -> None:
    data = kept(phantom(SHAPE), Stage(forms=("jpegls",), wrap="none")).data
    length = int.from_bytes(data[140:144], "little")
    assert data[144 + length : 144 + length + 2] == b"\x08\0"


def test_packed_and_unpacked_it_is_the_same() -> None:
    file = Part10("1.2", "1.2.3", "1.2.840.10008.1.2.1", b"\x08\0dataset", PROVENANCE, "SENDER")
    assert unpack(pack(file)) == file
    for level in (None, 1, 19):
        assert unpack(wrap(pack(file), level)) == file
    assert unpack(pack(replace(file, provenance=None, source_aet=""))).provenance is None


def test_a_file_of_another_writer_has_no_provenance() -> None:
    file = unpack(bundled_file("CT_small.dcm").read_bytes())
    assert file.provenance is None
    assert file.transfer_syntax == "1.2.840.10008.1.2.1"
    assert file.sop_instance_uid


STORED = {
    wrapped: bytes(kept(phantom(SHAPE), Stage(forms=("native",), wrap="zstd" if wrapped else "none")).data)
    for wrapped in (False, True)
}


def is_noticed(data: bytes, original: bytes) -> None:
    """Damage raises, or what is read has another digest than the index holds."""
    before = unpack(original)
    try:
        file = unpack(data)
    except ObjectDamaged:
        return
    assert file != before or hashlib.sha256(data).digest() != hashlib.sha256(original).digest()
    if file.dataset != before.dataset:
        with pytest.raises(NotReproduced):
            forms.prove(file.dataset, file.transfer_syntax, before.provenance)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_cut_off_anywhere(wrapped: bool) -> None:
    original = STORED[wrapped]
    for size in range(len(original)):
        if wrapped:
            with pytest.raises(ObjectDamaged):
                unpack(original[:size])
        else:
            is_noticed(original[:size], original)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_a_changed_byte_anywhere(wrapped: bool) -> None:
    original = STORED[wrapped]
    for at in range(len(original)):
        changed = original[:at] + bytes([original[at] ^ (1 + at % 255)]) + original[at + 1 :]
        is_noticed(changed, original)
        with contextlib.suppress(ObjectDamaged):
            # Within a frame all is under its checksum, but for a bit of its header that is unused.
            assert not wrapped or unpack(changed) == unpack(original)


@examples(200, derandomize=True)
@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_damaged(data: bytes, with_preamble: bool) -> None:
    with pytest.raises(ObjectDamaged):
        unpack((bytes(128) + b"DICM" if with_preamble else b"") + data)


def test_one_frame_and_nothing_else() -> None:
    frame = bytes(wrap(b"one", 3))
    assert unwrap(frame) == b"one"
    for data in (frame + b"\0", frame + bytes(wrap(b"two", 3))):
        with pytest.raises(ObjectDamaged, match="one zstd frame"):
            unwrap(data)


@pytest.mark.parametrize("cut", [None, -10], ids=["whole", "cut"])
def test_a_frame_gives_no_more_than_the_few_bytes_that_it_declares(cut: int | None) -> None:
    content = bytes(1 << 20)
    frame = bytearray(wrap(content, 3))
    begin = 5 + (not frame[4] & 0b100000)  # behind the window, where there is one
    assert int.from_bytes(frame[begin : begin + 4], "little") == len(content)
    frame[begin : begin + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(ObjectDamaged, match="one zstd frame"):
        unwrap(bytes(frame[:cut]))


def test_a_frame_tells_its_size_and_has_a_checksum() -> None:
    """``zstd -l`` and ``zstd -t`` live by them (RFC 8878 3.1.1.1.1)."""
    for level in (None, 3):
        frame = wrap(b"content" * 100, level)
        assert frame[4] & 0b100, "Content_Checksum_flag"
        assert frame[4] & 0b11100000, "Frame_Content_Size_flag or Single_Segment_flag"


# Provenance

PROVENANCE = Provenance(
    transfer_syntax="1.2.840.10008.1.2",
    sha256="ab" * 32,
    size=12345,
    received_at=phantom(SHAPE).received_at,
    calling_aet="CT",
    called_aet="ZSCP",
    rule="everything else",
    form="htj2k",
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COUNT = st.integers(0, (1 << 63) - 1)  # what the index has room for
ATTEMPTS = st.builds(
    Attempt,
    TEXT,
    TEXT,
    TEXT,
    COUNT,
    st.integers(0, 10**8).map(lambda ten_thousandths: ten_thousandths / 10_000),
)
RESTORATIONS = st.builds(
    Restoration, COUNT, COUNT, st.binary(max_size=99), TEXT, COUNT, st.binary(max_size=99)
)


@st.composite
def provenances(draw) -> Provenance:
    fault = draw(st.sampled_from(("", "the stream ends", "Ünlesbar")))
    return Provenance(
        transfer_syntax=draw(TEXT),
        sha256=draw(TEXT),
        size=draw(COUNT),
        received_at=draw(
            st.datetimes(timezones=st.sampled_from((UTC, timezone(timedelta(hours=-9, minutes=30)))))
        ),
        calling_aet=draw(TEXT),
        called_aet=draw(TEXT),
        rule=draw(TEXT),
        form=draw(TEXT),
        codec=draw(TEXT),
        readable=not fault,
        fault=fault,
        restoration=draw(st.none() | RESTORATIONS),
        native_sha256=draw(TEXT),
        attempts=tuple(draw(st.lists(ATTEMPTS, max_size=3))),
    )


@examples(200, derandomize=True)
@given(provenances())
def test_provenance_is_remembered(made: Provenance) -> None:
    data = provenance.encoded(made)
    assert len(data) % 2 == 0
    assert provenance.decoded(data) == made
    assert unpack(pack(Part10("1.2", "1.2.3", "1.2.4", b"", made))).provenance == made


def test_what_is_unknown_is_ignored() -> None:
    """A file of a later version of zscp is read by this one."""
    fields = json.loads(provenance.encoded(replace(PROVENANCE, attempts=(Attempt("rle", "kept"),))))
    fields |= {"version": 7, "later": {"more": [1, 2]}}
    fields["tried"][0]["later"] = 1
    read = provenance.decoded(json.dumps(fields).encode())
    assert read == replace(PROVENANCE, attempts=(Attempt("rle", "kept"),))


def test_unreadable_stays_unreadable_without_a_reason() -> None:
    assert not provenance.decoded(provenance.encoded(replace(PROVENANCE, readable=False))).readable


def test_text_that_is_no_text_is_written_all_the_same() -> None:
    read = provenance.decoded(provenance.encoded(replace(PROVENANCE, calling_aet="A\udc80")))
    assert read.calling_aet == "A?"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"{}", b'{"syntax":1}', b"\xff", b'"' + b"[" * 9, b"[" * 100_000]
)
def test_provenance_that_cannot_be_read_is_damage(data: bytes) -> None:
    with pytest.raises(ObjectDamaged):
        provenance.decoded(data)


def test_without_a_transfer_syntax_it_is_damaged() -> None:
    data = bytes(pack(Part10("1.2", "1.2.3", "1.2.4", b""))).replace(b"\x02\0\x10\0UI", b"\x02\0\x11\0UI")
    with pytest.raises(ObjectDamaged, match="names no transfer syntax"):
        part10.unpack(data)
