"""The DICOM JSON Model (PS3.18 F) of attributes whose values are known as text, as the index has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

JsonDataset = dict[str, dict[str, Any]]
_UTF8 = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8 (F.2)
_CHARACTER_SET = "SpecificCharacterSet"
_TEXT = frozenset("LT ST UR UT".split())  # a backslash is a character of these (PS3.5 6.4)
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Longer ones stay text: a double does not hold them, and Python refuses to read more than 4300 digits.
_INTEGER = re.compile(r"[+-]?\d{1,15}", re.ASCII)


def of_texts(texts: Mapping[str, Any]) -> JsonDataset:
    """A dataset of keyword → text, or the JSON of a sequence's items; it says that it is in UTF-8.

    What is no keyword of PS3.6 is left out.
    """
    return _dataset({**texts, _CHARACTER_SET: ""}) | {"00080005": _UTF8}


def _dataset(texts: Mapping[str, Any]) -> JsonDataset:
    named = ((_known(keyword), text) for keyword, text in texts.items())
    found = {known[0]: attribute(known[1], text) for known, text in named if known is not None}
    return {tag: found[tag] for tag in sorted(found)}


@lru_cache(maxsize=4096)  # without it a match takes twice the time, 49 µs for 24
def _known(keyword: str) -> tuple[str, str] | None:
    """The tag of a keyword as the model has it, and its VR by PS3.6; None for what is no attribute."""
    tag = tag_for_keyword(keyword)
    return None if tag is None else (f"{tag:08X}", dictionary_VR(tag))


def attribute(vr: str, text: Any) -> dict[str, Any]:
    """An attribute whose value is ``text``; without a value where that is empty (F.2.5).

    Of a sequence it is the JSON of its items, or the items: keyword → text, or items.
    """
    if vr == "SQ":
        items = json.loads(text) if isinstance(text, str) and text else text or ()
        return {"vr": vr, "Value": [_dataset(item) for item in items]} if items else {"vr": vr}
    vr = vr.split(" or ", maxsplit=1)[0]
    if not text:
        return {"vr": vr}
    parts = [text] if vr in _TEXT else text.split("\\")
    return {"vr": vr, "Value": [_VALUES.get(vr, _text)(part) if part else None for part in parts]}


def person_name(text: str) -> dict[str, str]:
    """A name's component groups that are not empty (F.2.2)."""
    return {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group}


def _text(text: str) -> str:
    return text


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text.strip(" ")) else text


def _decimal(text: str) -> float | int | str:
    """A number as a number; what is none, as it is: the standard allows both (F.2.3)."""
    stripped = text.strip(" ")
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    number = float(stripped) if _NUMBER.fullmatch(stripped) else None
    return text if number is None or number in (float("inf"), float("-inf")) else number


_VALUES: Mapping[str, Callable[[str], Any]] = {
    "PN": person_name,
    **dict.fromkeys("IS SL SS SV UL US UV".split(), _integer),
    **dict.fromkeys("DS FD FL".split(), _decimal),
}


def written(datasets: Iterable[JsonDataset]) -> bytes:
    """Datasets one after the other, with commas between them, as UTF-8; what is no character is replaced."""
    texts = (json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in datasets)
    return ",".join(texts).encode("utf-8", "replace")
