"""One fast pass over the top level of a dataset stream, shared by all who read a header.

A header of 342 elements takes 0.07 ms this way, and 0.28 ms by :func:`scp.encoding.elements.walk`. Verdicts
are the same: what is not plain is left to the same :class:`~scp.encoding.elements.ElementReader`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary

from scp.encoding.census import Excess, excess, is_long, least_of_too_deep, too_deep_within
from scp.encoding.conversion import SEQUENCE_TAGS, check
from scp.encoding.elements import (
    CANONICAL,
    LONG,
    PIXEL_DATA,
    SHORT,
    UNDEFINED,
    VRS,
    Element,
    ElementReader,
    Encoding,
)
from scp.encoding.layouts import Layout, Layouts, Span
from scp.errors import BeyondBounds, UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import Buffer, let_go

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)  # Float, Double Float, Pixel Data
_PIXEL_GROUP = 0x7FE0
_LONG_BUT_SEQUENCES = LONG - {b"SQ"}
_IMPLICIT_HEADER, _LONGEST_HEADER = 8, 12  # bytes
_REMEMBERED = 4096  # bytes of what may hold items
# Of the most elements that fit into so many bytes, 16 MB is what remembering them takes.
_STEP = 512 << 10
_MOST_HELD = 16_384
# What a keyword stands for; and for scp.encoding.headers, planes of overlays and lengths of groups.
_ASKED_FOR = frozenset(
    (*DicomDictionary, *(group << 16 | 0x0102 for group in range(0x6000, 0x6020, 2)), 0x00280000, 0x7FE00000)
)
_HEADERS = {
    Encoding(explicit, little): struct.Struct(("<" if little else ">") + ("HH2sH" if explicit else "HHL"))
    for explicit in (True, False)
    for little in (True, False)
}
_LAYOUTS = {encoding: Layouts(encoding) for encoding in _HEADERS}
_LITTLE_LONG, _BIG_LONG = struct.Struct("<L"), struct.Struct(">L")


@dataclass(slots=True)
class Scan:
    """What stands at the top level of a stream.

    ``elements`` are those of defined length ahead of the pixel data: by tag (the last one of a tag that
    comes twice) the VR (empty where implied), the position of the value, and of its end. ``undefined`` has
    the same of those of undefined length, which are sequences, and the end is where their delimiter begins.
    ``sequences`` is where those begin and end that are long enough for others to nest too deep in them, of a
    stream that is not so long that it was counted.
    ``pixel`` is the pixel data, ``end`` how far the stream could be followed. ``fault`` says why no further,
    or why what is nested cannot be: the stream is unreadable; it is empty of a sound one. ``beyond``: it is a
    limit that the stream passes. Of more than 16,384 different elements, those are left out that no
    dictionary has. With a ``layout``, ``elements`` are those that it has, and there are no others.
    """

    elements: dict[int, Span] = field(default_factory=dict)
    undefined: dict[int, Span] = field(default_factory=dict)
    sequences: list[tuple[int, int]] = field(default_factory=list)
    pixel: Element | None = None
    end: int = 0
    fault: str = ""
    beyond: bool = False
    layout: Layout | None = field(default=None, compare=False)


def scan(data: Buffer, encoding: Encoding, nested: bool = True, counted: bool = True) -> Scan:
    """Follow a stream to its end. It raises nothing: a fault is part of what is found.

    In an encoding that is not explicit VR little endian, sequences must be such that they can be
    converted, which ``nested`` has tried; in that one they may hold anything, as long as they can be
    stepped over. Where it is ``counted``, what it holds is compared with ``[limits]`` before: of a stream
    beyond them, what comes before it passes one is followed.
    """
    found = Scan()
    beyond = excess(data, encoding) if counted else None
    # How deep a long stream is, is counted; and converting sees to that in other encodings.
    may_be_deep = counted and encoding == CANONICAL and not is_long(data)
    least = least_of_too_deep() if may_be_deep else len(data) + 1
    try:
        _follow(memoryview(data)[: beyond.at] if beyond else data, encoding, found, nested, least)
        beyond = beyond or _too_deep(data, found)
    except BeyondBounds as error:
        found.fault, found.beyond = str(error), True
    except UnreadableDataset as error:
        found.fault = str(error)
    if beyond:
        found.fault, found.beyond = beyond.reason, True
    return found


def pixels_at(data: Buffer, encoding: Encoding, size: int) -> int | None:
    """Where the pixel data begins in a stream of ``size`` bytes, of which ``data`` is the beginning.

    That is ``size`` where there is none, and None where ``data`` does not tell.
    """
    reader, at = ElementReader(data, encoding), 0
    try:
        while at < size:
            tag, vr, value, length = reader.header(at, size)
            if tag in PIXEL_TAGS:
                return at
            if encoding.explicit and vr not in VRS:  # what is behind it says how long it is
                return None
            at = value + length if length != UNDEFINED else reader.element(at, size).next
    except (UnreadableDataset, BeyondBounds):
        return None
    return at if at <= len(data) else None


def _too_deep(data: Buffer, found: Scan) -> Excess | None:
    view = memoryview(data)
    spans = (view[start:end] for start, end in found.sequences)
    return next((deep for span in spans if (deep := too_deep_within(span))), None)


def _follow(  # noqa: C901, PLR0912 - one loop
    data: Buffer, encoding: Encoding, found: Scan, nested: bool, least: int
) -> None:
    reader, end = ElementReader(data, encoding), len(data)
    layouts = _LAYOUTS[encoding]
    _guess(data, encoding, found, nested, least)
    plain = found.end if found.layout else -1  # where the first element begins that is not
    ahead, begun = found.elements, 0
    while True:
        if len(ahead) > _MOST_HELD:
            _forget_unknown(ahead)
        if found.end - begun > _STEP:
            let_go(data)
            begun = found.end
        # Of no more than some bytes at a time: each may bring an element that is not to be remembered.
        most, past = min(end, found.end + _STEP), found.pixel is not None
        at = (
            _explicit(data, found, ahead, encoding, most, least)
            if encoding.explicit
            else _implicit(data, found.end, ahead, encoding, most, past, nested)
        )
        found.end, stopped = at, at < most - _LONGEST_HEADER
        plain = at if plain < 0 else plain
        if at != plain and found.pixel is None:
            found.layout = None
        if at >= end:
            return
        if not stopped and most < end:
            continue
        element = reader.element(at, end)
        if element.tag in PIXEL_TAGS and found.pixel is None:
            if at == plain and found.layout is None:
                layouts.learn(data, ahead, at)
            found.pixel, ahead = element, {}
        else:
            if nested:
                _check_nested(data, element, encoding)
            if element.next - element.start >= least:
                found.sequences.append((element.start, element.next))
            ahead.pop(element.tag, None)
            if not element.undefined:
                ahead[element.tag] = element.vr, element.value, element.end
            elif found.pixel is None:
                found.undefined[element.tag] = element.vr, element.value, element.end
                if len(found.undefined) > _MOST_HELD:
                    _forget_unknown(found.undefined)
        found.end = element.next


def _guess(data: Buffer, encoding: Encoding, found: Scan, nested: bool, least: int) -> None:
    """Find the elements with which a stream begins by their layout, if it is a known one."""
    known = _LAYOUTS[encoding].find(data)
    if known is None:
        return
    layout, elements, end = known
    for tag in layout.sequences:
        _, value, stop = elements[tag]
        if encoding == CANONICAL:
            if stop - value >= least:
                found.sequences.append((value - _LONGEST_HEADER, stop))
        elif nested and not _converts(memoryview(data)[value - _IMPLICIT_HEADER : stop], encoding):
            return
    found.layout, found.elements, found.end = layout, elements, end


def _forget_unknown(held: dict[int, Span]) -> None:
    """Forget the elements that nobody asks for: those that no dictionary has, which may be millions."""
    for tag in [tag for tag in held if tag not in _ASKED_FOR]:
        del held[tag]


def _explicit(
    data: Buffer,
    scanned: Scan,
    found: dict[int, Span],
    encoding: Encoding,
    most: int,
    least: int,
) -> int:
    """Plain elements from where it stands on; where the first one begins that is not, or not before ``most``.

    Pixel data is not plain, unless it stands past the first one. Sequences of ``least`` bytes are noted.
    """
    at, past = scanned.end, scanned.pixel is not None
    unpack, end, last = _HEADERS[encoding].unpack_from, len(data), most - _LONGEST_HEADER
    long_length = (_LITTLE_LONG if encoding.little else _BIG_LONG).unpack_from
    short, long = SHORT, LONG if encoding == CANONICAL else _LONG_BUT_SEQUENCES
    while at <= last:
        group, number, vr, length = unpack(data, at)
        if vr in short:
            value = at + 8
        elif vr in long:
            value = at + 12
            (length,) = long_length(data, at + 8)
            if length >= least and vr == b"SQ":
                scanned.sequences.append((at, value + length))
        else:
            break
        following = value + length
        if following > end or length == UNDEFINED:
            break
        if group >= _PIXEL_GROUP and (group >= 0xFFFE or (not past and group << 16 | number in PIXEL_TAGS)):
            break
        found[group << 16 | number] = vr, value, following
        at = following
    return at


def _implicit(  # noqa: PLR0913, PLR0917 - what the loop of its caller has
    data: Buffer, at: int, found: dict[int, Span], encoding: Encoding, most: int, past: bool, nested: bool
) -> int:
    """As :func:`_explicit`; a sequence of defined length is plain, if ``nested`` one that converts."""
    unpack, end, last = _HEADERS[encoding].unpack_from, len(data), most - _LONGEST_HEADER
    while at <= last:
        group, number, length = unpack(data, at)
        tag = group << 16 | number
        following = at + _IMPLICIT_HEADER + length
        if following > end or length == UNDEFINED:
            break
        if tag in SEQUENCE_TAGS and nested and not _converts(memoryview(data)[at:following], encoding):
            break
        if group >= _PIXEL_GROUP and (group >= 0xFFFE or (not past and tag in PIXEL_TAGS)):
            break
        found[tag] = b"", at + _IMPLICIT_HEADER, following
        at = following
    return at


def _check_nested(data: Buffer, element: Element, encoding: Encoding) -> None:
    """Convert what may hold items, to see that it can be. Raises UnreadableDataset, BeyondBounds."""
    if encoding != CANONICAL and (element.undefined or element.vr == b"SQ" or element.tag in SEQUENCE_TAGS):
        content = memoryview(data)[element.start : element.next]
        if not _converts(content, encoding):
            check(content, encoding, CANONICAL)


def _converts(element: Buffer, encoding: Encoding) -> bool:
    """Whether a small element that may hold items can be converted: a series has the same in each object.

    False for a large one, too: that is not tried here.
    """
    return len(element) <= _REMEMBERED and _convertible(bytes(element), encoding, bounds().depth)


@lru_cache(maxsize=256)
def _convertible(element: bytes, encoding: Encoding, _depth: int) -> bool:
    """``_depth`` is the limit in force, which decides it, too."""
    try:
        check(element, encoding, CANONICAL)
    except (UnreadableDataset, BeyondBounds):
        return False
    return True
