"""A dataset stream taken from one encoding to another, its bytes otherwise untouched."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import dictionary_VR

from scp.encoding.elements import (
    DEEPEST,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    Encoding,
    Reader,
    element_header,
    name_of,
)
from scp.encoding.fragments import evened_items
from scp.encoding.streams import gathered, swapped_words
from scp.errors import CannotDecode, UnreadableDataset
from scp.spool import IN_MEMORY, Buffer

_WORD = {
    **dict.fromkeys(b"US SS OW AT".split(), 2),
    **dict.fromkeys(b"UL SL FL OF OL".split(), 4),
    **dict.fromkeys(b"FD OD SV UV OV".split(), 8),
}
# The others have NUL: UI, and what is no text.
_PADDED_BY_SPACE = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())


def word_size(vr: bytes) -> int:
    """Bytes of the words that a value of the VR is made of."""
    return _WORD.get(vr, 1)


def swapped(value: Buffer, vr: bytes) -> Buffer:
    """``value`` with the bytes of each word of its VR reversed; as it is for VRs of single bytes."""
    size = word_size(vr)
    return value if size == 1 else b"".join(swapped_words([value], size))


def convert(
    data: Buffer,
    source: Encoding,
    target: Encoding,
    behind: tuple[int, int] = (-1, 0),
    even: bool = False,
) -> Buffer:
    """A whole stream taken from one encoding to another, nested items and all.

    Lengths of sequences and items stay defined or undefined as they were, group lengths are made
    anew. ``behind`` is a group that goes on behind ``data``, and with how many bytes in ``target``: its
    group length counts them too. From implicit VR, VRs come from the dictionary of PS3.6; private
    elements become UN. ``even`` pads what has an odd length. Raises UnreadableDataset.
    """
    if source == target and not even:
        return data if len(data) > IN_MEMORY else bytes(data)
    top = _Level(len(data), 0, signed=False, out=[])
    _Converter(data, source, target, even).elements(0, top, behind)
    return gathered(top.out) if len(data) > IN_MEMORY else b"".join(top.out)


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

    def __init__(self, data: Buffer, source: Encoding, target: Encoding, even: bool = False) -> None:
        self.data, self.even = data, even
        self.reader = Reader(data, source)
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
            try:
                return self.sequence(element, level)
            except UnreadableDataset:
                if self.source != self.target or length == UNDEFINED:
                    raise  # in its own encoding, one of defined length may hold anything
        if length == UNDEFINED:
            return self._unconverted(element, level)
        content, following = self.data[value : value + length], value + length
        if self.even and length % 2:
            content, length = b"".join((content, padding_of(vr))), length + 1
        if length > 0xFFFF and vr in SHORT:
            vr = b"UN"  # PS3.5 6.2.2 note: too long for the VR's length field
        if self.source.little != self.target.little:
            content = swapped(content, vr)
        level.out += [element_header(tag, vr, length, self.target), content]
        return following

    def _unconverted(self, element: _Header, level: _Level) -> int:
        """Items that are little endian in every encoding: UN of undefined length, which is implicit VR
        too (PS3.5 6.2.2), and the fragments of an icon (A.4).
        """
        tag, vr, value, length = element
        stop = Reader(self.data, IMPLICIT_LITTLE).end_of_items(value, level.end, level.depth + 1)
        if self.even:
            items = self._even_items(element, level, stop)
            end = element_header(SEQUENCE_END, b"", 0, IMPLICIT_LITTLE)
            level.out += [element_header(tag, vr, length, self.target), items, end]
            return stop + 8
        level.out += [element_header(tag, vr, length, self.target), self.data[value : stop + 8]]
        return stop + 8

    def _even_items(self, element: _Header, level: _Level, stop: int) -> Buffer:
        """As :meth:`_unconverted`, without the delimiter: in UN there are items, in others fragments."""
        if element.vr != b"UN":
            try:
                return evened_items(memoryview(self.data)[element.value : stop])[0]
            except CannotDecode as error:
                raise UnreadableDataset(str(error)) from error
        inner = _Level(stop + 8, level.depth, level.signed, [])
        _Converter(self.data, IMPLICIT_LITTLE, IMPLICIT_LITTLE, even=True).sequence(element, inner)
        return b"".join(inner.out[1:-1])  # without what begins and ends it

    def sequence(self, element: _Header, level: _Level) -> int:
        at, defined = element.value, element.length != UNDEFINED
        if level.depth >= DEEPEST:
            raise UnreadableDataset(f"sequences nest deeper than {DEEPEST} at byte {at}")
        items = _Level(at + element.length if defined else level.end, level.depth, level.signed, [])
        while not defined or at < items.end:
            tag, _, value, length = self.reader.header(at, items.end)
            if tag == SEQUENCE_END and not defined:
                break
            if tag != ITEM:
                raise UnreadableDataset(f"{name_of(tag)} at byte {at} stands where an item must")
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


def padding_of(vr: bytes) -> bytes:
    """What makes the length of a value even (PS3.5 6.2)."""
    return b" " if vr in _PADDED_BY_SPACE else b"\0"


def _sequence_tags() -> Iterator[int]:
    yield from (tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
    for mask, entry in RepeatersDictionary.items():  # such as 50xx2600
        if entry[0] == "SQ":
            yield from (int(mask.replace("xx", f"{each:02x}"), 16) for each in range(0, 256, 2))


# What implicit VR has as a sequence of defined length (one of undefined length is always one).
SEQUENCE_TAGS = frozenset(_sequence_tags())


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
