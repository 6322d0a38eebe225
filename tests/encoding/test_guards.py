"""What an object declares is held against limits, its bytes and itself, before it takes memory or time."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from damaged import STREAMS, format_of, picture, saved
from generated import Compressed, encapsulated_element, items_of
from objects import Shape, as_received, element, item, kept, parts_of, phantom, sequence, transcoded
from PIL import Image

from scp.config.rules import Stage
from scp.encoding.cage.caged import AVAILABLE, Trust
from scp.encoding.codecs.codec import Codec, fitted
from scp.encoding.codecs.lengths import check_length, check_lengths
from scp.encoding.codecs.lossless.jpeg import JPEG_CODEC, JPEG_LOSSLESS_CODEC
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.codecs.lossless.rle import RLE_CODEC
from scp.encoding.codecs.native import CODECS
from scp.encoding.codecs.table import decoder_of
from scp.encoding.decoding import decoding
from scp.encoding.derived import rewritten
from scp.encoding.elements import CANONICAL
from scp.encoding.encapsulating import encapsulated
from scp.encoding.fragments import encapsulate, evened_items, frames_within, moved_offsets
from scp.encoding.native_frames import native_frames
from scp.encoding.pixels import Frame, PixelFormat, check_within_bounds
from scp.encoding.scan import scan
from scp.errors import CannotDecode, CodecError, CodecProcessFailed, DamagedCodestream, PixelsBeyondBounds
from scp.resources import bounds
from scp.syntaxes import (
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    HTJ2K,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGXL,
    JPEGXL_RECOMPRESSION,
    RLE,
    lookup,
)

_WITHOUT_BOUND = 1 << 60


@pytest.fixture
def limits() -> Callable[..., None]:
    """Sets limits for a test."""
    return lambda **keys: bounds.use(replace(bounds.DEFAULTS, **keys))


# -- what the header declares ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "declared"),
    [("frame_bytes", 16 * 16 * 2), ("pixel_bytes", 16 * 16 * 2 * 3), ("fragments", 3)],
)
def test_each_limit_at_its_edge(limits: Callable[..., None], key: str, declared: int) -> None:
    object_ = phantom(Shape(frames=3))
    codec = decoder_of(JPEGLS)
    limits(**{key: declared})
    stored, _ = encapsulated(parts_of(object_), codec)
    assert len(decoding(stored, lookup(JPEGLS)).pixel.held()) == 16 * 16 * 2 * 3
    limits(**{key: declared - 1})
    with pytest.raises(PixelsBeyondBounds, match=rf"limits\.{key} is {declared - 1}"):
        decoding(stored, lookup(JPEGLS))
    with pytest.raises(PixelsBeyondBounds, match=rf"limits\.{key}"):
        encapsulated(parts_of(object_), codec)


def test_what_was_encoded_here_comes_back_under_smaller_limits(limits: Callable[..., None]) -> None:
    """Invariant 7: a limit that is set later is for what comes later."""
    object_ = phantom(Shape(frames=3))
    stored, restoration = encapsulated(parts_of(object_), decoder_of(JPEGLS))
    limits(frame_bytes=1, pixel_bytes=1, fragments=1)
    plain = decoding(stored, lookup(JPEGLS), restoration)
    assert plain.pixel.held() == parts_of(object_).pixel.held()


def test_a_single_bit_counts_as_the_byte_that_it_is_decoded_to(limits: Callable[..., None]) -> None:
    form = PixelFormat(64, 64, 1, 1, 1, 0, False, "MONOCHROME2", 0, 1)
    limits(frame_bytes=64 * 64 - 1)
    with pytest.raises(PixelsBeyondBounds):
        check_within_bounds(form)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ("2147483647", "frames are declared"),
        ("99999999999", "frames are declared"),
        ("2000001", "frames are declared"),
        ("1900000", "cannot be divided into 1900000"),
        ("-1", "does not describe an image"),
        ("1e9", "not a number"),
        ("many", "not a number"),
        ("9" * 5000, "not a number|frames are declared|divided into 1 frames"),
        ("1\\2", "not a number"),
    ],
)
def test_a_number_of_frames_that_is_none(frames: str, says: str) -> None:
    """A clear answer at once, and nothing as large as the number."""
    stream = STREAMS["jpegls"]().data
    shape = Shape(rows=88, columns=104)
    value = frames.encode() + b" " * (len(frames) % 2)
    object_ = Compressed(JPEGLS, shape, items_of([stream, stream])[0]).received("1.2.3")
    dataset = _with_frames(bytes(object_.dataset), value)
    _fails_at_once(dataset, JPEGLS, says)


def _with_frames(dataset: bytes, value: bytes) -> bytes:
    at = dataset.index(struct.pack("<HH2s", 0x28, 0x10, b"US"))
    return dataset[:at] + struct.pack("<HH2sH", 0x28, 8, b"IS", len(value)) + value + dataset[at:]


def _fails_at_once(dataset: bytes, syntax: str, says: str, seconds: float = 2, most: int = 32 << 20) -> None:
    """It fails with a reason, in little processor time and memory."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(CodecError, match=says):
            transcoded(dataset, syntax, EXPLICIT, None)
        assert time.process_time() - begun < seconds
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# -- the length of a codestream ----------------------------------------------------------------------


