"""What goes out has even lengths only, whatever was received; what is kept stays as it came (PS3.5 7.1.1)."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import (
    NATIVE,
    SECONDARY_CAPTURE,
    Shape,
    as_received,
    deflate,
    described,
    element,
    item,
    phantom,
    received,
    sequence,
    written,
)
from pydicom import dcmread

from scp.archive.archive import Archive
from scp.config.rules import PolicyRule, Stage
from scp.dimse.wire.pdus import pdus
from scp.encoding import evenness, transcode
from scp.encoding.conversion import padding_of
from scp.encoding.dataset import encoding_of
from scp.encoding.elements import IMPLICIT_LITTLE, UNDEFINED, VRS, Encoding
from scp.encoding.evenness import even_stream
from scp.index.sql import SqlIndex
from scp.lifecycle.transfer import export
from scp.model import Received, SyntaxPreference
from scp.objects.local import LocalStore
from scp.objects.part10 import Part10, head, unpack
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, HTJ2K, IMPLICIT, JPEG_BASELINE, RLE, lookup

pytestmark = pytest.mark.usefixtures("codecs_here")

CASE = Path(__file__).parents[1] / "data" / "cases" / "odd-pixel-data.dcm"
WIRE = SyntaxPreference(even=True)
FORMS = ("received", "zstd", "native", "deflate", "htj2k", "rle")

# A reader of its own: every length that stands in a stream.


def lengths(data: bytes, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Tag and length of all elements, items and fragments, nested ones too; it fails at no dataset."""
    yield from _lengths(data, 0, len(data), encoding)[0]


def _lengths(data: bytes, at: int, end: int, encoding: Encoding) -> tuple[list[tuple[int, int]], int]:
    found: list[tuple[int, int]] = []
    order = "<" if encoding.little else ">"
    while at < end:
        group, number = struct.unpack_from(order + "HH", data, at)
        tag = group << 16 | number
        if encoding.explicit and group != 0xFFFE:
            vr = data[at + 4 : at + 6].decode()
            if vr in "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split():
                length, at = struct.unpack_from(order + "L", data, at + 8)[0], at + 12
            else:
                length, at = struct.unpack_from(order + "H", data, at + 6)[0], at + 8
        else:
            vr = "SQ" if tag in (0x00081140, 0x00880200) else ""
            length, at = struct.unpack_from(order + "L", data, at + 4)[0], at + 8
        if tag in (0xFFFEE00D, 0xFFFEE0DD):
            assert length == 0
            return found, at
        found.append((tag, 0 if length == UNDEFINED else length))
        if length != UNDEFINED and vr != "SQ" and tag != 0xFFFEE000:
            at += length
        elif length == UNDEFINED and (vr in ("OB", "OW") or tag == 0x7FE00010):
            more, at = _fragments(data, at)
            found += more
        else:
            inner = IMPLICIT_LITTLE if vr == "UN" else encoding
            stop = end if length == UNDEFINED else at + length
            more, at = _lengths(data, at, stop, inner)
            assert length == UNDEFINED or at == stop
            found += more
    assert at == end
    return found, at


