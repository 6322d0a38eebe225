"""One fast pass over the top level of a dataset stream, which all who ask of a header share.

A header of 342 elements takes 0.07 ms this way, and 0.28 ms by :func:`scp.encoding.elements.walk`. Verdicts
are the same: what is not plain is left to the same :class:`~scp.encoding.elements.Reader`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from scp.encoding.conversion import SEQUENCE_TAGS, convert
from scp.encoding.elements import CANONICAL, LONG, PIXEL_DATA, SHORT, UNDEFINED, Element, Encoding, Reader
from scp.errors import UnreadableDataset
from scp.spool import Buffer

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)  # Float, Double Float, Pixel Data
_PIXEL_GROUP = 0x7FE0
_LONG_BUT_SEQUENCES = LONG - {b"SQ"}
_LITTLE_LONG, _BIG_LONG = struct.Struct("<L"), struct.Struct(">L")


@dataclass(slots=True)
class Scan:
    """What stands at the top level of a stream.

    ``elements`` are those of defined length ahead of the pixel data: by tag (the last one of a tag that
    comes twice) the VR (empty where implied), the position of the value, and of its end. ``pixel`` is
    the pixel data, ``end`` how far the stream could be followed. ``fault`` says why no further, or why
    what is nested cannot be: the stream is unreadable; it is empty of a sound one.
    """

    elements: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)
    pixel: Element | None = None
    end: int = 0
    fault: str = ""


def scan(data: Buffer, encoding: Encoding, nested: bool = True) -> Scan:
    """Follow a stream to its end. It raises nothing: a fault is part of what is found.

    In an encoding that is not explicit VR little endian, sequences must be such that they can be
    converted, which ``nested`` has tried; in that one they may hold anything, as long as they can be
    stepped over.
    """
    found = Scan()
    try:
        _follow(data, encoding, found, nested)
    except UnreadableDataset as error:
        found.fault = str(error)
    return found


def _follow(data: Buffer, encoding: Encoding, found: Scan, nested: bool) -> None:
    reader, end = Reader(data, encoding), len(data)
    order = "<" if encoding.little else ">"
    layout = struct.Struct(order + ("HH2sH" if encoding.explicit else "HHL"))
    ahead = found.elements
    while True:
        found.end = (
            _explicit(data, found.end, ahead, layout, encoding)
            if encoding.explicit
            else _implicit(data, found.end, ahead, layout)
        )
        if found.end >= end:
            return
        element = reader.element(found.end, end)
        if element.tag in PIXEL_TAGS and found.pixel is None:
            found.pixel, ahead = element, {}
        else:
            if nested:
                _check_nested(data, element, encoding)
            ahead.pop(element.tag, None)
            if not element.undefined:
                ahead[element.tag] = element.vr, element.value, element.end
        found.end = element.next


def _explicit(
    data: Buffer,
    at: int,
    found: dict[int, tuple[bytes, int, int]],
    layout: struct.Struct,
    encoding: Encoding,
) -> int:
    """Plain elements from ``at`` on; where the first one begins that is not plain."""
    unpack, end, last = layout.unpack_from, len(data), len(data) - 12
    long_length = (_LITTLE_LONG if encoding.little else _BIG_LONG).unpack_from
    short, long = SHORT, LONG if encoding == CANONICAL else _LONG_BUT_SEQUENCES
    while at <= last:
        group, number, vr, length = unpack(data, at)
        if vr in short:
            value = at + 8
        elif vr in long:
            value = at + 12
            (length,) = long_length(data, at + 8)
        else:
            break
        following = value + length
        if following > end or group >= _PIXEL_GROUP or length == UNDEFINED:
            break
        found[group << 16 | number] = vr, value, following
        at = following
    return at


def _implicit(data: Buffer, at: int, found: dict[int, tuple[bytes, int, int]], layout: struct.Struct) -> int:
    """As :func:`_explicit`."""
    unpack, end, last = layout.unpack_from, len(data), len(data) - layout.size
    sequences = SEQUENCE_TAGS
    while at <= last:
        group, number, length = unpack(data, at)
        tag = group << 16 | number
        following = at + 8 + length
        if following > end or length == UNDEFINED or group >= _PIXEL_GROUP or tag in sequences:
            break
        found[tag] = b"", at + 8, following
        at = following
    return at


def _check_nested(data: Buffer, element: Element, encoding: Encoding) -> None:
    """Convert what may hold items, to see that it can be. Raises UnreadableDataset."""
    if encoding != CANONICAL and (element.undefined or element.vr == b"SQ" or element.tag in SEQUENCE_TAGS):
        convert(memoryview(data)[element.start : element.next], encoding, CANONICAL)