def _sized(codestream: bytes, side: int) -> bytes:
    """A JPEG or JPEG-LS codestream that says of itself that it is so large."""
    at = next(at for at in range(len(codestream)) if codestream[at : at + 2] in _FRAMES)
    return codestream[: at + 5] + struct.pack(">HH", side, side) + codestream[at + 9 :]


_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc3", b"\xff\xf7")


def _jpeg2000_sized(codestream: bytes, side: int) -> bytes:
    at = codestream.index(b"\xff\x51")
    size = struct.pack(">8L", side, side, 0, 0, side, side, 0, 0)
    return codestream[: at + 6] + size + codestream[at + 38 :]


def _black(side: int) -> Frame:
    return np.zeros((side, side), "u1")


# Syntax, rows and columns, and a codestream: what each was seen to cost is in docs/decisions/0120.
BOMBS: dict[str, tuple[str, int, Callable[[], bytes]]] = {
    "jpeg": (JPEG_BASELINE, 65500, lambda: _sized(STREAMS["jpeg"]().data, 65500)),
    "jpeg-progressive": (JPEG_BASELINE, 65500, lambda: _sized(STREAMS["jpeg-progressive"]().data, 65500)),
    "jpeg-lossless": (JPEG_LOSSLESS_SV1, 65500, lambda: _sized(STREAMS["jpeg-lossless-8"]().data, 65500)),
    "jpegls": (JPEGLS, 65500, lambda: _sized(bytes(imagecodecs.jpegls_encode(_black(64))), 65500)),
    "rle": (RLE, 45000, lambda: STREAMS["rle"]().data),
    "deflated": (DEFLATED_FRAMES, 65500, lambda: bytes(1 << 20)),
    "jpeg2000": (JPEG2000, 45000, lambda: _jpeg2000_sized(imagecodecs.jpeg2k_encode(_black(64), 0), 45000)),
    "htj2k": (HTJ2K, 45000, lambda: _jpeg2000_sized(imagecodecs.htj2k_encode(_black(64)), 45000)),
    "jpegxl": (JPEGXL, 45000, lambda: bytes(imagecodecs.jpegxl_encode(_black(64)))),
    "recompression": (JPEGXL_RECOMPRESSION, 45000, lambda: STREAMS["jpegxl-recompression"]().data),
}
BY_BOMB = pytest.mark.parametrize("name", BOMBS)


def _bomb(name: str) -> tuple[bytes, str]:
    syntax, side, codestream = BOMBS[name]
    object_ = Compressed(syntax, _shape(side, side), items_of([codestream()])[0]).received("1.2.3")
    return bytes(object_.dataset), syntax


def _shape(rows: int, columns: int) -> Shape:
    return Shape(rows=rows, columns=columns, bits_allocated=8, bits_stored=8)


@BY_BOMB
def test_a_frame_beyond_the_limit_fails_at_once(name: str) -> None:
    _fails_at_once(*_bomb(name), "limits.frame_bytes")


@BY_BOMB
def test_a_codestream_that_is_too_short_for_its_frame_fails_at_once(
    limits: Callable[..., None], name: str
) -> None:
    """Whatever the limits are."""
    limits(frame_bytes=_WITHOUT_BOUND, pixel_bytes=_WITHOUT_BOUND)
    _fails_at_once(*_bomb(name), "cut off or damaged: .* bytes for a frame of|limits.frame_ratio")


