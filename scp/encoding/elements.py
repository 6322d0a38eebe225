"""Data elements as bytes: walking a dataset stream, and taking it from one encoding to another.

Only what PS3.5 section 7 says of tags, VRs and lengths is known here; values stay bytes. pydicom reads
datasets too, but writes them its own way; what a byte-exact archive needs is that nothing is
normalised: defined and undefined lengths, odd lengths, unknown VRs and order all stay as they came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydicom.datadict import dictionary_VR

from scp.errors import UnreadableDataset

Buffer = bytes | memoryview

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_REPRESENTATION = 0x00280103
PIXEL_DATA = 0x7FE00010
# A sequence within a sequence: real ones (RT, SR) reach about 10; a stream made of nothing but
# nested items must not exhaust the stack.
DEEPEST = 64

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 table 7.1-1
_WORD = {
    **dict.fromkeys(b"US SS OW AT".split(), 2),
    **dict.fromkeys(b"UL SL FL OF OL".split(), 4),
    **dict.fromkeys(b"FD OD SV UV OV".split(), 8),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: VR explicit or implied, little or big endian."""

    explicit: bool = True
    little: bool = True


CANONICAL = Encoding()
IMPLICIT_LITTLE = Encoding(explicit=False)


class Element(NamedTuple):
    """Where an element of a stream lies.

    ``start`` to ``value`` is its tag, VR and length; ``value`` to ``end`` its value, without the
    delimiter that ends a value of undefined length; ``next`` is where the next element begins.
    """

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    next: int
    undefined: bool


class _Reader:
    """Reads element headers of one stream; every fault becomes UnreadableDataset."""

    def __init__(self, data: Buffer, encoding: Encoding) -> None:
        order = "<" if encoding.little else ">"
        self.data = data
        self.explicit = encoding.explicit
        self._pair = struct.Struct(order + "HH").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._long = struct.Struct(order + "L").unpack_from

    def header(self, at: int, end: int) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where implied), position of the value, and length, of the element at ``at``."""
        try:
            group, number = self._pair(self.data, at)
            tag = group << 16 | number
            if not self.explicit or group == 0xFFFE:
                vr, value, length = b"", at + 8, self._long(self.data, at + 4)[0]
            else:
                vr = bytes(self.data[at + 4 : at + 6])
                if vr in _LONG:
                    value, length = at + 12, self._long(self.data, at + 8)[0]
                elif vr.isalpha() and vr.isupper():
                    value, length = at + 8, self._short(self.data, at + 6)[0]
                else:
                    raise UnreadableDataset(f"{_name(tag)} at byte {at} has no VR where one must stand")
        except struct.error:
            raise UnreadableDataset(f"the stream ends within the element header at byte {at}") from None
        if value > end or (length != UNDEFINED and value + length > end):
            raise UnreadableDataset(f"{_name(tag)} at byte {at} claims {length} bytes, {end - at} are left")
        return tag, vr, value, length

    def element(self, at: int, end: int, depth: int = 0) -> Element:
        """The element at ``at``; the end of an undefined length is looked for."""
        tag, vr, value, length = self.header(at, end)
        if length != UNDEFINED:
            return Element(tag, vr, at, value, value + length, value + length, False)
        # The content of UN of undefined length is implicit VR little endian (PS3.5 6.2.2).
        inner = self if vr != b"UN" else _Reader(self.data, IMPLICIT_LITTLE)
        stop = inner.end_of_items(value, end, depth + 1)
        return Element(tag, vr, at, value, stop, stop + 8, True)

    def end_of_items(self, at: int, end: int, depth: int) -> int:
        """Position of the Sequence Delimitation Item that ends the items from ``at`` on."""
        if depth > DEEPEST:
            raise UnreadableDataset(f"sequences nest deeper than {DEEPEST} at byte {at}")
        while True:
            tag, _, value, length = self.header(at, end)
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM:
                raise UnreadableDataset(f"{_name(tag)} at byte {at} stands where an item must")
            at = value + length if length != UNDEFINED else self.end_of_item(value, end, depth) + 8

    def end_of_item(self, at: int, end: int, depth: int) -> int:
        """Position of the Item Delimitation Item that ends the elements from ``at`` on."""
        while True:
            tag, _, _, _ = self.header(at, end)
            if tag == ITEM_END:
                return at
            at = self.element(at, end, depth).next


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(data: Buffer, encoding: Encoding) -> Iterator[Element]:
    """The elements at the top level of a stream, in order.

    Raises UnreadableDataset where the encoding cannot be followed; everything yielded before is sound.
    """
    reader, at, end = _Reader(data, encoding), 0, len(data)
    while at < end:
        element = reader.element(at, end)
        yield element
        at = element.next


def element_header(tag: int, vr: bytes, length: int, encoding: Encoding) -> bytes:
    """Tag, VR and length as ``encoding`` writes them (PS3.5 7.1.2, 7.1.3).

    Raises ValueError for a length that the VR's 16-bit field cannot hold.
    """
    order = "<" if encoding.little else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if not encoding.explicit or group == 0xFFFE:
        return struct.pack(order + "HHL", group, number, length)
    if vr in _LONG:
        return struct.pack(order + "HH2sHL", group, number, vr, 0, length)
    if length > 0xFFFF:
        raise ValueError(f"{_name(tag)}: {length} bytes do not fit VR {vr.decode()}")
    return struct.pack(order + "HH2sH", group, number, vr, length)


def swapped(value: Buffer, vr: bytes) -> Buffer:
    """``value`` with the bytes of each word of its VR reversed; as it is for VRs of single bytes."""
    size = _WORD.get(vr, 1)
    return value if size == 1 else swapped_words(value, size)


def swapped_words(value: Buffer, size: int) -> bytes:
    """``value`` with the bytes of each word of ``size`` reversed; what is left at its end stays."""
    whole = len(value) // size
    return np.frombuffer(value, f"u{size}", whole).byteswap().tobytes() + bytes(value[whole * size :])


def convert(data: Buffer, source: Encoding, target: Encoding, behind: tuple[int, int] = (-1, 0)) -> bytes:
    """A whole stream taken from one encoding to another, nested items and all.

    Lengths of sequences and items stay defined or undefined as they were, group lengths are made
    anew. ``behind`` is a group that goes on behind ``data``, and with how many bytes in ``target``: its
    group length counts them too. From implicit VR, VRs come from the dictionary of PS3.6; private
    elements become UN. Raises UnreadableDataset.
    """
    if source == target:
        return bytes(data)
    top = _Level(len(data), 0, signed=False, out=[])
    _Converter(data, source, target).elements(0, top, behind)
    return b"".join(top.out)


class _Header(NamedTuple):
    """An element's tag, VR, the position of its value, and its length."""

    tag: int
    vr: bytes
    value: int
    length: int


