"""Codestreams of others, decoded as a retrieve decodes them, and as the own ones are.

An input is a head of 8 bytes, which stands for the transfer syntax and the Image Pixel module, and the
codestream of one frame. What the head can say is kept small: declared sizes beyond all bounds have tests of
their own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

import imagecodecs

from scp.encoding.codecs.native import CODECS
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.decoding import decoding
from scp.encoding.elements import CANONICAL, PIXEL_DATA, element_header
from scp.encoding.fragments import encapsulate
from scp.encoding.pixels import PixelFormat
from scp.errors import CodecError
from scp.model import Restoration
from scp.syntaxes import lookup

HEAD = struct.Struct("<BBHHBB")  # syntax, samples and sign, rows, columns, Bits Allocated, Bits Stored
_MOST = 512  # rows and columns

# By family, so that each has a corpus of its own; the syntax's number in an input counts over all of them.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "jpeg": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (50, 51)),
    "jpeg-lossless": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (57, 70)),
    "jpegls": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (80, 81)),
    "jpeg2000": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (90, 91)),
    "htj2k": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (201, 202, 203)),
    "jpegxl": tuple(f"1.2.840.10008.1.2.4.{each}" for each in (110, 111, 112)),
    "rle": ("1.2.840.10008.1.2.5",),
    "deflated-frames": ("1.2.840.10008.1.2.8.1",),
}
_LIBRARIES = {
    "jpeg": "jpeg8_decode",
    "jpeg-lossless": "jpeg8_decode",
    "jpegls": "jpegls_decode",
    "jpeg2000": "jpeg2k_decode",
    "htj2k": "htj2k_decode",
    "jpegxl": "jpegxl_decode",
    "rle": "packbits_decode",
    "deflated-frames": "zlib_decode",
}
SYNTAXES = tuple(uid for family in FAMILIES.values() for uid in family)


def written(syntax: str, form: PixelFormat, codestream: bytes) -> bytes:
    """An input of these."""
    flags = form.samples | form.signed << 4
    numbers = (form.rows, form.columns, form.bits_allocated, form.bits_stored)
    return HEAD.pack(SYNTAXES.index(syntax), flags, *numbers) + codestream


def _read(data: bytes) -> tuple[str, PixelFormat]:
    """Transfer syntax and pixels of an input."""
    number, flags, rows, columns, allocated, bits = HEAD.unpack_from(data)
    samples = 3 if flags & 15 == 3 else 1
    allocated = 8 * (1 + (allocated // 8 - 1) % 4)
    bits = 1 + (bits - 1) % allocated
    size = (1 + (rows - 1) % _MOST, 1 + (columns - 1) % _MOST)
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    form = PixelFormat(*size, samples, allocated, bits, bits - 1, bool(flags >> 4 & 1), photometric, 0, 1)
    return SYNTAXES[number % len(SYNTAXES)], form


def native(data: bytes) -> None:
    """The codec itself, in this process: what the guards before it let through must not end it, or take long.

    Whatever it raises is right: it is told apart where the codec is called.
    """
    if len(data) < HEAD.size:
        return
    syntax, form = _read(data)
    codec = next(codec for codec in CODECS if syntax in codec.reads)
    for decode in (codec.strictly, codec.decode):
        with suppress(Exception):
            decode(data[HEAD.size :], form)


def library(data: bytes) -> None:
    """imagecodecs alone, without a guard of zscp's: for what is to be reported to who makes the library."""
    if len(data) < HEAD.size:
        return
    syntax, _ = _read(data)
    family = next(name for name, uids in FAMILIES.items() if syntax in uids)
    with suppress(Exception):
        getattr(imagecodecs, _LIBRARIES[family])(data[HEAD.size :])


def caged(data: bytes) -> None:
    """As a retrieve decodes: that gives all of the described pixels, or raises CodecError."""
    if len(data) < HEAD.size:
        return
    uid, form = _read(data)
    syntax, header = lookup(uid), _header(form)
    size = form.size
    items = encapsulate([data[HEAD.size :]], 1)
    parts = SplitDataset(header, PixelElement(PIXEL_DATA, "OB", items, encapsulated=True))
    tail = b"\0" * (size % 2)
    own = Restoration(len(header), 0, b"", "OW", 0, tail)
    for restoration in (None, own):
        try:
            plain = decoding(parts, syntax, restoration).pixel
        except CodecError:
            continue
        if plain is None or len(plain.held()) != size + len(tail):
            raise AssertionError(f"{size} bytes of pixels are described, {plain and len(plain.held())} came")


@lru_cache(maxsize=256)
def _header(form: PixelFormat) -> bytes:
    values = {
        0x00280002: form.samples,
        0x00280010: form.rows,
        0x00280011: form.columns,
        0x00280100: form.bits_allocated,
        0x00280101: form.bits_stored,
        0x00280102: form.high_bit,
        0x00280103: int(form.signed),
    }
    elements = {tag: (b"US", value.to_bytes(2, "little")) for tag, value in values.items()}
    elements[0x00280004] = (b"CS", b"RGB " if form.samples == 3 else b"MONOCHROME2 ")
    if form.samples == 3:
        elements[0x00280006] = (b"US", b"\0\0")
    return b"".join(
        element_header(tag, vr, len(value), CANONICAL) + value
        for tag, (vr, value) in sorted(elements.items())
    )
