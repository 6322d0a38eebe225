"""Attribute matching of PS3.4 C.2.2.2: one key of an identifier → one condition in SQL. Pure.

Wildcards become LIKE. If the pattern starts with text, a range of keys with this prefix is added, because a
B-tree index can find a range. In a text with several values each value is matched alone: LIKE narrows down,
and a regular expression decides, as ``*`` must not match across values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, literal, or_, true

from scp.errors import QueryError
from scp.index.attributes import Attribute
from scp.index.keys import VALUES, always, fold, integer, name_group, period, storable
from scp.model import QueryKey

# SQLite allows 32 766 parameters in a statement, enough for three such lists of UIDs (study, series and
# instance), and conditions nested 1000 deep; each further pattern adds one level.
MOST_VALUES, MOST_PATTERNS = 10_000, 100
_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})  # C.2.2.2.4
_ONE_VALUE_VRS = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text there (PS3.5 6.4)
_LISTED_VRS = frozenset({"IS", "UI"})
MOMENT_VRS = frozenset({"DA", "DT", "TM"})
_COMPONENTS, _GROUPS = 5, 3  # of a person name (PS3.5 6.2.1.1)
_ESCAPE = "/"
_HIGHEST = "\U0010ffff"

Condition = ColumnElement[bool]
Text = ColumnElement[Any]


def universal(value: str) -> bool:
    """Whether ``value`` matches all entities, also those without the attribute (PS3.4 C.2.2.2.3)."""
    return not value.strip(" \0").strip("*")


def values(key: QueryKey, attribute: Attribute) -> list[str]:
    """The values that ``key`` lists, any of which may match; empty for universal matching.

    The standard has lists for UIDs (PS3.4 C.2.2.2.2); here they work for every VR that allows several
    values.

    Raises :class:`scp.errors.QueryError` for more than :data:`MOST_VALUES` UIDs or integers, or
    :data:`MOST_PATTERNS` others.
    """
    text = storable(key.value)
    if attribute.vr in _ONE_VALUE_VRS:
        return [] if universal(text) else [text.rstrip(" ")]
    listed = [part.strip(" ") for part in text.split(VALUES) if part.strip(" ")]
    most = MOST_VALUES if attribute.vr in _LISTED_VRS else MOST_PATTERNS
    if len(listed) > most:
        raise QueryError(f"{key.keyword}: a list of {len(listed)} values; {most} are the most")
    return [] if any(universal(value) for value in listed) else listed


def condition(key: QueryKey, attribute: Attribute, table: FromClause) -> Condition | None:
    """The condition of ``key`` on ``attribute`` in the rows of ``table``; None if all rows match.

    Raises :class:`scp.errors.QueryError`, with the keyword, for a value that the VR or the kind of matching
    does not allow.
    """
    listed = values(key, attribute)
    if not listed:
        return None
    columns: list[Text] = [table.c[name] for name in attribute.key_columns]
    if attribute.vr == "UI":
        return columns[0].in_(listed)  # no wildcards (C.2.2.2.1): * and ? are literal, as in held values
    if attribute.vr == "IS":
        return columns[0].in_([integer_of(key.keyword, value) for value in listed])
    if attribute.vr in MOMENT_VRS:
        return or_(*(_within(columns[0], *moments(key.keyword, attribute.vr, value)) for value in listed))
    if attribute.vr == "PN":
        return or_(*(_name(key.keyword, columns, value, attribute.several) for value in listed))
    return or_(*(_text(columns[0], value, attribute) for value in listed))


def combined(date: QueryKey, time: QueryKey, columns: tuple[Text, Text]) -> Condition:
    """Combined date and time matching: both keys limit one span of time (PS3.4 C.2.2.2.5).

    ``columns`` are the key columns of the date and the time. Neither key may be universal or a list.

    Raises :class:`scp.errors.QueryError` as :func:`condition` does.
    """
    first_day, last_day = moments(date.keyword, "DA", date.value)
    first_time, last_time = moments(time.keyword, "TM", time.value)
    span = _within(columns[0] + columns[1], first_day + first_time, last_day + last_time)
    return and_(_within(columns[0], first_day, last_day), span)  # the first half is for the index


def moments(keyword: str, vr: str, value: str) -> tuple[str, str]:
    """The first and last moment of a DA, TM or DT value or range, as keys (PS3.4 C.2.2.2.5).

    Both ends of a range are included completely: ``10-12`` lasts until ``125959.999999``.

    Raises :class:`scp.errors.QueryError` for anything else, naming ``keyword``.
    """
    value = value.strip(" \0")
    one = period(vr, value)
    if one is not None:
        return one
    # A hyphen may also belong to the UTC offset of a DT, so each hyphen is tried.
    for hyphen in re.finditer("-", value):
        first, last = value[: hyphen.start()].strip(), value[hyphen.end() :].strip()
        low = period(vr, first) if first else always(vr)
        high = period(vr, last) if last else always(vr)
        if low and high and (first or last):
            return low[0], high[1]
    told = f"{keyword}: {value!r} is neither a {vr} value nor a range of them"
    raise QueryError(told, quoted=repr(value))


def _within(column: Text, first: str, last: str) -> Condition:
    # Not BETWEEN: PostgreSQL cannot parse "BETWEEN … COLLATE … AND", as SQLAlchemy renders it.
    return and_(column >= first, column <= last)


def integer_of(keyword: str, value: str) -> str:
    """``value`` as an integer's key. Raises :class:`scp.errors.QueryError`, naming ``keyword``."""
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", value):
        told = f"{keyword}: {value!r} is not an integer; nothing else applies to IS"
        raise QueryError(told, quoted=repr(value))
    return integer(value)


