"""What every image codec has to do: its own frames back, or a refusal. All rows of the table run it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, bundled, corpus, item, joined, phantom, received, samples_of, transcoded
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder  # type: ignore[attr-defined]
from pydicom.uid import UID

from scp.config.peers import Peer
from scp.encoding.codecs.codec import Codec, fitted
from scp.encoding.codecs.lossless import jpeg2000
from scp.encoding.codecs.lossy.jpeg2000 import LOSSY_HTJ2K
from scp.encoding.codecs.markers import jpeg_precision
from scp.encoding.codecs.table import CODECS, codec_named, decoder_of, encoder_of
from scp.encoding.dataset import split
from scp.encoding.decoding import native
from scp.encoding.encapsulating import encapsulated
from scp.encoding.pixels import Frame, PixelFormat
from scp.encoding.transcode import ways_out
from scp.errors import CannotDecode, CannotEncode
from scp.model import SyntaxPreference
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.policy.preference import preference_of
from scp.syntaxes import (
    BY_UID,
    EXPLICIT,
    FORMS,
    HTJ2K_EITHER,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    RLE,
    Content,
    lookup,
)

pytestmark = pytest.mark.peer

ENCODERS = [codec for codec in CODECS if codec.writes]
BY_NAME = pytest.mark.parametrize("codec", ENCODERS, ids=lambda codec: codec.name)


@st.composite
def formats(draw) -> PixelFormat:
    allocated = draw(st.sampled_from((1, 8, 16, 32, 64)))
    stored = draw(st.integers(1, allocated))
    samples = draw(st.sampled_from((1, 1, 1, 2, 3, 3, 4)))
    colour = (
        ("RGB", "YBR_FULL", "YBR_RCT") if samples == 3 else ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    )
    return PixelFormat(
        rows=draw(st.integers(1, 40)),
        columns=draw(st.integers(1, 40)),
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        signed=draw(st.booleans()),
        photometric=draw(st.sampled_from(colour)),
        planar=0,
        frames=1,
    )


def frame_of(form: PixelFormat, content: str, seed: int = 0) -> Frame:
    low = -(1 << form.bits_stored - 1) if form.signed and form.bits_allocated > 1 else 0
    most = (1 << form.bits_stored) - 1  # above ``low``
    count = int(np.prod(form.shape))
    random = np.random.default_rng(seed)
    match content:
        case "random":
            values = random.integers(0, most, count, endpoint=True, dtype="u8")
        case "smooth":
            values = np.array([most * each // max(count - 1, 1) for each in range(count)], "u8")
        case "low":
            values = np.full(count, 0, "u8")
        case "high":
            values = np.full(count, most, "u8")
        case _:  # both extremes side by side: what predictors overflow on
            values = np.where(np.arange(count) % 2, np.uint64(most), np.uint64(0))
    return (values + np.uint64(low % (1 << 64))).astype(form.dtype).reshape(form.shape)


@BY_NAME
@examples(120, derandomize=True)
@given(
    form=formats(),
    content=st.sampled_from(("random", "smooth", "low", "high", "both")),
    effort=st.sampled_from((0, 0, 0, 1, 5)),
)
def test_frames_come_back(codec: Codec, form: PixelFormat, content: str, effort: int) -> None:
    """Whatever a codec does not refuse it gives back, or it says so when it sees the samples."""
    if codec.refuses(form):
        return
    frame = frame_of(form, content)
    try:
        codestream = codec.encode(frame, form, effort)
    except CannotEncode:
        return
    except Exception as error:  # noqa: BLE001 - a library's own
        pytest.fail(f"not refused, and then {error!r}")
    decoded = codec.decode(codestream, form)
    assert decoded.dtype == form.dtype
    assert np.array_equal(decoded, frame)


@BY_NAME
@pytest.mark.parametrize(
    ("bits", "signed", "samples"), [(8, False, 1), (16, False, 1), (16, True, 1), (8, False, 3)]
)
def test_the_usual_is_taken(codec: Codec, bits: int, signed: bool, samples: int) -> None:
    """A codec that refuses everything would pass the test above."""
    form = PixelFormat(
        16, 16, samples, bits, bits, bits - 1, signed, "RGB" if samples == 3 else "MONOCHROME2", 0, 1
    )
    frame = frame_of(form, "smooth")
    assert codec.refuses(form) == ""
    assert np.array_equal(codec.decode(codec.encode(frame, form, 0), form), frame)


@BY_NAME
@examples(60, derandomize=True)
@given(
    garbage=st.binary(max_size=300),
    at=st.integers(0, 10_000),
    how=st.sampled_from(("garbage", "cut", "changed")),
)
def test_damaged_codestreams_cannot_be_decoded(codec: Codec, garbage: bytes, at: int, how: str) -> None:
    """They may decode to something else, but never to another shape, and never crash."""
    shape = Shape(rows=8, columns=9)
    object_ = phantom(shape)
    stored, _ = encapsulated(split(object_.dataset, lookup(EXPLICIT)), codec)
    start, codestream = bytes(stored.pixel.value[:20]), bytes(stored.pixel.value[20:])
    if how == "cut":
        codestream = codestream[: at % len(codestream)]
    elif how == "changed":
        at %= len(codestream)
        codestream = codestream[:at] + garbage[:1] + codestream[at + len(garbage[:1]) :]
    else:
        codestream = garbage
    fragment = start[:16] + len(codestream).to_bytes(4, "little") + codestream
    damaged = replace(stored, pixel=replace(stored.pixel, value=fragment))
    try:
        plain = native(damaged, lookup(codec.writes))
    except CannotDecode:
        return
    assert how != "garbage"
    assert len(plain.pixel.value) == 8 * 9 * 2


@BY_NAME
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_noise_comes_back_although_it_grows(codec: Codec, bits: int, samples: int) -> None:
    """JPEG-LS failed on it: a buffer too small. Small images do not show it."""
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    form = PixelFormat(300, 400, samples, bits, bits, bits - 1, False, photometric, 0, 1)
    frame = frame_of(form, "random")
    assert np.array_equal(codec.decode(codec.encode(frame, form, 0), form), frame)


@pytest.mark.parametrize("name", ["htj2k", "htj2k-rpcl", "jpeg2000", "jpegls", "rle", "deflated-frames"])
def test_four_samples_a_pixel(name: str) -> None:
    form = PixelFormat(30, 40, 4, 8, 8, 7, False, "ARGB", 0, 1)
    frame, codec = frame_of(form, "random"), codec_named(name)
    assert codec.refuses(form) == ""
    assert np.array_equal(codec.decode(codec.encode(frame, form, 0), form), frame)


@pytest.mark.parametrize(
    ("stored", "signed", "taken"), [(23, False, True), (23, True, True), (24, True, False)]
)
@pytest.mark.parametrize("content", ["random", "smooth", "low", "high", "both"])
def test_jpeg_2000_of_32_bits_as_far_as_it_is_exact(
    stored: int, signed: bool, taken: bool, content: str
) -> None:
    codec = codec_named("jpeg2000")
    form = PixelFormat(130, 131, 1, 32, stored, stored - 1, signed, "MONOCHROME2", 0, 1)
    assert (codec.refuses(form) == "") is taken
    if taken:
        frame = frame_of(form, content)
        assert np.array_equal(codec.decode(codec.encode(frame, form, 0), form), frame)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_another_shape_than_described_cannot_be_decoded(codec: Codec) -> None:
    if not codec.writes:
        pytest.skip("encodes nothing")
    shape = Shape(rows=8, columns=9)
    stored, _ = encapsulated(split(phantom(shape).dataset, lookup(EXPLICIT)), codec)
    wide = split(phantom(replace(shape, columns=10)).dataset, lookup(EXPLICIT)).header
    with pytest.raises(CannotDecode):
        native(replace(stored, header=wide), lookup(codec.writes))


def test_every_row_of_the_table_is_found() -> None:
    assert len({codec.name for codec in CODECS}) == len(CODECS)
    assert all((codec.encode is None) == (codec.writes == "") for codec in CODECS)
    for codec in ENCODERS:
        assert codec_named(codec.name) is codec
        assert encoder_of(codec.writes) is codec
        assert decoder_of(codec.writes) is codec
        assert BY_UID[codec.writes].content is Content.LOSSLESS
        assert BY_UID[codec.writes].form == codec.name
        assert BY_UID[codec.writes].encodes > 0, "its place among those that a retrieve tries"
    without_codec = {"received", "native", "deflate", "jpegxl-recompression", "zstd"}
    assert {codec.name for codec in ENCODERS} == set(FORMS) - without_codec
    assert codec_named("jpeg") is None
    assert codec_named("jpegxl-recompression") is None
    read = [uid for codec in CODECS for uid in codec.reads]
    assert len(set(read)) == len(read)
    assert set(read) <= set(BY_UID)


def test_encoders_are_tried_by_their_speed_and_sent_by_their_size() -> None:
    made = [lookup(uid).form for uid in ways_out("", "", BY_UID, SyntaxPreference())]
    encoders = "htj2k htj2k-rpcl rle jpegls jpeg-lossless jpegxl jpeg2000 deflated-frames".split()
    assert [form for form in made if form in encoders] == encoders
    thin = Peer(aet="THIN", host="10.0.0.1", port=104, link_mbps=5.0)
    smallest = "jpegxl jpeg2000 jpegls htj2k rle deflate native".split()
    preferred = [lookup(uid).form for uid in preference_of(thin).preferred]
    assert [form for form in preferred if form in smallest] == smallest


@pytest.mark.parametrize(
    ("coded", "value", "is_"),
    [("u1", 0xFF, -1), ("u2", 0xFF, -1), ("u2", 0xFFFF, -1), ("i2", -1, -1), ("u1", 5, 5)],
)
def test_a_sign_that_the_codestream_does_not_know(coded: str, value: int, is_: int) -> None:
    """8 bits stored in 16, signed: coded in 8 or 16 bits, with or without the sign extended."""
    form = PixelFormat(1, 1, 1, 16, 8, 7, True, "MONOCHROME2", 0, 1)
    assert fitted(np.array([[value]], coded), form)[0, 0] == is_


# Against others


def part10_file(path: Path, dataset: bytes, syntax: str) -> Path:
    path.write_bytes(part10.pack(Part10("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax, dataset)))
    return path


def dcmtk_decodes(tool: str, source: Path, target: Path) -> bytes:
    """The native pixel data that one of DCMTK's decoders makes of a file, in explicit VR little endian."""
    options = {"dcmdjpeg": ["+cn"], "dcmdjpls": [], "dcmdrle": []}[tool]  # +cn: colour as it is
    subprocess.run([tool, *options, "+te", str(source), str(target)], check=True, capture_output=True)
    parts = split(part10.unpack(target.read_bytes()).dataset, lookup(EXPLICIT))
    return bytes(parts.pixel.value)