@dataclass(slots=True)
class _Level:
    """Where conversion stands: the elements of one item, or of the dataset itself at depth 0."""

    end: int
    depth: int
    signed: bool  # Pixel Representation, of this level or the one around it
    out: list[Buffer]


class _Converter:
    """One pass over a stream; methods append to a level's ``out`` and return where they stopped reading."""

    def __init__(self, data: Buffer, source: Encoding, target: Encoding) -> None:
        self.data = data
        self.reader = _Reader(data, source)
        self.source, self.target = source, target

    def elements(self, at: int, level: _Level, behind: tuple[int, int] = (-1, 0)) -> int:
        """Elements until the level's end or, in an item, its delimiter; that is not consumed."""
        group, length_at, starts = -1, -1, 0
        while at < level.end:
            tag, vr, value, length = self.reader.header(at, level.end)
            if tag == ITEM_END and level.depth:
                break
            if tag >> 16 != group:
                self._set_group_length(level.out, length_at, starts)
                group, length_at = tag >> 16, -1
            vr = vr or implied_vr(tag, level.signed, length)
            if tag == PIXEL_REPRESENTATION and length == 2:
                level.signed = self.data[value if self.source.little else value + 1] == 1
            at = self._element(_Header(tag, vr, value, length), level)
            if tag & 0xFFFF == 0 and vr == b"UL" and length == 4:
                length_at, starts = len(level.out) - 1, len(level.out)
        self._set_group_length(level.out, length_at, starts, behind[1] if group == behind[0] else 0)
        return at

    def _set_group_length(self, out: list[Buffer], at: int, starts: int, more: int = 0) -> None:
        if at >= 0:
            size = sum(map(len, out[starts:])) + more
            out[at] = struct.pack("<L" if self.target.little else ">L", size)

    def _element(self, element: _Header, level: _Level) -> int:
        tag, vr, value, length = element
        if vr == b"SQ":
            return self._sequence(element, level)
        if length == UNDEFINED:
            return self._unconverted(element, level)
        if length > 0xFFFF and vr not in _LONG:
            vr = b"UN"  # PS3.5 6.2.2 note: too long for the VR's length field
        content = self.data[value : value + length]
        if self.source.little != self.target.little:
            content = swapped(content, vr)
        level.out += [element_header(tag, vr, length, self.target), content]
        return value + length

    def _unconverted(self, element: _Header, level: _Level) -> int:
        """Items that are little endian in every encoding: UN of undefined length, which is implicit VR
        too (PS3.5 6.2.2), and the fragments of an icon (A.4).
        """
        tag, vr, value, length = element
        stop = _Reader(self.data, IMPLICIT_LITTLE).end_of_items(value, level.end, level.depth + 1)
        level.out += [element_header(tag, vr, length, self.target), self.data[value : stop + 8]]
        return stop + 8

    def _sequence(self, element: _Header, level: _Level) -> int:
        at, defined = element.value, element.length != UNDEFINED
        if level.depth >= DEEPEST:
            raise UnreadableDataset(f"sequences nest deeper than {DEEPEST} at byte {at}")
        items = _Level(at + element.length if defined else level.end, level.depth, level.signed, [])
        while not defined or at < items.end:
            tag, _, value, length = self.reader.header(at, items.end)
            if tag == SEQUENCE_END and not defined:
                break
            if tag != ITEM:
                raise UnreadableDataset(f"{_name(tag)} at byte {at} stands where an item must")
            at = self._item(value, length, items)
        total = sum(map(len, items.out)) if defined else UNDEFINED
        level.out += [element_header(element.tag, b"SQ", total, self.target), *items.out]
        if defined:
            return at
        level.out.append(element_header(SEQUENCE_END, b"", 0, self.target))
        return at + 8

    def _item(self, at: int, length: int, items: _Level) -> int:
        defined = length != UNDEFINED
        inner = _Level(at + length if defined else items.end, items.depth + 1, items.signed, [])
        at = self.elements(at, inner)
        if defined:
            items.out += [element_header(ITEM, b"", sum(map(len, inner.out)), self.target), *inner.out]
            return at
        if at >= inner.end:
            raise UnreadableDataset(f"an item of undefined length has no end before byte {at}")
        items.out += [element_header(ITEM, b"", UNDEFINED, self.target), *inner.out]
        items.out.append(element_header(ITEM_END, b"", 0, self.target))
        return at + 8


