"""How many bits the samples of a codestream have, and whether they have a sign, by its own header.

That is the codestream's word, which may be another than Bits Stored and Pixel Representation
(:mod:`scp.encoding.described` settles it). Nothing is decoded here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scp.encoding.codecs.jpegxl_structure import BARE, BOXED, header_of
from scp.encoding.codecs.markers import START_OF_J2K, jpeg_precision
from scp.errors import CannotDecode, DamagedCodestream

_SOI = b"\xff\xd8"


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
    if codestream.startswith((BARE, BOXED)):
        return _of_jpegxl(codestream)
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


def _of_jpegxl(codestream: bytes) -> Precision | None:
    """The bit depth of the image metadata (D.3). Floats, and what has a preview or moves, cannot be told."""
    try:
        found = header_of(codestream)
    except DamagedCodestream:
        return None
    return None if found.moves or not found.bits else Precision(found.bits)
