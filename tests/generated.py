"""The odd objects: one case for each way in which pixels and encodings differ, small and made here.

Native cases are written in each native transfer syntax by pydicom and by hand, never by zscp; encapsulated
ones are cut by hand. What is the same as elsewhere comes from :mod:`objects`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from typing import Any

import imagecodecs
import numpy as np
from damaged import STREAMS, damages
from objects import (
    NATIVE,
    SECONDARY_CAPTURE,
    Shape,
    as_received,
    deflate,
    described,
    element,
    item,
    samples_of,
    sequence,
    written,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp.encoding.dataset import encoding_of
from scp.encoding.elements import CANONICAL, IMPLICIT_LITTLE, UNDEFINED, Encoding
from scp.model import Received
from scp.syntaxes import JPEG2000, JPEG_LOSSLESS_SV1, JPEGLS, RLE, lookup

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG2000_ANY = "1.2.840.10008.1.2.4.91"
JPEGLS_NEAR = "1.2.840.10008.1.2.4.81"
PIXEL_DATA, FLOAT, DOUBLE = 0x7FE00010, 0x7FE00008, 0x7FE00009
FRAMES = 0x52009230  # Per-frame Functional Groups Sequence

Bytes = Callable[[Encoding], bytes]


def nothing(_encoding: Encoding) -> bytes:
    return b""


@dataclass(frozen=True)
class Native:
    """An uncompressed object. ``extra`` stands before the pixel data, ``behind`` after it.

    ``pixels`` take the place of the shape's: words of ``word`` bytes, as little endian has them.
    ``header`` changes the header that the shape describes; None takes an attribute away.
    """

    shape: Shape = field(default_factory=Shape)
    header: dict[str, Any] = field(default_factory=dict)
    pixels: bytes | None = None
    word: int = 0
    vr: str = ""
    tag: int = PIXEL_DATA
    extra: Bytes = nothing
    behind: Bytes = nothing
    decodable: bool = True  # whether its length is what its header describes

    def received(self, name: str, transfer_syntax: str) -> Received:
        syntax = lookup(transfer_syntax)
        encoding = encoding_of(syntax)
        instance = instance_of(name)
        dataset = header_of(self.shape, instance)
        for keyword, value in self.header.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        stream = written(dataset, syntax.explicit_vr, syntax.little_endian) + self.extra(encoding)
        value, word = self._samples()
        if not encoding.little and word > 1:
            whole = len(value) // word * word
            value = np.frombuffer(value[:whole], f"u{word}").byteswap().tobytes() + value[whole:]
        vr = self.vr or ("OB" if self.shape.bits_allocated == 8 else "OW")
        stream += element(self.tag, vr, value, encoding=encoding) + self.behind(encoding)
        return as_received(
            deflate(stream) if syntax.deflated else stream, transfer_syntax, SECONDARY_CAPTURE, instance
        )

    def _samples(self) -> tuple[bytes, int]:
        """Little endian, and the size of a word; OW of 8 bits has words of two samples."""
        shape = self.shape
        if self.pixels is not None:
            value, word = self.pixels, self.word
        else:
            values = samples_of(shape)
            if shape.samples > 1 and shape.planar:
                values = np.moveaxis(values, -1, 1)
            value, word = values.tobytes(), shape.bits_allocated // 8
        value += shape.tail
        value += b"\0" * (shape.padded and len(value) % 2)
        return value, 2 if word == 1 and self.vr == "OW" else word


@dataclass(frozen=True)
class Compressed:
    """An encapsulated object: its items, the delimiter not included, behind the header of a shape."""

    syntax: str
    shape: Shape
    items: bytes
    header: dict[str, Any] = field(default_factory=dict)
    extra: bytes = b""
    behind: bytes = b""

    def received(self, name: str) -> Received:
        dataset = header_of(self.shape, instance_of(name))
        for keyword, value in self.header.items():
            setattr(dataset, keyword, value)
        stream = written(dataset, explicit=True, little=True) + self.extra + encapsulated_element(self.items)
        return as_received(stream + self.behind, self.syntax, SECONDARY_CAPTURE, instance_of(name))


def header_of(shape: Shape, instance: str) -> Dataset:
    """With a comment that compresses well: else most forms would fall back, as they gain nothing."""
    dataset = described(shape, instance)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.62", "1.2.826.0.1.62.1"
    dataset.ImageComments = "compressible " * 600
    return dataset


def instance_of(name: str) -> str:
    """A UID that a name always has (PS3.5 B.2: 2.25 and a number)."""
    return f"2.25.{int.from_bytes(sha256(name.encode()).digest()[:16], 'big')}"


def encapsulated_element(items: bytes) -> bytes:
    return element(PIXEL_DATA, "OB", items, UNDEFINED) + element(0xFFFEE0DD, "", b"")


# -- native ----------------------------------------------------------------------------------------------

_COLOUR = {"bits_allocated": 8, "bits_stored": 8, "samples": 3}
SHAPES: dict[str, Shape] = {
    "u8": Shape(bits_allocated=8, bits_stored=8),
    "u8-of-5": Shape(bits_allocated=8, bits_stored=5),
    "s8": Shape(bits_allocated=8, bits_stored=8, signed=True),
    "u16-of-1": Shape(bits_stored=1),
    "u16-of-8": Shape(bits_stored=8),
    "u16-of-12": Shape(),
    "u16": Shape(bits_stored=16),
    "s16-of-12": Shape(signed=True),
    "s16": Shape(bits_stored=16, signed=True),
    "u32-of-20": Shape(bits_allocated=32, bits_stored=20),
    "u32": Shape(bits_allocated=32, bits_stored=32),
    "s32": Shape(bits_allocated=32, bits_stored=32, signed=True),
    "high-bit-15": Shape(high_bit=15),
    "high-bit-15-of-8": Shape(bits_allocated=8, bits_stored=8, high_bit=15),
    "high-bit-13-of-10": Shape(bits_stored=10, high_bit=13, rubbish=True),
    "overlay-above": Shape(rubbish=True),
    "overlay-above-signed": Shape(rubbish=True, signed=True),
    "noise": Shape(bits_stored=16, noise=1.0),
    "monochrome1": Shape(photometric="MONOCHROME1"),
    "rgb": Shape(**_COLOUR, photometric="RGB"),
    "rgb-planes": Shape(**_COLOUR, photometric="RGB", planar=1),
    "rgb-planes-frames": Shape(**_COLOUR, photometric="RGB", planar=1, frames=3),
    "rgb-16": Shape(samples=3, bits_stored=16, photometric="RGB"),
    "ybr-full": Shape(**_COLOUR, photometric="YBR_FULL"),
    "ybr-full-planes": Shape(**_COLOUR, photometric="YBR_FULL", planar=1),
    "ybr-rct-native": Shape(**_COLOUR, photometric="YBR_RCT"),
    "argb": Shape(bits_allocated=8, bits_stored=8, samples=4, photometric="ARGB"),
    "cmyk-planes": Shape(bits_allocated=8, bits_stored=8, samples=4, photometric="CMYK", planar=1),
    "frames": Shape(frames=5),
    "frames-odd": Shape(rows=3, columns=5, bits_allocated=8, bits_stored=8, frames=3),
    "odd": Shape(rows=7, columns=9, bits_allocated=8, bits_stored=8),
    "odd-unpadded": Shape(rows=7, columns=9, bits_allocated=8, bits_stored=8, padded=False),
    "one-row": Shape(rows=1, columns=33),
    "one-column": Shape(rows=33, columns=1),
    "one-pixel": Shape(rows=1, columns=1),
    "trailing-zeros": Shape(tail=bytes(6)),
    "trailing-rubbish": Shape(tail=b"\1\2\3\4\5\6\7"),
    "group-length": Shape(group_lengths=True),
}


def _bits(frames: int) -> bytes:
    """One bit a pixel, frames not aligned to bytes (PS3.5 8.1.1, Annex D)."""
    random = np.random.default_rng(frames)
    return np.packbits(random.integers(0, 2, 15 * 15 * frames, "u1"), bitorder="little").tobytes()


def _floats(kind: str) -> bytes:
    values = np.linspace(-1, 1, 256)
    values[:6] = np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e300
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(kind).tobytes()


def many_items(encoding: Encoding, count: int = 60) -> bytes:
    """Per-frame functional groups, of defined and undefined length in turn."""
    kinds = []
    for defined in (True, False):
        content = element(
            0x00209157, "UL", b"\1\0\0\0" if encoding.little else b"\0\0\0\1", encoding=encoding
        )
        kinds.append(
            item(
                sequence(0x00209111, [item(content, defined, encoding)], defined, encoding=encoding),
                defined,
                encoding,
            )
        )
    return sequence(FRAMES, kinds * (count // 2), defined=False, encoding=encoding)


def _private(encoding: Encoding) -> bytes:
    """Private elements: UN of any length, one of undefined length, an implicit VR sequence within UN."""
    inner = item(element(0x00080060, "", b"MR", encoding=IMPLICIT_LITTLE), False, IMPLICIT_LITTLE)
    end = element(0xFFFEE0DD, "", b"", encoding=IMPLICIT_LITTLE)
    unknown = element(0x00291002, "UN", inner, UNDEFINED, encoding) + end
    return (
        element(0x00290010, "LO", b"ODD CREATOR ", encoding=encoding)
        + element(0x00291001, "UN", b"\1\2\3\4", encoding=encoding)
        + unknown
        + element(0x00291003, "UN", inner, encoding=encoding)
        + element(0x00291004, "UN", b"", encoding=encoding)
    )


def _sequences(encoding: Encoding) -> bytes:
    """Defined within undefined and the reverse, empty ones, and an empty item."""
    leaf = element(0x00080060, "CS", b"MR", encoding=encoding)
    inner = sequence(0x00081140, [item(leaf, True, encoding)], True, encoding=encoding)
    outer = sequence(0x00081140, [item(inner, False, encoding)], False, encoding=encoding)
    return b"".join(
        sequence(0x0040A730, items, defined, encoding=encoding)
        for defined in (True, False)
        for items in (
            [],
            [item(b"", True, encoding), item(b"", False, encoding)],
            [item(outer, True, encoding), item(inner, False, encoding)],
        )
    )


def _oversized(encoding: Encoding) -> bytes:
    """Longer than the VR allows, of wrong length, and of characters that it does not have."""
    return (
        element(0x00400007, "LO", b"x" * 3000, encoding=encoding)
        + element(0x00400009, "SH", b"odd", encoding=encoding)
        + element(0x00400244, "DA", b"not a date", encoding=encoding)
        + element(0x00400250, "DA", b"2026\xff\xfe", encoding=encoding)
        + element(0x0040A160, "UT", b"\xe4\xf6" * 40_000, encoding=encoding)
    )


def _padding(encoding: Encoding) -> bytes:
    return element(0xFFFCFFFC, "OB", bytes(40), encoding=encoding)


def _icon(encoding: Encoding) -> bytes:
    """A native icon; OW, so that it is written alike in explicit and implicit VR."""
    icon = described(Shape(rows=4, columns=4, bits_allocated=8, bits_stored=8), "1.2.3")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet", "ReferencedImageSequence"):
        delattr(icon, keyword)
    pixels = np.arange(16, dtype="<u2" if encoding.little else ">u2").tobytes()[:16]
    content = written(icon, encoding.explicit, encoding.little) + element(
        PIXEL_DATA, "OW", pixels, encoding=encoding
    )
    return sequence(0x00880200, [item(content, True, encoding)], True, encoding=encoding)


def _stale_offsets(encoding: Encoding) -> bytes:
    """An Extended Offset Table that a careless decoder left in place."""
    table = struct.pack("<Q" if encoding.little else ">Q", 0)
    return element(0x7FE00001, "OV", table, encoding=encoding) + element(
        0x7FE00002, "OV", table, encoding=encoding
    )


def _group_lengths(encoding: Encoding) -> bytes:
    """Of a group with a sequence in it, within which there is another one."""
    order = "<" if encoding.little else ">"
    leaf = element(0x00080060, "CS", b"MR", encoding=encoding)
    counted = element(0x00080000, "UL", struct.pack(order + "L", len(leaf)), encoding=encoding) + leaf
    content = sequence(0x0040A730, [item(counted, True, encoding)], True, encoding=encoding)
    return element(0x00400000, "UL", struct.pack(order + "L", len(content)), encoding=encoding) + content


def _palette() -> dict[str, Any]:
    table = np.arange(256, dtype="<u2").tobytes()
    found: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        found[f"{colour}PaletteColorLookupTableData"] = table
    return found


def _item_of(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


_MIXED = {
    "SpecificCharacterSet": ["", "ISO 2022 IR 87", "ISO 2022 IR 100"],
    "PatientName": "Yamada^Tarou=山田^太郎",
    "ReferencedImageSequence": Sequence(
        [
            _item_of(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel"),
            _item_of(StudyDescription="x"),
        ]
    ),
}
_ONE_BIT = {"rows": 15, "columns": 15, "bits_allocated": 8, "bits_stored": 1}
_SUBSAMPLED = bytes(np.random.default_rng(1).integers(0, 256, 16 * 16 * 2, "u1"))


def _one_bit(frames: int) -> Native:
    header = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    # OB, as PS3.5 A.2 has it for one bit: with OW, toolkits do not agree on big endian.
    return Native(Shape(**_ONE_BIT, frames=frames), header, _bits(frames), 1, "OB")


def _subsampled(photometric: str) -> Native:
    shape = Shape(bits_allocated=8, bits_stored=8, samples=3, photometric=photometric)
    return Native(shape, pixels=_SUBSAMPLED, word=1, decodable=photometric == "YBR_FULL_422")


def _float(bits: int, tag: int, vr: str) -> Native:
    header = {"BitsAllocated": bits, "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
    return Native(Shape(), header, _floats(f"<f{bits // 8}"), bits // 8, vr, tag)


NATIVE_CASES: dict[str, Native] = {
    **{name: Native(shape) for name, shape in SHAPES.items() if not shape.group_lengths},
    "single-bits": _one_bit(1),
    "single-bits-frames": _one_bit(5),
    "float": _float(32, FLOAT, "OF"),
    "double": _float(64, DOUBLE, "OD"),
    "ybr-full-422": _subsampled("YBR_FULL_422"),
    "ybr-partial-422": _subsampled("YBR_PARTIAL_422"),
    "palette": Native(replace(SHAPES["u8"], photometric="PALETTE COLOR"), _palette()),
    "u8-as-ow": Native(SHAPES["u8"], vr="OW"),
    "u16-as-ob": Native(SHAPES["u16-of-12"], vr="OB"),
    "missing": Native(Shape(), pixels=bytes(500), word=2, decodable=False),
    "rows-too-many": Native(Shape(), {"Rows": 17}, decodable=False),
    "rows-too-few": Native(Shape(rows=64, columns=64), {"Rows": 8}, decodable=False),
    "no-pixel-module": Native(Shape(), {"Rows": None}, decodable=False),
    "icon": Native(SHAPES["u16-of-12"], extra=_icon),
    "stale-offsets": Native(SHAPES["u16-of-12"], extra=_stale_offsets),
    "group-lengths": Native(SHAPES["u16-of-12"], extra=_group_lengths),
    "many-items": Native(SHAPES["u16-of-12"], extra=many_items),
    "private": Native(SHAPES["u16-of-12"], extra=_private),
    "sequences": Native(SHAPES["u16-of-12"], extra=_sequences),
    "oversized": Native(SHAPES["u16-of-12"], extra=_oversized),
    "trailing-padding": Native(SHAPES["u16-of-12"], behind=_padding),
    "character-sets": Native(SHAPES["u16-of-12"], header=_MIXED),
}


@cache
def native_case(name: str, transfer_syntax: str) -> Received:
    """A native case in one of the native transfer syntaxes."""
    return NATIVE_CASES[name].received(name, transfer_syntax)


# -- encapsulated ----------------------------------------------------------------------------------------


def items_of(
    frames: list[bytes], cut: int = 0, table: str = "filled", odd: bool = False
) -> tuple[bytes, list[int]]:
    """Frames in fragments of at most ``cut`` bytes (0: one each); also each frame's offset.

    ``table`` is filled, empty or wrong; ``odd`` leaves fragments of an odd length, which is illegal, as is.
    """
    pieces, offsets, at = [], [], 0
    for frame in frames:
        offsets.append(at)
        step = cut or len(frame)
        for start in range(0, len(frame), step):
            piece = frame[start : start + step]
            if len(piece) % 2 and not odd:
                piece += b"\0"
            pieces.append(item(piece, True))
            at += len(pieces[-1])
    told = {"filled": offsets, "empty": [], "wrong": [offset + 4 for offset in offsets]}[table]
    return b"".join((item(struct.pack(f"<{len(told)}L", *told), True), *pieces)), offsets


def frames_of(shape: Shape) -> list[np.ndarray]:
    """A shape's frames, by pixel."""
    dtype = f"<{'i' if shape.signed else 'u'}{shape.bits_allocated // 8}"
    return [
        np.squeeze(frame, -1) if shape.samples == 1 else np.ascontiguousarray(frame)
        for frame in samples_of(shape).view(dtype)
    ]


