"""What is remembered of headers is never that of another header."""

from __future__ import annotations

from dataclasses import replace

import pytest
from objects import Shape, parts_of, phantom

from scp.encoding import headers
from scp.encoding.codecs.table import codec_named
from scp.encoding.dataset import SplitDataset, join, split
from scp.encoding.decoding import decoding
from scp.encoding.elements import CANONICAL
from scp.encoding.encapsulating import encapsulated
from scp.encoding.facts import Attributes
from scp.encoding.fragments import encapsulate, exact_item, only_fragment
from scp.encoding.headers import Header
from scp.encoding.pixels import pixel_format
from scp.encoding.scan import scan
from scp.encoding.streams import gathered
from scp.errors import CannotEncode
from scp.spool import Buffer
from scp.syntaxes import EXPLICIT, HTJ2K, lookup

ROWS = b"\x28\x00\x10\x00US\x02\x00"


def received() -> SplitDataset:
    return split(gathered(join(parts_of(phantom(Shape())), lookup(EXPLICIT))), lookup(EXPLICIT))


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_formats", {})


def read_anew(header: Buffer) -> object:
    """The format by what a scan of nothing but this header finds; or why there is none."""
    data = bytes(header)
    try:
        return pixel_format(Attributes(data, CANONICAL, scan(data, CANONICAL, counted=False)))
    except CannotEncode as error:
        return str(error)


def read_again(header: Buffer) -> object:
    try:
        return Header(header).proven_format
    except CannotEncode as error:
        return str(error)


def test_what_a_scan_found_goes_with_its_own_header_only() -> None:
    parts = received()
    assert parts.found is not None
    assert replace(parts, header=bytes(parts.header) + b"more").found is None
    assert replace(parts, trailer=b"more").found is parts.found


def test_the_scan_of_the_dataset_finds_what_one_of_its_header_does() -> None:
    parts = received()
    found = scan(bytes(parts.header), CANONICAL, counted=False)
    assert parts.found is not None
    assert (parts.found.elements, parts.found.undefined) == (found.elements, found.undefined)
    assert Header.of(parts).edited({0x00280004: b"OTHER "}) == Header(parts.header).edited(
        {0x00280004: b"OTHER "}
    )


def test_each_header_has_its_own_format() -> None:
    """Each byte of the Image Pixel module changed in turn: what is remembered is what is read anew."""
    header = bytearray(received().header)
    begin = header.index(b"\x28\x00\x02\x00")
    for _ in range(2):  # the second time all are remembered
        for at in range(begin, len(header)):
            for bit in (0x01, 0x10):
                header[at] ^= bit
                assert read_again(header) == read_anew(header), at
                header[at] ^= bit


def test_what_depends_on_more_is_not_remembered() -> None:
    header = bytes(received().header)
    at = header.index(ROWS)
    unknown = header[:at] + b"\x28\x00\x10\x00UN\0\0\x02\0\0\0" + header[at + 8 :]
    assert read_again(unknown) == read_anew(unknown)
    assert headers._formats == {}
    assert read_again(header) == read_anew(header)
    assert len(headers._formats) == 1


def test_one_of_undefined_length_is_not_taken_for_one_that_is_not_there() -> None:
    header = bytes(received().header)
    at = header.index(ROWS)
    frames = b"\x28\x00\x08\x00UN\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\0\0\0\0"
    other = header[:at] + frames + header[at:]
    assert read_again(header) == read_anew(header)  # remembered
    assert scan(other, CANONICAL, counted=False).undefined
    assert read_again(other) == read_anew(other)
    assert len(headers._formats) == 1


def test_not_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_MOST_FORMATS", 3)
    header = bytearray(received().header)
    at = header.index(ROWS) + len(ROWS)
    for rows in range(1, 20):
        header[at] = rows
        assert read_again(header) == read_anew(header)
        assert len(headers._formats) <= 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (encapsulate([b"code"], 1), b"code"),
        (encapsulate([b"odd"], 1), b"odd\0"),
        (encapsulate([b"one1", b"two2"], 2), None),
        (exact_item(b"") + exact_item(b"code"), b"code"),  # an empty table
        (exact_item(b"") + exact_item(b"code") + exact_item(b""), None),
        (exact_item(b""), None),
        (b"", None),
        (exact_item(b"") + exact_item(b"code")[:-1], None),
        (exact_item(b"") + exact_item(b"code") + b"\0", None),
    ],
)
def test_the_only_fragment(value: Buffer, expected: bytes | None) -> None:
    found = only_fragment(value)
    assert (found if found is None else bytes(found)) == expected


@pytest.mark.parametrize("frames", [1, 3])
def test_one_frame_comes_back_as_several_do(frames: int) -> None:
    codec = codec_named("htj2k")
    assert codec is not None
    whole = parts_of(phantom(Shape(frames=frames)))
    stored, restoration = encapsulated(whole, codec)
    back = decoding(stored, lookup(HTJ2K), restoration)
    assert gathered(join(back, lookup(EXPLICIT))) == gathered(join(whole, lookup(EXPLICIT)))


def test_a_frame_more_than_is_described_is_not_left_out() -> None:
    codec = codec_named("htj2k")
    assert codec is not None
    stored, restoration = encapsulated(parts_of(phantom(Shape())), codec)
    assert stored.pixel is not None
    pixel = replace(stored.pixel, value=bytes(stored.pixel.held()) + exact_item(b"\xff\x4f\xff\x51more"))
    with pytest.raises(Exception, match="frames"):
        decoding(replace(stored, pixel=pixel), lookup(HTJ2K), restoration)