def _fragments(data: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    found = []
    while True:
        tag, length = struct.unpack_from("<LL", data, at)
        at += 8
        if tag == 0xE0DDFFFE:
            return found, at
        assert tag == 0xE000FFFE
        found.append((0xFFFEE000, length))
        at += length


def is_even(stream: bytes, syntax: str) -> bool:
    row = lookup(syntax)
    if row.deflated:
        inflater = zlib.decompressobj(-15)
        plain = inflater.decompress(stream)
        assert inflater.eof
        assert inflater.unused_data in (b"", b"\0")
    else:
        plain = stream
    assert len(stream) % 2 == 0
    return all(length % 2 == 0 for _, length in lengths(plain, encoding_of(row)))


# Odd objects of each kind


def odd_elements(encoding: Encoding) -> bytes:
    """Odd text, nested in defined and undefined sequences, in encodings of all kinds."""
    text = element(0x00080070, "LO", b"odd", encoding=encoding)
    item_even = element(0x00081150, "UI", b"1.2.3", encoding=encoding)
    inner = sequence(
        0x00081140, [item(item_even, True, encoding), item(text, False, encoding)], True, encoding=encoding
    )
    outer = sequence(0x00081140, [item(inner, False, encoding)], False, encoding=encoding)
    return text + outer


def odd(kind: str, syntax: str) -> Received:
    """An object with odd lengths of one kind, in a native transfer syntax."""
    row = lookup(syntax)
    encoding = encoding_of(row)
    shape = Shape(rows=5, columns=5, bits_allocated=8, bits_stored=8, noise=0.01)
    instance = f"1.2.3.{len(kind)}.{len(syntax)}"
    dataset = described(shape, instance)
    dataset.PatientName = "Phantom"
    dataset.ImageComments = "compressible " * 300
    stream = written(dataset, row.explicit_vr, row.little_endian)
    pixels = b"\1" * 25 if kind == "pixels" else b"\1" * 26
    extra = {
        "text": element(0x00400280, "ST", b"abc", encoding=encoding),
        "nested": odd_elements(encoding),
        "private": element(0x00410010, "LO", b"ACM", encoding=encoding)
        + element(0x00411001, "UN", b"\0\1\2", encoding=encoding),
    }.get(kind, b"")
    cut = _position(stream, 0x00280000 if kind != "nested" else 0x00080080, encoding)
    stream = stream[:cut] + (extra if kind != "private" else b"") + stream[cut:]
    vr = "OB"
    stream += extra if kind == "private" else b""
    stream += element(0x7FE00010, vr, pixels, encoding=encoding)
    if kind == "trailer":
        stream += element(0xFFFCFFFC, "OB", b"\0" * 5, encoding=encoding)
    if row.deflated:
        stream = deflate(stream)
        if kind == "stream":  # PS3.5 A.5 asks for padding, which is not there
            while stream[-1] == 0:
                stream = stream[:-1]
    return as_received(stream, syntax, SECONDARY_CAPTURE, instance)


def _position(stream: bytes, tag: int, encoding: Encoding) -> int:
    from scp.encoding.elements import walk  # noqa: PLC0415

    return next(each.start for each in walk(stream, encoding) if each.tag > tag)


@pytest.fixture(params=FORMS)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    rule = PolicyRule(name="all", stages=(Stage(forms=(request.param,)),))
    one = Archive(LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), [rule])
    yield one
    one.close()


@pytest.mark.parametrize("kind", ["text", "nested", "private", "pixels", "trailer"])
@pytest.mark.parametrize("syntax", NATIVE)
def test_every_way_out_is_even_and_the_store_as_received(
    archive, kind: str, syntax: str, tmp_path: Path
) -> None:
    sent = odd(kind, syntax)
    with pytest.raises(AssertionError):
        assert is_even(sent.dataset, syntax)
    instance = archive.ingest(sent).instance
    assert instance.readable
    assert not archive.provenance(instance).even
    for target in (*NATIVE, RLE, HTJ2K):
        found = archive.fetch(instance, [target], WIRE)
        assert found.transfer_syntax == target
        stream = b"".join(found.chunks)
        assert is_even(stream, target), target
        _assert_same(sent, stream, target, tmp_path)
    (out,) = export(archive, [instance], tmp_path / "out", "received")
    dataset = unpack(out.path.read_bytes()).dataset
    assert dataset == sent.dataset or (
        syntax == DEFLATED and instance.form not in ("received", "zstd", "deflate")
    )
    archive.verify(instance, deep=True)


