"""The header of a stored object, element by element, for people to read; no pixels are decoded.

It is read from the stored file as it is, row by row and only as far as it is asked for: an object may hold
millions of elements, values of megabytes, and sequences in sequences (invariant 8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from pydicom.datadict import keyword_for_tag

from scp.archive.archive import Archive
from scp.archive.records import provenance_of
from scp.encoding.characters import TEXT_VRS, decoded, terms_of
from scp.encoding.conversion import implied_vr
from scp.encoding.dataset import encoding_of, inflate
from scp.encoding.elements import (
    CANONICAL,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    UNDEFINED,
    VRS,
    ElementReader,
    Encoding,
    name_of,
    too_deep,
)
from scp.encoding.scan import PIXEL_TAGS
from scp.errors import UnreadableDataset
from scp.model import Instance, Provenance
from scp.objects import part10
from scp.objects.beginning import Beginning
from scp.resources.bounds import bounds
from scp.spool import Buffer
from scp.syntaxes import lookup
from scp.telemetry import printable

MOST_ROWS = 100_000  # from the first on: to read so many takes half a second
_CHARACTER_SET = 0x00080005
_PIXEL_GROUP = 0x7FE0
_PREAMBLE = 132  # bytes, with the prefix
_BYTES_SHOWN = 16
_NUMBERS = {
    b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d",
}  # fmt: skip
_STRINGS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())


@dataclass(frozen=True, slots=True)
class ElementRow:
    """One element, or the beginning of an item, ``depth`` sequences deep.

    ``tag`` is written as in the standard, and ``keyword`` empty where the dictionary has none. ``length`` is
    that of the value in bytes, None where it is undefined. ``value`` is its text, with control characters
    escaped; numbers have backslashes between, and of other bytes the first are hexadecimal. With
    ``shortened`` there is more of it.
    """

    tag: str
    vr: str
    keyword: str
    length: int | None
    value: str
    depth: int
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class HeaderView:
    """The rows of an object from the number ``first`` on, which is 0 for the first of all.

    ``file_meta`` are the rows of its File Meta Information, which zscp wrote, and ``provenance`` is what zscp
    remembers there of what was received. ``transfer_syntax`` is that of the stored file. There are ``more``
    rows, or a ``fault`` says why its dataset cannot be followed any further.

    The last ``unread`` bytes of the dataset were not read, and the rows not compared with a digest; 0: the
    whole file is what was written. If bytes are unread, Pixel Data is the last row, whatever is behind it.
    """

    sop_instance_uid: str
    transfer_syntax: str
    file_meta: tuple[ElementRow, ...]
    provenance: Provenance
    rows: tuple[ElementRow, ...]
    first: int = 0
    more: bool = False
    fault: str = ""
    unread: int = 0


def header_view(
    archive: Archive,
    instance: Instance,
    first: int = 0,
    most: int = 2000,
    characters: int = 128,
    whole: bool = False,
) -> HeaderView:
    """At most ``most`` rows of a stored object from ``first`` on; of each value so many ``characters``.

    Rows beyond :data:`MOST_ROWS` are not given. As much is read of the file as they take; with ``whole`` all
    of it, which is compared with its digest. Raises ObjectMissing, ObjectDamaged, ObjectUnavailable,
    OutOfResources.
    """
    instance = archive.elsewhere.brought(instance)

    def view(_: Instance, begun: Beginning) -> HeaderView | None:
        return _view(begun, first, most, characters)

    with archive.trials.of(instance, "read"):
        return archive.reader.from_beginning(instance, view, whole)[1]


def _view(begun: Beginning, first: int, most: int, characters: int) -> HeaderView | None:
    """None where it cannot be told from what was read."""
    file, found, fault = begun.file, list[ElementRow](), ""
    try:
        for row in islice(_rows_of(begun, characters), first, min(first + most, MOST_ROWS) + 1):
            found.append(row)
    except UnreadableDataset as error:
        if begun.unread:
            return None
        fault = str(error)
    shown = max(min(most, MOST_ROWS - first), 0)
    meta = memoryview(part10.head(file))[_PREAMBLE:]
    return HeaderView(
        file.sop_instance_uid,
        file.transfer_syntax,
        tuple(rows(meta, CANONICAL, characters)),
        provenance_of(file),
        tuple(found[:shown]),
        first,
        len(found) > shown,
        fault,
        begun.unread,
    )


def _rows_of(begun: Beginning, characters: int) -> Iterator[ElementRow]:
    file = begun.file
    syntax = lookup(file.transfer_syntax)
    if syntax.deflated:
        yield from rows(inflate(file.dataset), encoding_of(syntax), characters)
    else:
        yield from rows(file.dataset, encoding_of(syntax), characters, begun.size)


@dataclass(slots=True)
class _Within:
    """Where the walk is: among the items of a sequence, or among elements, up to ``end`` at most.

    ``undefined``: a delimiter ends it. ``terms`` are of the Specific Character Set that holds here.
    """

    reader: ElementReader
    encoding: Encoding
    items: bool
    end: int
    depth: int
    undefined: bool
    terms: tuple[str, ...] = ()
    signed: bool = field(default=False)


def rows(  # noqa: C901 - one loop
    data: Buffer, encoding: Encoding, characters: int, size: int | None = None
) -> Iterator[ElementRow]:
    """The elements of a stream and of what is nested in them, in order.

    Nothing is held but where the walk is. Raises UnreadableDataset where the stream cannot be followed, and
    BeyondBounds where sequences nest too deep; all rows before are given. Of a stream of ``size`` bytes
    ``data`` may be the beginning: its pixel data is the last row then, and what is not all in it raises
    UnreadableDataset as well.
    """
    most = len(data) if size is None else size
    cut = len(data) < most
    level, at = _Within(ElementReader(data, encoding), encoding, False, most, 0, False), 0
    above: list[_Within] = []
    while True:
        while at >= level.end and not level.undefined:
            if not above:
                return
            level = above.pop()
        tag, vr, value, length = level.reader.header(at, level.end)
        undefined = length == UNDEFINED
        end = level.end if undefined else value + length
        if tag in (ITEM_END, SEQUENCE_END):
            if not (level.undefined and above) or level.items != (tag == SEQUENCE_END):
                raise UnreadableDataset(f"{name_of(tag)} at byte {at} ends nothing")
            level, at = above.pop(), value
        elif level.items:
            if tag != ITEM:
                raise UnreadableDataset(f"{name_of(tag)} at byte {at} stands where an item must begin")
            yield ElementRow(name_of(tag), "", "Item", None if undefined else length, "", level.depth)
            above.append(level)
            level, at = (
                _Within(level.reader, level.encoding, False, end, level.depth, undefined, level.terms),
                value,
            )
            level.signed = above[-1].signed
        else:
            vr = vr or implied_vr(tag, level.signed, length)
            nested = vr == b"SQ" or (undefined and tag >> 16 != _PIXEL_GROUP)
            if not nested:
                last = cut and not above and tag in PIXEL_TAGS
                if cut and not undefined:
                    _check_held(data, at, vr, value + min(length, _shown(characters)) if last else end)
                yield _row(data, level, tag, vr, value, length, characters)
                if last:
                    return
                at = level.reader.element(at, level.end).next if undefined else end
                continue
            size = None if undefined else length
            yield ElementRow(name_of(tag), "SQ", keyword_for_tag(tag), size, "", level.depth)
            if level.depth >= bounds().depth:
                raise too_deep(at)
            # The content of UN of undefined length is implicit VR little endian (PS3.5 6.2.2).
            within = IMPLICIT_LITTLE if vr == b"UN" else level.encoding
            reader = level.reader if within == level.encoding else ElementReader(data, within)
            above.append(level)
            level, at = _Within(reader, within, True, end, level.depth + 1, undefined, level.terms), value
            level.signed = above[-1].signed


def _shown(characters: int) -> int:
    """How many bytes of a value are read at most to show so many characters of it."""
    return max(4 * characters, _BYTES_SHOWN)


def _check_held(data: Buffer, at: int, vr: bytes, end: int) -> None:
    """Of the beginning of a stream: raises UnreadableDataset where an element up to ``end`` is not all in it.

    How long one of an unknown VR is, is said by what is behind it.
    """
    if end > len(data) or vr not in VRS:
        raise UnreadableDataset(f"the element at byte {at} was not read to its end")


def _row(  # noqa: PLR0913, PLR0917 - an element's parts
    data: Buffer, level: _Within, tag: int, vr: bytes, value: int, length: int, characters: int
) -> ElementRow:
    name, kind, keyword = name_of(tag), vr.decode(), keyword_for_tag(tag)
    if length == UNDEFINED:
        return ElementRow(name, kind, keyword, None, "encapsulated", level.depth)
    view = memoryview(data)[value : value + length]
    if tag == _CHARACTER_SET:
        level.terms = terms_of(bytes(view[:1024]).decode("latin-1"))
    if tag == PIXEL_REPRESENTATION:
        level.signed = bytes(view).strip(b"\0") != b""
    text, whole = _text(view, length, vr, level, characters)
    return ElementRow(name, kind, keyword, length, printable(text), level.depth, not whole)


def _text(value: memoryview, length: int, vr: bytes, level: _Within, characters: int) -> tuple[str, bool]:
    """The beginning of a value of a ``length``, and whether that is all."""
    if vr in _STRINGS:
        begun = bytes(value[: 4 * characters])  # no character of a repertoire takes more
        if vr.decode() in TEXT_VRS:
            text = decoded(begun, level.terms, name=vr == b"PN")
        else:
            text = begun.decode("latin-1")
        whole = len(begun) == length
        text = text.rstrip(" \0") if whole else text
        return text[:characters], whole and len(text) <= characters
    order, most = "<" if level.encoding.little else ">", max(characters // 8, 1)
    if vr in _NUMBERS:
        size = struct.calcsize(order + _NUMBERS[vr])
        count = min(length // size, most)
        numbers = struct.unpack_from(f"{order}{count}{_NUMBERS[vr]}", value)
        return "\\".join(f"{one:.7g}" if vr == b"FL" else str(one) for one in numbers), count * size == length
    if vr == b"AT":
        count = min(length // 4, most)
        pairs = struct.unpack_from(f"{order}{2 * count}H", value)
        names = (name_of(group << 16 | number) for group, number in zip(pairs[::2], pairs[1::2], strict=True))
        return "\\".join(names), 4 * count == length
    return bytes(value[:_BYTES_SHOWN]).hex(" "), length <= _BYTES_SHOWN