@BY_BOMB
def test_what_is_not_decoded_is_kept_and_goes_out_as_received(name: str) -> None:
    dataset, syntax = _bomb(name)
    object_ = as_received(dataset, syntax, "1.2.840.10008.5.1.4.1.1.7", "1.2.3")
    form = kept(object_, Stage(forms=("jpegxl", "htj2k", "native", "zstd")))
    assert form.encoded.transfer_syntax == syntax  # whatever form was asked for
    assert transcoded(dataset, syntax, syntax, None) == dataset


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEGLS, RLE, JPEG2000, JPEGXL, DEFLATED_FRAMES])
def test_a_codestream_far_longer_than_its_frame_is_not_looked_into(syntax: str) -> None:
    items = item(b"", True) + item(b"\xff" * (17 << 20), True)
    object_ = Compressed(syntax, _shape(8, 8), items).received("1.2.3")
    _fails_at_once(bytes(object_.dataset), syntax, "more than any encoder writes", most=128 << 20)


_SIDES = [(1, 1), (1, 3000), (3000, 1), (7, 9), (64, 64), (1000, 1001)]


@pytest.mark.parametrize(("bits", "samples"), [(8, 1), (16, 1), (8, 3)])
@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec.writes], ids=lambda codec: codec.name)
def test_what_is_black_everywhere_is_a_picture(codec: Codec, bits: int, samples: int) -> None:
    """The shortest codestreams that there are, of every encoder at hand; 8192 x 8192 were tried by hand."""
    for rows, columns in _SIDES:
        shape = (rows, columns) if samples == 1 else (rows, columns, 3)
        frame = np.zeros(shape, f"<u{bits // 8}")
        form = format_of(frame, bits)
        if codec.refuses(form):
            continue
        codestream = codec.encode(frame, form, 0)
        check_length(len(codestream), form, codec.least(form))
        assert np.array_equal(codec.strictly(codestream, form), frame)


@pytest.mark.parametrize("how", [(), ("progressive",), ("optimize",), ("progressive", "optimize")])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_black_jpeg_is_a_picture(mode: str, how: tuple[str, ...]) -> None:
    for side in (1, 8, 9, 17, 1000):
        frame = np.asarray(Image.new(mode, (side, side)))
        form = format_of(frame, 8)
        codestream = saved(frame, "JPEG", quality=20, **dict.fromkeys(how, True))
        check_length(len(codestream), form, JPEG_CODEC.least(form))
        assert not JPEG_CODEC.strictly(codestream, form).any()


