"""The image header of a JPEG XL codestream, bare or in boxes (ISO/IEC 18181-1 annexes B and D, 18181-2 9).

libjxl takes memory for what a codestream says of itself. This reads it before, from the first bytes alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from scp.encoding.codecs.markers import check_shape
from scp.encoding.pixels import PixelFormat
from scp.errors import CannotDecode, DamagedCodestream

BARE, BOXED = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
_SIGNATURE_BOX = 12  # bytes
_HEAD = 64  # bytes: more than the header takes, up to where the colour space is
_MOST_BOXES = 1 << 16  # encoders write a handful
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))  # bits to read, and what to add: U32() of B.2.2
_DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1))
_EXTRAS = ((0, 0), (0, 1), (4, 2), (12, 1))
_SPACES = ((0, 0), (0, 1), (4, 2), (6, 18))
_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # columns to rows, table D.2
_GREY = 1  # ColourSpace (table D.8)
_TRANSPOSED = 4  # orientations from here on exchange rows and columns (table D.4), less one


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What SizeHeader and ImageMetadata say (D.2, D.3).

    ``bits`` is 0 where samples are floats, ``extra`` counts the channels beside the colour ones, ``colours``
    is 1 or 3; where there are extra ones, 0: it is not read that far. ``moves``: it has a preview or is an
    animation, and nothing further is read.
    """

    rows: int
    columns: int
    bits: int = 8
    extra: int = 0
    colours: int = 3
    moves: bool = False


def check_jpegxl(codestream: bytes, form: PixelFormat) -> None:
    """Raises CannotDecode for a codestream that is not one image of the described size."""
    found = header_of(codestream)
    if found.moves:
        raise CannotDecode("the JPEG XL codestream has a preview or is an animation")
    possible = {found.colours} if found.colours else {1 + found.extra, 3 + found.extra}
    samples = form.samples if form.samples in possible else max(possible)
    check_shape(found.rows, found.columns, samples, form)


def header_of(codestream: bytes) -> ImageHeader:
    """Raises DamagedCodestream where there is none, or boxes that do not lie behind each other."""
    if codestream.startswith(BARE):
        return _header(codestream[len(BARE) : _HEAD])
    if codestream.startswith(BOXED):
        within = _within_boxes(codestream)
        if within.startswith(BARE):
            return _header(within[len(BARE) :])
    raise DamagedCodestream("it has no JPEG XL image header")


class _HeaderBits:
    """Bits of a codestream, the lowest of each byte first (B.2.1). Raises DamagedCodestream at its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise DamagedCodestream("the JPEG XL image header is cut off")
        taken = self._value & (1 << count) - 1
        self._value >>= count
        return taken

    def choice(self, distributions: tuple[tuple[int, int], ...]) -> int:
        bits, added = distributions[self.take(2)]
        return self.take(bits) + added


def _header(data: bytes) -> ImageHeader:
    bits = _HeaderBits(data)
    rows, columns = _size(bits)
    if bits.take(1):  # all_default
        return ImageHeader(rows, columns)
    if bits.take(1):  # extra_fields
        if bits.take(3) >= _TRANSPOSED:
            rows, columns = columns, rows
        if bits.take(1):
            _size(bits)  # the intrinsic one
        if bits.take(1) or bits.take(1):
            return ImageHeader(rows, columns, moves=True)
    depth = _depth(bits)
    bits.take(1)  # whether 16 bits are enough for modular buffers
    if extra := bits.choice(_EXTRAS):
        return ImageHeader(rows, columns, depth, extra, 0)
    bits.take(1)  # xyb_encoded
    colours = 3
    if not bits.take(1):  # the colour encoding's all_default
        bits.take(1)  # want_icc
        colours = 1 if bits.choice(_SPACES) == _GREY else 3
    return ImageHeader(rows, columns, depth, 0, colours)


def _depth(bits: _HeaderBits) -> int:
    if bits.take(1):  # floats: their bits, and those of their exponent
        bits.choice(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
        return 0
    return bits.choice(_DEPTHS)


def _size(bits: _HeaderBits) -> tuple[int, int]:
    """SizeHeader (D.2): rows and columns."""
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choice(_SIZES)

    rows = side()
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio]
        return rows, rows * across // down
    return rows, side()


def _within_boxes(data: bytes) -> bytes:
    """The beginning of the codestream in a container (ISO/IEC 18181-2 9.2); it may lie in several boxes."""
    found = b""
    for kind, begin, end in _boxes(data):
        if kind == b"jxlc":
            return data[begin : min(end, begin + _HEAD)]
        if kind == b"jxlp":  # behind its number
            found += data[begin + 4 : min(end, begin + 4 + _HEAD)]
        if len(found) >= _HEAD:
            break
    return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of each box behind the signature. Raises DamagedCodestream."""
    at = _SIGNATURE_BOX
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">L4s", data, at)
        begin = at + 8
        if size == 1 and at + 16 <= len(data):
            size, begin = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        end = at + size if size else len(data)  # 0: up to the end
        if not begin <= end <= len(data):
            raise DamagedCodestream(f"the box at byte {at} of the JPEG XL container goes beyond it")
        yield kind, begin, end
        at = end
    raise DamagedCodestream(f"more than {_MOST_BOXES} boxes in a JPEG XL container")
