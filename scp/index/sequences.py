"""Sequence matching (PS3.4 C.2.2.2.6): narrowed down in SQL, decided here.

The text of a sequence is a JSON array of items, each an object of keyword → text or, for a nested sequence,
such an array. A query key has the same shape, with the requested values instead of held ones. An item matches
if all requested attributes match, and only matching items are answered. SQL selects the texts that contain
the literal parts of the key anywhere; JSON functions would differ between databases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from sqlalchemy import ColumnElement, and_

from scp.index.attributes import COMPUTED_BY_KEYWORD, HELD_BY_KEYWORD, Attribute
from scp.index.keys import storable
from scp.index.matching import literals
from scp.index.values import matcher_of
from scp.index.wildcards import Matcher
from scp.model import Query, QueryKey

BETWEEN = "\n"  # between the texts of several entities; JSON on one line does not contain it
Item = Mapping[str, Any]
Match = dict[str, str]
Selection = Callable[[Match], Match | None]


def is_sequence(keyword: str) -> bool:
    """Whether the index holds, or gathers, a sequence under ``keyword``."""
    computed = COMPUTED_BY_KEYWORD.get(keyword)
    held = HELD_BY_KEYWORD.get(computed.gathers if computed else keyword)
    return held is not None and held.vr == "SQ"


def narrowed(value: str, column: ColumnElement[Any]) -> ColumnElement[bool] | None:
    """The condition that a column's text contains the literal parts of ``value``; None if it has none.

    A list of several items would match any of them: it narrows nothing down.
    """
    items = json.loads(value) if value else []
    if not items:
        return None
    parts = _literals(items[0]) if len(items) == 1 else ()
    return and_(column != "", *(column.contains(_as_json(part), autoescape=True) for part in parts))


def narrows(query: Query) -> bool:
    """Whether :func:`selection` may leave out what the database finds: a key asks for items of a sequence."""
    return any(key.value and is_sequence(key.keyword) for key in query.keys)


def selection(query: Query) -> Selection | None:
    """A function that removes the items that do not match from a match's sequences.

    It returns None if no item of a sequence is left. There is no function, but None, if the query has no
    condition on a sequence. Raises :class:`scp.errors.QueryError` for a value that is not allowed.
    """
    asked = {key.keyword: key for key in query.keys if is_sequence(key.keyword)}
    if not asked:
        return None
    tests = {keyword: _items_test(json.loads(key.value)) for keyword, key in asked.items() if key.value}

    def select(match: Match) -> Match | None:
        changed: Match = {}
        for keyword in asked.keys() & match.keys():
            test = tests.get(keyword)
            items = [item for item in _items(match[keyword]) if test is None or test(item)]
            if test is not None and not items:
                return None
            changed[keyword] = json.dumps(items, ensure_ascii=False) if items else ""
        return match | changed

    return select


def _items(text: str) -> list[Item]:
    """The items in the text of one entity or several, each item once."""
    lines = [json.loads(line) for line in sorted(text.split(BETWEEN)) if line]
    items = {json.dumps(item, sort_keys=True): item for line in lines for item in line}
    return list(items.values())


def _items_test(asked: list[Item]) -> Callable[[Item], bool]:
    tests = [_item_test(each) for each in asked]
    return lambda item: any(test(item) for test in tests)


def _item_test(asked: Item) -> Callable[[Item], bool]:
    """A test for all requested attributes of an item; a missing attribute counts as empty text."""
    nested = {name: _items_test(value) for name, value in asked.items() if not isinstance(value, str)}
    plain: dict[str, Matcher] = {}
    for name, value in asked.items():
        test = matcher_of(_attribute(name), value) if isinstance(value, str) else None
        if test is not None:
            plain[name] = test

    def matches(item: Item) -> bool:
        return all(test(item.get(name, "")) for name, test in plain.items()) and all(
            any(map(test, item.get(name, ()))) for name, test in nested.items()
        )

    return matches


def _attribute(keyword: str) -> Attribute:
    return Attribute("IMAGE", keyword, dictionary_VR(keyword), several=dictionary_VM(keyword) != "1")


def _literals(asked: Item) -> Iterator[str]:
    for keyword, value in asked.items():
        if isinstance(value, str):
            yield from literals(QueryKey(keyword, "", value), _attribute(keyword))
        elif len(value) == 1:
            yield from _literals(value[0])


def _as_json(text: str) -> str:
    return json.dumps(storable(text), ensure_ascii=False)[1:-1]
