"""Values of elements as text: exactly what ``str`` of pydicom's values gives, at a tenth of its time.

What is plain is read here, a kind of VR a function. None of them guesses: for what it is not sure of
(other characters than printable ASCII, odd numbers) it raises :class:`Unsure`, and pydicom is asked
(:mod:`scp.encoding.facts`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pydicom.charset import python_encoding

from scp.encoding.characters import TEXT_VRS

_PADDING = " \0"


Reader = Callable[[bytes], str]


class Unsure(Exception):
    """The value is pydicom's to read."""


def _printable(value: bytes) -> str:
    """One value in ASCII without what pads it; a backslash is a character like others (ST, LT, UT)."""
    if not value.isascii():
        raise Unsure
    text = value.decode("ascii").strip(_PADDING)
    if not text.isprintable():
        raise Unsure
    return text


def _strings(value: bytes) -> str:
    """Values with a backslash between, each padded by itself."""
    text = _printable(value)
    if "\\" not in text:
        return text
    return "\\".join([part.strip(_PADDING) for part in text.split("\\")])


def _names(value: bytes) -> str:
    """PN without ideographic or phonetic groups, whose delimiters have rules of their own."""
    if b"=" in value:
        raise Unsure
    return _strings(value)


def _decimals(value: bytes) -> str:
    return _numbers(value, float, 1 << 16)


def _integers(value: bytes) -> str:
    # From 2^53 on, pydicom compares with the nearest float, and makes something else of it.
    return _numbers(value, int, 15)


def _numbers(value: bytes, kind: Callable[[str], object], longest: int) -> str:
    """Numbers as they are written: they must be some, and an empty one may stand among them."""
    text = _strings(value)
    try:
        for part in text.split("\\"):
            if part:
                kind(part)
            if len(part) > longest:
                raise Unsure
    except ValueError:
        raise Unsure from None
    return text


def _binary(kind: str) -> tuple[Reader, Reader]:
    return _binary_of("<" + kind), _binary_of(">" + kind)


def _binary_of(kind: str) -> Reader:
    one = struct.Struct(kind)
    order, letter = kind[0], kind[1]

    def text(value: bytes) -> str:
        if len(value) == one.size:
            return str(one.unpack(value)[0])
        if len(value) % one.size:
            raise Unsure
        return "\\".join(map(str, struct.unpack(f"{order}{len(value) // one.size}{letter}", value)))

    return text


# By VR: little endian, big endian.
_BY_VR: dict[bytes, tuple[Reader, Reader]] = {
    **dict.fromkeys(b"AE AS CS DA DT LO SH TM UC UI".split(), (_strings, _strings)),
    **dict.fromkeys(b"LT ST UT".split(), (_printable, _printable)),
    b"PN": (_names, _names),
    b"DS": (_decimals, _decimals),
    b"IS": (_integers, _integers),
    b"US": _binary("H"),
    b"SS": _binary("h"),
    b"UL": _binary("L"),
    b"SL": _binary("l"),
    b"UV": _binary("Q"),
    b"SV": _binary("q"),
    b"FL": _binary("f"),
    b"FD": _binary("d"),
}
_BY_CHARACTER_SET = frozenset(vr.encode() for vr in TEXT_VRS)
# In each of pydicom's codecs for these, printable ASCII is itself.
_CHARACTER_SETS = frozenset(python_encoding)


def is_known(character_set: bytes) -> bool:
    """Whether the first value of a Specific Character Set, which counts without escapes, is a known one."""
    return character_set.partition(b"\\")[0].decode("latin-1").strip(_PADDING) in _CHARACTER_SETS


def readers(little: bool, known_characters: bool) -> dict[bytes, Reader]:
    """Who reads a value of a VR as text, several joined by a backslash; they raise Unsure.

    ``known_characters`` is what :func:`is_known` says. What has no reader is pydicom's to read.
    """
    return _READERS[little, known_characters]


_READERS = {
    (little, known): {
        vr: pair[not little] for vr, pair in _BY_VR.items() if known or vr not in _BY_CHARACTER_SET
    }
    for little in (False, True)
    for known in (False, True)
}
