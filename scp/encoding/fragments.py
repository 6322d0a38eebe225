"""Encapsulated pixel data: frames to items and back (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from scp.encoding.elements import ITEM
from scp.errors import CannotDecode
from scp.spool import Buffer, Spool, let_go, slices

_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)
ITEM_HEADER = 8  # bytes
# Extended Offset Table and its lengths, in the header: of other fragments they mean nothing.
EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002)
_LARGEST_OFFSET = 0xFFFFFFFE
_LET_GO = 8 << 20
# How the first fragment of a frame begins: JPEG and JPEG-LS, JPEG 2000 and HTJ2K, JPEG XL bare and boxed.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")

Fragments = list[memoryview]  # of one frame


def encapsulate(frames: Iterable[bytes], count: int) -> Buffer:
    """Frames as items, one fragment each, behind a filled Basic Offset Table; ``count`` of them.

    The delimiter is not included. The table stays empty where an offset would pass 32 bits, which
    the standard allows.
    """
    spool, offsets, at = Spool(), [], 0
    spool.write(_item(bytes(4 * count)))
    for frame in frames:
        offsets.append(at)
        item = _item(frame)
        spool.write(item)
        at += len(item)
    if offsets[-1] > _LARGEST_OFFSET:
        return _without_table(spool.view(), count)
    spool.rewrite(8, struct.pack(f"<{count}L", *offsets))
    return spool.view()


def exact_item(content: Buffer) -> bytes:
    """An item as long as its content, which should be even (PS3.5 A.4)."""
    return b"".join((_ITEM, struct.pack("<L", len(content)), content))


def evened_items(value: Buffer) -> tuple[Buffer, dict[int, int]]:
    """Items, all padded to even lengths, and where each fragment has gone to from where.

    Positions are offsets from the first fragment, as the Basic Offset Table has them; it follows. Raises
    CannotDecode.
    """
    (_, table), *fragments = list(_items(value)) or [(0, memoryview(b""))]
    first = fragments[0][0] if fragments else 0
    moved, at = dict[int, int](), 0
    for begin, content in fragments:
        moved[begin - first] = at
        at += ITEM_HEADER + len(content) + len(content) % 2
    spool = Spool()
    spool.write(_item(moved_offsets(bytes(table), moved, 4)))
    for _, content in fragments:
        odd = len(content) % 2
        spool.write(_ITEM + struct.pack("<L", len(content) + odd))
        for part in slices(content):
            spool.write(part)
        spool.write(b"\0" * odd)
    return spool.view(), moved


def moved_offsets(table: bytes, moved: Mapping[int, int], size: int) -> bytes:
    """A table of offsets of ``size`` bytes each, of fragments that have moved.

    It is left empty where an offset would not fit any more; as it is, where it is no table: of whole offsets,
    and no more of them than fragments.
    """
    if len(table) % size or len(table) // size > len(moved):
        return table
    offsets = [int.from_bytes(table[at : at + size], "little") for at in range(0, len(table), size)]
    offsets = [moved.get(offset, offset) for offset in offsets]
    if any(offset >> 8 * size for offset in offsets):
        return b""
    return b"".join(offset.to_bytes(size, "little") for offset in offsets)


def _item(content: bytes) -> bytes:
    return exact_item(content + b"\0" if len(content) % 2 else content)


def _without_table(value: Buffer, count: int) -> Buffer:
    spool = Spool()
    spool.write(_item(b""))
    for part in slices(memoryview(value)[8 + 4 * count :]):
        spool.write(part)
    return spool.view()


def frames_within(value: Buffer, count: int) -> list[Fragments]:
    """The codestreams of ``count`` frames, each in its fragments, of which nothing is copied.

    The Basic Offset Table is believed only where the fragments do not tell by themselves.
    Raises CannotDecode when they cannot be told apart, or when there are more frames than ``count``: those
    would be lost.
    """
    (_, table), *fragments = list(_items(value)) or [(0, memoryview(b""))]
    contents = [content for _, content in fragments]
    if len(contents) == count:
        return [[content] for content in contents]
    begin = _beginning(contents[0]) if contents else None
    firsts = {at for at, content in fragments if begin is not None and _beginning(content) == begin}
    if len(firsts) != count:
        firsts = firsts if len(firsts) > count else _offsets(table, fragments)
    if count == 1 and len(firsts) <= 1:
        return [contents]
    if len(firsts) != count:
        raise CannotDecode(f"{len(contents)} fragments cannot be told apart into {count} frames")
    return _together(fragments, firsts)


def offset_table(value: Buffer) -> memoryview:
    """The content of the Basic Offset Table, the first item. Raises CannotDecode."""
    return next((content for _, content in _items(value)), memoryview(b""))


def _beginning(content: memoryview) -> bytes | None:
    """What a fragment begins with, if that is what the first one of a frame begins with."""
    head = bytes(content[:8])
    # RLE (PS3.5 G.5): up to 15 segments, the first of them right behind the header of 64 bytes.
    if head[4:] == b"\x40\0\0\0" and 1 <= head[0] <= 15 and not any(head[1:4]):
        return head[4:]
    return next((start for start in _STARTS if head.startswith(start)), None)


def _items(value: Buffer) -> Iterator[tuple[int, memoryview]]:
    view, at, begun = memoryview(value), 0, 0
    while at + 8 <= len(view):
        if at - begun > _LET_GO:  # as in scp.encoding.elements
            let_go(view)
            begun = at
        length = struct.unpack_from("<L", view, at + 4)[0]
        if view[at : at + 4] != _ITEM or at + 8 + length > len(view):
            raise CannotDecode(f"byte {at} of the encapsulated pixel data begins no item")
        yield at, view[at + 8 : at + 8 + length]
        at += 8 + length


def _offsets(table: Buffer, fragments: list[tuple[int, memoryview]]) -> set[int]:
    if not fragments or len(table) > 4 * len(fragments):  # it lists more frames than there may be
        return set()
    first = fragments[0][0]
    starts = {
        first + offset for offset in struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
    }
    return starts & {at for at, _ in fragments}


def _together(fragments: list[tuple[int, memoryview]], firsts: set[int]) -> list[Fragments]:
    frames: list[Fragments] = []
    for at, content in fragments:
        if at in firsts:
            frames.append([])
        if not frames:
            raise CannotDecode("the first fragment begins no frame")
        frames[-1].append(content)
    return frames
