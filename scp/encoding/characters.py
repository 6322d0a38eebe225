"""Text in the character repertoires of PS3.3 C.12.1.1.2, read and written with code extensions (PS3.5 6.1.2).

pydicom reads most of them, but not all: it leaves the escape sequence of ISO 2022 IR 58 in the text (as of
3.0, ``iso_ir_58`` is among its ``handled_encodings``, though Python's codec does not know the sequence), and
writes that repertoire without any; it does not know ISO IR 203; and under the default repertoire it writes
Latin-1 bytes that nothing announces. So text with escape sequences, and all text that is sent, goes through
here. :func:`strange` says which text pydicom is not to be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

ESCAPE = b"\x1b"
UTF8 = "ISO_IR 192"
# VRs whose characters Specific Character Set says (PS3.5 6.1.2.3).
TEXT_VRS = frozenset("LO LT PN SH ST UC UT".split())

# These are whole encodings, used without code extensions (PS3.3 table C.12-5).
_WHOLE = {UTF8: "utf-8", "GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk"}
_SEQUENCE = re.compile(rb"\x1b(?:[ -/]*[0-~])?")  # the form of an escape sequence, by ISO/IEC 2022
_TERM = re.compile(r"ISO[ _-]?(?:2022[ _-])?IR[ _-]?(\d+)", re.IGNORECASE)
# What brings back the repertoire of value 1 (PS3.5 6.1.2.5.3): ends of lines and pages, ends of values.
_ENDS = frozenset("\t\n\f\r\\")
_NAME_ENDS = _ENDS | {"^", "="}


@dataclass(frozen=True, slots=True)
class _Set:
    """A coded character set: what invokes it, and how one of its characters is coded.

    ``upper`` is true for a set in code element G1, whose bytes have the highest bit. ``prefix`` is what
    Python's codec wants in front of a character.
    """

    escape: bytes
    codec: str
    upper: bool = True
    width: int = 1
    prefix: bytes = b""

    def text(self, code: bytes) -> str:
        """The character of a code; U+FFFD where there is none."""
        text = (self.prefix + code).decode(self.codec, "replace")
        return text if len(text) == 1 else "\ufffd"

    def code(self, character: str) -> bytes:
        """The code of a character, empty where the set does not have it."""
        try:
            code = character.encode(self.codec)
        except UnicodeEncodeError:
            return b""
        if self.prefix:  # Python goes back to ASCII behind the character
            code = code.removeprefix(self.prefix).removesuffix(b"\x1b(B")
        fits = len(code) == self.width and all((byte >= 0x80) == self.upper for byte in code)
        # Python's Shift JIS codes a yen sign as a backslash, which would separate values.
        return code if fits and self.text(code) == character else b""


class _State(NamedTuple):
    """The sets that are invoked in G0 and G1."""

    lower: _Set
    upper: _Set | None


_ASCII = _Set(b"\x1b(B", "ascii", upper=False)
_ROMAJI = _Set(b"\x1b(J", "shift_jis", upper=False)
_KATAKANA = _Set(b"\x1b)I", "shift_jis")
_LATIN_1 = _Set(b"\x1b-A", "latin_1")
# By registration number (PS3.3 tables C.12-2 to C.12-4).
_SETS: dict[str, tuple[_Set, ...]] = {
    "6": (_ASCII,),
    "13": (_ROMAJI, _KATAKANA),
    "58": (_Set(b"\x1b$)A", "gb2312", width=2),),
    "87": (_Set(b"\x1b$B", "iso2022_jp", upper=False, width=2, prefix=b"\x1b$B"),),
    "100": (_LATIN_1,),
    "101": (_Set(b"\x1b-B", "iso8859_2"),),
    "109": (_Set(b"\x1b-C", "iso8859_3"),),
    "110": (_Set(b"\x1b-D", "iso8859_4"),),
    "126": (_Set(b"\x1b-F", "iso8859_7"),),
    "127": (_Set(b"\x1b-G", "iso8859_6"),),
    "138": (_Set(b"\x1b-H", "iso8859_8"),),
    "144": (_Set(b"\x1b-L", "iso8859_5"),),
    "148": (_Set(b"\x1b-M", "iso8859_9"),),
    "149": (_Set(b"\x1b$)C", "euc_kr", width=2),),
    "159": (_Set(b"\x1b$(D", "iso2022_jp_2", upper=False, width=2, prefix=b"\x1b$(D"),),
    "166": (_Set(b"\x1b-T", "tis_620"),),
    "203": (_Set(b"\x1b-b", "iso8859_15"),),
}
_BY_ESCAPE = {one.escape: one for sets in _SETS.values() for one in sets}


def terms_of(character_set: str) -> tuple[str, ...]:
    """The defined terms of a Specific Character Set, as text; empty ones mean the default repertoire."""
    return tuple(term.strip(" \0") for term in character_set.split("\\"))


def strange(value: bytes, terms: Sequence[str]) -> bool:
    """Whether pydicom cannot be trusted with a text."""
    return ESCAPE in value or (bool(terms) and _number(terms[0]) == "203")


def decoded(value: bytes, terms: Sequence[str], name: bool = False) -> str:
    """The text of a value, or of several with backslashes between; ``name`` for a PN.

    It never fails: what a repertoire does not have becomes U+FFFD, an unknown escape sequence vanishes, and a
    known one counts whether Specific Character Set lists it or not. Bytes above 7FH in the default repertoire
    are those of the set that was last invoked in the value (some systems invoke it once, not in each
    component), else Latin-1.
    """
    if terms and (whole := _WHOLE.get(terms[0])):
        return value.decode(whole, "replace")
    if value.isascii() and ESCAPE not in value and _initial(terms).lower is _ASCII:
        return value.decode("ascii")
    return "".join(_characters(value, _initial(terms), _NAME_ENDS if name else _ENDS))


def encoded(text: str, terms: Sequence[str], name: bool = False) -> bytes | None:
    """``text`` in a Specific Character Set, with the escape sequences that it takes; None if it cannot be."""
    if terms and (whole := _WHOLE.get(terms[0])):
        try:
            return text.encode(whole)
        except UnicodeEncodeError:
            return None
    if text.isascii() and _initial(terms).lower is _ASCII:
        return text.encode("ascii")
    return _written(text, tuple(terms), _NAME_ENDS if name else _ENDS)


def _characters(value: bytes, initial: _State, ends: frozenset[str]) -> list[str]:
    found: list[str] = []
    state, fallback, at = initial, initial.upper or _LATIN_1, 0
    while at < len(value):
        sequence = _SEQUENCE.match(value, at)
        if sequence:
            invoked = _BY_ESCAPE.get(sequence[0])
            if invoked:
                state = _invoked(state, invoked)
                fallback = initial.upper or state.upper or fallback
            at = sequence.end()
            continue
        byte = value[at]
        used = state.lower if byte < 0x80 else state.upper or fallback
        width = 1 if byte <= 0x20 else used.width  # control characters and space are in all of them
        character = chr(byte) if byte <= 0x20 else used.text(value[at : at + width])
        found.append(character)
        if width == 1 and character in ends:
            state = initial
        at += width
    return found


@lru_cache(maxsize=256)
def _written(text: str, terms: tuple[str, ...], ends: frozenset[str]) -> bytes | None:
    initial, out = _initial(terms), bytearray()
    state = initial
    for character in text:
        if character in ends or character < " ":
            out += (b"" if state.lower is initial.lower else initial.lower.escape) + character.encode()
            state = initial
            continue
        found = next(((one, code) for one in _usable(state, terms) if (code := one.code(character))), None)
        if found is None:
            return None
        used, code = found
        if used not in state:
            out += used.escape
            state = _invoked(state, used)
        out += code
    return bytes(out + (b"" if state.lower is initial.lower else initial.lower.escape))


def _invoked(state: _State, one: _Set) -> _State:
    return _State(state.lower, one) if one.upper else _State(one, state.upper)


def _usable(state: _State, terms: tuple[str, ...]) -> list[_Set]:
    """The sets to try, those that need no escape sequence first."""
    return [one for one in (*state, *_declared(terms)) if one is not None]


@lru_cache(maxsize=256)
def _declared(terms: tuple[str, ...]) -> tuple[_Set, ...]:
    return (
        *(one for one in _initial(terms) if one),
        *(s for t in terms[1:] for s in _SETS.get(_number(t), ())),
    )


def _initial(terms: Sequence[str]) -> _State:
    """What value 1 of a Specific Character Set invokes; ASCII without it."""
    lower, upper = _ASCII, None
    for one in _SETS.get(_number(terms[0]), ()) if terms else ():
        if one.width == 1:
            lower, upper = (lower, one) if one.upper else (one, upper)
    return _State(lower, upper)


@lru_cache(maxsize=256)
def _number(term: str) -> str:
    found = _TERM.fullmatch(term)
    return found[1] if found else ""