def test_a_frame_of_256_mib_may_be_anything_and_a_larger_one_not(limits: Callable[..., None]) -> None:
    form = PixelFormat(16384, 16384, 1, 8, 8, 7, False, "MONOCHROME2", 0, 1)
    check_length(100, form, 0)
    larger = replace(form, rows=16385)
    with pytest.raises(PixelsBeyondBounds, match=r"limits\.frame_ratio"):
        check_length(100, larger, 0)
    check_length(larger.array_size // 1000 + 1, larger, 0)
    limits(frame_ratio=500)
    with pytest.raises(PixelsBeyondBounds, match=r"limits\.frame_ratio"):
        check_length(larger.array_size // 1000 + 1, larger, 0)


def test_all_icons_together_are_counted(limits: Callable[..., None]) -> None:
    """Each is small; what they are decoded to goes into the header, of which there is a limit."""
    black = np.zeros((256, 256), "u1")
    coded = decoder_of(JPEGLS).encode(black, format_of(black, 8), 0)
    described = b"".join(
        element(tag, vr, value)
        for tag, vr, value in (
            (0x00280002, "US", b"\1\0"),
            (0x00280004, "CS", b"MONOCHROME2 "),
            (0x00280010, "US", b"\0\1"),
            (0x00280011, "US", b"\0\1"),
            (0x00280100, "US", b"\x08\0"),
            (0x00280101, "US", b"\x08\0"),
            (0x00280102, "US", b"\7\0"),
            (0x00280103, "US", b"\0\0"),
        )
    )
    icon = described + encapsulated_element(items_of([coded])[0])
    icons = sequence(0x00880200, 20 * [item(icon, True)], True)
    shape = Shape(rows=88, columns=104)
    object_ = Compressed(JPEGLS, shape, items_of([STREAMS["jpegls"]().data])[0], extra=icons)
    parts = parts_of(object_.received("1.2.3"))
    limits(header_bytes=20 * black.size)
    assert decoding(parts, lookup(JPEGLS)).header.count(bytes(black.size)) == 20
    limits(header_bytes=20 * black.size - 1)
    with pytest.raises(CannotDecode, match=r"within a sequence: 65536 bytes.*limits\.header_bytes"):
        decoding(parts, lookup(JPEGLS))


def test_all_frames_together_are_a_picture_of_their_codestreams(limits: Callable[..., None]) -> None:
    """A million black frames of 48 bytes each would be 64 GB."""
    form = PixelFormat(1024, 1024, 1, 8, 8, 7, False, "MONOCHROME2", 0, 1024)
    check_lengths(100, form)
    larger = replace(form, frames=1025)
    check_lengths(larger.size // 1000 + 1, larger)
    with pytest.raises(PixelsBeyondBounds, match=r"limits\.frame_ratio"):
        check_lengths(larger.size // 1000 - 1, larger)


def test_black_frames_of_64_gb_fail_at_once() -> None:
    frame = np.zeros((8192, 8192), "u1")
    coded = decoder_of(JPEG2000).encode(frame, format_of(frame, 8), 0)
    object_ = Compressed(JPEG2000, Shape(8192, 8192, 8, 8, frames=900), items_of([coded] * 900)[0])
    _fails_at_once(bytes(object_.received("1.2.3").dataset), JPEG2000, r"limits\.frame_ratio")


def test_a_first_frame_that_fails_does_so_before_anything_goes_out() -> None:
    """Of more than 32 MB of pixels, too: these are decoded while they are sent."""
    whole = bytes(imagecodecs.jpeg8_encode(np.tile(picture(8), (46, 40)), 50))
    cut = whole[: len(whole) // 2] + b"\xff\xd9"
    shape = replace(_shape(46 * 88, 40 * 104), frames=2)
    object_ = Compressed(JPEG_BASELINE, shape, items_of([cut, cut])[0]).received("1.2.3")
    with pytest.raises(DamagedCodestream, match="frame 1 of 2"):
        decoding(parts_of(object_), lookup(JPEG_BASELINE))


# -- guards of each codec ----------------------------------------------------------------------------


def _refused(syntax: str, codestream: bytes, form: PixelFormat, says: str) -> None:
    """By the guard, in little time, before the library sees it."""
    codec = next(row for row in CODECS if syntax in row.reads)  # here, not in a codec process
    begun = time.process_time()
    with pytest.raises(CannotDecode, match=says):
        codec.strictly(codestream, form)
    assert time.process_time() - begun < 5


_JLS_FORM = format_of(np.zeros((24, 28), "u1"), 8)


def _jpegls(*, preset: bytes = b"", near: int = 0, interleaved: int = 0, sampling: int = 0x11) -> bytes:
    coded = bytes(imagecodecs.jpegls_encode(picture(8, rows=24, columns=28)))
    frame, scan = coded.index(b"\xff\xf7"), coded.index(b"\xff\xda")
    segment = struct.pack(">HH", 0xFFF8, len(preset) + 2) + preset if preset else b""
    data = bytearray(coded[:scan] + segment + coded[scan:])
    data[frame + 11] = sampling
    data[scan + len(segment) + 7 : scan + len(segment) + 9] = bytes((near, interleaved))
    return bytes(data)


def _presets(*values: int) -> bytes:
    return b"\1" + struct.pack(">5H", *values)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"preset": _presets(256, 0, 0, 0, 0)}, "MAXVAL"),
        ({"preset": _presets(255, 9, 3, 21, 64)}, "thresholds"),
        ({"preset": _presets(200, 3, 7, 201, 64)}, "thresholds"),
        ({"preset": _presets(255, 3, 7, 21, 2)}, "RESET"),
        ({"preset": _presets(255, 3, 7, 21, 65535)}, "RESET"),
        ({"preset": _presets(255, 3, 7, 21, 64)[:-2]}, "an LSE segment of kind 1"),
        ({"preset": b"\2\1\1\1\2\3"}, "mapping table"),
        ({"preset": b"\4\4" + struct.pack(">LL", 1 << 31, 1 << 31)}, "size in an LSE segment"),
        ({"preset": b"\7\0"}, "kind 7"),
        ({"near": 128}, "NEAR 128"),
        ({"interleaved": 3}, "ILV 3"),
        ({"sampling": 0x22}, "subsampled"),
    ],
)
def test_parameters_of_jpegls(how: dict[str, bytes], says: str) -> None:
    _refused(JPEGLS, _jpegls(**how), _JLS_FORM, says)


def test_usual_parameters_of_jpegls_are_taken() -> None:
    for preset in (b"", _presets(255, 3, 7, 21, 64), _presets(0, 0, 0, 0, 0)):
        frame = JPEGLS_CODEC.strictly(_jpegls(preset=preset), _JLS_FORM)
        assert np.array_equal(frame, picture(8, rows=24, columns=28))


def _tables(marker: int, table: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + 500 * len(table)) + table * 500


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (b"\xff\xfe\0\2" * 5000, "4096 marker segments"),
        (b"\xff\xe0\0\2" * 1_000_000, "no frame header"),
        (b"\xff" * 10_000_000, "no frame header"),
        (_tables(0xC4, bytes(17)), "Huffman tables in a segment"),
        (_tables(0xDB, b"\0" + b"\1" * 64), "quantization tables"),
    ],
    ids=["comments", "applications", "fill", "Huffman tables", "quantization tables"],
)
def test_counts_of_jpeg(more: bytes, says: str) -> None:
    stream = STREAMS["jpeg"]()
    _refused(JPEG_BASELINE, stream.data[:2] + more + stream.data[2:], stream.form, says)


