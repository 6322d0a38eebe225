"""Attribute matching of PS3.4 C.2.2.2 without a database, for the attributes in sequences.

It agrees with :mod:`scp.index.matching`, which does the same in SQL; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable

from scp.index import wildcards
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
from scp.index.wildcards import Matcher
from scp.model import QueryKey


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
    alike = wildcards.matcher(tokens_of(value) if takes_wildcards(attribute) else [value])
    return lambda text: bool(text) and alike(text)


def _name_matcher(attribute: Attribute, value: str) -> Matcher:
    """A test group by group if ``value`` has ``=``, else of any component group."""
    groups = component_groups(attribute.keyword, value)
    if len(groups) == 1:
        only = _group_matcher(groups[0])
        return lambda text: any(map(only, keys(attribute, text)))
    tests = [(place, _group_matcher(group)) for place, group in enumerate(groups) if not universal(group)]
    return lambda text: all(test(keys(attribute, text)[place]) for place, test in tests)


def _group_matcher(pattern: str) -> Matcher:
    tests = [wildcards.matcher(tokens_of(each, folded=True)) for each in group_patterns(pattern)]
    return lambda text: not tests or (bool(text) and any(alike(text) for alike in tests))