def takes_wildcards(attribute: Attribute) -> bool:
    """Whether ``*`` and ``?`` are wildcards in the values of ``attribute`` (PS3.4 C.2.2.2.4)."""
    return attribute.vr in _WILDCARD_VRS


def literals(key: QueryKey, attribute: Attribute) -> list[str]:
    """The literal parts that each text which matches ``key`` certainly contains."""
    if attribute.vr in {"PN", "IS", *MOMENT_VRS}:
        return []  # these are compared as keys, not as text
    listed = values(key, attribute)
    if len(listed) != 1:
        return []
    return [part for part in (tokens_of(listed[0])[::2] if takes_wildcards(attribute) else listed) if part]


def _text(column: Text, value: str, attribute: Attribute) -> Condition:
    if takes_wildcards(attribute):
        return _alike(column, tokens_of(value), attribute.several)
    return _alike(column, [value], attribute.several)


def _name(keyword: str, columns: list[Text], value: str, several: bool) -> Condition:
    """A pattern with ``=`` matches group by group; one without ``=`` matches any component group."""
    groups = component_groups(keyword, value)
    if len(groups) == 1:
        return or_(*(_group(column, value, several) for column in columns))
    pairs = zip(columns, groups, strict=False)
    asked = [_group(column, group, several) for column, group in pairs if not universal(group)]
    return and_(true(), *asked)


def component_groups(keyword: str, value: str) -> list[str]:
    """A name's component groups. Raises :class:`scp.errors.QueryError`, with ``keyword``, for too many."""
    groups = value.split("=")
    if len(groups) > _GROUPS:
        raise QueryError(f"{keyword}: {len(groups)} component groups; a name has {_GROUPS} at most")
    return groups


def group_patterns(pattern: str) -> list[str]:
    """The patterns for a component group, any of which may match; empty for universal matching.

    ``Doe^*`` also finds ``Doe``: delimiters at the end do not count, so ``Doe`` equals ``Doe^``.
    """
    patterns = [name_group(pattern)]
    while patterns[-1].endswith("^*") and len(patterns) <= _COMPONENTS:
        patterns.append(patterns[-1].removesuffix("*").rstrip("^"))
    # Only delimiters: an empty value, which is universal matching.
    return [each for each in patterns if each] if patterns[0] else []


def _group(column: Text, pattern: str, several: bool) -> Condition:
    patterns = group_patterns(pattern)
    if not patterns:
        return true()
    return or_(*(_alike(column, tokens_of(each, folded=True), several) for each in patterns))


def tokens_of(pattern: str, *, folded: bool = False) -> list[str]:
    """Literal text and the wildcards ``*`` and ``?`` in turn; literal text is at the even positions.

    Text is folded piece by piece, as folding turns full-width forms into wildcards.
    """
    pieces = re.split(r"(\*+|\?)", pattern)
    pieces[1::2] = [wildcard[0] for wildcard in pieces[1::2]]  # several stars equal one
    if folded:
        pieces[::2] = [fold(text) for text in pieces[::2]]
    return pieces


def _alike(column: Text, tokens: list[str], several: bool) -> Condition:
    if several:
        return _any_value_alike(column, tokens)
    if len(tokens) == 1:
        return column == tokens[0]
    like = column.like(_like(tokens), escape=_ESCAPE)
    return and_(*_beginning(column, tokens[0]), like, column != "")


def _any_value_alike(column: Text, tokens: list[str]) -> Condition:
    enclosed = literal(VALUES) + column + literal(VALUES)
    like = enclosed.like(f"%{VALUES}{_like(tokens)}{VALUES}%", escape=_ESCAPE)
    if len(tokens) == 1:
        return like
    return and_(like, column != "", column.regexp_match(rf"(^|\\){_regular(tokens)}(\\|$)"))


def _beginning(column: Text, prefix: str) -> Iterable[Condition]:
    """The range of the texts that begin with ``prefix``, in the order of code points."""
    if not prefix:
        return
    yield column >= prefix
    stem = prefix.rstrip(_HIGHEST)
    if stem:
        # The code points between these two are surrogates, which do not occur in text.
        following = 0xE000 if stem[-1] == "\ud7ff" else ord(stem[-1]) + 1
        yield column < stem[:-1] + chr(following)


def _like(tokens: list[str]) -> str:
    return _translated(tokens, {"*": "%", "?": "_"}, lambda text: re.sub(r"([%_/])", r"/\1", text))


def _regular(tokens: list[str]) -> str:
    """A regular expression that means the same in Python (used with SQLite) and in PostgreSQL."""
    return _translated(tokens, {"*": r"[^\\]*", "?": r"[^\\]"}, re.escape)


def _translated(tokens: list[str], wildcards: Mapping[str, str], escape: Callable[[str], str]) -> str:
    return "".join(wildcards[token] if place % 2 else escape(token) for place, token in enumerate(tokens))
