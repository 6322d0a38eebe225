"""Whether a stream is what it was announced as, by its first bytes: no codestream is decoded.

Whether a codestream of the right kind can be decoded is another question, which codecs answer.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from scp.encoding.elements import ITEM, Element
from scp.spool import Buffer
from scp.syntaxes import TransferSyntax

_PREAMBLE = 128
_JPEG, _JPEG2000, _JPEGXL = "JPEG", "JPEG 2000", "JPEG XL"
# ITU-T T.81 B.1.1.3 (SOI and the next marker); ISO/IEC 15444-1 A.4.1 and I.5.1; ISO/IEC 18181-1, -2.
_BEGINNINGS = (
    (b"\xff\xd8\xff", _JPEG),
    (b"\xff\x4f\xff\x51", _JPEG2000),
    (b"\x00\x00\x00\x0cjP  ", _JPEG2000),
    (b"\xff\x0a", _JPEGXL),
    (b"\x00\x00\x00\x0cJXL ", _JPEGXL),
)
_SYNTAXES = "1.2.840.10008.1.2.4."
_FAMILIES: Mapping[str, str] = {
    **dict.fromkeys((_SYNTAXES + end for end in ("50", "51", "57", "70", "80", "81")), _JPEG),
    **dict.fromkeys((_SYNTAXES + end for end in ("90", "91", "92", "93", "201", "202", "203")), _JPEG2000),
    **dict.fromkeys((_SYNTAXES + end for end in ("110", "111", "112")), _JPEGXL),
    "1.2.840.10008.1.2.5": "RLE",
}
_MOST_ITEMS = 3  # the Basic Offset Table, and an empty fragment or so before the first codestream
_LONGEST_BEGINNING = 8


def is_part10(stream: Buffer) -> bool:
    """Whether a dataset stream is a whole file instead: preamble, DICM, group 0002 (PS3.10 7.1)."""
    return bytes(stream[_PREAMBLE : _PREAMBLE + 6]) == b"DICM\x02\x00"


def wrong_family(stream: Buffer, pixel: Element, syntax: TransferSyntax) -> str:
    """The family that the first codestream is of, where the syntax announced another one; else nothing.

    ``pixel`` is the pixel data in ``stream``, of undefined length. What begins like none is left to codecs.
    """
    announced = _FAMILIES.get(syntax.uid)
    if announced is None:
        return ""
    beginning = _first_bytes(stream, pixel)
    found = next((family for begins, family in _BEGINNINGS if beginning.startswith(begins)), "")
    return found if found != announced else ""


def _first_bytes(stream: Buffer, pixel: Element) -> bytes:
    """What the first fragment that is not empty begins with (PS3.5 A.4)."""
    at = pixel.value
    for number in range(_MOST_ITEMS):
        if at + 8 > pixel.end:
            break
        group, element, length = struct.unpack_from("<HHL", stream, at)
        if group << 16 | element != ITEM:
            break
        if number and length:
            return bytes(stream[at + 8 : at + 8 + min(length, _LONGEST_BEGINNING)])
        at += 8 + length
    return b""
