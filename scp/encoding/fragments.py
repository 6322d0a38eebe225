"""Encapsulated pixel data: frames to items and back (PS3.5 A.4)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from scp.encoding.elements import ITEM
from scp.encoding.streams import Draft
from scp.errors import CannotDecode
from scp.spool import Buffer, Spool, let_go, slices

Places = NDArray[np.uint64]

_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)
ITEM_HEADER = 8  # bytes
# Extended Offset Table and its lengths, in the header: of other fragments they mean nothing.
EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002)
_LARGEST_OFFSET = 0xFFFFFFFE
_LET_GO = 8 << 20
# How the first fragment of a frame begins: JPEG and JPEG-LS, JPEG 2000 and HTJ2K, JPEG XL bare and boxed.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")


class Fragments(Sequence[memoryview]):
    """The fragments of one frame: where each begins and ends is all that is held of what may be millions."""

    def __init__(self, value: memoryview, starts: Places, ends: Places) -> None:
        self._value, self._starts, self._ends = value, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> memoryview: ...
    @overload
    def __getitem__(self, at: slice) -> Fragments: ...
    def __getitem__(self, at: int | slice) -> memoryview | Fragments:
        if isinstance(at, slice):
            return Fragments(self._value, self._starts[at], self._ends[at])
        return self._value[int(self._starts[at]) : int(self._ends[at])]

    def __iter__(self) -> Iterator[memoryview]:
        for at in range(len(self)):
            yield self[at]

    @property
    def starts(self) -> Places:
        """Where each begins, in the pixel data."""
        return self._starts

    @property
    def sizes(self) -> Places:
        """Bytes of each."""
        return self._ends - self._starts

    @property
    def size(self) -> int:
        """Bytes of all."""
        return int(self.sizes.sum())

    def whole(self) -> bytes:
        """All in one."""
        if len(self) == 1:
            return bytes(self[0])
        out = bytearray()
        for each in self:
            out += each
        return bytes(out)


class Frames(Sequence[Fragments]):
    """The frames of encapsulated pixel data, each in its fragments; ``firsts`` are each one's first."""

    def __init__(self, fragments: Fragments, firsts: Places) -> None:
        self._fragments, self._firsts = fragments, firsts

    def __len__(self) -> int:
        return len(self._firsts)

    @overload
    def __getitem__(self, at: int) -> Fragments: ...
    @overload
    def __getitem__(self, at: slice) -> list[Fragments]: ...
    def __getitem__(self, at: int | slice) -> Fragments | list[Fragments]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        last = at + 1 == len(self)
        return self._fragments[int(self._firsts[at]) : None if last else int(self._firsts[at + 1])]

    def __iter__(self) -> Iterator[Fragments]:
        for at in range(len(self)):
            yield self[at]

    @property
    def sizes(self) -> Places:
        """Bytes of each."""
        if not len(self._fragments):
            return np.zeros(len(self), np.uint64)
        return np.add.reduceat(self._fragments.sizes, self._firsts.astype(np.intp))

    @property
    def offsets(self) -> Places:
        """Where the first item of each begins, from the first one's on: their Basic Offset Table."""
        starts = self._fragments.starts
        return starts[self._firsts.astype(np.intp)] - starts[:1]

    @property
    def fragments(self) -> int:
        """How many fragments there are in all."""
        return len(self._fragments)


@dataclass(frozen=True, slots=True)
class Moved:
    """Old and new places of fragments that moved: offsets from the first one, in their order."""

    before: Places
    after: Places

    def __len__(self) -> int:
        return len(self.before)


def encapsulate(frames: Iterable[bytes], count: int) -> Buffer:
    """Frames as items, one fragment each, behind a filled Basic Offset Table; ``count`` of them.

    The delimiter is not included. The table stays empty where an offset would pass 32 bits, which
    the standard allows.
    """
    spool, offsets, at = Spool(), array("Q"), 0
    spool.write(_item(bytes(4 * count)))
    for frame in frames:
        offsets.append(at)
        item = _item(frame)
        spool.write(item)
        at += len(item)
    if offsets[-1] > _LARGEST_OFFSET:
        return _without_table(spool.view(), count)
    spool.rewrite(8, table_of(np.frombuffer(offsets, np.uint64)))
    return spool.view()


def table_of(offsets: Places) -> bytes:
    """A Basic Offset Table."""
    return offsets.astype("<u4").tobytes()


def exact_item(content: Buffer) -> bytes:
    """An item as long as its content, which should be even (PS3.5 A.4)."""
    return b"".join((_ITEM, struct.pack("<L", len(content)), content))


def evened_items(value: Buffer) -> tuple[Buffer, Moved]:
    """Items, all padded to even lengths, and where each fragment has gone to from where.

    Positions are offsets from the first fragment, as the Basic Offset Table has them; it follows. Raises
    CannotDecode.
    """
    table, fragments, places = _located(value)
    sizes = fragments.sizes
    after = np.cumsum(ITEM_HEADER + sizes + sizes % 2) - (ITEM_HEADER + sizes + sizes % 2)
    moved = Moved(places - places[:1], after.astype(np.uint64))
    draft = Draft()
    draft.write(_item(bytes(moved_offsets(table, moved, 4))))
    for content in fragments:
        odd = len(content) % 2
        draft.write(_ITEM + struct.pack("<L", len(content) + odd))
        draft.write(content)
        draft.write(b"\0" * odd)
    return draft.view(), moved