def test_scans_of_jpeg() -> None:
    """The last one once more, and again."""
    stream = STREAMS["jpeg-progressive"]()
    last = stream.data.rindex(b"\xff\xda")
    again = stream.data[:last] + stream.data[last:-2] * 5000 + stream.data[-2:]
    _refused(JPEG_BASELINE, again, stream.form, "more than 100 scans")


def _with_data(codestream: bytes, data: bytes, before: bytes = b"") -> bytes:
    """A JPEG codestream of one scan with other data, and other segments before it."""
    scan = codestream.index(b"\xff\xda")
    at = scan + 2 + int.from_bytes(codestream[scan + 2 : scan + 4], "big")
    return codestream[:scan] + before + codestream[scan:at] + data + b"\xff\xd9"


def test_restart_intervals_are_not_counted_without_end() -> None:
    """As many as the frame header asks for, and the scan has markers for millions."""
    stream = STREAMS["jpeg"]()
    many = _with_data(stream.data, b"\1\xff\xd0" * 2_000_000 + b"\1", b"\xff\xdd\0\4\0\1")
    says = "143 or more restart markers in a scan that has 142"
    assert _peak(lambda: _refused(JPEG_BASELINE, many, stream.form, says)) < 32 << 20


def test_a_scan_holds_bits_for_its_blocks() -> None:
    stream = STREAMS["jpeg"]()
    _refused(JPEG_BASELINE, _with_data(stream.data, bytes(30)), stream.form, "30 bytes of entropy-coded data")


def test_jpeg2000_of_many_tiny_tiles() -> None:
    """OpenJPEG takes some 10 KB for each; such tiles are nobody's."""
    coded = bytes(imagecodecs.jpeg2k_encode(_black(255), 0, codecformat="j2k"))
    at = coded.index(b"\xff\x51")
    tiny = coded[: at + 22] + struct.pack(">LL", 1, 1) + coded[at + 30 :]
    _refused(JPEG2000, tiny, format_of(_black(255), 8), "65025 JPEG 2000 tiles")


def _coded_again(coded: bytes, coding: bytes, body: bytes) -> bytes:
    """A JPEG 2000 codestream with another COD, and other packets."""
    at, data = coded.index(b"\xff\x52"), coded.index(b"\xff\x93")
    part = coded.index(b"\xff\x90")
    size = 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    length = struct.pack(">L", data + 2 - part + len(body))
    start = coded[part : part + 6] + length + coded[part + 10 : data + 2]
    segment = struct.pack(">HH", 0xFF52, len(coding) + 2) + coding
    return coded[:at] + segment + coded[at + size : part] + start + body + b"\xff\xd9"


