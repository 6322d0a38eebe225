"""Pixel data within sequences, such as an icon's, that is encapsulated as the image itself is.

Fragments within an item are codestreams of the dataset's transfer syntax (PS3.5 A.4), so they cannot stay
as they are when that changes: in a native one there are none, and in another compressed one a reader would
give them to the wrong decoder. An icon is small; it goes on as native pixel data, which all allow.
"""

from __future__ import annotations

from collections.abc import Callable

from scp.encoding.dataset import PixelElement, SplitDataset, join
from scp.encoding.elements import (
    CANONICAL,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Reader,
    element_header,
    walk,
)
from scp.spool import Buffer
from scp.syntaxes import EXPLICIT, lookup

Decode = Callable[[SplitDataset], SplitDataset]

_FRAGMENTS = tuple(element_header(PIXEL_DATA, vr, UNDEFINED, CANONICAL) for vr in (b"OB", b"OW"))


def may_hold_fragments(header: Buffer) -> bool:
    """Whether a canonical header may hold encapsulated pixel data; most say no at the first look."""
    data = bytes(header)
    return any(each in data for each in _FRAGMENTS)


def native_icons(header: bytes, decode: Decode) -> bytes:
    """A canonical header whose nested pixel data is native, ``decode`` making one dataset of it native.

    Without any that is encapsulated it is the same bytes. Raises UnreadableDataset, and what decode raises.
    """
    return _elements(header, decode) if may_hold_fragments(header) else header


def _elements(data: bytes, decode: Decode) -> bytes:
    """The elements of a dataset or an item. A group whose length changes loses its (gggg,0000)."""
    found, changed = [], set()
    for each in walk(data, CANONICAL):
        part = data[each.start : each.next]
        if each.vr == b"SQ" and may_hold_fragments(part):
            part = _sequence(data, each, decode)
            if part != data[each.start : each.next]:
                changed.add(each.tag >> 16)
        found.append((each.tag, part))
    return b"".join(part for tag, part in found if tag & 0xFFFF or tag >> 16 not in changed)


def _sequence(data: bytes, sequence: Element, decode: Decode) -> bytes:
    reader, at, items = Reader(data, CANONICAL), sequence.value, []
    while at < sequence.end:
        _, _, value, length = reader.header(at, sequence.end)
        end = value + length if length != UNDEFINED else reader.end_of_item(value, sequence.end, 1)
        content = _item(data[value:end], decode)
        items.append(_enclosed(ITEM, b"", content, ITEM_END if length == UNDEFINED else 0))
        at = end if length != UNDEFINED else end + 8
    end_tag = SEQUENCE_END if sequence.undefined else 0
    return _enclosed(sequence.tag, b"SQ", b"".join(items), end_tag)


def _enclosed(tag: int, vr: bytes, content: bytes, end_tag: int) -> bytes:
    """An item or a sequence, of undefined length where a delimiter ends it."""
    length = UNDEFINED if end_tag else len(content)
    end = element_header(end_tag, b"", 0, CANONICAL) if end_tag else b""
    return element_header(tag, vr, length, CANONICAL) + content + end


def _item(content: bytes, decode: Decode) -> bytes:
    content = _elements(content, decode)
    pixel = next((e for e in walk(content, CANONICAL) if e.tag == PIXEL_DATA and e.undefined), None)
    if pixel is None:
        return content
    element = PixelElement(PIXEL_DATA, pixel.vr.decode(), content[pixel.value : pixel.end], encapsulated=True)
    parts = SplitDataset(content[: pixel.start], element, content[pixel.next :])
    return b"".join(map(bytes, join(decode(parts), lookup(EXPLICIT))))