def moved_offsets(table: Buffer, moved: Moved, size: int) -> Buffer:
    """A table of offsets of ``size`` bytes each, of fragments that have moved.

    It is left empty where an offset would not fit any more; as it is, where it is no table: of whole offsets,
    and no more of them than fragments.
    """
    if len(table) % size or len(table) // size > len(moved) or not len(table):
        return table
    offsets = np.frombuffer(table, f"<u{size}").astype(np.uint64)
    found, known = _found(moved.before, offsets)
    offsets[known] = moved.after[found[known]]
    if size == 4 and int(offsets.max()) > 0xFFFFFFFF:
        return b""
    return offsets.astype(f"<u{size}").tobytes()


def _found(places: Places, wanted: Places) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Which of the ``places``, which are in order, each of those ``wanted`` is, and whether it is one."""
    at = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    return at, places[at] == wanted


def _item(content: bytes) -> bytes:
    return exact_item(content + b"\0" if len(content) % 2 else content)


def _without_table(value: Buffer, count: int) -> Buffer:
    spool = Spool()
    spool.write(_item(b""))
    for part in slices(memoryview(value)[8 + 4 * count :]):
        spool.write(part)
    return spool.view()


def frames_within(value: Buffer, count: int) -> Frames:
    """The codestreams of ``count`` frames, each in its fragments, of which nothing is copied.

    The Basic Offset Table is believed only where the fragments do not tell by themselves.
    Raises CannotDecode when they cannot be told apart, or when there are more frames than ``count``: those
    would be lost.
    """
    table, fragments, places = _located(value)
    if len(fragments) == count:
        return Frames(fragments, np.arange(count, dtype=np.uint64))
    firsts = _begun_alike(fragments)
    if len(firsts) < count:
        firsts = _offsets(table, places)
    if count == 1 and len(firsts) <= 1:
        return Frames(fragments, np.zeros(1, np.uint64))
    if len(firsts) != count:
        raise CannotDecode(f"{len(fragments)} fragments cannot be divided into {count} frames")
    if firsts[0]:
        raise CannotDecode("the first fragment does not begin a frame")
    return Frames(fragments, firsts)


def only_fragment(value: Buffer) -> memoryview | None:
    """The fragment of encapsulated pixel data that has one behind its Basic Offset Table; None of others."""
    items = _items(value)
    try:
        next(items)
        start, end = next(items)
    except (StopIteration, CannotDecode):
        return None
    return memoryview(value)[start:end] if end == len(value) else None


def _begun_alike(fragments: Fragments) -> Places:
    """Which fragments begin a frame, as the first one does."""
    begin = _beginning(fragments[0]) if fragments else None
    if begin is None:
        return np.empty(0, np.uint64)
    found = array("Q", (at for at, each in enumerate(fragments) if _beginning(each) == begin))
    return np.frombuffer(found, np.uint64)


def offset_table(value: Buffer) -> memoryview:
    """The content of the Basic Offset Table, the first item. Raises CannotDecode."""
    first = next(_items(value), None)
    return memoryview(b"") if first is None else memoryview(value)[first[0] : first[1]]


def _beginning(content: memoryview) -> bytes | None:
    """What a fragment begins with, if that is what the first one of a frame begins with."""
    head = bytes(content[:8])
    # RLE (PS3.5 G.5): up to 15 segments, the first of them right behind the header of 64 bytes.
    if head[4:] == b"\x40\0\0\0" and 1 <= head[0] <= 15 and not any(head[1:4]):
        return head[4:]
    return next((start for start in _STARTS if head.startswith(start)), None)


def _items(value: Buffer) -> Iterator[tuple[int, int]]:
    """Where the content of each item begins and ends. Raises CannotDecode."""
    view, at, begun, end = memoryview(value), 0, 0, len(value)
    layout, item = struct.Struct("<LL").unpack_from, int.from_bytes(_ITEM, "little")
    while at + 8 <= end:
        if at - begun > _LET_GO:  # as in scp.encoding.elements
            let_go(view)
            begun = at
        tag, length = layout(view, at)
        start = at + 8
        if tag != item or start + length > end:
            raise CannotDecode(f"byte {at} of the encapsulated pixel data does not begin an item")
        at = start + length
        yield start, at


def _located(value: Buffer) -> tuple[memoryview, Fragments, Places]:
    """The Basic Offset Table, the fragments, and where the item of each begins. Raises CannotDecode."""
    places = array("Q")
    for each in _items(value):
        places.extend(each)
    found: Places = np.frombuffer(places or array("Q", (0, 0)), np.uint64)
    starts, ends = found[2::2].copy(), found[3::2].copy()
    view = memoryview(value)
    table = view[int(found[0]) : int(found[1])]
    return table, Fragments(view, starts, ends), starts - np.uint64(ITEM_HEADER)


def _offsets(table: memoryview, places: Places) -> Places:
    """Which fragments a Basic Offset Table says to be the first of a frame."""
    if not len(places) or len(table) > 4 * len(places):  # it lists more frames than there may be
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(table, "<u4", len(table) // 4).astype(np.uint64) + places[0]
    found, known = _found(places, offsets)
    return np.unique(found[known]).astype(np.uint64)