def _jpegls(shape: Shape) -> list[bytes]:
    return [bytes(imagecodecs.jpegls_encode(frame)) for frame in frames_of(shape)]


def _jpeg2000(shape: Shape, **how: Any) -> list[bytes]:
    options = {
        "codecformat": "j2k",
        "reversible": True,
        "mct": False,
        "bitspersample": shape.bits_stored,
        **how,
    }
    return [
        bytes(imagecodecs.jpeg2k_encode(frame, options.pop("level", 0), **options))
        for frame in frames_of(shape)
    ]


def _lossless_jpeg(shape: Shape) -> list[bytes]:
    return [bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1)) for frame in frames_of(shape)]


def _rle(shape: Shape) -> list[bytes]:
    """PackBits of literals alone: the simplest encoder that there is."""
    frames = []
    for frame in frames_of(shape):
        planes = frame.reshape(-1, 1) if shape.samples == 1 else frame.reshape(-1, shape.samples)
        segments = []
        for sample in range(planes.shape[1]):
            raw = np.ascontiguousarray(planes[:, sample])[:, None].view("u1")
            for byte in reversed(range(raw.shape[1])):
                plane = raw[:, byte].reshape(shape.rows, shape.columns)
                packed = b"".join(bytes([shape.columns - 1]) + row.tobytes() for row in plane)
                segments.append(packed + b"\0" * (len(packed) % 2))
        offsets = np.cumsum([64, *map(len, segments[:-1])])
        frames.append(
            struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)
        )
    return frames


