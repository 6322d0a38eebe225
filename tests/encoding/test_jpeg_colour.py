"""JPEG colour: the decision table, on codestreams of known components, beside what others make of them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from decoders import sent, tool
from generated import Compressed, items_of
from objects import Shape, bundled_file, kept, received, transcoded
from pydicom import dcmread
from wire.peers import as_file, read

from scp.config.rules import Stage
from scp.encoding.codecs.jpeg_colour import coded_colour, colour_markers, libjxl_colour
from scp.errors import CannotDecode
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import EXPLICIT, JPEG_BASELINE, JPEG_LOSSLESS_SV1

pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("codecs_here")]

CASES = Path(__file__).parents[1] / "data" / "cases"
COMPONENTS = np.array([200, 30, 60])  # what the codestream holds, whatever they are called
AS_YCBCR = np.array([105, 255, 26])  # these taken for Y, Cb and Cr, as RGB (ITU-T T.871 7)
SIDE = 16


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
AVI1 = segment(0xE0, b"AVI1" + bytes(12))  # another application's APP0


def _bare(lossless: bool) -> bytes:
    """Without any application segment."""
    frame = np.full((SIDE, SIDE, 3), COMPONENTS, "u1")
    how = {"lossless": True, "predictor": 1} if lossless else {"level": 98}
    codestream = bytes(
        imagecodecs.jpeg8_encode(frame, colorspace="RGB", outcolorspace="RGB", subsampling="444", **how)
    )
    out, at = codestream[:2], 2
    while codestream[at + 1] != 0xDA:
        size = 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
        out += b"" if 0xE0 <= codestream[at + 1] <= 0xEF else codestream[at : at + size]
        at += size
    return out + codestream[at:]


BARE, BARE_LOSSLESS = _bare(lossless=False), _bare(lossless=True)


def jpeg(before: bytes, identifiers: bytes = b"\1\2\3", bare: bytes = BARE) -> bytes:
    """A codestream with ``before`` right behind SOI, its components called by ``identifiers``."""
    data = bytearray(bare)
    frame = bare.index(b"\xff\xc3" if bare is BARE_LOSSLESS else b"\xff\xc0")
    scan = bare.index(b"\xff\xda")
    for each, identifier in enumerate(identifiers):
        data[frame + 10 + 3 * each] = data[scan + 5 + 2 * each] = identifier
    return bytes(data[:2]) + before + bytes(data[2:])


def object_of(codestream: bytes, photometric: str, syntax: str = JPEG_BASELINE) -> Received:
    shape = Shape(
        rows=SIDE, columns=SIDE, bits_allocated=8, bits_stored=8, samples=3, photometric=photometric
    )
    return Compressed(syntax, shape, items_of([codestream])[0]).received("jpeg-colour")


def decoded(object_: Received) -> tuple[np.ndarray, str]:
    """The first pixel of what goes out native, and its Photometric Interpretation, as pydicom reads them."""
    plain = read(transcoded(object_.dataset, object_.transfer_syntax, EXPLICIT, None), EXPLICIT)
    return np.frombuffer(plain.PixelData, "u1", 3).astype(int), plain.PhotometricInterpretation


def is_rgb(pixel: np.ndarray) -> bool:
    """Whether the components came as they stand; else they must have been converted."""
    if np.abs(pixel - COMPONENTS).max() <= 2:
        return True
    assert np.abs(pixel - AS_YCBCR).max() <= 2, pixel
    return False


@dataclass(frozen=True)
class Row:
    """``by`` is what decides: a marker, the identifiers, or the header where those say nothing."""

    before: bytes
    identifiers: bytes
    rgb_header: bool  # RGB where Photometric Interpretation is RGB
    ybr_header: bool  # ... where it is YBR_FULL_422
    by: str


NUMBERS, UPPER, LOWER, ZERO = b"\1\2\3", b"RGB", b"rgb", b"\0\1\2"
ROWS = {
    "jfif": Row(JFIF, NUMBERS, False, False, "marker"),
    "jfif, R G B": Row(JFIF, UPPER, False, False, "marker"),
    "jfif before adobe 0": Row(JFIF + adobe(0), NUMBERS, False, False, "marker"),
    "adobe 0 before jfif": Row(adobe(0) + JFIF, NUMBERS, False, False, "marker"),
    "adobe 0": Row(adobe(0), NUMBERS, True, True, "marker"),
    "adobe 1": Row(adobe(1), NUMBERS, False, False, "marker"),
    "adobe 1, R G B": Row(adobe(1), UPPER, False, False, "marker"),
    "adobe 2": Row(adobe(2), NUMBERS, False, False, "marker"),
    "another app0, adobe 0": Row(AVI1 + adobe(0), NUMBERS, True, True, "marker"),
    "adobe 0 behind 5 KB": Row(segment(0xE2, bytes(5000)) + adobe(0), NUMBERS, True, True, "marker"),
    "jfif behind 5 KB": Row(segment(0xE1, bytes(5000)) + JFIF, NUMBERS, False, False, "marker"),
    "fill bytes, adobe 0": Row(b"\xff\xff\xff" + adobe(0), NUMBERS, True, True, "marker"),
    "R G B": Row(b"", UPPER, True, True, "identifiers"),
    "another app0, R G B": Row(AVI1, UPPER, True, True, "identifiers"),
    "nothing": Row(b"", NUMBERS, True, False, "header"),
    "nothing, 0 1 2": Row(b"", ZERO, True, False, "header"),
    "nothing, r g b": Row(b"", LOWER, True, False, "header"),
    # The names stand in segments that are not JFIF's and Adobe's.
    "a profile says Adobe": Row(
        segment(0xE2, b"ICC_PROFILE\0\1\1 Adobe RGB"), NUMBERS, True, False, "header"
    ),
    "a profile says JFIF": Row(segment(0xE2, b"ICC_PROFILE\0\1\1 JFIF\0"), NUMBERS, True, False, "header"),
    "a comment says both": Row(segment(0xFE, b"Adobe JFIF\0 of somebody"), NUMBERS, True, False, "header"),
    "exif says Adobe": Row(segment(0xE1, b"Exif\0\0 Adobe Photoshop"), NUMBERS, True, False, "header"),
    "photoshop's app13": Row(segment(0xED, b"Adobe_Photoshop2.5\0"), NUMBERS, True, False, "header"),
    "adobe too short": Row(segment(0xEE, b"Adobe\0\x64"), NUMBERS, True, False, "header"),
    "jfif too short": Row(segment(0xE0, b"JFIF\0\1\1"), NUMBERS, True, False, "header"),
}
BY_ROW = pytest.mark.parametrize("name", ROWS)
BY_HEADER = pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL", "YBR_PARTIAL_422"])


def expected(name: str, photometric: str) -> bool:
    row = ROWS[name]
    return row.rgb_header if photometric == "RGB" else row.ybr_header


@BY_HEADER
@BY_ROW
def test_the_table(name: str, photometric: str) -> None:
    codestream = jpeg(ROWS[name].before, ROWS[name].identifiers)
    pixel, told = decoded(object_of(codestream, photometric))
    assert is_rgb(pixel) is expected(name, photometric)
    assert told == "RGB"
    assert coded_colour(colour_markers(codestream), photometric) == (
        "RGB" if expected(name, photometric) else "YCBCR"
    )


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@BY_ROW
def test_dcmdjpeg_sees_the_same(name: str, photometric: str, tmp_path: Path) -> None:
    """By what libjpeg sees in the codestream (+cg) where that says something, else by the header (+cp)."""
    row = ROWS[name]
    option = "+cp" if row.by == "header" else "+cg"
    file = as_file(sent(object_of(jpeg(row.before, row.identifiers), photometric)), tmp_path / "jpeg.dcm")
    command = [tool("dcmdjpeg"), "-q", option, "+px", file, tmp_path / "plain.dcm"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = np.frombuffer(dcmread(tmp_path / "plain.dcm").PixelData, "u1", 3).astype(int)
    assert is_rgb(theirs) is expected(name, photometric)


# Where pydicom 3.0.2 with Pillow sees something else: identifiers or the header go before a marker there, and
# what Pillow has converted already for Adobe's marker is converted once more.
_BOTH, _RGB, _YBR = {"RGB", "YBR_FULL_422"}, {"RGB"}, {"YBR_FULL_422"}
OTHERWISE = {
    "jfif, R G B": _YBR,
    "jfif before adobe 0": _BOTH,
    "adobe 0 before jfif": _BOTH,
    "adobe 0": _YBR,
    "adobe 1": _YBR,
    "adobe 2": _YBR,
    "another app0, adobe 0": _YBR,
    "adobe 0 behind 5 KB": _YBR,
    "fill bytes, adobe 0": _YBR,
    "nothing, r g b": _YBR,
    "jfif too short": _RGB,
}
UNDECODED = ("R G B", "another app0, R G B")  # it asks Pillow for a conversion that Pillow does not have


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("name", [name for name in ROWS if name not in UNDECODED])
def test_pydicom_sees_the_same_but_for(name: str, photometric: str, tmp_path: Path) -> None:
    row = ROWS[name]
    file = as_file(sent(object_of(jpeg(row.before, row.identifiers), photometric)), tmp_path / "jpeg.dcm")
    theirs = dcmread(file).pixel_array[0, 0].astype(int)
    ours = COMPONENTS if expected(name, photometric) else AS_YCBCR
    same = bool(np.abs(theirs - ours).max() <= 2)
    assert same is (photometric not in OTHERWISE.get(name, ()))


def test_the_case() -> None:
    """Without JFIF and APP14; "Adobe" stands in its ICC profile, and the colours were 105, 255, 26."""
    object_ = received(CASES / "jpeg-rgb-icc-says-adobe.dcm")
    plain = read(transcoded(object_.dataset, object_.transfer_syntax, EXPLICIT, None), EXPLICIT)
    samples = np.frombuffer(plain.PixelData, "u1").reshape(32, 32, 3)
    theirs = dcmread(CASES / "jpeg-rgb-icc-says-adobe.dcm").pixel_array
    assert np.abs(samples.astype(int) - theirs).max() <= 1
    assert plain.PhotometricInterpretation == "RGB"


@pytest.mark.parametrize("before", [JFIF, adobe(1), adobe(0), b""])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_lossless_samples_stay_as_they_are(before: bytes, photometric: str) -> None:
    object_ = object_of(jpeg(before, bare=BARE_LOSSLESS), photometric, JPEG_LOSSLESS_SV1)
    pixel, told = decoded(object_)
    assert (pixel.tolist(), told) == (COMPONENTS.tolist(), photometric)


@pytest.mark.parametrize(
    ("bare", "syntax"), [(BARE, JPEG_LOSSLESS_SV1), (BARE_LOSSLESS, JPEG_BASELINE)], ids=["lossy", "lossless"]
)
def test_a_codestream_of_the_other_kind_is_decoded_only_as_rgb(bare: bytes, syntax: str) -> None:
    """What the header says of colour afterwards goes by the transfer syntax: YBR would be mislabelled."""
    assert decoded(object_of(jpeg(adobe(0), bare=bare), "RGB", syntax))[1] == "RGB"
    with pytest.raises(CannotDecode, match="YBR_FULL in a loss"):
        decoded(object_of(jpeg(adobe(0), bare=bare), "YBR_FULL", syntax))


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "PALETTE COLOR", ""])
def test_what_was_made_rgb_is_called_so(photometric: str) -> None:
    assert decoded(object_of(jpeg(JFIF), photometric))[1] == "RGB"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 60])
def test_a_codestream_that_ends_before_its_frame_header(size: int) -> None:
    with pytest.raises(CannotDecode, match="no frame header"):
        colour_markers(jpeg(JFIF + adobe(0))[:size])


# -- as JPEG XL ------------------------------------------------------------------------------------------

RECOMPRESSED = Stage(forms=("jpegxl-recompression",))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@BY_ROW
def test_recompressed_it_has_the_same_colours_to_others(name: str, photometric: str) -> None:
    """JPEG XL is decoded by libjxl, which asks no header: what it would mistake keeps its JPEG."""
    codestream = jpeg(ROWS[name].before, ROWS[name].identifiers)
    found = kept(object_of(codestream, photometric), RECOMPRESSED)
    (attempt,) = [each for each in found.provenance.attempts if each.form == "jpegxl-recompression"]
    try:
        coded = imagecodecs.jpegxl_decode(imagecodecs.jpegxl_encode_jpeg(codestream))[0, 0].astype(int)
    except imagecodecs.JpegxlError:  # libjxl takes no APP2 that says ICC_PROFILE and holds none
        assert name.startswith("a profile")
        assert attempt.outcome == "refused"
        return
    assert is_rgb(coded) is (libjxl_colour(colour_markers(codestream)) == "RGB")
    if is_rgb(coded) is expected(name, photometric):
        assert attempt.outcome in ("kept", "larger")
    else:
        assert attempt.outcome == "refused"
        assert "JPEG XL would not take it for" in attempt.reason


def test_a_real_one_whose_header_alone_says_rgb_keeps_its_jpeg() -> None:
    object_ = received(bundled_file("SC_jpeg_no_color_transform.dcm"))
    file = part10.unpack(kept(object_, RECOMPRESSED).data)
    assert (file.transfer_syntax, bytes(file.dataset)) == (JPEG_BASELINE, object_.dataset)
    ours = transcoded(object_.dataset, JPEG_BASELINE, EXPLICIT, None)
    theirs = dcmread(bundled_file("SC_jpeg_no_color_transform.dcm")).pixel_array
    samples = np.frombuffer(read(ours, EXPLICIT).PixelData, "u1").reshape(theirs.shape)
    assert np.abs(samples.astype(int) - theirs).max() <= 1
