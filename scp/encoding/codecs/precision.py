"""How many bits the samples of a codestream have, and whether they have a sign, by its own header.

That is the codestream's word, which may be another than Bits Stored and Pixel Representation
(:mod:`scp.encoding.described` settles it). Nothing is decoded here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scp.encoding.codecs.markers import START_OF_J2K, jpeg_precision
from scp.errors import CannotDecode

_SOI = b"\xff\xd8"
_JXL, _JXL_BOXED = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
_SIGNATURE_BOX = 12  # bytes


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits of each sample, and whether the codestream counts them with a sign."""

    bits: int
    signed: bool = False


def precision_of(codestream: bytes) -> Precision | None:
    """What a JPEG, JPEG-LS, JPEG 2000, HTJ2K or JPEG XL codestream says; None where it cannot be told.

    JPEG, JPEG-LS and JPEG XL know no sign. Raises CannotDecode where a header is missing, or where the
    components differ.
    """
    if codestream.startswith(_SOI):
        return Precision(jpeg_precision(codestream))
    if codestream.startswith(_JXL):
        return _of_jpegxl(codestream[len(_JXL) :])
    if codestream.startswith(_JXL_BOXED):
        within = _within_boxes(codestream)
        return _of_jpegxl(within[len(_JXL) :]) if within else None
    return _of_jpeg2000(codestream)


def _of_jpeg2000(codestream: bytes) -> Precision:
    """Ssiz of each component (ISO/IEC 15444-1 A.5.1), of a bare codestream or one within JP2's boxes."""
    at = codestream.find(START_OF_J2K)
    if at < 0 or at + 42 > len(codestream):
        raise CannotDecode("the codestream has no image size")
    components = struct.unpack_from(">H", codestream, at + 40)[0]
    depths = set(codestream[at + 42 : at + 42 + 3 * components : 3])
    if len(depths) != 1:
        raise CannotDecode("the codestream's components differ in precision")
    depth = depths.pop()
    return Precision((depth & 0x7F) + 1, bool(depth & 0x80))


# -- JPEG XL (ISO/IEC 18181-1 annexes B and D) -------------------------------------------------------------

_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))  # bits to read, and what to add: U32() of B.2.2
_DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1))


class _Bits:
    """Bits of a codestream, the lowest of each byte first (B.2.1). Behind its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:64], "little")

    def take(self, count: int) -> int:
        taken = self._value & (1 << count) - 1
        self._value >>= count
        return taken

    def choice(self, distributions: tuple[tuple[int, int], ...]) -> int:
        bits, added = distributions[self.take(2)]
        return self.take(bits) + added


def _of_jpegxl(codestream: bytes) -> Precision | None:
    """The bit depth of the image metadata (D.3). Floats, and what has a preview or moves, cannot be told."""
    bits = _Bits(codestream)
    _pass_size(bits)
    if bits.take(1):  # all_default
        return Precision(8)
    if bits.take(1):  # extra_fields
        bits.take(3)  # orientation
        if bits.take(1):
            _pass_size(bits)  # the intrinsic one
        if bits.take(1) or bits.take(1):
            return None
    if bits.take(1):  # floating point
        return None
    return Precision(bits.choice(_DEPTHS))


def _pass_size(bits: _Bits) -> None:
    """SizeHeader (D.2)."""
    small = bits.take(1)
    for side in ("height", "width"):
        if side == "width" and bits.take(3):  # a ratio to the height
            return
        if small:
            bits.take(5)
        else:
            bits.choice(_SIZES)


def _within_boxes(data: bytes) -> bytes:
    """The codestream, or its beginning, in a JPEG XL container (ISO/IEC 18181-2 9.2); empty without one."""
    at = _SIGNATURE_BOX
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, at)
        start = at + 16 if size == 1 else at + 8
        if kind == b"jxlc":
            return data[start:]
        if kind == b"jxlp":  # behind its number
            return data[start + 4 :]
        size = struct.unpack_from(">Q", data, at + 8)[0] if size == 1 and at + 16 <= len(data) else size
        if size < 8:
            break
        at += size
    return b""