@pytest.mark.parametrize(
    ("side", "coding", "body", "says"),
    [
        # Precincts of 2 x 2, each a packet; many of both; blocks of 4 x 4; layers as many as there may be.
        (1024, b"\1\0\0\1\0\0\0\0\0\1\x11", 1 << 19, "262144 precincts in 1 layers"),
        (4096, b"\1\0\0\x40\0\0\4\4\0\1\x55", 1 << 21, "16384 precincts in 64 layers"),
        (8192, b"\0\0\0\1\0\0\0\0\0\1", 1 << 16, "4194304 code-blocks"),
        (1024, b"\1\0\xff\xff\0\0\4\4\0\1\x66", 1 << 24, "256 precincts in 65535 layers"),
    ],
    ids=["precincts", "precincts in layers", "blocks", "layers"],
)
def test_counts_of_jpeg2000(side: int, coding: bytes, body: int, says: str) -> None:
    coded = bytes(imagecodecs.jpeg2k_encode(_black(64), 0, codecformat="j2k", resolutions=1))
    sized = _jpeg2000_sized(coded, side)
    form = replace(format_of(_black(64), 8), rows=side, columns=side)
    _refused(JPEG2000, _coded_again(sized, coding, bytes(body)), form, says)


def _more_tile_parts_than_listed(parts: int) -> bytes:
    """Of one tile; TLM has one, and TNsot does not say (A.4.2)."""
    coded = bytes(imagecodecs.jpeg2k_encode(_black(8), 0, codecformat="j2k"))
    at = coded.index(b"\xff\x90")
    whole = coded[at:-2]
    first = whole[:6] + struct.pack(">L", len(whole)) + b"\0\0" + whole[12:]
    listed = struct.pack(">HHBBBL", 0xFF55, 9, 0, 0x50, 0, len(whole))
    others = (struct.pack(">HHHLBBH", 0xFF90, 10, 0, 14, each, 0, 0xFF93) for each in range(1, parts))
    return coded[:at] + listed + first + b"".join(others) + b"\xff\xd9"


def test_jpeg2000_with_more_tile_parts_than_tlm_lists() -> None:
    """OpenJPEG 2.5.4 writes beyond its memory: a process that decoded the second one died."""
    streams = [_more_tile_parts_than_listed(parts).hex() for parts in (1, 2, 250)]
    command = [sys.executable, "-c", _DECODES, *streams]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.split()) == (0, ["0"] * 3), told.stderr


_DECODES = """
import sys
from scp.encoding.codecs.lossless.jpeg2000 import JPEG2000_CODEC
from scp.encoding.pixels import PixelFormat
form = PixelFormat(8, 8, 1, 8, 8, 7, False, "MONOCHROME2", 0, 1)
for stream in sys.argv[1:]:
    print(max(int(JPEG2000_CODEC.strictly(bytes.fromhex(stream), form).max()) for _ in range(20)))
"""


@pytest.mark.parametrize(
    ("frame", "how", "says"),
    [
        (np.zeros((25, 28), "u1"), {}, "codestream holds 25 x 28 x 1"),
        (np.zeros((24, 28, 3), "u1"), {}, "codestream holds 24 x 28 x 3"),
        (np.zeros((24, 28, 4), "u1"), {}, "codestream holds 24 x 28 x 4"),
        (
            np.zeros((24, 28, 2), "u1"),
            {},
            "codestream holds 24 x 28 x 4",
        ),  # it has grey, or colour, and another
        (np.zeros((3, 24, 28), "u1"), {"photometric": "gray", "planar": False}, "preview or is an animation"),
    ],
)
@pytest.mark.parametrize("boxed", [False, True])
def test_jpegxl_that_is_another_image(frame: Frame, how: dict[str, object], boxed: bool, says: str) -> None:
    coded = bytes(imagecodecs.jpegxl_encode(frame, lossless=True, usecontainer=boxed, **how))
    _refused(JPEGXL, coded, _JLS_FORM, says)


