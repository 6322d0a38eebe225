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
    ElementReader,
    element_header,
    walk,
)
from scp.spool import Buffer
from scp.syntaxes import EXPLICIT, lookup

Decode = Callable[[SplitDataset], SplitDataset]

_FRAGMENTS = tuple(element_header(PIXEL_DATA, vr, UNDEFINED, CANONICAL) for vr in (b"OB", b"OW"))


def may_hold_fragments(header: Buffer) -> bool:
    """Whether a canonical header may hold encapsulated pixel data; most say no at the first look."""
    data = bytes(header)  # the very same, of bytes
    return any(each in data for each in _FRAGMENTS)


def native_icons(header: bytes, decode: Decode) -> bytes:
    """A canonical header whose nested pixel data is native, ``decode`` making one dataset of it native.

    Without any that is encapsulated it is the same bytes. Raises UnreadableDataset, and what decode raises.
    """
    return _elements(header, decode) if may_hold_fragments(header) else header


def _elements(data: bytes, decode: Decode) -> bytes:
    """The elements of a dataset or an item. A group whose length changes loses its (gggg,0000)."""
    changes: list[tuple[int, int, bytes]] = []
    changed = set()
    for each in walk(data, CANONICAL):
        if each.vr != b"SQ":
            continue
        part = data[each.start : each.next]
        if may_hold_fragments(part) and (native := _sequence(data, each, decode)) != part:
            changes.append((each.start, each.next, native))
            changed.add(each.tag >> 16)
    changes += (
        (each.start, each.next, b"")
        for each in (walk(data, CANONICAL) if changes else ())
        if not each.tag & 0xFFFF and each.tag >> 16 in changed
    )
    return _with(data, sorted(changes))


def _with(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The same with parts replaced; only those are held apart, as there may be millions of others."""
    if not changes:
        return data
    out, at = bytearray(), 0
    for start, end, part in changes:
        out += data[at:start]
        out += part
        at = end
    return bytes(out + data[at:])


def _sequence(data: bytes, sequence: Element, decode: Decode) -> bytes:
    reader, at, items = ElementReader(data, CANONICAL), sequence.value, bytearray()
    while at < sequence.end:
        _, _, value, length = reader.header(at, sequence.end)
        end = value + length if length != UNDEFINED else reader.end_of_item(value, sequence.end, 1)
        content = _item(data[value:end], decode)
        items += _enclosed(ITEM, b"", content, ITEM_END if length == UNDEFINED else 0)
        at = end if length != UNDEFINED else end + 8
    end_tag = SEQUENCE_END if sequence.undefined else 0
    return _enclosed(sequence.tag, b"SQ", bytes(items), end_tag)


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