def _offset_table(offsets: list[int], frames: list[bytes], wrong: int = 0) -> bytes:
    """Extended Offset Table and its Lengths (PS3.3 C.7.6.3.1.8)."""
    count = len(frames)
    return element(0x7FE00001, "OV", struct.pack(f"<{count}Q", *(o + wrong for o in offsets))) + element(
        0x7FE00002, "OV", struct.pack(f"<{count}Q", *map(len, frames))
    )


def icon_of(syntax: str, defined: bool) -> bytes:
    """An Icon Image Sequence whose pixel data is a codestream too (PS3.5 A.4)."""
    shape = Shape(rows=8, columns=8, bits_allocated=8, bits_stored=8)
    codestream = {JPEGLS: _jpegls, JPEG2000: _jpeg2000}[syntax](shape)
    icon = _item_of(
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=8, Columns=8, BitsAllocated=8,
        BitsStored=8, HighBit=7, PixelRepresentation=0,
    )  # fmt: skip
    content = written(icon, explicit=True, little=True) + encapsulated_element(items_of(codestream)[0])
    return sequence(0x00880200, [item(content, defined)], defined)


_GREY = Shape(rows=24, columns=20)
_GREYS = replace(_GREY, frames=3)
_RGB = Shape(rows=16, columns=24, **_COLOUR, photometric="RGB")
_LS, _LSS, _J2KS = _jpegls(_GREY), _jpegls(_GREYS), _jpeg2000(_GREYS)
_CUT, _OFFSETS = items_of(_LSS, cut=50, table="empty")
_ONE_EACH, _ONE_EACH_OFFSETS = items_of(_J2KS, table="empty")


