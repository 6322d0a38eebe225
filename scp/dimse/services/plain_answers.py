"""The identifiers of C-FIND responses as bytes, without a dataset library: a tenth of the time.

Only what is plain is written here: no sequences, and values whose bytes are their text. Anything else is left
to :mod:`scp.dimse.services.answers`, which gives the same bytes; a test compares the two.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from scp.dimse.identifier import is_sequence, joined, keys_of
from scp.encoding.characters import TEXT_VRS, UTF8, encoded, terms_of
from scp.encoding.elements import VRS, Encoding, element_header
from scp.syntaxes import lookup

_CHARACTER_SET, _CHARACTER_SET_TAG = "SpecificCharacterSet", 0x00080005
_LONGEST = 65_534  # of a value whose length has 16 bits
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*", re.ASCII)
# VR → what a value has to look like for its text to be what is sent.
_FORMS: Mapping[str, re.Pattern[str]] = {
    "AE": _PLAIN,
    "AS": re.compile(r"\d{3}[DWMY]", re.ASCII),
    "CS": _PLAIN,
    "DA": re.compile(r"\d{8}", re.ASCII),
    "DS": re.compile(r"-?\d{1,9}(?:\.\d{1,5})?(?:\\-?\d{1,9}(?:\.\d{1,5})?)*", re.ASCII),
    "DT": re.compile(r"\d{4,14}(?:\.\d{1,6})?", re.ASCII),
    "IS": re.compile(r"-?\d{1,9}(?:\\-?\d{1,9})*", re.ASCII),
    "TM": re.compile(r"\d{2,6}(?:\.\d{1,6})?", re.ASCII),
    "UI": re.compile(r"[0-9.\\]+", re.ASCII),
}
_US = re.compile(r"\d{1,5}", re.ASCII)


class PlainAnswers:
    """Writes the identifiers of the responses to one query, in one transfer syntax."""

    def __init__(self, identifier: Dataset, transfer_syntax: str) -> None:
        syntax = lookup(transfer_syntax)
        self._encoding = Encoding(syntax.explicit_vr, syntax.little_endian)
        self._short = struct.Struct("<H" if syntax.little_endian else ">H").pack
        self._asked = {int(one.tag): (one.keyword, str(one.VR)) for one in keys_of(identifier)}
        self._character_set = joined(identifier.get(_CHARACTER_SET, None))
        self._applies = not syntax.deflated and all(
            vr != "SQ" and not is_sequence(keyword) and vr.encode() in VRS
            for keyword, vr in self._asked.values()
        )
        self._header: Callable[[int, str, int], bytes] = lru_cache(maxsize=4096)(self._made_header)

    def write(self, match: Mapping[str, str], service: Mapping[str, str]) -> bytes | None:
        """The identifier that :func:`scp.dimse.services.answers.answer` makes, encoded; None if not plain."""
        if not self._applies:
            return None
        elements = {tag: (vr, match.get(keyword, "")) for tag, (keyword, vr) in self._asked.items()}
        for keyword, text in (*match.items(), *service.items()):
            if keyword != _CHARACTER_SET and (known := _known(keyword)) is not None:
                elements.setdefault(known[0], (known[1], text))
        character_set = self._fitting(elements, match.get(_CHARACTER_SET, ""))
        if character_set is None:
            return None
        terms = terms_of(character_set)
        if character_set:
            elements[_CHARACTER_SET_TAG] = ("CS", "\\".join(terms))
        parts: list[bytes] = []
        for tag in sorted(elements):
            vr, text = elements[tag]
            value = self._value(vr, text, terms)
            if value is None:
                return None
            parts += (self._header(tag, vr, len(value)), value)
        return b"".join(parts)

    def _fitting(self, elements: Mapping[int, tuple[str, str]], own: str) -> str | None:
        """The first character set that can hold all texts: none, the query's, the object's own, or UTF-8."""
        texts = [(text, vr == "PN") for vr, text in elements.values() if vr in TEXT_VRS and text]
        if all(text.isascii() for text, _ in texts):
            return ""
        for character_set in filter(None, (self._character_set, own, UTF8)):
            terms = terms_of(character_set)
            if all(encoded(text, terms, name=name) is not None for text, name in texts):
                return character_set
        return None

    def _value(self, vr: str, text: str, terms: tuple[str, ...]) -> bytes | None:
        """A value's bytes, of even length; None if it is not plain."""
        if not text:
            return b""
        if vr in TEXT_VRS:
            data = encoded(text, terms, name=vr == "PN")
            if data is None or len(data) > _LONGEST:
                return None
        elif vr == "US":
            return self._short(int(text)) if _US.fullmatch(text) and int(text) <= 0xFFFF else None
        else:
            form = _FORMS.get(vr)
            if form is None or len(text) > _LONGEST or not form.fullmatch(text):
                return None
            data = text.encode("ascii")
        return data + (b"\0" if vr == "UI" else b" ") if len(data) % 2 else data

    def _made_header(self, tag: int, vr: str, length: int) -> bytes:
        return element_header(tag, vr.encode(), length, self._encoding)


@lru_cache(maxsize=1024)
def _known(keyword: str) -> tuple[int, str] | None:
    """The tag of a keyword and its VR by the dictionary; none for what is no attribute."""
    tag = tag_for_keyword(keyword)
    return None if tag is None else (tag, dictionary_VR(tag))
