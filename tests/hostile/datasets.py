"""Datasets without measure: elements, items, fragments, depth, lengths, and what deflate makes of little."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from pydicom.dataset import Dataset
from wire.peers import DEFLATED, EXPLICIT, IMPLICIT, RLE, written

from .codestreams import Code, zeros_deflated
from .objects import (
    END_OF_ITEM,
    END_OF_SEQUENCE,
    PIXEL_DATA,
    UNDEFINED,
    Bad,
    around,
    element,
    fragments_of,
    header,
    item,
)

_MB = 1 << 20
_SEQUENCE = 0x70010010  # private, of group 7001, behind all that the header has
_CREATOR = element(_SEQUENCE & 0xFFFF0000 | 0x10, "LO", 4) + b"ODD "
_IN_BLOCK = 0x70011001
# 256 zeros.
_ZEROS_OF_RLE = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 2


def _repeated(piece: bytes, count: int) -> Iterator[bytes]:
    """``piece`` so many times, in parts of a MB or so."""
    step = max(_MB // len(piece), 1)
    for at in range(0, count, step):
        yield piece * min(step, count - at)


def elements(name: str, count: int) -> Bad:
    """So many empty elements of 8 bytes each, a thousand in each item."""
    inner = b"".join(element(0x70030000 | n, "SH", 0) for n in range(0x1100, 0x1100 + 1000))
    one = item(len(inner)) + inner
    whole = count // 1000
    return around(name, _CREATOR, element(_IN_BLOCK, "SQ", whole * len(one)), *_repeated(one, whole))


def flat_elements(name: str, count: int) -> Bad:
    """So many empty elements of 8 bytes each at the top, in implicit VR; their tags ascend."""
    tags = (struct.pack("<HHL", 0x0021 + 2 * (n // 60_000), 0x1000 + n % 60_000, 0) for n in range(count))
    first, rest = (written(part, IMPLICIT) for part in _parted(header(name), 0x00210000))
    pixels = struct.pack("<HHL", 0x7FE0, 0x0010, 256) + bytes(256)
    return Bad(name, IMPLICIT, [first, b"".join(tags), rest, pixels], gives=bytes(256))


def _parted(dataset: Dataset, tag: int) -> tuple[Dataset, Dataset]:
    """What stands before a tag, and what behind it."""
    before, behind = Dataset(), Dataset()
    for each in dataset:
        (before if each.tag < tag else behind).add(each)
    return before, behind


def items(name: str, count: int, *, defined: bool = True) -> Bad:
    """A sequence of so many items that are empty."""
    one = item(0) if defined else item(UNDEFINED) + END_OF_ITEM
    length = count * len(one) if defined else UNDEFINED
    end = b"" if defined else END_OF_SEQUENCE
    return around(name, _CREATOR, element(_IN_BLOCK, "SQ", length), *_repeated(one, count), end)


def fragments(name: str, count: int) -> Bad:
    """So many empty fragments behind one that holds a frame."""
    frame = list(fragments_of(_ZEROS_OF_RLE))
    parts = [written(header(name), EXPLICIT), *frame[:-1], *_repeated(item(0), count), frame[-1]]
    return Bad(name, RLE, parts)


def deep(name: str, depth: int) -> Bad:
    """So many sequences within one another, their lengths undefined."""
    opening = element(_IN_BLOCK, "SQ", UNDEFINED) + item(UNDEFINED)
    closing = END_OF_ITEM + END_OF_SEQUENCE
    return around(name, _CREATOR, *_repeated(opening, depth), *_repeated(closing, depth))


def deep_defined(name: str, depth: int) -> Bad:
    """So many sequences within one another, their lengths told."""
    sizes = (20 * n for n in reversed(range(depth)))  # a sequence's head takes 12 bytes, an item's 8
    opening = b"".join(element(_IN_BLOCK, "SQ", size + 8) + item(size) for size in sizes)
    return around(name, _CREATOR, opening)


def long_element(name: str, size: int) -> Bad:
    """A value of so many bytes outside Pixel Data."""
    return around(name, _CREATOR, element(_IN_BLOCK, "OB", size), *_repeated(bytes(_MB), size // _MB))


def lying_length(name: str, length: int) -> Bad:
    """A value that says it is longer than all that comes."""
    return around(name, _CREATOR, element(_IN_BLOCK, "OB", length), b"\0" * 100)


def deflated_dataset(name: str, size: int) -> Bad:
    """A deflated dataset with a value of so many bytes, in a thousandth of that (PS3.5 A.5)."""
    head = written(header(name), EXPLICIT) + _CREATOR + element(_IN_BLOCK, "OB", size)
    packer = zlib.compressobj(9, wbits=-15)
    begin = packer.compress(head) + packer.flush(zlib.Z_SYNC_FLUSH)
    return Bad(name, DEFLATED, [begin, zeros_deflated(size)])


def with_icon(name: str, syntax: str, picture: Code, icon: Code, count: int = 1) -> Bad:
    """A sound picture whose Icon Image Sequence holds another codestream, ``count`` times, with its size."""
    described = header(name, icon.rows, icon.columns, icon.bits, icon.samples).group_dataset(0x0028)
    value = b"".join([written(described, EXPLICIT), *fragments_of(icon.data)])
    items = count * (item(UNDEFINED) + value + END_OF_ITEM)
    sequence = element(0x00880200, "SQ", UNDEFINED) + items + END_OF_SEQUENCE
    head = written(header(name, picture.rows, picture.columns, picture.bits, picture.samples), EXPLICIT)
    return Bad(name, syntax, [head, sequence, *fragments_of(picture.data)])


def with_frames(name: str, text: str) -> Bad:
    """A sound picture whose Number of Frames is that text, as bytes go over the wire."""
    value = text.encode("latin-1")
    value += b" " * (len(value) % 2)
    before, behind = (written(part, EXPLICIT) for part in _parted(header(name), 0x00280008))
    frames = element(0x00280008, "IS", len(value)) + value
    return Bad(name, EXPLICIT, [before, frames, behind, element(PIXEL_DATA, "OB", 256), bytes(256)])