def test_jpegxl_in_broken_boxes() -> None:
    coded = bytes(imagecodecs.jpegxl_encode(np.zeros((24, 28), "u1"), lossless=True, usecontainer=True))
    at = coded.index(b"jxlc") - 4
    lying = coded[:at] + b"\x7f\xff\xff\xff" + coded[at + 4 :]
    _refused(JPEGXL, lying, _JLS_FORM, "the box at byte .* goes beyond it")
    _refused(
        JPEGXL, coded[:12] + b"\0\0\0\x08free" * 100_000 + coded[12:], _JLS_FORM, "more than 65536 boxes"
    )
    _refused(JPEGXL, coded[:at], _JLS_FORM, "no JPEG XL image header")


def test_segments_of_rle_that_share_their_bytes() -> None:
    frame = np.zeros((24, 28), "<u2")
    form = format_of(frame, 16)
    coded = RLE_CODEC.encode(frame, form, 0)
    for offsets in ((64, 64), (64, 0), (4, 64), (1 << 31, 1 << 31)):
        _refused(
            RLE, struct.pack("<3L", 2, *offsets) + coded[12:], form, "follow one another|for a byte plane of"
        )


_ENDLESS = bytes.fromhex(  # docs/codecs-upstream.md
    "ffd8fff7000b100001004001011100ffda00080101000100000000000000003300f20000000000000000000000e00000"
    "100000200000000000002000000000010000000000080000000020000000008200000002000000940000000000080000"
    "000000003a00000015768e4000102c3d078bc413f800ffd9"
)


@pytest.mark.skipif(not AVAILABLE, reason="there are no codec processes here, whose time could be limited")
def test_what_no_guard_sees_is_ended_by_the_time_limit(limits: Callable[..., None]) -> None:
    """CharLS 2.4.3 never returns from these 120 bytes."""
    syntax = "1.2.840.10008.1.2.4.81"
    columns = int.from_bytes(_ENDLESS[9:11], "big")
    shape = Shape(rows=int.from_bytes(_ENDLESS[7:9], "big"), columns=columns, bits_stored=16)
    object_ = Compressed(syntax, shape, items_of([_ENDLESS])[0]).received("1.2.3")
    limits(codec_seconds=1.0)
    with pytest.raises(CodecProcessFailed, match="took over 1 s of processor time"):
        decoding(parts_of(object_), lookup(syntax))


# -- offset tables -----------------------------------------------------------------------------------

_PARTS = [b"ab" * 9, b"cd" * 4, b"ef" * 2]  # fragments that do not tell what they begin


_TWO = [[_PARTS[0], _PARTS[1]], [_PARTS[2]]]


@pytest.mark.parametrize(
    "table",
    [
        [0, 1 << 31],  # outside
        [0, 0],
        [0, 5],  # into a fragment
        [26, 42],  # the first fragment is of no frame
        [1, 2, 3],
        [0, 26, 42],  # three frames where there are two
        [],
    ],
)
def test_an_offset_table_that_lies(table: list[int]) -> None:
    value = item(struct.pack(f"<{len(table)}L", *table), True) + b"".join(item(part, True) for part in _PARTS)
    with pytest.raises(CannotDecode, match=r"into 2 frames|does not begin a frame"):
        frames_within(value, 2)


@pytest.mark.parametrize("table", [[0, 42], [42, 0]])  # backwards, it says where frames begin, too
def test_an_offset_table_that_is_true(table: list[int]) -> None:
    value = item(struct.pack("<2L", *table), True) + b"".join(item(part, True) for part in _PARTS)
    assert [[bytes(each) for each in frame] for frame in frames_within(value, 2)] == _TWO


def test_an_offset_table_of_millions_of_entries() -> None:
    """It lists more frames than there are fragments: nothing goes by it, and nothing is taken for it."""
    table = struct.pack("<L", 0) * 4_000_000
    value = item(table, True) + b"".join(item(part, True) for part in _PARTS)
    tracemalloc.start()
    try:
        with pytest.raises(CannotDecode, match="3 fragments cannot be divided into 2 frames"):
            frames_within(value, 2)
        assert moved_offsets(table, {0: 8}, 4) is table
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert bytes(evened_items(value)[0]) == value
        assert tracemalloc.get_traced_memory()[1] < 80 << 20  # copies of its 16 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wrong", [1, 1 << 40, (1 << 63) - 1])
