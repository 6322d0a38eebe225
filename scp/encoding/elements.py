"""Data elements as bytes: how an encoding writes tag, VR and length, and how to walk a stream.

Only what PS3.5 section 7 says of tags, VRs and lengths is known here; values stay bytes. pydicom reads
datasets too, but writes them its own way; what a byte-exact archive needs is that nothing is
normalised: defined and undefined lengths, odd lengths, unknown VRs and order all stay as they came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from scp.errors import BeyondBounds, UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import Buffer, let_go

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_REPRESENTATION = 0x00280103
PIXEL_DATA = 0x7FE00010
# Reading the header of a fragment in a mapped file makes 64 KB and more around it resident, and a movie
# of 1.6 GB took 250 MB for it.
_LET_GO = 8 << 20

# PS3.5 7.1.2: the length has 32 bits for those of table 7.1-1, 16 for those of table 7.1-2, and 32 for all
# that are yet to come (6.2.2).
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
VRS = LONG | SHORT


class Encoding(NamedTuple):
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


# What reads tag, VR and a length of 16 bits; a tag; and a length of 32 bits. To make them took 2 µs a reader.
_READS = {
    little: tuple(struct.Struct(order + form).unpack_from for form in ("HH2sH", "HH", "L"))
    for little, order in ((True, "<"), (False, ">"))
}


class ElementReader:
    """Reads element headers of one stream; every fault becomes UnreadableDataset."""

    def __init__(self, data: Buffer, encoding: Encoding) -> None:
        self.data = data
        self.explicit = encoding.explicit
        self._layout, self._pair, self._long = _READS[encoding.little]

    def header(self, at: int, end: int) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where implied), position of the value, and length, of the element at ``at``."""
        try:
            group, number, vr, length = self._layout(self.data, at)
            tag = group << 16 | number
            if not self.explicit or group == 0xFFFE:
                vr, value, length = b"", at + 8, self._long(self.data, at + 4)[0]
            elif vr in SHORT or (vr not in LONG and _is_vr(vr) and self._is_short(at, end, length)):
                value = at + 8
            elif _is_vr(vr):
                value, length = at + 12, self._long(self.data, at + 8)[0]
            else:
                raise UnreadableDataset(f"{name_of(tag)} at byte {at} has no VR")
        except struct.error:
            raise UnreadableDataset(f"the stream ends within the element header at byte {at}") from None
        if value > end or (length != UNDEFINED and value + length > end):
            raise UnreadableDataset(f"{name_of(tag)} at byte {at} claims {length} bytes, {end - at} are left")
        return tag, vr, value, length

    def _is_short(self, at: int, end: int, length: int) -> bool:
        """Whether an element of an unknown VR has a length of 16 bits all the same, as old toolkits write it.

        The standard's way is believed where both could be. Raises struct.error.
        """
        if length:  # reserved, in the other way
            return True
        long = self._long(self.data, at + 8)[0] if at + 12 <= end else end
        if long == UNDEFINED or self._may_begin(at + 12 + long, end):
            return False
        return self._may_begin(at + 8, end) or at + 12 + long > end

    def _may_begin(self, at: int, end: int) -> bool:
        """Whether an element may begin here, or nothing more."""
        if at >= end:
            return at == end
        vr = bytes(self.data[at + 4 : at + 6])
        return _is_vr(vr) or self._pair(self.data, at)[0] == 0xFFFE

    def element(self, at: int, end: int, depth: int = 0) -> Element:
        """The element at ``at``; the end of an undefined length is looked for."""
        tag, vr, value, length = self.header(at, end)
        if length != UNDEFINED:
            return Element(tag, vr, at, value, value + length, value + length, False)
        # The content of UN of undefined length is implicit VR little endian (PS3.5 6.2.2).
        inner = self if vr != b"UN" else ElementReader(self.data, IMPLICIT_LITTLE)
        stop = inner.end_of_items(value, end, depth + 1)
        return Element(tag, vr, at, value, stop, stop + 8, True)

    def end_of_items(self, at: int, end: int, depth: int) -> int:
        """Position of the Sequence Delimitation Item that ends the items from ``at`` on."""
        return self._end(at, end, depth, items=True)

    def end_of_item(self, at: int, end: int, depth: int) -> int:
        """Position of the Item Delimitation Item that ends the elements from ``at`` on."""
        return self._end(at, end, depth, items=False)

    def _end(self, at: int, end: int, depth: int, items: bool) -> int:  # noqa: C901, PLR0912 - one loop
        """Where the ``items`` of a sequence, or the elements of one, end; what is nested is followed.

        Items within elements within items: how deep it stands says all, so that nothing has to be held for
        what is nested, and no call made.
        """
        header, deepest, outermost, begun = self.header, bounds().depth, (depth, items), at
        if depth > deepest:
            raise too_deep(at)
        while True:
            if at - begun > _LET_GO:
                let_go(self.data)
                begun = at
            tag, vr, value, length = header(at, end)
            if items:
                if tag == ITEM:
                    items = length != UNDEFINED
                    at = value + length if items else value
                    continue
                if tag != SEQUENCE_END:
                    raise UnreadableDataset(f"{name_of(tag)} at byte {at} stands where an item must begin")
                if (depth, True) == outermost:
                    return at
                depth, items, at = depth - 1, False, at + 8
            elif tag == ITEM_END:
                if (depth, False) == outermost:
                    return at
                items, at = True, at + 8
            elif length != UNDEFINED:
                at = value + length
            elif vr == b"UN":
                at = ElementReader(self.data, IMPLICIT_LITTLE).end_of_items(value, end, depth + 1) + 8
            else:
                depth, items, at = depth + 1, True, value
                if depth > deepest:
                    raise too_deep(at)


def too_deep(at: int) -> BeyondBounds:
    """The error for sequences that nest too deep, at a byte."""
    return BeyondBounds(f"sequences nest deeper than {bounds().depth} at byte {at} (limits.depth)")


_MAY_BE_VRS = frozenset(bytes(pair) for pair in product(range(ord("A"), ord("Z") + 1), repeat=2))


def _is_vr(vr: bytes) -> bool:
    return vr in _MAY_BE_VRS


def name_of(tag: int) -> str:
    """A tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(data: Buffer, encoding: Encoding) -> Iterator[Element]:
    """The elements at the top level of a stream, in order.

    Raises UnreadableDataset where the encoding cannot be followed; everything yielded before is sound.
    """
    reader, at, end = ElementReader(data, encoding), 0, len(data)
    while at < end:
        element = reader.element(at, end)
        yield element
        at = element.next


def element_header(tag: int, vr: bytes, length: int, encoding: Encoding) -> bytes:
    """Tag, VR and length as ``encoding`` writes them (PS3.5 7.1.2, 7.1.3); an unknown VR's has 32 bits.

    Raises ValueError for a length that the VR's 16-bit field cannot hold.
    """
    order = "<" if encoding.little else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if not encoding.explicit or group == 0xFFFE:
        return struct.pack(order + "HHL", group, number, length)
    if vr not in SHORT:
        return struct.pack(order + "HH2sHL", group, number, vr, 0, length)
    if length > 0xFFFF:
        raise ValueError(f"{name_of(tag)}: {length} bytes do not fit VR {vr.decode()}")
    return struct.pack(order + "HH2sH", group, number, vr, length)