def _colour_jpeg(subsampling: str) -> bytes:
    smooth = np.add.outer(np.arange(32), np.arange(32)).astype("u1") * 4
    return bytes(
        imagecodecs.jpeg8_encode(np.dstack([smooth, smooth.T, 255 - smooth]), 90, subsampling=subsampling)
    )


_JPEG = Shape(rows=32, columns=32, **_COLOUR, photometric="YBR_FULL_422")

# Those whose pixels any reader finds, and that a lossless form may take.
LOSSLESS_CASES: dict[str, Compressed] = {
    "ls": Compressed(JPEGLS, _GREY, items_of(_LS)[0]),
    "ls-empty-table": Compressed(JPEGLS, _GREYS, items_of(_LSS, table="empty")[0]),
    "ls-wrong-table": Compressed(JPEGLS, _GREYS, items_of(_LSS, table="wrong")[0]),
    "ls-fragments": Compressed(JPEGLS, _GREYS, items_of(_LSS, cut=50)[0]),
    "ls-fragments-empty-table": Compressed(JPEGLS, _GREYS, _CUT),
    "ls-fragments-wrong-table": Compressed(JPEGLS, _GREYS, items_of(_LSS, cut=50, table="wrong")[0]),
    "ls-one-frame-in-fragments": Compressed(JPEGLS, _GREY, items_of(_LS, cut=64, table="empty")[0]),
    "ls-odd-fragments": Compressed(JPEGLS, _GREYS, items_of(_LSS, cut=51, odd=True)[0]),
    "j2k-extended-table": Compressed(
        JPEG2000, _GREYS, _ONE_EACH, extra=_offset_table(_ONE_EACH_OFFSETS, _J2KS)
    ),
    "j2k-extended-table-wrong": Compressed(
        JPEG2000, _GREYS, _ONE_EACH, extra=_offset_table(_ONE_EACH_OFFSETS, _J2KS, wrong=10)
    ),
    "j2k-rct": Compressed(
        JPEG2000, replace(_RGB, photometric="YBR_RCT"), items_of(_jpeg2000(_RGB, mct=True))[0]
    ),
    "j2k-rct-called-rgb": Compressed(JPEG2000, _RGB, items_of(_jpeg2000(_RGB, mct=True))[0]),
    "j2k-signed": Compressed(
        JPEG2000, replace(_GREY, signed=True), items_of(_jpeg2000(replace(_GREY, signed=True)))[0]
    ),
    "j2k-padding-behind": Compressed(JPEG2000, _GREYS, _ONE_EACH, behind=_padding(CANONICAL)),
    "jpeg-lossless": Compressed(
        JPEG_LOSSLESS_SV1, replace(_GREY, bits_stored=16),
        items_of(_lossless_jpeg(replace(_GREY, bits_stored=16)))[0],
    ),
    "rle": Compressed(RLE, _GREYS, items_of(_rle(_GREYS))[0]),
    "rle-rgb-called-planes": Compressed(RLE, _RGB, items_of(_rle(_RGB))[0], {"PlanarConfiguration": 1}),
    "rle-ybr-full": Compressed(
        RLE, replace(_RGB, photometric="YBR_FULL"), items_of(_rle(replace(_RGB, photometric="YBR_FULL")))[0]
    ),
    "rle-overlay-above": Compressed(
        RLE, replace(_GREY, rubbish=True), items_of(_rle(replace(_GREY, rubbish=True)))[0]
    ),
    "rle-32": Compressed(
        RLE, replace(_GREY, bits_allocated=32, bits_stored=32),
        items_of(_rle(replace(_GREY, bits_allocated=32, bits_stored=32)))[0],
    ),
    "ls-called-422": Compressed(
        JPEGLS, replace(_RGB, photometric="YBR_FULL_422"), items_of(_jpegls(_RGB))[0]
    ),
    "ls-icon": Compressed(JPEGLS, _GREY, items_of(_LS)[0], extra=icon_of(JPEGLS, defined=True)),
    "ls-icon-undefined": Compressed(JPEGLS, _GREY, items_of(_LS)[0], extra=icon_of(JPEGLS, defined=False)),
    "ls-native-icon": Compressed(JPEGLS, _GREY, items_of(_LS)[0], extra=_icon(CANONICAL)),
}  # fmt: skip

