"""Even lengths: everything that is sent over a network has them (PS3.5 7.1.1 and A.4; PS3.8 E.1).

What was received with odd ones is kept so, and padded when it is sent. Whether that is needed is seen in one
pass over the element headers. It goes into sequences and items by going on behind their headers, as what is
nested follows them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from scp.encoding.conversion import SEQUENCE_TAGS, convert
from scp.encoding.dataset import PixelElement, SplitDataset, behind_header, encoding_of, join, split
from scp.encoding.elements import (
    CANONICAL,
    ITEM,
    ITEM_END,
    LONG,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    ElementReader,
    Encoding,
)
from scp.encoding.fragments import EXTENDED_OFFSETS, evened_items, moved_offsets
from scp.encoding.headers import Header
from scp.encoding.streams import Chunks, Inflated, inflated
from scp.errors import CannotDecode, CannotEncode, UnreadableDataset
from scp.spool import Buffer, let_go, slices
from scp.syntaxes import TransferSyntax

_LET_GO = 8 << 20
_DELIMITERS = (ITEM_END, SEQUENCE_END)
_OFFSETS = EXTENDED_OFFSETS[0]
# As fragments begin, which are little endian in every transfer syntax.
_ITEM, _SEQUENCE_END = (tag >> 16 | (tag & 0xFFFF) << 16 for tag in (ITEM, SEQUENCE_END))


def is_even(parts: SplitDataset) -> bool:
    """Whether all lengths of a dataset are even; False also where that is not seen at once."""
    if not (_has_even_lengths(parts.header, CANONICAL) and _has_even_lengths(parts.trailer, CANONICAL)):
        return False
    pixel = parts.pixel
    if pixel is None or not pixel.encapsulated or isinstance(pixel.value, Chunks):
        return pixel is None or len(pixel.value) % 2 == 0
    try:
        return _fragments_end(pixel.value, 0, len(pixel.value)) == len(pixel.value)
    except struct.error:
        return False


def _has_even_lengths(data: Buffer, encoding: Encoding) -> bool:
    try:
        if encoding.explicit:
            return _explicit(data, encoding)
        return _implicit_end(data, 0, within=0) == len(data)
    except (struct.error, UnreadableDataset):
        return False


def _explicit(data: Buffer, encoding: Encoding) -> bool:
    order = "<" if encoding.little else ">"
    header, long_length = struct.Struct(order + "HH2sH").unpack_from, struct.Struct(order + "L").unpack_from
    at, end = 0, len(data)
    while at < end:
        group, _, vr, length = header(data, at)
        if group == 0xFFFE:
            (length,) = long_length(data, at + 4)
            at += 8
            if length == UNDEFINED:
                continue
        elif vr in SHORT:
            at += 8 + length
        elif vr in LONG:
            (length,) = long_length(data, at + 8)
            at += 12
            if length == UNDEFINED:
                at = _behind_undefined(data, at, vr)
                continue
            at += length if vr != b"SQ" else 0
        else:
            _, _, value, length = ElementReader(data, encoding).header(at, end)
            at = value + length
        if length & 1:
            return False
    return at == end


def _behind_undefined(data: Buffer, at: int, vr: bytes) -> int:
    """Where to go on within or behind a value of undefined length; behind the end where that is not even."""
    if vr == b"SQ":
        return at
    if vr == b"UN":
        return _implicit_end(data, at, within=1)
    return _fragments_end(data, at, len(data)) + 8


def _implicit_end(data: Buffer, at: int, within: int) -> int:
    """The end of elements in implicit VR: of all, or ``within`` so many that are ended by a delimiter.

    Behind the end of the data where they are not even. Raises struct.error.
    """
    header, end = struct.Struct("<HHL").unpack_from, len(data)
    depth = within
    while at < end:
        group, number, length = header(data, at)
        tag = group << 16 | number
        at += 8
        if tag in _DELIMITERS:
            depth -= 1
            if within and not depth:
                return at
        elif length == UNDEFINED:
            depth += 1
        elif length & 1:
            return end + 1
        elif tag != ITEM and tag not in SEQUENCE_TAGS:
            at += length
    return at


def _fragments_end(data: Buffer, at: int, end: int) -> int:
    """Where fragments of even lengths end; behind ``end`` where they do not. Raises struct.error."""
    begun = at
    while at < end:
        tag, length = struct.unpack_from("<LL", data, at)
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM or length & 1:
            return end + 8
        at += 8 + length
        if at - begun > _LET_GO:  # as in scp.encoding.elements
            let_go(data)
            begun = at
    return at


def evened(parts: SplitDataset) -> SplitDataset:
    """A dataset with all lengths even: values, items and fragments padded, tables and counts made anew.

    Values are padded with what PS3.5 6.2 says of their VR. Raises UnreadableDataset, and CannotEncode where
    offsets would change in a header that is too long for it.
    """
    if is_even(parts):
        return parts
    trailer = convert(parts.trailer, CANONICAL, CANONICAL, even=True)
    if parts.pixel is None:
        return SplitDataset(convert(parts.header, CANONICAL, CANONICAL, even=True), None, trailer)
    header, pixel = _even_pixel(parts.header, parts.pixel)
    following = behind_header(pixel, trailer, CANONICAL)
    return SplitDataset(convert(header, CANONICAL, CANONICAL, following, even=True), pixel, trailer)


def _even_pixel(header: Buffer, pixel: PixelElement) -> tuple[Buffer, PixelElement]:
    if pixel.encapsulated and not isinstance(pixel.value, Chunks):
        try:
            items, moved = evened_items(pixel.value)
        except CannotDecode as error:
            raise UnreadableDataset(str(error)) from error
        known = Header(header)
        if table := known.value(_OFFSETS):
            header = known.edited({_OFFSETS: bytes(moved_offsets(table, moved, 8))})
        return header, replace(pixel, value=items)
    if len(pixel.value) % 2 == 0:
        return header, pixel
    pieces = pixel.value.pieces if isinstance(pixel.value, Chunks) else slices(pixel.value)
    return header, replace(pixel, value=Chunks(len(pixel.value) + 1, chain(pieces, [b"\0"])))


def even_stream(stream: Buffer, syntax: TransferSyntax) -> Iterator[Buffer]:
    """A dataset stream as it is, or with even lengths if it has others.

    One that cannot be followed is only padded as a whole: an odd message would end the association for all
    that are to come.
    """
    plain, fault, _ = inflated(stream) if syntax.deflated else Inflated(stream)
    if not fault and not _has_even_lengths(plain, encoding_of(syntax)):
        try:
            return join(evened(split(stream, syntax)), syntax)
        except (UnreadableDataset, CannotEncode, ValueError):
            pass
    return chain(slices(stream), [b"\0"] if len(stream) % 2 else [])