def test_a_lying_extended_offset_table_changes_nothing(wrong: int) -> None:
    """Fragments tell by themselves; what the table says is not gone by."""
    frames = [STREAMS["jpegls"]().data] * 2
    items, offsets = items_of(frames, cut=1000)
    table = struct.pack("<2Q", *(offset + wrong for offset in offsets))
    lying = element(0x7FE00001, "OV", table) + element(0x7FE00002, "OV", struct.pack("<2Q", wrong, wrong))
    shape = Shape(rows=88, columns=104, frames=2)
    true = Compressed(JPEGLS, shape, items).received("1.2.3")
    object_ = Compressed(JPEGLS, shape, items, extra=lying).received("1.2.3")
    assert transcoded(object_.dataset, JPEGLS, EXPLICIT, None) == transcoded(
        true.dataset, JPEGLS, EXPLICIT, None
    )


# -- memory --------------------------------------------------------------------------------------------


def _peak(work: Callable[[], object]) -> int:
    """Bytes that Python and numpy held at most while it ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("signed", [False, True])
def test_samples_are_fitted_without_copies_of_the_frame(signed: bool) -> None:
    """The frame itself is one; what is worked out beside it was eight."""
    form = PixelFormat(4096, 4096, 1, 16, 12, 11, signed, "MONOCHROME2", 0, 1)
    coded = np.zeros((4096, 4096), "<u2" if signed else "<i2")
    assert _peak(lambda: fitted(coded, form)) < 2 * form.frame_size


def test_of_many_frames_and_elements_little_is_held() -> None:
    """A list of 100,000 sizes, or of parts of a header, was some MB; there may be millions."""
    count, size = 100_000, 300
    frames = frames_within(_many(count, size), count)
    form = PixelFormat(1, size, 1, 8, 8, 7, False, "MONOCHROME2", 0, count)
    assert _peak(lambda: native_frames(ENCAPSULATED_UNCOMPRESSED, frames, form)) < 28 * count
    assert _peak(lambda: encapsulate((b"12" for _ in range(count)), count)) < 64 * count
    header = element(0x00280002, "US", b"\1\0") * count
    assert _peak(lambda: rewritten(header, {0x00280010: (b"US", b"\1\0")})) < 4 * len(header)


def _many(count: int, size: int) -> bytes:
    return item(b"", True) + count * item(bytes(size), True)


def test_a_long_stream_is_counted_once_and_how_deep_it_is_with_it(limits: Callable[..., None]) -> None:
    shallow = sequence(0x00091001, [item(bytes(1100), True)], True)
    assert scan(100 * shallow, CANONICAL).sequences
    limits(fragments=1000)
    found = scan(100 * shallow, CANONICAL)
    assert (found.sequences, found.fault) == ([], "")
    deep = b""
    for _ in range(100):
        deep = sequence(0x00091001, [item(deep, True)], True)
    assert "limits.depth" in scan(100 * shallow + deep, CANONICAL).fault


def test_bits_of_a_lossless_jpeg_are_counted_without_copies_of_the_frame() -> None:
    frame = np.tile(picture(16), (10, 10))
    form = format_of(frame, 16)
    coded = JPEG_LOSSLESS_CODEC.encode(frame, form, 0)
    assert _peak(lambda: JPEG_LOSSLESS_CODEC.strictly(coded, form)) < 3 * form.frame_size


@pytest.mark.parametrize("syntax", [RLE, DEFLATED_FRAMES, JPEGLS, JPEG_LOSSLESS_SV1])
@pytest.mark.parametrize("planar", [0, 1])
def test_a_frame_is_decoded_without_many_copies(syntax: str, planar: int) -> None:
    colour = Shape(1024, 1024, 8, 8, samples=3, planar=planar, photometric="RGB")
    stored, restoration = encapsulated(parts_of(phantom(colour)), decoder_of(syntax))
    # Here, as what codec processes hold is not seen. The least of three: threads of tests before may still
    # hold something.
    peaks = [
        _peak(lambda: decoding(stored, lookup(syntax), restoration, trust=Trust.PROVEN)) for _ in range(3)
    ]
    assert min(peaks) < 4 * 1024 * 1024 * 3