# Those that keep their codestream at rest, and are decoded on the way out.
LOSSY_CASES: dict[str, Compressed] = {
    "jpeg-422": Compressed(JPEG_BASELINE, _JPEG, items_of([_colour_jpeg("422")])[0]),
    "jpeg-420": Compressed(JPEG_BASELINE, _JPEG, items_of([_colour_jpeg("420")])[0]),
    "j2k-ict": Compressed(
        JPEG2000_ANY, replace(_RGB, photometric="YBR_ICT"),
        items_of(_jpeg2000(_RGB, mct=True, reversible=False, level=40))[0],
    ),
    "ls-near": Compressed(
        JPEGLS_NEAR, _GREY, items_of([bytes(imagecodecs.jpegls_encode(frames_of(_GREY)[0], 3))])[0]
    ),
}  # fmt: skip

# Those that hold more than their header says, or less: nobody may take the header's word and drop the rest.
MISLEADING_CASES: dict[str, Compressed | CutStream] = {
    "more-frames-than-told": Compressed(JPEGLS, _GREY, items_of(_LSS)[0]),
    "more-frames-than-told-empty-table": Compressed(JPEGLS, _GREY, items_of(_LSS, table="empty")[0]),
    "more-frames-than-told-rle": Compressed(RLE, _GREY, items_of(_rle(_GREYS))[0]),
    "more-frames-than-told-rle-empty-table": Compressed(RLE, _GREY, items_of(_rle(_GREYS), table="empty")[0]),
    "fewer-frames-than-told": Compressed(JPEGLS, replace(_GREYS, frames=4), items_of(_LSS)[0]),
    "more-rows-than-told": Compressed(JPEGLS, _GREY, items_of(_LS)[0], {"Rows": 23}),
    "more-rows-than-told-rle": Compressed(RLE, _GREY, items_of(_rle(_GREY))[0], {"Rows": 23}),
    "more-rows-than-told-uncompressed": Compressed(
        "1.2.840.10008.1.2.1.98", _GREY, items_of([frames_of(_GREY)[0].tobytes()])[0], {"Rows": 23}
    ),
    "jpeg-overlay-above-signed": Compressed(
        JPEG_LOSSLESS_SV1, replace(_GREY, signed=True),
        items_of(_lossless_jpeg(replace(_GREY, bits_stored=16)))[0],
    ),
    "icon-of-another-kind": Compressed(
        JPEGLS, _GREY, items_of(_LS)[0], extra=icon_of(JPEG2000, defined=True)
    ),
    "cut-off": Compressed(JPEGLS, _GREY, items_of([_LS[0][:60]])[0]),
    "no-codestream": Compressed(JPEGLS, _GREY, items_of([bytes(range(200))])[0]),
    "no-fragments": Compressed(JPEGLS, _GREY, item(b"", True)),
}  # fmt: skip


