"""Frames of stored objects by their numbers: each is what stands at its place in the object as a whole."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from objects import Shape, phantom, samples_of
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.rle import _rle_decode_frame
from waiting import until

from scp.archive import frames
from scp.archive.archive import Archive
from scp.config.rules import PolicyRule
from scp.errors import NoLosslessWay, ObjectDamaged
from scp.index.sql import SqlIndex
from scp.model import Instance
from scp.objects.local import LocalStore
from scp.objects.part10 import Part10
from scp.spool import xxh3
from scp.syntaxes import BY_FORM, EXPLICIT, JPEG_BASELINE, RLE

pytestmark = pytest.mark.quick

_GREY = Shape(rows=40, columns=30, frames=3)
_COLOUR = Shape(
    rows=40, columns=30, frames=3, samples=3, planar=1, bits_allocated=8, bits_stored=8, photometric="RGB"
)
_BITS = Shape(rows=5, columns=7, frames=3, bits_allocated=1, bits_stored=1)  # a frame has 35 bits
_WORDS = Shape(rows=3, columns=3, frames=3, bits_allocated=32, bits_stored=32)
_ODD = Shape(rows=3, columns=3, frames=3, bits_allocated=8, bits_stored=8)


def archive(folder: Path, form: str) -> Archive:
    rule = PolicyRule.model_validate({"name": "rule", "stages": [{"form": form, "wrap": "none"}]})
    return Archive(LocalStore(folder / "objects"), SqlIndex.open(f"sqlite:///{folder}/index.db"), [rule])


def native_frame(shape: Shape, number: int) -> bytes:
    """A frame as it was sent; single bits begin in its first byte."""
    values = samples_of(shape)[number - 1]
    if shape.bits_allocated == 1:
        return np.packbits(values.reshape(-1), bitorder="little").tobytes()
    return (np.moveaxis(values, -1, 0) if shape.planar else values).tobytes()


@pytest.mark.parametrize("shape", [_GREY, _COLOUR, _BITS, _WORDS, _ODD], ids=repr)
@pytest.mark.parametrize("form", ["received", "htj2k"])
def test_a_native_frame_has_the_samples_that_were_sent(tmp_path: Path, form: str, shape: Shape) -> None:
    held = archive(tmp_path, form)
    opened = held.frames.open(held.ingest(phantom(shape)).instance)
    assert opened.count == 3
    for number in (3, 1, 2):
        assert bytes(held.frames.frame(opened, number, EXPLICIT)) == native_frame(shape, number)
    held.close()


@pytest.mark.parametrize("form", ["htj2k", "htj2k-rpcl", "jpegls", "jpegxl", "jpeg2000"])
def test_a_frame_as_stored_is_its_fragment_in_the_file(tmp_path: Path, form: str) -> None:
    held = archive(tmp_path, form)
    instance = held.ingest(phantom(_GREY)).instance
    assert instance.transfer_syntax == BY_FORM[form].uid
    file = pydicom.dcmread(BytesIO(bytes(held.files.get(instance.key))))
    expected = list(generate_frames(file.PixelData, number_of_frames=3))
    opened = held.frames.open(instance)
    found = [held.frames.frame(opened, number, instance.transfer_syntax) for number in (1, 2, 3)]
    assert found == expected
    held.close()


def test_a_frame_that_is_encoded_is_read_by_another_decoder(tmp_path: Path) -> None:
    held = archive(tmp_path, "htj2k")
    opened = held.frames.open(held.ingest(phantom(_GREY)).instance)
    codestream = bytes(held.frames.frame(opened, 2, RLE))
    found = _rle_decode_frame(codestream, _GREY.rows, _GREY.columns, 1, 16)
    assert bytes(found) == native_frame(_GREY, 2)
    held.close()


def test_there_is_no_lossy_way(tmp_path: Path) -> None:
    held = archive(tmp_path, "htj2k")
    opened = held.frames.open(held.ingest(phantom(_GREY)).instance)
    with pytest.raises(NoLosslessWay, match="not encoded here"):
        held.frames.frame(opened, 1, JPEG_BASELINE)
    with pytest.raises(NoLosslessWay, match="no frame 4"):
        held.frames.frame(opened, 4, EXPLICIT)
    held.close()


def test_an_open_file_is_not_read_again_and_a_replaced_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = archive(tmp_path, "htj2k")
    instance = held.ingest(phantom(_GREY)).instance
    reads: list[str] = []
    sound = held.reader.sound

    def counted(asked: Instance) -> Part10:
        reads.append(asked.key)
        return sound(asked)

    monkeypatch.setattr(held.reader, "sound", counted)
    assert held.frames.open(instance) is held.frames.open(instance)
    assert reads == [instance.key]
    with pytest.raises(ObjectDamaged):  # a row of another file does not get what is open
        held.frames.open(replace(instance, stored_sha256="0" * 64))
    assert len(reads) == 2
    held.close()


def damaged(folder: Path, instance: Instance) -> bytes:
    """The stored file of an object, after a bit of it was flipped."""
    path = folder / "objects" / instance.key
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("as_stored", [True, False])
def test_a_damaged_file_gives_no_frame(tmp_path: Path, as_stored: bool) -> None:
    held = archive(tmp_path, "htj2k")
    instance = held.ingest(phantom(_GREY)).instance
    damaged(tmp_path, instance)
    with pytest.raises(ObjectDamaged):
        held.frames.open(instance, as_stored)
    held.close()


def test_a_forged_file_reaches_no_codec(tmp_path: Path) -> None:
    """It has the fast digest of its row, and not the SHA-256: it may go out as it lies, and no further."""
    held = archive(tmp_path, "htj2k")
    instance = held.ingest(phantom(_GREY)).instance
    forged = replace(instance, stored_xxh3=xxh3(damaged(tmp_path, instance)))
    opened = held.frames.open(forged, as_stored=True)
    assert held.frames.frame(opened, 1, instance.transfer_syntax)
    for other in (EXPLICIT, RLE):
        with pytest.raises(ObjectDamaged):
            held.frames.frame(opened, 1, other)
    with pytest.raises(ObjectDamaged):  # nor by what stays open
        held.frames.open(forged)
    held.close()


def test_a_file_that_is_to_be_decoded_is_proven_first(tmp_path: Path) -> None:
    held = archive(tmp_path, "htj2k")
    instance = held.ingest(phantom(_GREY)).instance
    opened = held.frames.open(instance, as_stored=True)
    assert not opened.proven
    assert bytes(held.frames.frame(opened, 2, EXPLICIT)) == native_frame(_GREY, 2)
    assert held.frames.open(instance, as_stored=True).proven  # it stays open
    held.close()


def test_an_object_without_pixels_has_no_frames(tmp_path: Path) -> None:
    held = archive(tmp_path, "zstd")
    sent = phantom(_GREY)
    at = bytes(sent.dataset).index(b"\xe0\x7f\x10\0")
    instance = held.ingest(replace(sent, dataset=bytes(sent.dataset)[:at], sha256="")).instance
    with pytest.raises(NoLosslessWay, match="no pixel data"):
        held.frames.open(instance)
    held.close()


def test_files_do_not_stay_open_when_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_OPEN_SECONDS", 0.05)
    held = archive(tmp_path, "htj2k")
    held.frames.open(held.ingest(phantom(_GREY)).instance)
    until(lambda: not held.frames._kept, "the file is closed")
    held.close()