SHAPES = [
    Shape(rows=7, columns=9),
    Shape(bits_stored=16, frames=3),
    Shape(signed=True, bits_stored=16),
    Shape(bits_allocated=8, bits_stored=8),
    Shape(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB"),
    Shape(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB", frames=2, planar=1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("tool", "syntax"), [("dcmdjpls", JPEGLS), ("dcmdrle", RLE)])
def test_dcmtk_decodes_what_is_encoded_here(shape: Shape, tool: str, syntax: str, tmp_path: Path) -> None:
    object_ = phantom(shape)
    stored = transcoded(object_.dataset, EXPLICIT, syntax, None)
    file = part10_file(tmp_path / "stored", stored, syntax)
    theirs = dcmtk_decodes(tool, file, tmp_path / "native")
    planar_0 = samples_of(shape).tobytes()
    planar_1 = np.moveaxis(samples_of(shape), -1, 1).tobytes()
    assert theirs in (planar_0, planar_1)


@pytest.mark.parametrize(
    "shape",
    [
        *(Shape(bits_allocated=8, bits_stored=stored) for stored in (1, 2, 7, 8)),
        *(Shape(bits_stored=stored) for stored in (1, 8, 9, 10, 12, 13, 16)),
        *(Shape(bits_allocated=8, bits_stored=stored, signed=True) for stored in (1, 5, 8)),
        *(Shape(bits_stored=stored, signed=True, frames=2) for stored in (1, 8, 10, 12, 16)),
        Shape(rows=1, columns=9),
        Shape(rows=9, columns=1),
        Shape(rows=7, columns=9, bits_stored=10, samples=3, photometric="RGB"),
        Shape(rows=7, columns=9, bits_stored=16, samples=3, photometric="RGB", planar=1, frames=2),
        Shape(rows=7, columns=9, bits_allocated=8, bits_stored=8, samples=3, photometric="RGB", frames=2),
        Shape(rows=7, columns=9, bits_allocated=8, bits_stored=8, samples=3, photometric="YBR_FULL"),
    ],
    ids=str,
)
def test_dcmtk_decodes_lossless_jpeg_to_the_same_words(shape: Shape, tmp_path: Path) -> None:
    """Signed samples and small ones above all, of which decoders without a sign might keep too little."""
    stored = transcoded(phantom(shape).dataset, EXPLICIT, JPEG_LOSSLESS_SV1, None)
    file = part10_file(tmp_path / "stored", stored, JPEG_LOSSLESS_SV1)
    theirs = dcmtk_decodes("dcmdjpeg", file, tmp_path / "native")
    frames = samples_of(shape)
    assert theirs[: frames.nbytes] in (frames.tobytes(), np.moveaxis(frames, -1, 1).tobytes())


@pytest.mark.parametrize(
    ("allocated", "stored", "signed", "samples", "precision"),
    [
        (16, 12, False, 1, 12),
        (16, 10, False, 1, 10),
        (16, 16, False, 1, 16),
        (8, 8, False, 1, 8),
        (8, 8, False, 3, 8),
        (16, 12, True, 1, 16),  # two's complement of Bits Allocated
        (16, 8, False, 1, 16),  # of 8, decoders would make bytes
        (8, 1, False, 1, 8),  # there is no precision of 1 (T.81 table B.2)
    ],
)
def test_lossless_jpeg_is_process_14_selection_value_1(
    allocated: int, stored: int, signed: bool, samples: int, precision: int
) -> None:
    """PS3.5 10.2 and A.4.1; the library's other encoder writes predictor 6, and nobody would notice."""
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    form = PixelFormat(20, 21, samples, allocated, stored, stored - 1, signed, photometric, 0, 1)
    codestream = codec_named("jpeg-lossless").encode(frame_of(form, "random"), form, 0)
    segments, at = {}, 2
    while 0xDA not in segments:
        length = int.from_bytes(codestream[at + 2 : at + 4], "big")
        segments[codestream[at + 1]] = codestream[at + 4 : at + 2 + length]
        at += 2 + length
    assert segments[0xC3][0] == precision == jpeg_precision(codestream)  # SOF3
    assert [marker for marker in segments if 0xC0 <= marker <= 0xCF] == [0xC3, 0xC4]
    sampling = segments[0xC3][7::3]
    assert sampling == b"\x11" * samples  # nothing is subsampled
    scan = segments[0xDA]
    assert scan[0] == samples  # all components in one scan
    predictor, end, transform = scan[1 + 2 * samples :]
    assert (predictor, end, transform) == (1, 0, 0)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("kind", "tool"), [("JPLL", "dcmdjpeg"), ("JLSL", "dcmdjpls"), ("JLSN", "dcmdjpls"), ("RLE", "dcmdrle")]
)
def test_real_images_decode_as_dcmtk_decodes_them(kind: str, tool: str, tmp_path: Path) -> None:
    files = [path for path in corpus("wg04") if path.stem.endswith(kind)]
    assert files
    for path in files:
        object_ = received(path)
        ours = native(
            split(object_.dataset, lookup(object_.transfer_syntax)), lookup(object_.transfer_syntax)
        )
        theirs = dcmtk_decodes(tool, path, tmp_path / path.name)
        if len(theirs) == len(ours.pixel.value) and theirs != bytes(ours.pixel.value):
            theirs = interleaved(theirs, path)
        assert bytes(ours.pixel.value) == theirs, path.name


def interleaved(planes: bytes, path: Path) -> bytes:
    header = dcmread(path, stop_before_pixels=True)
    shape = (header.get("NumberOfFrames", 1), header.SamplesPerPixel, header.Rows, header.Columns)
    return np.moveaxis(np.frombuffer(planes, "u1").reshape(shape), 1, -1).tobytes()


@pytest.mark.corpus
@pytest.mark.parametrize("kind", ["JPLL", "JLSL", "RLE", "J2KR"])
def test_real_lossless_images_are_the_uncompressed_ones(kind: str) -> None:
    compared = 0
    for path in corpus("wg04"):
        twin = path.with_name(path.name.replace(f"_{kind}", "_UNC"))
        if twin == path or not twin.exists():
            continue
        object_, plain = received(path), received(twin)
        syntax = lookup(object_.transfer_syntax)
        ours = native(split(object_.dataset, syntax), syntax)
        theirs = split(plain.dataset, lookup(plain.transfer_syntax))
        if path.stem.startswith(("VL", "US")):
            continue  # colour: some were taken from another source, or are YBR there
        assert bytes(ours.pixel.value) == bytes(theirs.pixel.value), path.name
        compared += 1
    assert compared >= 4


def test_pydicoms_rle_files_decode_as_pydicom_decodes_them() -> None:
    files = [path for path in bundled() if received(path).transfer_syntax == RLE]
    assert len(files) > 4
    for path in files:
        parts = native(split(received(path).dataset, lookup(RLE)), lookup(RLE))
        theirs = dcmread(path)
        assert bytes(parts.pixel.value) == theirs.pixel_array.tobytes(), path.name


@BY_NAME
def test_what_pydicom_can_decode_it_decodes_alike(codec: Codec, tmp_path: Path) -> None:
    """JPEG 2000, JPEG-LS and HTJ2K where a plugin of pydicom's is installed."""
    if not is_decodable(codec.writes):
        pytest.skip(f"pydicom has no decoder here for {codec.name}")
    for shape in SHAPES:
        stored = transcoded(phantom(shape).dataset, EXPLICIT, codec.writes, None)
        pixels = dcmread(part10_file(tmp_path / "stored", stored, codec.writes)).pixel_array
        unsigned = samples_of(shape)
        expected = unsigned.view(f"<i{shape.bits_allocated // 8}") if shape.signed else unsigned
        assert np.array_equal(pixels, expected.squeeze()), shape


def is_decodable(syntax: str) -> bool:
    try:
        return get_decoder(UID(syntax)).is_available
    except NotImplementedError:
        return False


def lossless_jpeg(object_: bytes, folder: Path) -> bytes:
    source, target = part10_file(folder / "native", object_, EXPLICIT), folder / "jpeg"
    subprocess.run(["dcmcjpeg", "+e1", str(source), str(target)], check=True, capture_output=True)
    return part10.unpack(target.read_bytes()).dataset


@pytest.mark.parametrize(
    "shape",
    [
        *SHAPES[:4],
        Shape(bits_allocated=8, bits_stored=8, samples=3, photometric="RGB"),
        Shape(bits_allocated=8, bits_stored=8, samples=3, photometric="YBR_FULL"),
        Shape(bits_allocated=16, bits_stored=8, signed=True),
        Shape(bits_allocated=16, bits_stored=8),
    ],
    ids=str,
)
def test_lossless_jpeg_of_dcmtk_decodes_to_what_it_was_made_of(shape: Shape, tmp_path: Path) -> None:
    """YBR_FULL above all: a decoder that made RGB of it would change it for good."""
    jpeg = lookup("1.2.840.10008.1.2.4.70")
    dataset = lossless_jpeg(phantom(shape).dataset, tmp_path)
    plain = native(split(dataset, jpeg), jpeg)
    frames = samples_of(shape)
    assert bytes(plain.pixel.value)[: frames.nbytes] == frames.tobytes()
    assert joined(plain, lookup(EXPLICIT)).count(shape.photometric.encode()) == 1


def test_htj2k_that_breaks_off_within_is_not_a_frame() -> None:
    """The library drops OpenJPH's error here, and returns memory of whatever for the missing lines."""
    form = PixelFormat(64, 64, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)
    codec = codec_named("htj2k")
    codestream = bytearray(codec.encode(frame_of(form, "random"), form, 0))
    outcomes = []
    for at in range(20, len(codestream), 37):
        damaged = codestream.copy()
        damaged[at] ^= 0x41
        unraised: list[object] = []
        jpeg2000._next_hook, kept_hook = unraised.append, jpeg2000._next_hook
        try:
            codec.decode(bytes(damaged), form)
        except CannotDecode as error:
            outcomes.append(str(error))
        except Exception:  # noqa: BLE001 - of the library itself, which transcoding translates
            continue
        finally:
            jpeg2000._next_hook = kept_hook
        assert not unraised
    assert "ojph error" in outcomes
    assert np.array_equal(codec.decode(bytes(codestream), form), frame_of(form, "random"))


BRICK = PixelFormat(40, 41, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)


def decoded_brick(codec: Codec, codestream: bytes) -> bytes:
    """A codestream by the way that objects go, where every fault is CannotDecode."""
    stored, _ = encapsulated(split(phantom(Shape(rows=40, columns=41)).dataset, lookup(EXPLICIT)), codec)
    value = item(b"", True) + item(codestream, True)
    plain = native(replace(stored, pixel=replace(stored.pixel, value=value)), lookup(codec.writes))
    return bytes(plain.pixel.value)


SIZE, TILES, COMPONENTS, PLANES = "codestream holds", "tiles", "subsampled", "byte planes"


@pytest.mark.parametrize(
    ("name", "after", "at", "value", "says"),
    [
        ("jpegls", b"\xff\xf7", 5, b"\xff\xff\xff\xff", SIZE),  # rows and columns: gigabytes
        ("jpegls", b"\xff\xf7", 9, b"\x03", SIZE),
        ("jpegls", b"\xff\xf7", 0, b"\xff\xfe", "no frame header"),
        ("jpeg2000", b"\xff\x51", 6, b"\x7f\xff\xff\xff", SIZE),  # Xsiz
        ("jpeg2000", b"\xff\x51", 6 + 8, b"\xff\xff\xff\xff", SIZE),  # XOsiz
        ("jpeg2000", b"\xff\x51", 6 + 16, b"\0\0\0\0", TILES),  # XTsiz
        ("jpeg2000", b"\xff\x51", 0, b"\xff\x00", "no image size"),
        ("htj2k", b"\xff\x51", 6 + 4, b"\x7f\xff\xff\xff", SIZE),  # Ysiz
        ("htj2k", b"\xff\x51", 6 + 28, b"\0\xd0\0\0", TILES),  # YTOsiz: OpenJPH did not return from one
        ("htj2k", b"\xff\x51", 6 + 35, b"\2", COMPONENTS),  # XRsiz
        ("rle", b"", 0, b"\0\0\0\0", PLANES),
        ("rle", b"", 0, b"\x0f\0\0\0", PLANES),
        ("rle", b"", 4, b"\xff\xff\xff\xff", "do not follow one another"),
        ("rle", b"", 8, b"\xff\xff\xff\x7f", "do not follow one another"),
        ("rle", b"", 64, b"\x7f" * 40, "imagecodecs|byte plane"),
    ],
)
def test_a_codestream_that_lies_of_its_size_is_not_decoded(
    name: str, after: bytes, at: int, value: bytes, says: str
) -> None:
    """Such ones took seconds and gigabytes, or the process with them: no library gets to see them."""
    codec = codec_named(name)
    frame = frame_of(BRICK, "smooth")
    codestream = codec.encode(frame, BRICK, 0)
    assert decoded_brick(codec, codestream) == frame.tobytes()
    at += codestream.index(after)
    damaged = codestream[:at] + value + codestream[at + len(value) :]
    with pytest.raises(CannotDecode, match=says):
        decoded_brick(codec, damaged)


@pytest.mark.parametrize("size", [0, 1, 2, 20, 63, 64, 66])
@BY_NAME
def test_the_beginning_of_a_codestream_is_none(codec: Codec, size: int) -> None:
    codestream = codec.encode(frame_of(BRICK, "random"), BRICK, 0)
    with pytest.raises(CannotDecode):
        decoded_brick(codec, codestream[:size])


def _colour(bits: int = 8, samples: int = 3) -> PixelFormat:
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    return PixelFormat(40, 56, samples, 8 * -(-bits // 8), bits, bits - 1, False, photometric, 0, 1)


def test_lossy_htj2k_in_bright_and_dark_colours_is_clipped() -> None:
    """What is coded a little beyond black or white must not come back as its opposite."""
    form, codec = _colour(), decoder_of(HTJ2K_EITHER)
    frame = np.random.default_rng(5).choice(np.array([0, 8, 247, 255], "u1"), form.shape)
    codestream = LOSSY_HTJ2K.encode(frame, form, 90)
    assert codec is not None
    back = codec.decode(codestream, form).astype(int)
    errors = np.abs(back - frame.astype(int))
    assert 0 < errors.max() < 100
    theirs = get_decoder(UID(HTJ2K_EITHER)).as_array(
        encapsulate([codestream]),
        rows=form.rows,
        columns=form.columns,
        samples_per_pixel=3,
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        number_of_frames=1,
        photometric_interpretation="RGB",
        planar_configuration=0,
        raw=True,
    )[0]
    assert np.abs(back - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("bits", [8, 31])
def test_lossless_htj2k_under_the_general_name_is_exact(bits: int) -> None:
    form = _colour(32 if bits > 16 else bits, samples=1)
    form = replace(form, bits_stored=bits, high_bit=bits - 1)
    codec, htj2k = decoder_of(HTJ2K_EITHER), codec_named("htj2k")
    assert codec is not None
    assert htj2k is not None
    frame = frame_of(form, "random")
    assert np.array_equal(codec.decode(htj2k.encode(frame, form, 0), form), frame)


_AT_ONCE = """
import os, threading
import numpy as np
from scp.encoding.cage.caged import Trust, of_one_object
from scp.encoding.cage.pool import pool
from scp.encoding.codecs.table import codec_named
from scp.encoding.pixels import PixelFormat
frame = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
form = PixelFormat(64, 64, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)
codec = codec_named("htj2k")
coded = codec.encode(frame, form, 0)
pool().close()

def first_use():
    together, wrong = threading.Barrier(4), []

    def use():
        together.wait()
        try:
            here = of_one_object(codec, Trust.PROVEN, None)
            assert np.array_equal(here.decode(coded, form), frame)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(len(wrong))

for _ in range(5):
    if not (child := os.fork()):
        first_use()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_many_threads_may_be_the_first() -> None:
    """OpenJPH sets itself up at first use, without a lock: so it is used once before, under one."""
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, check=True, timeout=120)
    assert done.stdout.split() == [b"0"] * 5
