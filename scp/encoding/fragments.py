"""Encapsulated pixel data: frames to items and back (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from scp.encoding.elements import ITEM
from scp.errors import CannotDecode
from scp.spool import Buffer

_ITEM = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)
_LARGEST_OFFSET = 0xFFFFFFFE
# How the first fragment of a frame begins: JPEG and JPEG-LS, JPEG 2000 and HTJ2K, JPEG XL bare and boxed.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")


def encapsulate(frames: list[bytes]) -> bytes:
    """Frames as items, one fragment each, behind a filled Basic Offset Table.

    The delimiter is not included. The table stays empty where an offset would pass 32 bits, which
    the standard allows.
    """
    even = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    offsets, at = [], 0
    for frame in even:
        offsets.append(at)
        at += len(frame) + 8
    table = b"" if offsets[-1] > _LARGEST_OFFSET else struct.pack(f"<{len(offsets)}L", *offsets)
    return b"".join(_ITEM + struct.pack("<L", len(item)) + item for item in [table, *even])


def frames_within(value: Buffer, count: int) -> list[bytes]:
    """The codestreams of ``count`` frames.

    The Basic Offset Table is believed only where the fragments do not tell by themselves.
    Raises CannotDecode when they cannot be told apart.
    """
    (_, table), *fragments = list(_items(value)) or [(0, memoryview(b""))]
    contents = [content for _, content in fragments]
    if len(contents) == count:
        return [bytes(content) for content in contents]
    if count == 1:
        return [b"".join(contents)]
    firsts = {at for at, content in fragments if bytes(content[:8]).startswith(_STARTS)}
    if len(firsts) != count:
        firsts = _offsets(table, fragments)
    if len(firsts) != count:
        raise CannotDecode(f"{len(contents)} fragments cannot be told apart into {count} frames")
    return _joined(fragments, firsts)


def _items(value: Buffer) -> Iterator[tuple[int, memoryview]]:
    view, at = memoryview(value), 0
    while at + 8 <= len(view):
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


def _joined(fragments: list[tuple[int, memoryview]], firsts: set[int]) -> list[bytes]:
    frames: list[list[memoryview]] = []
    for at, content in fragments:
        if at in firsts:
            frames.append([])
        if not frames:
            raise CannotDecode("the first fragment begins no frame")
        frames[-1].append(content)
    return [b"".join(frame) for frame in frames]
