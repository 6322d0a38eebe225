"""The text of a sequence, for the index: JSON of its items, each an object of keyword → text.

A sequence within one is an array of items again. Items are compact: no private or bulk elements, none
without a value, none longer than :data:`LONGEST`. A sequence is cut behind the item that makes it longer than
:data:`MOST`, behind a thousand items and 4 MB, and what is nested deeper than :data:`DEEPEST` is left out:
what a study list asks for has one or two items, and what a peer sends must not take memory without a bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from scp.encoding.elements import ITEM, UNDEFINED, ElementReader, Encoding
from scp.errors import UnreadableDataset
from scp.spool import Buffer

LONGEST, MOST, DEEPEST = 1024, 16_384, 4  # characters of a value, of a sequence; levels of sequences
_MOST_ITEMS, _MOST_BYTES = 1000, 4 << 20  # that are looked at: a million empty items took 5 s
_REMEMBERED = 4096  # bytes of sequences that are remembered: a series says the same in each object


@dataclass(frozen=True, slots=True)
class Around:
    """What a sequence is in: how it is encoded, its Specific Character Set, and how deep it is nested."""

    encoding: Encoding
    character_set: bytes
    depth: int


# An item's bytes → what it says. It is given, as it asks for sequences again.
ReadItem = Callable[[Buffer, Around], Mapping[str, str]]


def text_of_sequence(data: Buffer, around: Around, read: ReadItem) -> str | None:
    """The JSON of the items in ``data``, the value of a sequence; None where it has none that can be read."""
    if around.depth >= DEEPEST:
        return None
    if len(data) > _REMEMBERED:
        return _text(data[:_MOST_BYTES], around, read)
    return _remembered(bytes(data), around, read)


def _text(data: Buffer, around: Around, read: ReadItem) -> str | None:
    texts: list[str] = []
    with suppress(UnreadableDataset):  # what comes before a fault is known, as of the dataset itself
        for item in islice(_items(data, around.encoding), _MOST_ITEMS):
            said = _said(read(item, around))
            if said:
                texts.append(json.dumps(said, ensure_ascii=False))
            if sum(map(len, texts)) > MOST:
                break
    return f"[{', '.join(texts)}]" if texts else None


_remembered = lru_cache(maxsize=1024)(_text)


def _items(data: Buffer, encoding: Encoding) -> Iterator[Buffer]:
    reader, at, end = ElementReader(data, encoding), 0, len(data)
    while at < end:
        tag, _, value, length = reader.header(at, end)
        if tag != ITEM:
            return
        stop = value + length if length != UNDEFINED else reader.end_of_item(value, end, 1)
        yield data[value:stop]
        at = stop if length != UNDEFINED else stop + 8


def _said(item: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for keyword in item:
        text, tag = item[keyword], tag_for_keyword(keyword)
        if tag is None:
            continue  # of a repeating group: an overlay
        if dictionary_VR(tag) == "SQ":
            said[keyword] = json.loads(text)
        elif text and len(text) <= LONGEST and keyword != "SpecificCharacterSet":  # the text is read by it
            said[keyword] = text
    return said