def implied_vr(tag: int, signed: bool, length: int) -> bytes:
    """The VR of an element of an implicit VR stream, by the dictionary (PS3.5 A.1, 6.2.2).

    ``signed`` is what Pixel Representation says, for elements that are US or SS by it. A private
    element is UN, one of undefined length a sequence.
    """
    if length == UNDEFINED:
        return b"OW" if tag == PIXEL_DATA else b"SQ"  # fragments, of an icon
    vr = _dictionary_vr(tag)
    if vr == b"US/SS":
        return b"SS" if signed else b"US"
    return vr


@lru_cache(maxsize=8192)
def _dictionary_vr(tag: int) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if number == 0:
        return b"UL"
    if group % 2:
        return b"LO" if 0x10 <= number <= 0xFF else b"UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return b"UN"
    if "OW" in vr:  # "OB or OW", "US or OW", "US or SS or OW": implicit little endian means OW (A.1)
        return b"OW"
    return b"US/SS" if vr == "US or SS" else vr.encode()


def edited(header: Buffer, edits: dict[int, bytes | None]) -> bytes:
    """A canonical header with some top-level elements replaced or, for None, removed.

    A group length (gggg,0000) of a group that changes is removed: it is retired, and would be wrong.
    Elements that are not there are not added.
    """
    stale = {tag & 0xFFFF0000 for tag in edits}
    out: list[Buffer] = []
    for element in walk(header, CANONICAL):
        if element.tag in stale:
            continue
        if element.tag not in edits:
            out.append(header[element.start : element.next])
        elif (value := edits[element.tag]) is not None:
            out += [element_header(element.tag, element.vr, len(value), CANONICAL), value]
    return b"".join(out)
