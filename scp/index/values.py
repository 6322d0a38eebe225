"""Attribute matching of PS3.4 C.2.2.2 without a database, for the attributes in sequences.

It agrees with :mod:`scp.index.matching`, which does the same in SQL; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable

from scp.index.attributes import Attribute
from scp.index.keys import VALUES, clean, keys
from scp.index.matching import (
    MOMENT_VRS,
    component_groups,
    group_patterns,
    integer_of,
    moments,
    takes_wildcards,
    tokens_of,
    universal,
    values,
)
from scp.model import QueryKey

Matcher = Callable[[str], bool]


def matcher_of(attribute: Attribute, value: str) -> Matcher | None:
    """A test whether a text of ``attribute`` matches ``value``; None if all texts match, and a missing one.

    Raises :class:`scp.errors.QueryError` as :func:`scp.index.matching.condition` does.
    """
    listed = values(QueryKey(attribute.keyword, attribute.vr, value), attribute)
    if not listed:
        return None
    make, single = _kind_of(attribute), Attribute(attribute.level, attribute.keyword, attribute.vr)
    tests = [make(single, each) for each in listed]

    def matches(text: str) -> bool:
        text = clean(attribute, text)
        found = text.split(VALUES) if attribute.several else [text]
        return any(test(each) for test in tests for each in found)

    return matches


def _kind_of(attribute: Attribute) -> Callable[[Attribute, str], Matcher]:
    if attribute.vr in MOMENT_VRS:
        return _moment_matcher
    return {"UI": _uid_matcher, "IS": _integer_matcher, "PN": _name_matcher}.get(attribute.vr, _text_matcher)


def _uid_matcher(_: Attribute, value: str) -> Matcher:
    return lambda text: text == value


def _integer_matcher(attribute: Attribute, value: str) -> Matcher:
    number = integer_of(attribute.keyword, value)
    return lambda text: keys(attribute, text)[0] == number


def _moment_matcher(attribute: Attribute, value: str) -> Matcher:
    first, last = moments(attribute.keyword, attribute.vr, value)
    return lambda text: first <= keys(attribute, text)[0] <= last


def _text_matcher(attribute: Attribute, value: str) -> Matcher:
    pattern = tokens_of(value) if takes_wildcards(attribute) else [value]
    return lambda text: bool(text) and alike(pattern, text)


def _name_matcher(attribute: Attribute, value: str) -> Matcher:
    """A test group by group if ``value`` has ``=``, else of any component group."""
    groups = component_groups(attribute.keyword, value)
    if len(groups) == 1:
        only = _group_matcher(groups[0])
        return lambda text: any(map(only, keys(attribute, text)))
    tests = [(place, _group_matcher(group)) for place, group in enumerate(groups) if not universal(group)]
    return lambda text: all(test(keys(attribute, text)[place]) for place, test in tests)


def _group_matcher(pattern: str) -> Matcher:
    patterns = [tokens_of(each, folded=True) for each in group_patterns(pattern)]
    return lambda text: not patterns or (bool(text) and any(alike(each, text) for each in patterns))


def alike(pattern: list[str], text: str) -> bool:
    """Whether a text matches a pattern of literal text and wildcards, in time proportional to their product.

    A regular expression could run for ever with many stars. Only the last star needs to be tried again.
    """
    units = [(place % 2, unit) for place, part in enumerate(pattern) for unit in part]
    at = unit = 0
    star, resumed = -1, 0
    while at < len(text):
        wild, sought = units[unit] if unit < len(units) else (0, "")
        if wild and sought == "*":
            star, resumed, unit = unit, at, unit + 1
        elif sought and (wild or sought == text[at]):
            at, unit = at + 1, unit + 1
        elif star >= 0:
            resumed += 1
            at, unit = resumed, star + 1
        else:
            return False
    return all(wild and sought == "*" for wild, sought in units[unit:])
