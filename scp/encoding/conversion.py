"""A dataset stream converted to another encoding; its bytes stay the same otherwise."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import dictionary_VR

from scp.encoding.elements import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    ElementReader,
    Encoding,
    element_header,
    name_of,
    too_deep,
)
from scp.encoding.fragments import evened_items
from scp.encoding.streams import LET_GO, STEP, Draft, swapped_words
from scp.errors import BeyondBounds, CannotDecode, UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import IN_MEMORY, Buffer, let_go, slices

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
    if size == 1:
        return value
    return bytes(value[::-1]) if len(value) == size else b"".join(swapped_words([value], size))


def convert(
    data: Buffer,
    source: Encoding,
    target: Encoding,
    behind: tuple[int, int] = (-1, 0),
    even: bool = False,
) -> Buffer:
    """Convert a whole stream, nested items too, to another encoding; a large result lies in a file.

    Lengths of sequences and items stay defined or undefined as they were, group lengths are made
    anew. ``behind`` is a group that goes on behind ``data``, and with how many bytes in ``target``: its
    group length counts them too. From implicit VR, VRs come from the dictionary of PS3.6; private
    elements become UN. ``even`` pads what has an odd length. Raises UnreadableDataset, BeyondBounds.
    """
    if source == target and not even:
        return data if len(data) > IN_MEMORY else bytes(data)
    out = Draft()
    _Converter(data, source, target, out, even).elements(0, _Level(len(data), 0, signed=False), behind)
    return out.view()


def check(data: Buffer, source: Encoding, target: Encoding) -> None:
    """Check that a stream can be converted, without doing it. Raises UnreadableDataset, BeyondBounds."""
    out = Draft(keeps=False)
    _Converter(data, source, target, out).elements(0, _Level(len(data), 0, signed=False))


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


class _Converter:
    """One pass over a stream, into a draft; methods return where they stopped reading.

    What is written is nowhere held in parts: of ten million elements these took 3.5 GB.
    """

    def __init__(
        self, data: Buffer, source: Encoding, target: Encoding, out: Draft, even: bool = False
    ) -> None:
        self.data, self.even, self.out = memoryview(data), even, out
        self.reader = ElementReader(data, source)
        self.source, self.target = source, target
        self._swaps = source.little != target.little
        self._begun = 0  # what was read since the memory of a mapped buffer was given back

    def elements(self, at: int, level: _Level, behind: tuple[int, int] = (-1, 0)) -> int:
        """Elements until the level's end or, in an item, its delimiter; that is not consumed."""
        group, length_at, starts = -1, -1, 0
        header, end, out, little = self.reader.header, level.end, self.out, self.source.little
        while at < end:
            tag, vr, value, length = header(at, end)
            if tag == ITEM_END and level.depth:
                break
            if tag >> 16 != group:
                if length_at >= 0:
                    self._set_length(length_at, out.size - starts)
                group, length_at = tag >> 16, -1
            vr = vr or implied_vr(tag, level.signed, length)
            if tag == PIXEL_REPRESENTATION and length == 2:
                level.signed = self.data[value if little else value + 1] == 1
            if vr == b"SQ" or length == UNDEFINED:
                at = self._holding_items(_Header(tag, vr, value, length), level)
            else:
                at = self._plain(tag, vr, value, length)
            if tag & 0xFFFF == 0 and vr == b"UL" and length == 4:
                length_at, starts = out.size - 4, out.size
        if length_at >= 0:
            more = behind[1] if group == behind[0] else 0
            self._set_length(length_at, out.size - starts + more)
        return at

    def _plain(self, tag: int, vr: bytes, value: int, length: int) -> int:
        following = value + length
        if following - self._begun > LET_GO:
            let_go(self.data)
            self._begun = following
        padding = b""
        if self.even and length % 2:
            padding, length = padding_of(vr), length + 1
        if length > 0xFFFF and vr in SHORT:
            vr = b"UN"  # PS3.5 6.2.2 note: too long for the VR's length field
        out = self.out
        out.write(element_header(tag, vr, length, self.target))
        if length:
            self._content(self.data[value:following], vr)
            if padding:
                out.write(padding)
        return following

    def _content(self, content: memoryview, vr: bytes) -> None:
        size = word_size(vr) if self._swaps else 1
        if size == 1:
            self.out.write(content)
        elif len(content) <= STEP:
            self.out.write(swapped(content, vr))
        else:
            for part in swapped_words(slices(content), size):
                self.out.write(part)

    def _set_length(self, at: int, size: int) -> None:
        """Raises UnreadableDataset for what has grown beyond a length's 32 bits."""
        if size >= UNDEFINED:
            raise UnreadableDataset(f"{size} bytes are more than a length field can hold")
        self.out.rewrite(at, struct.pack("<L" if self.target.little else ">L", size))

    def _holding_items(self, element: _Header, level: _Level) -> int:
        tag, vr, value, length = element
        if vr != b"SQ":
            return self._unconverted(element, level)
        begun = self.out.size
        try:
            return self._sequence(element, level)
        except BeyondBounds:
            raise
        except UnreadableDataset:
            if self.source != self.target or length == UNDEFINED:
                raise  # in its own encoding, one of defined length may hold anything
        self.out.cut(begun)
        return self._plain(tag, vr, value, length)

    def _unconverted(self, element: _Header, level: _Level) -> int:
        """Items that are little endian in every encoding: UN of undefined length, which is implicit VR
        too (PS3.5 6.2.2), and the fragments of an icon (A.4).
        """
        tag, vr, value, length = element
        out = self.out
        stop = ElementReader(self.data, IMPLICIT_LITTLE).end_of_items(value, level.end, level.depth + 1)
        out.write(element_header(tag, vr, length, self.target))
        if not self.even:
            out.write(self.data[value : stop + 8])
            return stop + 8
        if vr == b"UN":
            inner = _Level(stop + 8, level.depth, level.signed)
            _Converter(self.data, IMPLICIT_LITTLE, IMPLICIT_LITTLE, out, even=True).items(value, inner, False)
        else:
            out.write(self._even_fragments(value, stop))
        out.write(element_header(SEQUENCE_END, b"", 0, IMPLICIT_LITTLE))
        return stop + 8

    def _even_fragments(self, at: int, stop: int) -> Buffer:
        try:
            return evened_items(self.data[at:stop])[0]
        except CannotDecode as error:
            raise UnreadableDataset(str(error)) from error

    def _sequence(self, element: _Header, level: _Level) -> int:
        defined = element.length != UNDEFINED
        out, inner = self.out, replace(level)
        if defined:
            inner.end = element.value + element.length
        out.write(element_header(element.tag, b"SQ", UNDEFINED, self.target))
        begun = out.size
        at = self.items(element.value, inner, defined)
        if defined:
            self._set_length(begun - 4, out.size - begun)
            return at
        out.write(element_header(SEQUENCE_END, b"", 0, self.target))
        return at + 8

    def items(self, at: int, level: _Level, defined: bool) -> int:
        """Items until the level's end, or the sequence's delimiter, which is not consumed."""
        if level.depth >= bounds().depth:
            raise too_deep(at)
        while not defined or at < level.end:
            tag, _, value, length = self.reader.header(at, level.end)
            if tag == SEQUENCE_END and not defined:
                break
            if tag != ITEM:
                raise UnreadableDataset(f"{name_of(tag)} at byte {at} stands where an item must begin")
            at = self._item(value, length, level)
        return at

    def _item(self, at: int, length: int, items: _Level) -> int:
        defined = length != UNDEFINED
        out, target = self.out, self.target
        inner = _Level(at + length if defined else items.end, items.depth + 1, items.signed)
        out.write(element_header(ITEM, b"", UNDEFINED if length else 0, target))
        begun = out.size
        at = self.elements(at, inner) if length else at
        if defined:
            if length:
                self._set_length(begun - 4, out.size - begun)
            return at
        if at >= inner.end:
            raise UnreadableDataset(f"an item of undefined length has no end before byte {at}")
        out.write(element_header(ITEM_END, b"", 0, target))
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
