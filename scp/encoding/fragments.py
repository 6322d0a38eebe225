"""Encapsulated pixel data: frames to items and back (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

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
    Raises CannotDecode when they cannot be told apart.
    """
    (_, table), *fragments = list(_items(value)) or [(0, memoryview(b""))]
    contents = [content for _, content in fragments]
    if len(contents) == count:
        return [[content] for content in contents]
    if count == 1:
        return [contents]
    firsts = {at for at, content in fragments if bytes(content[:8]).startswith(_STARTS)}
    if len(firsts) != count:
        firsts = _offsets(table, fragments)
    if len(firsts) != count:
        raise CannotDecode(f"{len(contents)} fragments cannot be told apart into {count} frames")
    return _together(fragments, firsts)


def offset_table(value: Buffer) -> memoryview:
    """The content of the Basic Offset Table, the first item. Raises CannotDecode."""
    return next((content for _, content in _items(value)), memoryview(b""))


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
    if not fragments:
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
