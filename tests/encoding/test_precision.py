"""Precision of codestreams against Bits Stored: no value is cut, and none gets another meaning unsaid.

What is right is worked out here from the words that a codestream was made of (:func:`right`), not by zscp.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from decoders import jpeg2000, pixels, sent, tool
from generated import Compressed, compressed_case, icon_of, items_of, native_case
from objects import Shape, kept, parts_of, phantom, received, transcoded, written
from pydicom import dcmread
from pydicom.dataset import Dataset
from wire.peers import as_file, read

from scp.config.rules import Stage
from scp.encoding import decoding
from scp.encoding.codecs.precision import Precision, precision_of
from scp.encoding.codecs.table import CODECS
from scp.encoding.dataset import join
from scp.encoding.encapsulating import encapsulated
from scp.encoding.forms import target_of
from scp.errors import BeyondBitsStored, CannotDecode, CodecError
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import (
    EXPLICIT,
    HTJ2K,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGXL,
    RLE,
    lookup,
)

pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("codecs_here")]

CASES = Path(__file__).parents[1] / "data" / "cases"
SIDE = 12
Words = np.ndarray[Any, np.dtype[np.int64]]


# -- codestreams of any precision ------------------------------------------------------------------------


def _unsigned(words: Words, bits: int) -> np.ndarray:
    return words.astype("u1" if bits <= 8 else "<u2")


def _lossless_jpeg(words: Words, bits: int, signed: bool) -> bytes:
    samples = _unsigned(words, bits)
    return bytes(imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=bits))


def _jpegls(words: Words, bits: int, signed: bool) -> bytes:
    return bytes(imagecodecs.jpegls_encode(_unsigned(words, bits)))


def _jpegxl(words: Words, bits: int, signed: bool) -> bytes:
    samples = _unsigned(words, bits)
    return bytes(imagecodecs.jpegxl_encode(samples, lossless=True, effort=1, bitspersample=bits))


def _jpeg2000(words: Words, bits: int, signed: bool) -> bytes:
    samples = words.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return bytes(
        imagecodecs.jpeg2k_encode(samples, 0, codecformat="j2k", reversible=True, bitspersample=bits)
    )


def _htj2k(words: Words, bits: int, signed: bool) -> bytes:
    """imagecodecs writes 16 bits; what says so is changed, and what the level shift would add (E.1.1)."""
    samples = words.astype("<i2") if signed else (words + (1 << 15) - (1 << bits - 1)).astype("<u2")
    codestream = bytearray(imagecodecs.htj2k_encode(samples, reversible=True))
    at = codestream.index(b"\xff\x4f\xff\x51") + 42  # Ssiz
    codestream[at] = bits - 1 | (0x80 if signed else 0)
    return bytes(codestream)


@dataclass(frozen=True)
class Maker:
    """Makes codestreams of words; ``signs``: with a sign of their own, too."""

    syntax: str
    encode: Callable[[Words, int, bool], bytes]
    precisions: tuple[int, ...] = (8, 10, 12, 16)
    signs: tuple[bool, ...] = (False,)


MAKERS = {
    "jpeg-lossless": Maker(JPEG_LOSSLESS_SV1, _lossless_jpeg),
    "jpegls": Maker(JPEGLS, _jpegls, (8, 16)),
    "jpegxl": Maker(JPEGXL, _jpegxl),
    "jpeg2000": Maker(JPEG2000, _jpeg2000, signs=(False, True)),
    "htj2k": Maker(HTJ2K, _htj2k, signs=(False, True)),
}


def words_of(bits: int, signed: bool, low: int, high: int) -> Words:
    """Noise from ``low`` to ``high``, both of which are there; as the codestream counts."""
    assert (-(1 << bits - 1) if signed else 0) <= low <= high < 1 << bits - signed
    words = np.random.default_rng(bits).integers(low, high, (SIDE, SIDE), endpoint=True)
    words[0, :2] = low, high
    return words


# -- what is right ---------------------------------------------------------------------------------------


def fits(values: Words, bits: int, signed: bool) -> bool:
    low = -(1 << bits - 1) if signed else 0
    return bool(values.min() >= low and values.max() < low + (1 << bits))


def right(words: Words, coded: Precision, stored: int, signed: bool) -> tuple[Words, int] | None:
    """The values that a header of Bits Stored and Pixel Representation must lead to, and with which Bits
    Stored; None where codestream and header cannot both be true, and nothing tells which is.
    """
    bits = coded.bits
    if coded.signed == signed:
        return (words, stored) if fits(words, stored, signed) else (words, bits)
    if bits < stored:
        both = fits(words, bits, signed=False) and fits(words, bits, signed=True)
        return (words, stored) if both else None
    if bits > stored:
        low = words % (1 << stored)
        negative = signed & (low >= 1 << stored - 1)
        extended = np.where(negative, low - (1 << stored), low)
        if fits(words, stored, signed=False) or (signed and ((extended - words) % (1 << bits) == 0).all()):
            return (extended, stored)
    words = words % (1 << bits)
    return (np.where(signed & (words >= 1 << bits - 1), words - (1 << bits), words), bits)


# -- decoded on the way out ------------------------------------------------------------------------------


def object_of(maker: Maker, codestreams: list[bytes], stored: int, signed: bool, **how: Any) -> Received:
    shape = Shape(rows=SIDE, columns=SIDE, bits_stored=stored, signed=signed, frames=len(codestreams))
    shape = replace(shape, **{key: how.pop(key) for key in ("bits_allocated", "high_bit") if key in how})
    return Compressed(maker.syntax, shape, items_of(codestreams)[0], **how).received("precision")


def native_of(object_: Received) -> Dataset:
    """As pydicom reads what goes out native."""
    return read(transcoded(object_.dataset, object_.transfer_syntax, EXPLICIT, None), EXPLICIT)


def samples_in(dataset: Dataset) -> Words:
    kind = f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    count = SIDE * SIDE * int(dataset.get("NumberOfFrames") or 1)
    return np.frombuffer(dataset.PixelData, kind, count).astype("i8").reshape(-1, SIDE, SIDE)


def ranges(bits: int, signed: bool, stored: int) -> dict[str, tuple[int, int]]:
    """What the samples reach from and to: few, what Bits Stored holds, all of the precision."""
    most = (1 << bits - signed) - 1
    least = -(1 << bits - 1) if signed else 0
    found = {"few": (0, min(most, (1 << stored) - 1, 100)), "all": (least, most)}
    if stored < bits:
        found["stored"] = (0, (1 << stored) - 1)
    if signed:
        found["negative"] = (max(least, -100), min(most, 100))
        if stored < bits:
            found["signed"] = (-(1 << stored - 1), (1 << stored - 1) - 1)
    return found


def situations() -> list[Any]:
    return [
        pytest.param(name, bits, sign, stored, id=f"{name}-{bits}{'s' if sign else 'u'}-in-{stored}")
        for name, maker in MAKERS.items()
        for bits in maker.precisions
        for stored in (5, 8, 10, 12, 16)
        for sign in maker.signs
    ]


SITUATION = pytest.mark.parametrize(("name", "bits", "coded_signed", "stored"), situations())


@SITUATION
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_decoded_values_are_what_the_codestream_holds(
    name: str, bits: int, coded_signed: bool, stored: int, signed: bool
) -> None:
    maker = MAKERS[name]
    for low, high in ranges(bits, coded_signed, stored).values():
        words = words_of(bits, coded_signed, low, high)
        codestream = maker.encode(words, bits, coded_signed)
        coded = precision_of(codestream)
        assert coded == Precision(bits, coded_signed)
        object_ = object_of(maker, [codestream], stored, signed)
        expected = right(words, coded, stored, signed)
        if expected is None:
            with pytest.raises(CannotDecode, match="Pixel Representation"):
                native_of(object_)
            continue
        plain = native_of(object_)
        values, told = expected
        np.testing.assert_array_equal(samples_in(plain)[0], values)
        assert (plain.BitsStored, plain.HighBit, plain.BitsAllocated) == (told, told - 1, 16)
        assert plain.PixelRepresentation == signed
        assert fits(values, told, signed)


@pytest.mark.parametrize("stored", [8, 10, 12, 16])
@pytest.mark.parametrize("name", MAKERS)
def test_other_decoders_see_these_values(name: str, stored: int, tmp_path: Path) -> None:
    """DCMTK, OpenJPEG and djxl of the codestreams, where codestream and header agree on the sign."""
    maker = MAKERS[name]
    for bits in (bits for bits in maker.precisions if bits > 8):  # of 8 and less they make bytes
        for signed in maker.signs:
            words = words_of(bits, signed, *ranges(bits, signed, stored)["all"])
            object_ = object_of(maker, [maker.encode(words, bits, signed)], stored, signed)
            if name == "jpegxl":  # djxl's samples are scaled by Bits Stored there, so it is asked in its own
                object_ = object_of(maker, [maker.encode(words, bits, signed)], bits, signed)
            theirs = pixels(sent(object_)).astype("i8")
            np.testing.assert_array_equal(theirs, words)
            np.testing.assert_array_equal(samples_in(native_of(object_))[0], theirs)


@pytest.mark.parametrize(("coded_signed", "signed"), [(True, False), (False, True)])
def test_pydicom_reads_the_other_sign_alike(coded_signed: bool, signed: bool, tmp_path: Path) -> None:
    maker = MAKERS["jpeg2000"]
    for bits in (10, 12):
        words = words_of(bits, coded_signed, *ranges(bits, coded_signed, bits)["all"])
        object_ = object_of(maker, [maker.encode(words, bits, coded_signed)], bits, signed)
        theirs = dcmread(as_file(sent(object_), tmp_path / "j2k.dcm")).pixel_array
        np.testing.assert_array_equal(samples_in(native_of(object_))[0], theirs)


@pytest.mark.parametrize("signed", [False, True])
def test_dcmtk_writes_16_bits_for_12_and_nothing_changes(signed: bool, tmp_path: Path) -> None:
    """The usual reason for a precision above Bits Stored: the header stays, and so do the words."""
    shape = Shape(rows=SIDE, columns=SIDE, signed=signed)
    source = as_file(sent(phantom(shape)), tmp_path / "native.dcm")
    for command in (["dcmcjpeg", "+e1"], ["dcmcjpls"]):
        file = tmp_path / command[0]
        subprocess.run([tool(command[0]), *command[1:], source, file], check=True)
        assert precision_of(_only_codestream(file)) == Precision(16)
        plain = native_of(received(file))
        assert (plain.BitsStored, plain.HighBit) == (12, 11)
        np.testing.assert_array_equal(samples_in(plain), samples_in(dcmread(source)))


@pytest.mark.parametrize("case", ["j2k-16-bits-in-12-stored", "jpeg-extended-12-in-10-stored"])
def test_the_cases_go_out_whole_and_say_so(case: str, tmp_path: Path) -> None:
    """Words above Bits Stored went out under the same Bits Stored."""
    path = CASES / f"{case}.dcm"
    plain = native_of(received(path))
    bits = 16 if case.startswith("j2k") else 12
    assert (plain.BitsStored, plain.HighBit) == (bits, bits - 1)
    values = np.frombuffer(plain.PixelData, "<u2")
    assert values.max() == (6727 if bits == 16 else 2884)  # what pydicom and dcmdjpeg have
    if bits == 16:
        theirs = jpeg2000(_only_codestream(path))
    else:
        subprocess.run([tool("dcmdjpeg"), path, tmp_path / "plain.dcm"], check=True)
        theirs = np.frombuffer(dcmread(tmp_path / "plain.dcm").PixelData, "<u2")
    np.testing.assert_array_equal(values, theirs.reshape(-1))


def _only_codestream(path: Path) -> bytes:
    return bytes(parts_of(received(path)).pixel.value)[20:]


def _jpeg(bits: int, words: Words) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(_unsigned(words, bits), level=95, bitspersample=bits))


@pytest.mark.parametrize(("bits", "syntax"), [(8, JPEG_BASELINE), (12, JPEG_EXTENDED)])
@pytest.mark.parametrize("stored", [5, 8, 10, 12, 16])
def test_lossy_jpeg_too(bits: int, syntax: str, stored: int) -> None:
    codestream = _jpeg(bits, words_of(bits, False, 0, (1 << bits) - 1))
    object_ = object_of(Maker(syntax, _lossless_jpeg), [codestream], stored, signed=False)
    plain = native_of(object_)
    np.testing.assert_array_equal(samples_in(plain)[0], imagecodecs.jpeg8_decode(codestream))
    assert plain.BitsStored == max(bits, stored)


# -- siblings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [decoding._AT_ONCE, 0])
@pytest.mark.parametrize("name", ["jpegls", "jpeg2000", "jpegxl"])
def test_one_sample_of_the_last_frame_is_enough(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_AT_ONCE", at_once)
    maker = MAKERS[name]
    frames = [words_of(16, False, 0, 4095) for _ in range(5)]
    codestreams = [maker.encode(words, 16, False) for words in frames]
    assert native_of(object_of(maker, codestreams, 12, False)).BitsStored == 12
    frames[-1][3, 4] = 4096
    codestreams[-1] = maker.encode(frames[-1], 16, False)
    plain = native_of(object_of(maker, codestreams, 12, False))
    assert (plain.BitsStored, plain.HighBit) == (16, 15)
    np.testing.assert_array_equal(samples_in(plain), frames)


def test_frames_of_several_precisions() -> None:
    maker = MAKERS["jpeg2000"]
    frames = [words_of(bits, False, 0, (1 << bits) - 1) for bits in (12, 14, 8, 13)]
    codestreams = [
        maker.encode(words, bits, False) for words, bits in zip(frames, (12, 14, 8, 13), strict=True)
    ]
    plain = native_of(object_of(maker, codestreams, 12, False))
    assert plain.BitsStored == 14
    np.testing.assert_array_equal(samples_in(plain), frames)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_where_the_sample_lies_higher_the_word_stays_whole(name: str, signed: bool) -> None:
    """High Bit is not Bits Stored - 1 (PS3.5 8.1.1), which no codestream knows of."""
    maker = MAKERS[name]
    words = words_of(12, False, 0, 4095) << 4
    coded = (words ^ 0x8000) - 0x8000 if signed and True in maker.signs else words
    codestream = maker.encode(coded, 16, bool(coded.min() < 0))
    plain = native_of(object_of(maker, [codestream], 12, signed, high_bit=15))
    assert (plain.BitsStored, plain.HighBit) == (12, 15)
    np.testing.assert_array_equal(samples_in(plain)[0] & 0xFFFF, words)


@pytest.mark.parametrize("name", [name for name, maker in MAKERS.items() if 12 in maker.precisions])
def test_a_word_that_does_not_reach_high_bit_is_not_decoded(name: str) -> None:
    """Read by that header, all values would be a sixteenth."""
    codestream = MAKERS[name].encode(words_of(12, False, 0, 4095), 12, False)
    with pytest.raises(CannotDecode, match="High Bit is 15"):
        native_of(object_of(MAKERS[name], [codestream], 12, False, high_bit=15))


@pytest.mark.parametrize("name", MAKERS)
def test_an_overlay_above_the_sample_stays_there(name: str) -> None:
    """(60xx,0102): the bits are no part of the sample, so Bits Stored must not take them in."""
    words = words_of(16, False, 0, 65535)
    overlay = Dataset()
    for tag, vr, value in (
        (0x0010, "US", SIDE), (0x0011, "US", SIDE), (0x0040, "CS", "G"), (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16), (0x0102, "US", 12),
    ):  # fmt: skip
        overlay.add_new(0x60000000 | tag, vr, value)
    extra = written(overlay, explicit=True, little=True)
    codestream = MAKERS[name].encode(words, 16, False)
    plain = native_of(object_of(MAKERS[name], [codestream], 12, False, extra=extra))
    assert (plain.BitsStored, plain.HighBit, plain[0x60000102].value) == (12, 11, 12)
    np.testing.assert_array_equal(samples_in(plain)[0], words)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec.writes], ids=lambda codec: codec.name)
def test_a_high_bit_that_no_word_has_means_nothing(codec: Any) -> None:
    """Bits Stored fill the word, so there is nowhere else: such an object was encoded, and is given back."""
    object_ = phantom(Shape(rows=SIDE, columns=SIDE, bits_allocated=8, bits_stored=8, high_bit=15))
    stored, restoration = encapsulated(parts_of(object_), codec)
    data = b"".join(join(stored, lookup(codec.writes)))
    assert transcoded(data, codec.writes, EXPLICIT, restoration) == object_.dataset


def test_more_bits_than_are_allocated_are_not_decoded() -> None:
    for name in ("jpeg-lossless", "jpegls", "jpegxl", "jpeg2000", "htj2k"):
        codestream = MAKERS[name].encode(words_of(16, False, 0, 65535), 16, False)
        with pytest.raises(CannotDecode, match="uint16"):
            native_of(object_of(MAKERS[name], [codestream], 8, False, bits_allocated=8))


def test_a_single_bit_is_0_or_1() -> None:
    maker, shape = MAKERS["jpegls"], {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    for most in (1, 5):
        words = words_of(8, False, 0, most)
        object_ = object_of(maker, [maker.encode(words, 8, False)], 1, False, bits_allocated=8, header=shape)
        if most == 1:
            packed = np.frombuffer(native_of(object_).PixelData, "u1")
            np.testing.assert_array_equal(np.unpackbits(packed, bitorder="little"), words.reshape(-1))
        else:
            with pytest.raises(CannotDecode, match="Bits Allocated is 1"):
                native_of(object_)


def test_components_that_differ_are_not_decoded() -> None:
    frame = np.zeros((SIDE, SIDE, 3), "u1")
    codestream = bytearray(imagecodecs.jpeg2k_encode(frame, 0, codecformat="j2k", reversible=True))
    codestream[codestream.index(b"\xff\x4f\xff\x51") + 45] = 6
    with pytest.raises(CannotDecode, match="differ in precision"):
        precision_of(bytes(codestream))


@pytest.mark.parametrize("size", [0, 1, 2, 10])
def test_a_beginning_says_no_precision(size: int) -> None:
    for name, maker in MAKERS.items():
        if name != "jpegxl":  # whose header is that short
            with pytest.raises(CannotDecode):
                precision_of(maker.encode(words_of(16, False, 0, 65535), 16, False)[:size])


@pytest.mark.parametrize("container", [False, True])
def test_precision_of_jpeg_xl(container: bool) -> None:
    """Of any size of image: how its header counts that is what stands before the bit depth."""
    for bits in range(1, 17):
        for shape in ((16, 16), (7, 9), (1, 1), (300, 400), (513, 8), (8, 16), (9, 16, 3)):
            frame = np.zeros(shape, "u1" if bits <= 8 else "u2")
            codestream = imagecodecs.jpegxl_encode(
                frame, lossless=True, effort=1, bitspersample=bits, usecontainer=container
            )
            assert precision_of(bytes(codestream)) == Precision(bits)


# -- at rest ---------------------------------------------------------------------------------------------

FORMS = ("native", "deflate", "htj2k", "jpegls", "jpeg2000", "jpegxl", "jpeg-lossless", "rle")
FORMS += ("deflated-frames",)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "signed"), [("jpegls", False), ("jpeg2000", True), ("jpeg-lossless", True)])
def test_at_rest_no_attribute_changes(name: str, signed: bool, form: str) -> None:
    """What only another Bits Stored would describe keeps its codestream, whatever form is asked for."""
    maker = MAKERS[name]
    coded_signed = signed and True in maker.signs
    for most in (2047, 30000):
        words = words_of(16, coded_signed, -2048 if coded_signed else 0, most)
        object_ = object_of(maker, [maker.encode(words, 16, coded_signed)], 12, signed)
        found = kept(object_, Stage(forms=(form,)))
        (attempt,) = [each for each in found.provenance.attempts if each.form == form]
        file = part10.unpack(found.data)
        if most == 30000 and target_of(form) != maker.syntax:
            assert (attempt.outcome, file.transfer_syntax) == ("refused", maker.syntax)
            assert "Bits Stored (12)" in attempt.reason
            assert bytes(file.dataset) == object_.dataset
        out = transcoded(file.dataset, file.transfer_syntax, EXPLICIT, file.provenance.restoration)
        plain = read(out, EXPLICIT)
        np.testing.assert_array_equal(samples_in(plain)[0], words)
        assert plain.BitsStored == (12 if most == 2047 else 16)


def test_an_icon_goes_by_the_same_answer() -> None:
    """Within a sequence, where the image itself is as described."""
    icon = icon_of(JPEGLS, defined=True).replace(b"\x28\0\x01\x01US\2\0\x08\0", b"\x28\0\x01\x01US\2\0\x05\0")
    icon = icon.replace(b"\x28\0\x02\x01US\2\0\x07\0", b"\x28\0\x02\x01US\2\0\x04\0")
    maker = MAKERS["jpegls"]
    codestream = maker.encode(words_of(16, False, 0, 4095), 16, False)
    object_ = object_of(maker, [codestream], 12, False, extra=icon)
    assert native_of(object_).IconImageSequence[0].BitsStored == 8
    found = kept(object_, Stage(forms=("htj2k",)))
    assert part10.unpack(found.data).transfer_syntax == JPEGLS
    assert "Bits Stored (5)" in found.provenance.attempts[0].reason


# -- encoded ---------------------------------------------------------------------------------------------

ENCODED = [codec for codec in CODECS if codec.writes and not codec.keeps_all_bits]
WHOLE = [codec for codec in CODECS if codec.writes and codec.keeps_all_bits]


@pytest.mark.parametrize("codec", ENCODED, ids=lambda codec: codec.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_what_encoders_write_holds_bits_stored(codec: Any, signed: bool) -> None:
    """The other direction: precision is Bits Stored or more, values come back, the header is as it was."""
    for stored in (1, 5, 8, 10, 12, 16):
        object_ = phantom(Shape(rows=SIDE, columns=SIDE, bits_stored=stored, signed=signed))
        try:
            out = transcoded(object_.dataset, EXPLICIT, codec.writes, None)
        except CodecError as error:
            assert (codec.name, "negative" in str(error)) == ("jpegxl", True)  # noqa: PT017 - some may
            continue
        coded = read(out, codec.writes)
        item = bytes(coded.PixelData)[20:]
        precision = precision_of(item)
        assert precision is not None
        assert stored <= precision.bits <= 16
        assert (coded.BitsStored, coded.HighBit) == (stored, stored - 1)
        again = native_of(replace(object_, dataset=out, transfer_syntax=codec.writes))
        assert (again.BitsStored, again.HighBit) == (stored, stored - 1)
        np.testing.assert_array_equal(samples_in(again), samples_in(read(object_.dataset, EXPLICIT)))


@pytest.mark.parametrize("codec", [*ENCODED, *WHOLE], ids=lambda codec: codec.name)
@pytest.mark.parametrize(
    "name", ["overlay-above", "overlay-above-signed", "high-bit-15", "high-bit-13-of-10", "single-bits"]
)
def test_what_bits_stored_does_not_describe_is_not_encoded_by_it(codec: Any, name: str) -> None:
    object_ = native_case(name, EXPLICIT)
    try:
        out = transcoded(object_.dataset, EXPLICIT, codec.writes, None)
    except CodecError as error:
        assert codec not in WHOLE or name == "single-bits"
        assert "Bits" in str(error)  # noqa: PT017 - some take it
        return
    assert codec in WHOLE
    assert transcoded(out, codec.writes, EXPLICIT, None) == object_.dataset


@pytest.mark.parametrize("target", [HTJ2K, JPEG2000, JPEGXL, JPEG_LOSSLESS_SV1, RLE])
def test_encoded_anew_the_values_stay_whole(target: str) -> None:
    """From one codestream with 16 bits in use and 12 stored to another transfer syntax."""
    words = words_of(16, False, 0, 40000)
    object_ = object_of(MAKERS["jpegls"], [MAKERS["jpegls"].encode(words, 16, False)], 12, False)
    out = transcoded(object_.dataset, JPEGLS, target, None)
    dataset = read(out, target)
    assert (dataset.BitsStored, dataset.HighBit) == (16, 15)
    np.testing.assert_array_equal(pixels(sent(object_, out, target)), words)


def test_above_its_own_precision_there_is_nothing_to_describe() -> None:
    """A JPEG of 12 bits whose samples have 16: no header that zscp could write is true."""
    object_ = compressed_case("jpeg-overlay-above-signed")
    with pytest.raises(BeyondBitsStored):
        transcoded(object_.dataset, object_.transfer_syntax, EXPLICIT, None)