@dataclass(frozen=True)
class CutStream:
    """One of the streams of tests/damaged.py, the second half of it gone; encoded when it is asked for."""

    stream: str

    def received(self, name: str) -> Received:
        stream = STREAMS[self.stream]()
        form = stream.form
        shape = Shape(
            rows=form.rows,
            columns=form.columns,
            bits_allocated=form.bits_allocated,
            bits_stored=form.bits_stored,
            samples=form.samples,
            photometric=form.photometric,
        )
        _, _, data = next(
            one for one in damages(stream) if one[0] in ("cut, and an end", "zeros") and one[1] == 50
        )
        return Compressed(stream.syntax, shape, items_of([data])[0]).received(name)


# One of each codec.
CUT_CASES = (
    "jpeg-420", "jpeg-12", "jpeg-lossless-16", "jpegls-near", "j2k-rgb", "j2k-lossy", "htj2k", "htj2k-rpcl",
    "jpegxl", "jpegxl-recompression", "rle", "deflated-frames",
)  # fmt: skip
MISLEADING_CASES |= {f"cut-off-{name}": CutStream(name) for name in CUT_CASES}

# Passed through untouched: video, pixel data that lies elsewhere, and what nobody knows.
UNTOUCHED = (
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.3.6.1.4.1.99999.1.2.3",
)


