"""The identifiers of C-FIND responses: what is found as elements, in a character set that can hold it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import STR_VR

from scp.dimse.identifier import is_sequence, joined, keys_of
from scp.encoding.characters import TEXT_VRS, UTF8, encoded, terms_of

_CHARACTER_SET = "SpecificCharacterSet"
_INTEGERS = frozenset("US SS UL SL UV SV".split())
_FLOATS = frozenset("FL FD".split())


class Coded(bytes):
    """A text as bytes, which pydicom writes as they are; its own encoding of texts is not enough.

    See :mod:`scp.encoding.characters`.
    """

    __slots__ = ()

    def encode(self, _encodings: object) -> bytes:
        """What pydicom asks of a person name."""
        return self


def answer(identifier: Dataset, match: Mapping[str, str], service: Mapping[str, str]) -> Dataset:
    """A response's identifier: every key that was asked for, empty where it is not held.

    ``service`` holds what the archive adds, such as RetrieveAETitle. Where there are other characters than
    those of ASCII, they are in the query's character set, else in the one that ``match`` says its object has,
    else in UTF-8: the first that can hold all of them.
    """
    found = dict(match)
    own = found.pop(_CHARACTER_SET, "")
    result = _answered(identifier, found)
    for keyword, text in {**found, **service}.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and tag not in result:
            _put(result, tag, dictionary_VR(tag), text)
    asked = joined(identifier.get(_CHARACTER_SET, None))
    _write_texts(result, (asked, own, UTF8))
    return result


def _answered(asked: Dataset, found: Mapping[str, Any]) -> Dataset:
    """The keys of ``asked``, with their values of ``found``; also for an item of a sequence."""
    result = Dataset()
    for element in keys_of(asked):
        value = found.get(element.keyword, "")
        if is_sequence(element.keyword) != (element.VR == "SQ"):
            value = ""  # the key has a VR that its attribute has not
        if element.VR == "SQ":
            wanted = element.value[0] if element.value else Dataset()
            items = json.loads(value) if value and isinstance(value, str) else value
            result.add_new(element.tag, "SQ", [_item(wanted, item) for item in items or ()])
        else:
            _put(result, element.tag, element.VR, value)
    return result


def _item(wanted: Dataset, item: Mapping[str, Any]) -> Dataset:
    """The attributes that were asked for (PS3.4 C.2.2.2.6), or all of an item if none was named."""
    if any(True for _ in keys_of(wanted)):
        return _answered(wanted, item)
    result = Dataset()
    for keyword, value in item.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and isinstance(value, str):
            _put(result, tag, dictionary_VR(tag), value)
        elif tag is not None:
            result.add_new(tag, "SQ", [_item(Dataset(), inner) for inner in value])
    return result


def _put(result: Dataset, tag: int, vr: str, text: str) -> None:
    """Add an element; a value that its VR cannot hold is left empty rather than sent wrong."""
    if vr in TEXT_VRS:
        result[tag] = DataElement(tag, vr, text, already_converted=True)
        return
    with suppress(ValueError, TypeError, OverflowError):
        result.add_new(tag, vr, _value(vr, text))
        return
    result.add_new(tag, vr, _value(vr, ""))


def _value(vr: str, text: str) -> Any:
    if vr == "SQ":
        return []
    if not text:
        return None
    if vr in _INTEGERS:
        return _several([int(part) for part in text.split("\\")])
    if vr in _FLOATS:
        return _several([float(part) for part in text.split("\\")])
    if vr not in STR_VR:
        return None
    return text


def _several(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def _texts(dataset: Dataset) -> Iterator[tuple[Dataset, DataElement]]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in TEXT_VRS and element.value:
            yield dataset, element


def _write_texts(result: Dataset, character_sets: tuple[str, ...]) -> None:
    """Code the texts in the first of ``character_sets`` that can hold all of them, and say which it is.

    ASCII needs none.
    """
    texts = list(_texts(result))
    for character_set in ("", *filter(None, character_sets)):
        terms = terms_of(character_set)
        codes = [encoded(element.value, terms, name=element.VR == "PN") for _, element in texts]
        if any(code is None for code in codes):
            continue
        if character_set:
            result.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
        for (dataset, element), code in zip(texts, codes, strict=True):
            coded = DataElement(element.tag, element.VR, Coded(code or b""), already_converted=True)
            dataset[element.tag] = coded
        return