def _assert_same(sent: Received, stream: bytes, target: str, tmp_path: Path) -> None:
    """pydicom reads the same values, but for what pads them."""
    before, after = (
        _read(bytes(dataset), syntax, tmp_path)
        for dataset, syntax in ((sent.dataset, sent.transfer_syntax), (stream, target))
    )
    assert before.keys() == after.keys() or target in (RLE, HTJ2K)
    for tag in before.keys() & after.keys() - {0x7FE00010}:
        assert _plain(before[tag].value) == _plain(after[tag].value), tag
    if target in NATIVE:
        assert after.PixelData.rstrip(b"\0") == before.PixelData.rstrip(b"\0")


def _read(dataset: bytes, syntax: str, tmp_path: Path):
    path = tmp_path / "one.dcm"
    path.write_bytes(head(Part10(SECONDARY_CAPTURE, "1.2.3", syntax, b"")) + dataset)
    return dcmread(path)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.rstrip(b" \0")
    return str(value).replace("\0", "").replace(" ", "")


def test_the_case_as_dcmtk_reads_it(tmp_path: Path) -> None:
    sent = received(CASE)
    path = tmp_path / "out.dcm"
    for target in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        stream = b"".join(transcode.transcoding(sent.dataset, EXPLICIT, target, None, even=True))
        path.write_bytes(head(Part10(sent.sop_class_uid, sent.sop_instance_uid, target, b"")) + stream)
        dumped = subprocess.run(["dcmdump", "+E", path], check=True, capture_output=True, text=True)
        assert "is odd" not in dumped.stderr
        assert "25" not in dumped.stdout.partition("(7fe0,0010)")[2].partition("#")[2].split(",")[0]
    subprocess.run(["dcmdump", CASE], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_fragments_are_padded_and_their_offsets_follow(table: str) -> None:
    frames = [b"\xff\xd8" + bytes([n]) * size for n, size in enumerate((5, 8, 11))]
    offsets, at = [], 0
    for frame in frames:
        offsets.append(at)
        at += 8 + len(frame)
    header = written(described(Shape(bits_allocated=8, bits_stored=8, frames=3), "1.2.3"), True, True)
    if table == "extended":
        header += element(0x7FE00001, "OV", struct.pack("<3Q", *offsets))
        header += element(0x7FE00002, "OV", struct.pack("<3Q", *map(len, frames)))
    basic = struct.pack("<3L", *offsets) if table == "basic" else b""
    items = b"".join(item(content, True) for content in (basic, *frames))
    stream = header + element(0x7FE00010, "OB", items, UNDEFINED) + element(0xFFFEE0DD, "", b"")
    out = b"".join(even_stream(stream, lookup(JPEG_BASELINE)))
    assert is_even(out, JPEG_BASELINE)
    dataset = _dataset(out)
    value = dataset.PixelData
    size = int.from_bytes(value[4:8], "little")
    first = 8 + size
    if table == "basic":
        found = struct.unpack("<3L", value[8:first])
    elif table == "extended":
        found = struct.unpack("<3Q", dataset.ExtendedOffsetTable)
        assert dataset.ExtendedOffsetTableLengths == struct.pack("<3Q", *map(len, frames))
    else:
        return
    for offset, frame in zip(found, frames, strict=True):
        begin = first + offset
        assert value[begin : begin + 4] == b"\xfe\xff\x00\xe0"
        assert value[begin + 8 : begin + 8 + len(frame)] == frame


def _dataset(stream: bytes):
    from io import BytesIO  # noqa: PLC0415

    from pydicom.filereader import read_dataset  # noqa: PLC0415

    return read_dataset(BytesIO(stream), is_implicit_VR=False, is_little_endian=True)


def test_icons_and_un_of_undefined_length() -> None:
    icon = element(0x7FE00010, "OB", item(b"", True) + item(b"\1\2\3", True), UNDEFINED) + element(
        0xFFFEE0DD, "", b""
    )
    known = sequence(0x00880200, [item(icon, True)], True)
    within = element(0x00080070, "LO", b"odd", encoding=IMPLICIT_LITTLE)
    unknown = element(0x00411001, "UN", item(within, True, IMPLICIT_LITTLE), UNDEFINED) + element(
        0xFFFEE0DD, "", b""
    )
    out = b"".join(even_stream(known + unknown, lookup(EXPLICIT)))
    assert is_even(out, EXPLICIT)
    assert item(b"\1\2\3\0", True) in out
    assert element(0x00080070, "LO", b"odd ", encoding=IMPLICIT_LITTLE) in out


def test_group_lengths_count_what_was_padded() -> None:
    text = element(0x00080070, "LO", b"odd")
    pixels = element(0x7FE00010, "OB", b"\1\2\3")
    stream = element(0x00080000, "UL", struct.pack("<L", len(text))) + text
    stream += element(0x7FE00000, "UL", struct.pack("<L", len(pixels))) + pixels
    out = b"".join(even_stream(stream, lookup(EXPLICIT)))
    dataset = _dataset(out)
    assert (dataset[0x00080000].value, dataset[0x7FE00000].value) == (len(text) + 1, len(pixels) + 1)


def test_a_value_that_is_too_long_when_padded_is_un() -> None:
    """65,535 bytes fit a length of 16 bits, one more does not (PS3.5 6.2.2)."""
    out = b"".join(even_stream(element(0x00104000, "LT", b"x" * 65_535), lookup(EXPLICIT)))
    assert out == element(0x00104000, "UN", b"x" * 65_535 + b" ")


def test_what_cannot_be_followed_is_padded_as_a_whole() -> None:
    for garbage in (b"\x08\0\x16\0UI\x40\0short", b"\1\2\3", sequence(0x00081140, [b"\0\1\2"], False)):
        out = b"".join(even_stream(garbage, lookup(EXPLICIT)))
        assert out == garbage + b"\0" * (len(garbage) % 2)


def test_a_sequence_that_holds_no_items_stays_beside_what_is_padded() -> None:
    stream = element(0x00080070, "LO", b"odd") + element(0x00081140, "SQ", b"garbage")
    out = b"".join(even_stream(stream, lookup(EXPLICIT)))
    assert out == element(0x00080070, "LO", b"odd ") + element(0x00081140, "SQ", b"garbage\0")


def test_deep_nesting_takes_no_longer() -> None:
    stream = element(0x00080070, "LO", b"odd")
    for _ in range(50):
        stream = sequence(0x00081140, [item(stream, True)], True)
    assert is_even(b"".join(even_stream(stream, lookup(EXPLICIT))), EXPLICIT)


@pytest.mark.parametrize("vr", sorted(VRS - {b"SQ"}))
def test_padding_is_what_pydicom_pads_with(vr: bytes) -> None:
    """PS3.5 6.2: a space for text, NUL for UI and for bytes."""
    text = vr.decode() in "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split()
    assert padding_of(vr) == (b" " if text else b"\0")


# Trees of any shape

_VALUES = st.binary(max_size=9)
_LEAVES = st.tuples(st.sampled_from(["LO", "UI", "OB", "UN", "US", "FD", "UT"]), _VALUES)


def _written(tree, encoding: Encoding) -> bytes:
    out = b""
    for number, node in enumerate(tree):
        tag = 0x00091010 + number
        if isinstance(node, tuple):
            out += element(tag, node[0], node[1], encoding=encoding)
        else:
            items = [item(_written(one, encoding), defined, encoding) for defined, one in node[1:]]
            out += sequence(tag, items, node[0], encoding=encoding)
    return out


_TREES = st.recursive(
    st.lists(_LEAVES, max_size=4),
    lambda inner: st.lists(
        _LEAVES
        | st.tuples(st.booleans(), st.tuples(st.booleans(), inner), st.tuples(st.booleans(), inner)).map(
            list
        ),
        max_size=3,
    ),
    max_leaves=12,
)


@examples(80, derandomize=True)
@given(tree=_TREES, pixels=st.binary(max_size=9), syntax=st.sampled_from([EXPLICIT, BIG_ENDIAN]))
def test_any_tree_becomes_even_and_an_even_one_stays(tree, pixels: bytes, syntax: str) -> None:
    row = lookup(syntax)
    encoding = encoding_of(row)
    stream = _written(tree, encoding) + element(0x7FE00010, "OB", pixels, encoding=encoding)
    even = all(length % 2 == 0 for _, length in lengths(stream, encoding))
    out = b"".join(even_stream(stream, row))
    assert is_even(out, syntax)
    if even:
        assert out == stream
    assert b"".join(even_stream(out, row)) == out


# What is known is not looked at again


@pytest.mark.parametrize("syntax", NATIVE)
def test_what_was_seen_to_be_even_is_not_looked_at_again(archive, syntax: str, monkeypatch) -> None:
    sent = phantom(Shape(rows=40, columns=40, noise=0.01), syntax)
    instance = archive.ingest(sent).instance
    assert archive.provenance(instance).even

    def fails(*_):
        raise AssertionError("looked at again")

    monkeypatch.setattr(transcode, "even_stream", fails)
    monkeypatch.setattr(transcode, "evened", fails)
    for target in (*NATIVE, RLE):
        assert is_even(b"".join(archive.fetch(instance, [target], WIRE).chunks), target)


@pytest.mark.parametrize("syntax", NATIVE[:3])
def test_what_is_even_goes_out_to_the_byte_however_odd_else(syntax: str, monkeypatch) -> None:
    """A wrong group length stays wrong: nothing of it has to change."""
    encoding = encoding_of(lookup(syntax))
    within = sequence(0x00081140, [item(b"", False, IMPLICIT_LITTLE)] * 2, False, encoding=IMPLICIT_LITTLE)
    end = element(0xFFFEE0DD, "", b"", encoding=encoding)
    unknown = element(0x00411001, "UN", item(within, True, IMPLICIT_LITTLE), UNDEFINED, encoding)
    stream = element(0x00080000, "UL", b"\1\2\3\4", encoding=encoding)
    if syntax != BIG_ENDIAN:  # what ends it is little endian everywhere, which the reader of this test is not
        stream += unknown + end + element(0x00411002, "LO", b"even", encoding=encoding)
    if encoding.explicit:
        stream += element(0x00411003, "XY", b"even", encoding=encoding)
    monkeypatch.setattr(evenness, "join", lambda *_: pytest.fail("taken apart"))
    assert b"".join(even_stream(stream, lookup(syntax))) == stream
    with pytest.raises(pytest.fail.Exception):
        even_stream(stream + element(0x00411004, "LO", b"odd", encoding=encoding), lookup(syntax))


def test_an_odd_deflated_stream_gets_one_byte() -> None:
    plain = phantom(Shape()).dataset
    for level in range(10):  # one of them is odd
        deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
        stream = deflater.compress(plain) + deflater.flush()
        if len(stream) % 2:
            break
    assert len(stream) % 2
    assert b"".join(even_stream(stream, lookup(DEFLATED))) == stream + b"\0"


@pytest.mark.parametrize("longest", [8, 9, 15, 16, 16_383, 16_385])
def test_values_in_pdus_are_even_for_a_peer_with_an_odd_maximum(longest: int) -> None:
    content = bytes(range(256)) * 130
    whole = b""
    for buffers in pdus(3, 0, [content[:7], content[7:]], longest):
        pdu = b"".join(map(bytes, buffers))
        _, length, value, context, _ = struct.unpack_from(">BxLLBB", pdu)
        assert (length, value, context) == (len(pdu) - 6, len(pdu) - 10, 3)
        assert length <= longest
        assert len(pdu) % 2 == 0
        whole += pdu[12:]
    assert whole == content
