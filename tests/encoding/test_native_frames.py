"""Native frames in fragments, byte for byte: shared samples, planes, odd sizes, many frames."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated import Compressed, items_of, native_case
from objects import NATIVE, Shape, as_received, bundled_file, item, kept, parts_of, received, transcoded
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length
from wire.peers import read

from scp.config.rules import Stage
from scp.errors import CannotDecode, DamagedCodestream
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import DEFLATED, DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED, EXPLICIT

pytestmark = pytest.mark.quick

CASES = Path(__file__).parents[1] / "data" / "cases"
SYNTAX = pytest.mark.parametrize(
    "syntax", [ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES], ids=["plain", "deflated"]
)
BYTES = {"YBR_FULL_422": 2.0, "YBR_PARTIAL_422": 2.0, "YBR_PARTIAL_420": 1.5, "YBR_FULL_420": 1.5}


def frames_of(count: int, size: float) -> list[bytes]:
    random = np.random.default_rng(count)
    return [random.integers(0, 256, int(size), "u1").tobytes() for _ in range(count)]


def wrapped(syntax: str, frame: bytes) -> bytes:
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        return frame
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflater.compress(frame) + deflater.flush()


def object_of(syntax: str, frames: list[bytes], photometric: str, cut: int = 0, **shape: Any) -> Received:
    described = Shape(
        bits_allocated=shape.pop("bits_allocated", 8), bits_stored=shape.pop("bits_stored", 8), samples=3,
        photometric=photometric, frames=len(frames), **shape,
    )  # fmt: skip
    items, _ = items_of([wrapped(syntax, frame) for frame in frames], cut=cut)
    return Compressed(syntax, described, items).received("native-frames")


def out_of(object_: Received, target: str = EXPLICIT) -> Dataset:
    return read(transcoded(object_.dataset, object_.transfer_syntax, target, None), target)


@SYNTAX
@pytest.mark.parametrize("photometric", BYTES)
@pytest.mark.parametrize(("count", "cut"), [(1, 0), (3, 0), (3, 50)])
def test_shared_samples_go_on_as_they_are(syntax: str, photometric: str, count: int, cut: int) -> None:
    frames = frames_of(count, 6 * 10 * BYTES[photometric])
    if cut and syntax == DEFLATED_FRAMES:
        cut = 0  # a frame is one fragment (PS3.5 A.4.13)
    object_ = object_of(syntax, frames, photometric, cut, rows=6, columns=10)
    for target in (each for each in NATIVE if each != DEFLATED):
        plain = out_of(object_, target)
        assert bytes(plain.PixelData) == b"".join(frames)
        assert plain.PhotometricInterpretation == photometric
        assert plain.PlanarConfiguration == 0
        if photometric == "YBR_FULL_422":
            assert get_expected_length(plain) == len(plain.PixelData)


def test_the_case() -> None:
    """It was "32 bytes of pixel data where 1 frames are described"."""
    plain = out_of(received(CASES / "encapsulated-uncompressed-422.dcm"))
    assert bytes(plain.PixelData) == bytes(range(32))
    assert (plain.PhotometricInterpretation, plain.Rows, plain.Columns) == ("YBR_FULL_422", 4, 4)


@SYNTAX
def test_a_real_image_looks_as_before(syntax: str) -> None:
    """pydicom's native file of YBR_FULL_422, wrapped: the same bytes and the same colours."""
    source = dcmread(bundled_file("SC_ybr_full_422_uncompressed.dcm"))
    frame = wrapped(syntax, bytes(source.PixelData))
    native = received(bundled_file("SC_ybr_full_422_uncompressed.dcm"))
    header = bytes(parts_of(native).header)
    value = item(struct.pack("<L", 0), True) + item(frame + b"\0" * (len(frame) % 2), True)
    stream = header + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    plain = out_of(as_received(stream, syntax))
    assert bytes(plain.PixelData) == bytes(source.PixelData)
    np.testing.assert_array_equal(plain.pixel_array, source.pixel_array)


