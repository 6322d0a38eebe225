"""A dataset stream taken apart around its pixel data, and put together again to the byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from objects import (
    NATIVE,
    Shape,
    all_files,
    bundled_file,
    deflate,
    element,
    item,
    joined,
    phantom,
    received,
    samples_of,
)

from scp.encoding.dataset import encoding_of, inflate, split
from scp.encoding.elements import CANONICAL, walk
from scp.errors import UnreadableDataset
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEGLS, lookup

pytestmark = pytest.mark.quick

# Cut off, or labelled as what they are not: SC_rgb_jpeg.dcm is implicit VR under a JPEG transfer syntax.
UNREADABLE = {"MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm"}


@pytest.mark.parametrize("path", all_files(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_joined_it_is_what_was_received(path: Path) -> None:
    object_ = received(path)
    syntax = lookup(object_.transfer_syntax)
    if path.name in UNREADABLE:
        with pytest.raises(UnreadableDataset):
            split(object_.dataset, syntax)
        return
    again = joined(split(object_.dataset, syntax), syntax)
    if syntax.deflated:
        assert inflate(again) == inflate(object_.dataset)
    else:
        assert again == object_.dataset


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(group_lengths=True),
        Shape(bits_allocated=32, bits_stored=32),
        Shape(bits_allocated=32, bits_stored=32, group_lengths=True, tail=b"\0"),
        Shape(rows=3, columns=3, bits_allocated=8, bits_stored=8),
        Shape(rows=3, columns=3, bits_allocated=8, bits_stored=8, padded=False),
        Shape(rows=3, columns=3, bits_allocated=16, tail=bytes(3), padded=False),
    ],
    ids=str,
)
def test_phantoms_go_through_every_native_syntax(shape: Shape, syntax: str) -> None:
    """Whatever it came in, it is the same in all of them; only implicit VR knows no OB (PS3.5 A.1)."""
    parts = split(phantom(shape, syntax).dataset, lookup(syntax))
    for other in NATIVE:
        there = joined(parts, lookup(other))
        again = split(there, lookup(other))
        assert bytes(again.pixel.value) == bytes(parts.pixel.value)
        if syntax == other or shape.bits_allocated > 8 or IMPLICIT not in (syntax, other):
            assert joined(again, lookup(syntax)) == phantom(shape, syntax).dataset
            assert there == phantom(shape, other).dataset


def test_samples_are_little_endian_once_split() -> None:
    for bits in (8, 16, 32):
        shape = Shape(bits_allocated=bits, bits_stored=bits)
        parts = split(phantom(shape, BIG_ENDIAN).dataset, lookup(BIG_ENDIAN))
        assert np.array_equal(np.frombuffer(parts.pixel.value, f"<u{bits // 8}"), samples_of(shape).ravel())


@pytest.mark.parametrize("bits", [0, 1, 12, 24, 40, 65360])
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_words_of_any_number_of_bits_come_back(bits: int, vr: str) -> None:
    """No machine has numbers of 24 bits; a device can declare them all the same."""
    encoding = encoding_of(lookup(BIG_ENDIAN))
    stream = element(0x00280100, "US", struct.pack(">H", bits), encoding=encoding)
    stream += element(0x7FE00010, vr, bytes(range(240)), encoding=encoding)
    assert joined(split(stream, lookup(BIG_ENDIAN)), lookup(BIG_ENDIAN)) == stream


def test_the_group_length_of_big_endian_pixel_data_counts_the_pixel_data() -> None:
    """It was made anew for what stands before the pixel data alone: no codec could keep such objects."""
    object_ = received(bundled_file("ExplVR_BigEnd.dcm"))
    parts = split(object_.dataset, lookup(BIG_ENDIAN))
    stream = joined(parts, lookup(EXPLICIT))
    *_, length, pixels = walk(stream, CANONICAL)
    assert length.tag == 0x7FE00000
    assert struct.unpack_from("<L", stream, length.value) == (pixels.next - pixels.start,)


def test_floating_point_pixels_keep_their_vr_from_implicit_vr() -> None:
    for tag, vr in ((0x7FE00008, "OF"), (0x7FE00009, "OD")):
        stream = element(tag, vr, bytes(range(16)))
        implicit = joined(split(stream, lookup(EXPLICIT)), lookup(IMPLICIT))
        parts = split(implicit, lookup(IMPLICIT))
        assert parts.pixel.vr == vr
        assert joined(parts, lookup(EXPLICIT)) == stream
        big = joined(parts, lookup(BIG_ENDIAN))
        assert joined(split(big, lookup(BIG_ENDIAN)), lookup(EXPLICIT)) == stream
        assert bytes(big[-16:]) != bytes(range(16))


def test_what_follows_the_pixel_data_is_kept() -> None:
    padding = element(0xFFFCFFFC, "OB", b"\0" * 10)
    stream = phantom(Shape()).dataset + padding
    parts = split(stream, lookup(EXPLICIT))
    assert parts.trailer == padding
    for syntax in NATIVE:
        there = joined(parts, lookup(syntax))
        assert split(there, lookup(syntax)).trailer[-10:] == bytes(10)
        assert joined(split(there, lookup(syntax)), lookup(syntax)) == there


def test_without_pixel_data_it_is_all_header() -> None:
    stream = element(0x00080060, "CS", b"SR")
    parts = split(stream, lookup(EXPLICIT))
    assert (parts.header, parts.pixel, parts.trailer) == (stream, None, b"")
    assert split(b"", lookup(EXPLICIT)).header == b""


def test_pixel_data_of_the_other_kind_is_unreadable() -> None:
    native = phantom(Shape()).dataset
    with pytest.raises(UnreadableDataset, match="native pixels in JPEGLSLossless"):
        split(native, lookup(JPEGLS))
    fragments = element(0x7FE00010, "OB", item(b"", True) + item(b"12", True), 0xFFFFFFFF)
    fragments += element(0xFFFEE0DD, "", b"")
    assert split(fragments, lookup(JPEGLS)).pixel.encapsulated
    for syntax in (EXPLICIT, DEFLATED):
        stream = deflate(fragments) if syntax == DEFLATED else fragments
        with pytest.raises(UnreadableDataset, match="encapsulated pixels in"):
            split(stream, lookup(syntax))


def test_a_private_transfer_syntax_may_have_either() -> None:
    native = phantom(Shape()).dataset
    private = lookup("1.2.3.4.5")
    assert joined(split(native, private), private) == native


def test_deflate_is_even_and_inflates() -> None:
    for size in range(40):
        plain = bytes(range(size))
        assert len(deflate(plain)) % 2 == 0
        assert inflate(deflate(plain)) == plain


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_what_does_not_inflate_is_unreadable(damage: str) -> None:
    stream = deflate(b"some dataset " * 50)
    bad = {"cut": stream[: len(stream) // 2], "empty": b"", "garbage": b"\xff" * 30}[damage]
    with pytest.raises(UnreadableDataset):
        inflate(bad)
