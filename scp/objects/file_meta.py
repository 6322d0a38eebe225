"""File Meta Information, the group 0002 in front of a dataset (PS3.10 7.1), read and written.

Its end is given by (0002,0000), not by the change of group: a dataset may itself begin with elements of group
0002. It should not, but then these are the sender's, not the file's.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from scp.errors import ObjectDamaged
from scp.spool import Buffer

_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OF", b"OD", b"OL", b"OV", b"SV", b"UV")
_OWN = (0x0003, 0x0102)  # whose values each file has for itself
_GROUP = b"\x02\0"
# Bytes of all values together that are read; any value beyond counts as empty. zscp's own private
# information has a few hundred, and 0.2 MB with the layout of 8192 fragments; 2 MB of JSON may become
# 0.1 GB in memory.
_LONGEST = 2 << 20
_MOST_ELEMENTS = 1 << 16  # a group has no more numbers
_USUAL = 64 << 10  # bytes of a group that is read in one loop: of 10 elements it takes 5 µs in place of 17
_SHORT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<L")


class FileMeta(NamedTuple):
    """The values by element number, where the dataset begins, and whether (0002,0000) gave that position.

    Only ``counted`` elements are certainly those of the file's writer. Some writers leave out (0002,0000) or
    write a wrong one: then the elements are those of group 0002 in ascending order.
    """

    values: dict[int, bytes]
    end: int
    counted: bool

    def text(self, number: int) -> str:
        """A value as text; empty if it is missing."""
        return self.values.get(number, b"").decode("latin-1").strip(" \0")


def read(file: Buffer, at: int) -> FileMeta:
    """The File Meta Information that begins at ``at``. Raises ObjectDamaged if it is cut off."""
    return _counted(file, at) or uncounted(file, at)


def _counted(file: Buffer, at: int) -> FileMeta | None:
    """As :func:`read`, by its group length; None if that is missing, or ends within an element."""
    values = _Values()
    try:
        if bytes(file[at : at + 8]) != b"\x02\0\0\0UL\x04\0":
            return None
        begun, end = at, at + 12 + struct.unpack_from("<L", file, at + 8)[0]
        if end - begun <= _USUAL:
            found = _found(bytes(file[begun:end])) if end <= len(file) else None
            return None if found is None else FileMeta(found, end, counted=True)
        while at < end and _is_meta(file, at):
            number, begin, at = _element(file, at)
            values.take(number, file, begin, at)
    except struct.error:
        return None
    return FileMeta(values.found, at, counted=True) if at == end else None


def _found(group: bytes) -> dict[int, bytes] | None:
    """The values of a group of usual size; None where it does not end with an element's end."""
    found, at, size = dict[int, bytes](), 0, len(group)
    try:
        while at < size:
            of_group, number, vr, length = _SHORT.unpack_from(group, at)
            if of_group != 2:
                return None
            value = at + 8
            if vr in _LONG_VRS:
                value, length = at + 12, _LONG.unpack_from(group, at + 8)[0]
            at = value + length
            found[number] = group[value:at]
    except struct.error:
        return None
    return found if at == size else None


def uncounted(file: Buffer, at: int) -> FileMeta:
    """As :func:`read`, without regard to its group length."""
    values = _Values()
    last = -1
    try:
        while _is_meta(file, at):
            number, begin, following = _element(file, at)
            if number <= last:  # the dataset's own
                break
            values.take(number, file, begin, following)
            last, at = number, following
    except struct.error:
        raise ObjectDamaged("its File Meta Information ends too early") from None
    return FileMeta(values.found, at, counted=False)


class _Values:
    """Values by element number; their total length is bounded."""

    def __init__(self) -> None:
        self.found: dict[int, bytes] = {}
        self._elements, self._room = 0, _LONGEST

    def take(self, number: int, file: Buffer, begin: int, end: int) -> None:
        """Keep the value from ``begin`` to ``end``. Raises ObjectDamaged for too many elements."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise ObjectDamaged(f"its File Meta Information has more than {_MOST_ELEMENTS} elements")
        fits = end - begin <= self._room
        self._room -= end - begin if fits else 0
        self.found[number] = bytes(file[begin:end]) if fits else b""


def _is_meta(file: Buffer, at: int) -> bool:
    return bytes(file[at : at + 2]) == _GROUP


def _element(file: Buffer, at: int) -> tuple[int, int, int]:
    """An element's number, and where its value and the next element begin. Raises struct.error if cut off."""
    _, number, vr, length = struct.unpack_from("<HH2sH", file, at)
    value = at + 8
    if vr in _LONG_VRS:
        value, length = at + 12, struct.unpack_from("<L", file, at + 8)[0]
    if value + length > len(file):
        raise struct.error
    return number, value, value + length


@lru_cache(maxsize=64)
def _remembered(number: int, vr: bytes, value: bytes) -> bytes:
    return _written(number, vr, value)


def written(elements: list[tuple[int, bytes, bytes]]) -> bytes:
    """Elements of group 0002, each given as number, VR and value, after their group length."""
    # Most are those of the file before: classes, syntaxes and titles, but no instance and no private element.
    body = b"".join([(_written if one[0] in _OWN else _remembered)(*one) for one in elements])
    return _written(0x0000, b"UL", struct.pack("<L", len(body))) + body


def _written(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr in (b"SH", b"AE") else b"\0"
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHL", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
