"""One value of a dataset, found by its path: the tags of sequences, the numbers of their items, its tag."""

from __future__ import annotations

from scp.encoding.elements import (
    IMPLICIT_LITTLE,
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    ElementReader,
    Encoding,
)
from scp.errors import UnreadableDataset
from scp.spool import Buffer

_ITEM = b"\xfe\xff\x00\xe0"  # its tag in little endian, as all within UN is (PS3.5 6.2.2)
_LONGEST = 260  # parts: of sequences as deep as limits.depth allows


def value_at(data: Buffer, encoding: Encoding, path: str) -> Buffer | None:
    """The bytes of the value at a path such as ``00089215.0.00420011``; items are counted from 0.

    None where there is no such element, where it is a sequence, or where the path goes into what is none.
    Raises UnreadableDataset, BeyondBounds.
    """
    parts = path.split(".")
    if len(parts) % 2 == 0 or len(parts) > _LONGEST:
        return None
    reader, at, end = ElementReader(data, encoding), 0, len(data)
    for sequence, number in zip(parts[:-1:2], parts[1::2], strict=True):
        found = _element(reader, at, end, sequence)
        if found is None or not (number.isascii() and number.isdecimal() and len(number) < 10):
            return None
        vr, at, end = found
        if not _has_items(reader, vr, at, end):
            return None
        if vr == b"UN":
            reader = ElementReader(data, IMPLICIT_LITTLE)
        item = item_at(reader, at, end, int(number))
        if item is None:
            return None
        at, end = item
    last = _element(reader, at, end, parts[-1])
    return None if last is None or last[0] == b"SQ" else memoryview(data)[last[1] : last[2]]


def _has_items(reader: ElementReader, vr: bytes, at: int, end: int) -> bool:
    """Whether a value is that of a sequence; as UN, or with no VR, one is known by its first item."""
    return vr == b"SQ" or (vr in (b"UN", b"") and bytes(reader.data[at : min(end, at + 4)]) == _ITEM)


def _element(reader: ElementReader, at: int, end: int, wanted: str) -> tuple[bytes, int, int] | None:
    """VR, beginning and end of the value of a tag, which is written as eight hexadecimal digits."""
    while at < end:
        found = reader.element(at, end)
        if f"{found.tag:08X}" == wanted:
            return found.vr, found.value, found.end
        at = found.next
    return None


def item_at(reader: ElementReader, at: int, end: int, number: int) -> tuple[int, int] | None:
    """Where the content of an item begins and ends; None for no such item.

    The value of the sequence lies from ``at`` to ``end``, and items are counted from 0. Raises
    UnreadableDataset, BeyondBounds.
    """
    while at < end:
        tag, _, value, length = reader.header(at, end)
        if tag == SEQUENCE_END:
            return None
        if tag != ITEM:
            raise UnreadableDataset(f"no item begins at byte {at}")
        stop = reader.end_of_item(value, end, 1) if length == UNDEFINED else value + length
        if number == 0:
            return value, stop
        number, at = number - 1, stop + 8 * (length == UNDEFINED)
    return None
