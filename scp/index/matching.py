"""Attribute matching of PS3.4 C.2.2.2: one key of an identifier → one condition in SQL. Pure.

Wildcards become LIKE. If the pattern starts with text, a range of keys with this prefix is added, because a
B-tree index can find a range. In a text with several values each value is matched alone: LIKE narrows down,
and :class:`scp.index.dialect.AnyValueLike` decides, as ``*`` must not match across values.

What a key may hold is bounded (docs/decisions/0133), so that no key takes more than a time in proportion to
what it is compared with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, literal, or_, true

from scp.errors import QueryError
from scp.index.attributes import LOSSY, Attribute
from scp.index.dialect import AnyValueLike
from scp.index.keys import BOUNDED, VALUES, always, bounded, fold, integer, name_group, period, storable
from scp.index.wildcards import ESCAPE, like
from scp.model import QueryKey
from scp.syntaxes import ALWAYS_LOSSY

# SQLite allows 32 766 parameters in a statement, enough for three such lists of UIDs (study, series and
# instance), and conditions nested 1000 deep; each further pattern adds one level.
MOST_VALUES, MOST_PATTERNS = 10_000, 100
# Of all values of a key. A name has three groups of 64 characters, and a star for each would be odd.
MOST_WILDCARDS = 200
# A value of LT has 10 240 characters, of LO 64 (PS3.5 table 6.2-1). SQLite's LIKE takes patterns of
# 50 000 bytes, which is why a name may not be longer: folding makes 18 characters of one.
LONGEST_TEXT, LONGEST_VALUE = 10_240, 1024
# What a key's value may come to in parameters of a statement: all components of a name in each of its groups.
MOST_PARAMETERS, _OF_A_NAME, _OF_A_PATTERN = 32_000, 72, 4
# What the count of limits calls these: they have no key.
KEY = "query key"
_LONGEST_MOMENTS = 64  # a range of DT has 53
_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})  # C.2.2.2.4
_ONE_VALUE_VRS = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text there (PS3.5 6.4)
_LISTED_VRS = frozenset({"IS", "UI"})
MOMENT_VRS = frozenset({"DA", "DT", "TM"})
_COMPONENTS, _GROUPS = 5, 3  # of a person name (PS3.5 6.2.1.1)
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
    :data:`MOST_PATTERNS` others, and for a value or wildcards beyond what one key may hold.
    """
    text = storable(key.value)
    if attribute.vr in _ONE_VALUE_VRS:
        return [] if universal(text) else _bounded(key.keyword, attribute, [text.rstrip(" ")])
    listed = [part.strip(" ") for part in text.split(VALUES) if part.strip(" ")]
    most = MOST_VALUES if attribute.vr in _LISTED_VRS else MOST_PATTERNS
    if len(listed) > most:
        raise QueryError(f"{key.keyword}: a list of {len(listed)} values; {most} are the most", limit=KEY)
    if any(universal(value) for value in listed):
        return []
    listed = _bounded(key.keyword, attribute, listed)
    if attribute.keyword in BOUNDED:  # as the index holds them
        return [value if "*" in value or "?" in value else bounded(value) for value in listed]
    return listed


def check_parameters(keys: Iterable[QueryKey], attributes: Mapping[str, Attribute]) -> None:
    """Raise :class:`scp.errors.QueryError` for keys that together list more than a statement can hold."""
    wanted = 0
    for key in keys:
        attribute = attributes.get(key.keyword)
        if attribute is None or attribute.vr == "SQ":
            continue
        each = 1 if attribute.vr in _LISTED_VRS else _OF_A_NAME if attribute.vr == "PN" else _OF_A_PATTERN
        wanted += each * len(values(key, attribute))
    if wanted > MOST_PARAMETERS:
        raise QueryError("the keys list too many values together; ask in several queries", limit=KEY)


def _bounded(keyword: str, attribute: Attribute, listed: list[str]) -> list[str]:
    longest = max(map(len, listed), default=0)
    most = LONGEST_TEXT if attribute.vr in _ONE_VALUE_VRS else LONGEST_VALUE
    if longest > most:
        raise QueryError(f"{keyword}: a value of {longest} characters; {most} are the most", limit=KEY)
    if takes_wildcards(attribute):
        wildcards = sum(value.count("*") + value.count("?") for value in listed)
        if wildcards > MOST_WILDCARDS:
            raise QueryError(f"{keyword}: {wildcards} wildcards; {MOST_WILDCARDS} are the most", limit=KEY)
    return listed


def condition(key: QueryKey, attribute: Attribute, table: FromClause) -> Condition | None:
    """The condition of ``key`` on ``attribute`` in the rows of ``table``; None if all rows match.

    Raises :class:`scp.errors.QueryError`, with the keyword, for a value that the VR or the kind of matching
    does not allow.
    """
    listed = values(key, attribute)
    if not listed:
        return None
    columns: list[Text] = [table.c[name] for name in attribute.key_columns]
    if attribute.keyword == LOSSY:
        columns = [text_of(attribute, table)]
    if attribute.vr == "UI":
        return columns[0].in_(listed)  # no wildcards (C.2.2.2.1): * and ? are literal, as in held values
    if attribute.vr == "IS":
        return columns[0].in_([integer_of(key.keyword, value) for value in listed])
    if attribute.vr in MOMENT_VRS:
        return or_(*(_within(columns[0], *moments(key.keyword, attribute.vr, value)) for value in listed))
    if attribute.vr == "PN":
        return or_(*(_name(key.keyword, columns, value, attribute.several) for value in listed))
    return or_(*(_text(columns[0], value, attribute) for value in listed))


def text_of(attribute: Attribute, table: FromClause) -> Text:
    """What is answered for an attribute of the rows of ``table``: what the object says.

    An object that lost something says so, even where its header does not, or an earlier version recorded it.
    """
    column = table.c[attribute.column]
    if attribute.keyword != LOSSY:
        return column
    lost = table.c.received_transfer_syntax.in_(ALWAYS_LOSSY) | (table.c.lossy_of != "")
    return case((lost, literal("01")), else_=column)


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
    if len(value) > _LONGEST_MOMENTS:  # each hyphen is tried, with all that is around it
        raise QueryError(f"{keyword}: {len(value)} characters are neither a {vr} value nor a range of them")
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
    alike = column.like(like(tokens), escape=ESCAPE)
    return and_(*_beginning(column, tokens[0]), alike, column != "")


def _any_value_alike(column: Text, tokens: list[str]) -> Condition:
    pattern = like(tokens)
    enclosed = literal(VALUES) + column + literal(VALUES)
    narrowed = enclosed.like(f"%{VALUES}{pattern}{VALUES}%", escape=ESCAPE)
    if len(tokens) == 1:
        return narrowed
    return and_(narrowed, column != "", AnyValueLike(column, literal(pattern)))


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