def untouched(syntax: str) -> Received:
    """An object in one of these; its stream of video is made up."""
    dataset = header_of(Shape(frames=3), instance_of(syntax))
    if lookup(syntax).encapsulated:
        stream = np.random.default_rng(1).bytes(500)
        pixels = encapsulated_element(items_of([stream], table="empty")[0])
    else:
        dataset.PixelDataProviderURL = "https://pixels.example/1"
        pixels = b""
    plain = written(dataset, explicit=True, little=True) + pixels
    dataset_stream = deflate(plain) if lookup(syntax).deflated else plain
    return as_received(dataset_stream, syntax, SECONDARY_CAPTURE, instance_of(syntax))


COMPRESSED_CASES = {**LOSSLESS_CASES, **LOSSY_CASES, **MISLEADING_CASES}


@cache
def compressed_case(name: str) -> Received:
    """An encapsulated case."""
    return COMPRESSED_CASES[name].received(name)


def all_cases() -> dict[str, Received]:
    """Every case once: native ones in one native transfer syntax after the other."""
    found = {
        f"{name}": native_case(name, NATIVE[number % len(NATIVE)]) for number, name in enumerate(NATIVE_CASES)
    }
    found |= {name: compressed_case(name) for name in COMPRESSED_CASES}
    return found | {syntax: untouched(syntax) for syntax in UNTOUCHED}