@SYNTAX
@pytest.mark.parametrize(
    ("photometric", "rows", "columns"),
    [("YBR_FULL_422", 4, 5), ("YBR_PARTIAL_422", 4, 5), ("YBR_PARTIAL_420", 4, 5), ("YBR_PARTIAL_420", 5, 4)],
)
def test_pixels_that_have_nobody_to_share_with(
    syntax: str, photometric: str, rows: int, columns: int
) -> None:
    """How long a row is then, nobody says (PS3.3 C.7.6.3: Columns is a multiple)."""
    for size in (rows * columns * 2, rows * columns * 3 // 2, rows * (columns + 1) * 2):
        frames = frames_of(1, size)
        with pytest.raises(CannotDecode, match="not complete"):
            out_of(object_of(syntax, frames, photometric, rows=rows, columns=columns))


@SYNTAX
def test_odd_rows_share_nothing_in_422(syntax: str) -> None:
    frames = frames_of(1, 5 * 4 * 2)
    assert bytes(out_of(object_of(syntax, frames, "YBR_FULL_422", rows=5, columns=4)).PixelData) == frames[0]


@SYNTAX
def test_frames_of_whole_pixels_are_ybr_full(syntax: str) -> None:
    frames = frames_of(2, 4 * 4 * 3)
    plain = out_of(object_of(syntax, frames, "YBR_FULL_422", rows=4, columns=4))
    assert (bytes(plain.PixelData), plain.PhotometricInterpretation) == (b"".join(frames), "YBR_FULL")
    with pytest.raises(CannotDecode, match="no Photometric Interpretation"):
        out_of(object_of(syntax, frames, "YBR_PARTIAL_422", rows=4, columns=4))


@SYNTAX
@pytest.mark.parametrize("sizes", [(32, 48), (48, 32), (30,), (34,), (64,), (32, 32, 16)])
def test_frames_of_other_sizes(syntax: str, sizes: tuple[int, ...]) -> None:
    frames = [frames_of(1, size)[0] for size in sizes]
    with pytest.raises(CannotDecode, match=r"describe|header says|cut off"):
        out_of(object_of(syntax, frames, "YBR_FULL_422", rows=4, columns=4))


@SYNTAX
def test_shared_samples_of_16_bits(syntax: str) -> None:
    frames = frames_of(2, 4 * 4 * 4)
    object_ = object_of(syntax, frames, "YBR_FULL_422", rows=4, columns=4, bits_allocated=16, bits_stored=16)
    assert bytes(out_of(object_).PixelData) == b"".join(frames)


@SYNTAX
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_planes_are_called_planes(syntax: str, photometric: str) -> None:
    """Color-by-plane in Encapsulated Uncompressed went out as color-by-pixel, and was scrambled."""
    each = 2 if photometric.endswith("422") else 3
    frames = frames_of(2, 4 * 6 * each)
    plain = out_of(object_of(syntax, frames, photometric, rows=4, columns=6, planar=1))
    assert plain.PhotometricInterpretation == photometric
    if plain.PlanarConfiguration == 1:
        assert bytes(plain.PixelData) == b"".join(frames)
    else:  # deflated frames that share nothing become by pixel
        planes = np.frombuffer(b"".join(frames), "u1").reshape(2, 3, 4, 6)
        assert bytes(plain.PixelData) == np.moveaxis(planes, 1, -1).tobytes()
    assert (plain.PlanarConfiguration == 1) is (syntax == ENCAPSULATED_UNCOMPRESSED or each == 2)


@SYNTAX
@pytest.mark.parametrize("form", ["native", "deflate", "htj2k", "rle", "jpegls"])
def test_at_rest(syntax: str, form: str) -> None:
    """Without an image codec they take a native form, and are there again in every native transfer syntax."""
    frames = frames_of(2, 6 * 10 * 2)
    object_ = object_of(syntax, frames, "YBR_FULL_422", rows=6, columns=10)
    found = kept(object_, Stage(forms=(form,)))
    file = part10.unpack(found.data)
    if form in ("htj2k", "rle", "jpegls"):
        assert file.transfer_syntax == syntax
        assert "shares samples" in found.provenance.attempts[0].reason
    out = transcoded(file.dataset, file.transfer_syntax, EXPLICIT, file.provenance.restoration)
    assert bytes(read(out, EXPLICIT).PixelData) == b"".join(frames)


@pytest.mark.parametrize("name", ["ybr-full-422", "ybr-partial-422"])
def test_native_shared_samples_pass_through(name: str) -> None:
    for syntax in (each for each in NATIVE if each != DEFLATED):
        object_ = native_case(name, syntax)
        first = bytes(read(object_.dataset, syntax).PixelData)
        for target in (each for each in NATIVE if each != DEFLATED):
            assert bytes(out_of(object_, target).PixelData) == first


def test_a_deflated_frame_that_is_a_bomb_is_not_inflated() -> None:
    object_ = object_of(DEFLATED_FRAMES, [bytes(1 << 24)], "YBR_FULL_422", rows=4, columns=4)
    with pytest.raises(CannotDecode, match="or more, where the header says 49 at most"):
        out_of(object_)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_deflated_frame_that_is_cut_off_is_named(number: int) -> None:
    streams = [wrapped(DEFLATED_FRAMES, frame) for frame in frames_of(3, 6 * 10 * 2)]
    streams[number - 1] = streams[number - 1][:60]
    shape = Shape(
        rows=6, columns=10, bits_allocated=8, bits_stored=8, samples=3, photometric="YBR_FULL_422", frames=3
    )
    object_ = Compressed(DEFLATED_FRAMES, shape, items_of(streams)[0]).received("cut")
    with pytest.raises(DamagedCodestream, match=f"frame {number} of 3: a deflated frame ends after"):
        out_of(object_)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
def test_what_follows_a_deflated_frame_is_padding(photometric: str) -> None:
    (frame,) = frames_of(1, 6 * 10 * (2 if photometric.endswith("422") else 3))
    shape = Shape(rows=6, columns=10, bits_allocated=8, bits_stored=8, samples=3, photometric=photometric)
    for behind in (bytes(4), b"rest"):
        items, _ = items_of([wrapped(DEFLATED_FRAMES, frame) + behind])
        object_ = Compressed(DEFLATED_FRAMES, shape, items).received("padded")
        if behind == b"rest":
            with pytest.raises(CannotDecode, match="not padding"):
                out_of(object_)
        else:
            assert bytes(out_of(object_).PixelData) == frame
