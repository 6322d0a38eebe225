"""Codestreams that are bombs, liars or worse: each is made here from a few bytes, and stays small itself.

A *bomb* is a legal stream that gives far more than it takes; a *liar* declares in its own header what it does
not hold. Both are what an object may bring along, by accident or not.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import imagecodecs
import numpy as np
from damaged import STREAMS

from scp.encoding.codecs.table import codec_named
from scp.encoding.pixels import PixelFormat

SIDE = 65_500  # the longest that JPEG has is 65,535: libjpeg stops at 65,500
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class Code:
    """A codestream, and what its object's header says of it."""

    data: bytes
    rows: int
    columns: int
    bits: int = 8
    samples: int = 1


# -- JPEG ----------------------------------------------------------------------------------------------


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _table(kind: int, symbol: int) -> bytes:
    """A Huffman table of one symbol, whose code is one bit: 0."""
    return _segment(0xC4, bytes([kind << 4, 1, *[0] * 15, symbol]))


def _frame(marker: int, rows: int, columns: int) -> bytes:
    return _segment(marker, struct.pack(">BHHBBBB", 8, rows, columns, 1, 1, 0x11, 0))


def _scan(first: int, last: int, approximation: int, bits: int) -> bytes:
    """A scan whose coded data are so many bits, each 0; what is left of the last byte is 1."""
    data = bytes(bits // 8) + (bytes([0xFF >> bits % 8]) if bits % 8 else b"")
    return _segment(0xDA, bytes([1, 1, 0, first, last, approximation])) + data


def grey_jpeg(rows: int, columns: int) -> Code:
    """A whole baseline JPEG of one grey: two bits for 64 pixels."""
    blocks = -(-rows // 8) * -(-columns // 8)
    head = _SOI + _segment(0xDB, bytes([0, *[1] * 64])) + _frame(0xC0, rows, columns)
    return Code(head + _table(0, 0) + _table(1, 0) + _scan(0, 63, 0, 2 * blocks) + _EOI, rows, columns)


def progressive_jpeg(side: int, scans: int) -> Code:
    """A whole progressive JPEG with so many scans, each of which is about all blocks, and says nothing."""
    blocks = (side // 8) ** 2
    head = _SOI + _segment(0xDB, bytes([0, *[1] * 64])) + _frame(0xC2, side, side) + _table(0, 0)
    # EOB14 with its 14 bits says that 16384 blocks have no more (ITU-T T.81 G.1.2.2).
    again = _scan(1, 63, 0x0D, -(-blocks // 16384) * 15)
    return Code(head + _table(1, 0xE0) + _scan(0, 0, 0, blocks) + again * scans + _EOI, side, side)


def lying_jpeg() -> Code:
    """646 bytes or fewer that declare 4.3 GB of pixels."""
    return Code(_of_size(grey_jpeg(8, 8).data, 0xC0), SIDE, SIDE)


def lying_jpeg_lossless() -> Code:
    stream = STREAMS["jpeg-lossless-16"]().data[:840] + _EOI
    return Code(_of_size(stream, 0xC3), SIDE, SIDE, 16)


def _of_size(data: bytes, marker: int) -> bytes:
    """Another size in the frame header of a JPEG or JPEG-LS."""
    at = data.index(bytes([0xFF, marker])) + 5
    return data[:at] + struct.pack(">HH", SIDE, SIDE) + data[at + 4 :]


def lying_jpegls() -> Code:
    return Code(_of_size(STREAMS["jpegls"]().data[:900] + _EOI, 0xF7), SIDE, SIDE, 12)


# -- JPEG 2000 and HTJ2K ---------------------------------------------------------------------------------


def _resized(data: bytes, *, image: int = SIDE, tile: int = SIDE, components: int = 1) -> bytes:
    """Another image, tile size and number of components in SIZ (ITU-T T.800 A.5.1)."""
    at = data.index(b"\xff\x51")
    length = struct.unpack_from(">H", data, at + 2)[0]
    kept, rest = data[at + 4 : at + 6], data[at + 2 + length :]
    component = data[at + 40 : at + 43]
    sizes = struct.pack(">8LH", image, image, 0, 0, tile, tile, 0, 0, components)
    return data[:at] + _segment(0x51, kept + sizes + component * components) + rest


def lying_j2k(name: str = "j2k", **sizes: int) -> Code:
    """Declares another size than it holds: ``name`` is one of :data:`damaged.STREAMS`."""
    side = sizes.get("image", SIDE)
    return Code(_resized(STREAMS[name]().data, **sizes), side, side, 12)


def precincts_of_one(name: str, side: int) -> Code:
    """Each precinct is one sample wide: a decoder that makes them all first takes GBs."""
    data = _resized(STREAMS[name]().data, image=side, tile=side)
    at = data.index(b"\xff\x52")
    length = struct.unpack_from(">H", data, at + 2)[0]
    body = bytearray(data[at + 4 : at + 2 + length])
    body[0] |= 1  # precincts are given
    levels = body[5]
    cod = _segment(0x52, bytes(body[:10]) + bytes(levels + 1))
    return Code(data[:at] + cod + data[at + 2 + length :], side, side, 12)


# -- the others ------------------------------------------------------------------------------------------


def lying_jpegxl() -> Code:
    """Declares 8,000 × 65,500 (ISO/IEC 18181-1 D.2), holds what 300 × 300 take."""
    data = imagecodecs.jpegxl_encode(np.zeros((300, 300), "u1"), lossless=True)
    assert data[:2] == b"\xff\x0a"
    bits = _bits(data[2:])
    # not small, nine bits of height, and width as height: 15 bits; then 13 and 18 bits: 39, three bytes more
    assert bits[:3] == [0, 0, 0]
    size = [0, *_number(1, 2), *_number(7_999, 13), 0, 0, 0, *_number(2, 2), *_number(SIDE - 1, 18)]
    return Code(b"\xff\x0a" + _packed(size + bits[15:]), 8_000, SIDE)


def _bits(data: bytes) -> list[int]:
    return [byte >> bit & 1 for byte in data for bit in range(8)]


def _number(value: int, width: int) -> list[int]:
    return [value >> bit & 1 for bit in range(width)]


def _packed(bits: list[int]) -> bytes:
    return np.packbits(np.array(bits, "u1"), bitorder="little").tobytes()


def lying_recompression() -> Code:
    """JPEG XL that gives back a JPEG of 104 columns; the object says 65,500."""
    return Code(STREAMS["jpegxl-recompression"]().data, SIDE, SIDE, 8, 3)


@cache
def recompressed_bomb(side: int) -> Code:
    """JPEG XL that gives back a JPEG which is a bomb."""
    jpeg = grey_jpeg(side, side).data
    return Code(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True), side, side)


def lying_rle(side: int = 65_535) -> Code:
    """334 bytes: a header of one segment, and 135 runs of 128 zeros each."""
    return Code(struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 135, side, side)


def zeros_deflated(size: int) -> bytes:
    """A raw deflate stream of so many zeros, whole MBs, without making them all."""
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    more = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return first + more * (size // (1 << 20) - 1) + b"\x03\0"


def deflated_bomb(side: int) -> Code:
    """A deflated frame that gives ``side`` × ``side`` zeros."""
    return Code(zeros_deflated(-(-side * side // (1 << 20)) << 20), side, side)


def black(name: str, side: int, bits: int = 8) -> Code:
    """A black picture by the codec of that name: what a real device may send."""
    frame = np.zeros((side, side), "u1" if bits <= 8 else "<u2")
    form = PixelFormat(
        side, side, 1, frame.itemsize * 8, bits, bits - 1, False, "MONOCHROME2", 0, 1
    )  # fmt: skip
    codec = codec_named(name)
    assert codec is not None
    return Code(codec.encode(frame, form, 0), side, side, bits)


def black_jpegxl(side: int) -> Code:
    """As :func:`black`, with the effort that takes a hundredth of the time."""
    return Code(imagecodecs.jpegxl_encode(np.zeros((side, side), "u1"), lossless=True, effort=1), side, side)


def stream(name: str) -> Code:
    """One of :data:`damaged.STREAMS` as it is."""
    made = STREAMS[name]()
    return Code(made.data, made.form.rows, made.form.columns, made.form.bits_stored, made.form.samples)


def mutated(name: str, seed: int) -> Code:
    """A stream of :data:`damaged.STREAMS` with some bytes changed, most of them near its beginning."""
    sound, chance = stream(name), Random(f"{name} {seed}")
    data = bytearray(sound.data)
    for _ in range(chance.randint(1, 6)):
        near = chance.random() < 0.7
        data[chance.randrange(min(200, len(data)) if near else len(data))] = chance.randrange(256)
    return replace(sound, data=bytes(data))


def endless_jpegls() -> Code:
    """CharLS looks for an end, bit by bit, where no marker stops it: over a minute for 8 KB."""
    return Code(STREAMS["jpegls"]().data[:6000] + b"\xff\0", 88, 104, 12)
