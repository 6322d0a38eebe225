"""The contents of a dataset, counted against ``[limits]`` before anything reads them.

One flat loop over the element headers, a microsecond for three of them: it goes into sequences and items by
going on behind their headers, and holds nothing but where those end that it is in. What is wrong within one
whose length is told hides nothing that stands behind it: others step over it. A stream that is too short for
any limit is not gone through at all, and most are: 16 MB without pixel data are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scp.encoding.conversion import SEQUENCE_TAGS
from scp.encoding.elements import (
    CANONICAL,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONG,
    PIXEL_DATA,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    ElementReader,
    Encoding,
    too_deep,
)
from scp.errors import BeyondBounds, UnreadableDataset
from scp.resources.bounds import Bounds, bounds
from scp.spool import Buffer, let_go

_SMALLEST = 8  # bytes of an element, an item or a fragment without a value
_LEAST_LEVEL = 16  # bytes of a sequence with one item, in the shortest encoding, but for what is in that
_ITEM = b"\xfe\xff\x00\xe0"
_LET_GO = 8 << 20
_DELIMITERS = frozenset((ITEM, ITEM_END, SEQUENCE_END))
_GROUP_OF_ITEMS = ITEM >> 16

_ORDERS = {True: "<", False: ">"}
_ITEM_LAYOUTS = {little: struct.Struct(order + "HHL").unpack_from for little, order in _ORDERS.items()}
# What reads the header of an element, and a length of 32 bits.
_LAYOUTS = {
    Encoding(explicit, little): (
        struct.Struct(order + ("HH2sH" if explicit else "HHL")).unpack_from,
        struct.Struct(order + "L").unpack_from,
    )
    for little, order in _ORDERS.items()
    for explicit in (True, False)
}


@dataclass(frozen=True, slots=True)
class Excess:
    """The limit that a stream passes, in words, and the byte where it does."""

    reason: str
    at: int


def excess(data: Buffer, encoding: Encoding) -> Excess | None:
    """The first limit that a stream passes in what it holds; None where it keeps all that can be read.

    Its elements, items and fragments are counted, at all depths, and how deep sequences nest.
    """
    return _counted(data, encoding, bounds()) if is_long(data) else None


def excess_of(data: Buffer, encoding: Encoding, limits: Bounds) -> Excess | None:
    """As :func:`excess`, for other limits. Raises UnreadableDataset where the stream cannot be followed."""
    census = _Census(data, limits)
    try:
        census.take(encoding, 0, len(data), 0)
    except BeyondBounds as error:
        return Excess(str(error), census.at)
    return None


def is_long(data: Buffer) -> bool:
    """Whether a stream is long enough to pass a limit, so that :func:`excess` goes through it."""
    limits = bounds()
    return len(data) > _SMALLEST * min(limits.elements, limits.items, limits.fragments)


def least_of_too_deep() -> int:
    """How long a sequence is at least that others are nested in too deep."""
    return _LEAST_LEVEL * bounds().depth


def too_deep_within(header: Buffer) -> Excess | None:
    """As :func:`excess`, for how deep sequences nest in a canonical element.

    So many levels have so many items; only where there are enough of them it is looked at.
    """
    limits = bounds()
    if len(header) <= _LET_GO and bytes(header).count(_ITEM) <= limits.depth:
        return None
    return _counted(header, CANONICAL, limits)


def _counted(data: Buffer, encoding: Encoding, limits: Bounds) -> Excess | None:
    try:
        return excess_of(data, encoding, limits)
    except UnreadableDataset:  # that it cannot be followed is said by those who have to
        return None


class _Census:
    """The counts of one stream. ``at`` is where it stands."""

    def __init__(self, data: Buffer, limits: Bounds) -> None:
        self._data, self._limits = data, limits
        self._elements = self._items = self._fragments = 0
        self._let_go = _LET_GO
        self.at = 0

    # One loop: a call for each element would double the time.
    def take(  # noqa: C901, PLR0912, PLR0915
        self, encoding: Encoding, at: int, end: int, level: int, nested: bool = False
    ) -> int:
        """Count from ``at`` on, or, if ``nested``, to the delimiter of the sequence that is begun there.

        ``level`` is in how many sequences it is. Returns where it stopped. Raises BeyondBounds, and
        UnreadableDataset where it cannot be followed.
        """
        data, explicit, header = self._data, encoding.explicit, ElementReader(self._data, encoding).header
        layout, long_length = _LAYOUTS[encoding]
        short, sequences = SHORT, SEQUENCE_TAGS
        elements, most = self._elements, self._limits.elements
        # The sequences and items that it is in: where each ends (of undefined length, where what is around it
        # does), the delimiter that ends it before, and whether it is a sequence. Whoever steps over what has
        # a length goes on where that ends, whatever is in it; so that is where it is counted on, too.
        outermost = (end, SEQUENCE_END, True) if nested else (end, 0, False)
        around = [outermost] if nested else []
        innermost, delimiter, in_sequence = outermost
        vr = b""
        while True:
            if at >= innermost or at >= self._let_go:
                self._give_back(at)
                while around and at >= around[-1][0]:
                    at, _, was_sequence = around.pop()
                    level -= was_sequence
                innermost, delimiter, in_sequence = around[-1] if around else outermost
                if at >= end or (nested and not around):
                    break
            if at + _SMALLEST > end:
                self._elements = elements
                raise UnreadableDataset("the stream ends within an element header")
            if explicit:
                group, number, vr, length = layout(data, at)
                if vr in short and group != _GROUP_OF_ITEMS:
                    elements += 1
                    at += 8 + length
                    if elements > most:
                        break
                    continue
            else:
                group, number, length = layout(data, at)
            self.at, tag = at, group << 16 | number
            if tag in _DELIMITERS:
                (length,) = long_length(data, at + 4)
                at += 8
                if tag == delimiter:
                    around.pop()
                    level -= in_sequence
                    innermost, delimiter, in_sequence = around[-1] if around else outermost
                    if nested and not around:
                        break
                    continue
                if tag == ITEM:
                    self._item()
                if length:  # what stands where no item may is read as if it held items
                    in_sequence = tag != ITEM or not in_sequence
                    if length == UNDEFINED:
                        delimiter = SEQUENCE_END if in_sequence else ITEM_END
                    else:
                        innermost, delimiter = min(at + length, innermost), 0
                    around.append((innermost, delimiter, in_sequence))
                    if in_sequence:
                        level += 1
                        self._check_depth(level)
                continue
            elements += 1
            if elements > most:
                break
            try:
                if not explicit:
                    at += 8
                    is_sequence = tag in sequences or (length == UNDEFINED and tag != PIXEL_DATA)
                elif vr in LONG and group != _GROUP_OF_ITEMS and at + 12 <= end:
                    (length,) = long_length(data, at + 8)
                    at += 12
                    is_sequence = vr == b"SQ"
                else:
                    _, vr, at, length = header(at, end)
                    is_sequence = not vr and length == UNDEFINED
                if length == UNDEFINED and vr == b"UN":  # implicit VR little endian (PS3.5 6.2.2)
                    self._check_depth(level + 1)
                    self._elements = elements
                    try:
                        at = self.take(IMPLICIT_LITTLE, at, innermost, level + 1, nested=True)
                    finally:
                        elements = self._elements
                    continue
                if length == UNDEFINED and not is_sequence:
                    at, is_sequence = self._behind_fragments(at, innermost, encoding)
                    if not is_sequence:
                        continue
                if not is_sequence:
                    at += length
                elif length:
                    if length == UNDEFINED:
                        delimiter = SEQUENCE_END
                    else:
                        innermost, delimiter = min(at + length, innermost), 0
                    in_sequence = True
                    around.append((innermost, delimiter, in_sequence))
                    level += 1
                    self._check_depth(level)
            except BeyondBounds:
                raise
            except UnreadableDataset:  # what has a length may hold anything
                at = innermost
                if at >= end:
                    self._elements = elements
                    raise
        self._elements = elements
        if elements > most:
            self.at = at
            raise _beyond("data elements", most, "elements")
        return at

    def _item(self) -> None:
        self._items += 1
        if self._items > self._limits.items:
            raise _beyond("items", self._limits.items, "items")

    def _check_depth(self, depth: int) -> None:
        if depth > self._limits.depth:
            raise too_deep(self.at)

    def _give_back(self, at: int) -> None:
        """Give back the memory of what was gone through of a mapped buffer."""
        if at >= self._let_go:
            let_go(self._data)
            self._let_go = at + _LET_GO

    def _behind_fragments(self, at: int, end: int, encoding: Encoding) -> tuple[int, bool]:
        """Behind the delimiter of fragments; the first item is their Basic Offset Table.

        Or at an item of undefined length, and true: fragments are none, and they are read as items.
        """
        item, layout = (ITEM >> 16, ITEM & 0xFFFF), _ITEM_LAYOUTS[encoding.little]
        count, most = -1, self._limits.fragments - self._fragments
        while at + _SMALLEST <= end:
            group, number, length = layout(self._data, at)
            undefined = (group, number) == item and length == UNDEFINED
            if undefined or (group, number) != item:
                self._fragments += max(count, 0)
                return (at if undefined else at + 8), undefined
            count += 1
            if count > most:
                self.at = at
                raise _beyond("fragments", self._limits.fragments, "fragments")
            at += 8 + length
            self._give_back(at)
        self._fragments += max(count, 0)
        raise UnreadableDataset("the stream ends within fragments")


def _beyond(what: str, most: int, key: str) -> BeyondBounds:
    return BeyondBounds(f"it has more than {most} {what} (limits.{key})")
