"""How studies are found by the name of their patient where it begins with a wildcard. Pure.

No index of names helps there. Trigrams do (docs/decisions/0198, 0236): a name that matches a pattern contains
each three letters in a row that the pattern has between its wildcards. Trigrams only narrow down; the pattern
itself is then compared as it always is. Of a common name they find many studies, so that the newest ones of
the dates are looked at before (docs/decisions/0200).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, column, func, literal_column, select, table, true

from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.keys import VALUES
from scp.index.matching import (
    Condition,
    component_groups,
    condition,
    group_patterns,
    tokens_of,
    universal,
    values,
)
from scp.index.schema import TABLES
from scp.model import Query, QueryKey

# One of them has a name that each 500th study has; to look at all takes PostgreSQL 2 ms.
NEWEST_STUDIES = 2000
# Keywords whose index is better than any other way in.
BEST = ("PatientID", "StudyInstanceUID", "AccessionNumber", "SeriesInstanceUID", "SOPInstanceUID")
# SQLite's table of trigrams, and the studies that are not in it yet (:mod:`scp.index.sqlite_trigrams`).
TRIGRAMS = table("trigrams", column("rowid"))
DUE = select(table("trigrams_due", column("study")).c.study)
# The lists of a million studies are read in 2 ms or less with so many of a pattern's trigrams, and in up to
# 25 with all 24 of a long one, which find hardly fewer.
_MOST_OF_A_PATTERN, _MOST = 5, 60
_NAME = HELD_BY_KEYWORD["PatientName"]
_STUDY = TABLES["STUDY"].alias()  # to make it takes half a millisecond
_STUDY.c.keys()  # makes the columns, before several threads ask for them


def is_by_name(query: Query) -> bool:
    """Whether studies are found by the beginning of a name, and not by a unique key."""
    given = _given(query)
    name = given["PatientName"].value if "PatientName" in given else ""
    return not name.startswith(("*", "?")) and "*" in name and not any(key in given for key in BEST)


def begins_with_wildcard(query: Query) -> bool:
    """Whether a name begins with a wildcard, and there is no unique key."""
    given = _given(query)
    name = given["PatientName"].value if "PatientName" in given else ""
    return name.startswith(("*", "?")) and not any(key in given for key in BEST)


def newest_named(query: Query) -> Select[Any] | None:
    """The ids of the studies that a name finds among the :data:`NEWEST_STUDIES` of a query's dates.

    None unless the query asks for studies, the name begins with a wildcard, the dates are one range or any,
    and there is no unique key. An index of trigrams finds all studies of a name, of any date, which takes
    long if the name is common; then one of these few has it.
    """
    given = _given(query)
    date = given.get("StudyDate")
    if query.level != "STUDY" or not begins_with_wildcard(query) or (date and VALUES in date.value):
        return None
    newest = select(_STUDY.c.id, *(_STUDY.c[column] for column in _NAME.key_columns))
    looked_at = newest.where(_dated(date)).order_by(_STUDY.c.study_date_key.desc()).limit(NEWEST_STUDIES)
    of_these = looked_at.subquery()
    matching = condition(given["PatientName"], _NAME, of_these)
    return None if matching is None else select(of_these.c.id).where(matching)


def count_of_dates(query: Query) -> Select[Any] | None:
    """A count of the studies of a query's dates, one more than :data:`NEWEST_STUDIES` at most.

    None where no dates find studies.

    Raises :class:`scp.errors.QueryError` as :func:`scp.index.matching.condition` does.
    """
    date = _given(query).get("StudyDate")
    if date is None or query.level == "PATIENT":
        return None
    rows = select(_STUDY.c.id).where(_dated(date)).limit(NEWEST_STUDIES + 1).subquery()
    return select(func.count()).select_from(rows)


def trigrams(query: Query) -> str:
    """What the table of trigrams is asked to MATCH; empty where an index is better, or the name has none.

    Raises :class:`scp.errors.QueryError` as :func:`scp.index.matching.condition` does.
    """
    given = _given(query)
    if "PatientName" not in given or any(keyword in given for keyword in BEST):
        return ""
    listed = values(given["PatientName"], _NAME)
    if not any(map(_has_no_beginning, listed)):
        return ""
    asked = _any_of([_of_value(value) for value in listed])
    return asked if asked.count(" ") < 2 * _MOST else ""


def matching_trigrams(asked: str) -> Condition:
    """Whether a row of the table of trigrams has them."""
    return literal_column("trigrams").op("MATCH", is_comparison=True)(bindparam("trigrams", asked))


def _given(query: Query) -> dict[str, QueryKey]:
    return {key.keyword: key for key in query.keys if not universal(key.value)}


def _dated(date: QueryKey | None) -> Condition:
    dated = condition(date, HELD_BY_KEYWORD["StudyDate"], _STUDY) if date else None
    return true() if dated is None else dated


def _groups(value: str) -> list[str]:
    return [group for group in component_groups("PatientName", value) if not universal(group)]


def _has_no_beginning(value: str) -> bool:
    """Whether no index of names finds what a value matches."""
    return all(group.lstrip(" ").startswith(("*", "?")) for group in _groups(value))


def _of_value(value: str) -> str:
    """The trigrams of one value of a key: all of its component groups match."""
    groups = [_any_of([_of_pattern(one) for one in group_patterns(group)]) for group in _groups(value)]
    return _joined([group for group in groups if group], "AND")


def _of_pattern(pattern: str) -> str:
    pieces = tokens_of(pattern, folded=True)[::2]
    found = list(dict.fromkeys(piece[at : at + 3] for piece in pieces for at in range(len(piece) - 2)))
    if len(found) > _MOST_OF_A_PATTERN:
        found = [found[n * (len(found) - 1) // (_MOST_OF_A_PATTERN - 1)] for n in range(_MOST_OF_A_PATTERN)]
    return _joined(['"' + each.replace('"', '""') + '"' for each in found if "\0" not in each], "AND")


def _any_of(asked: list[str]) -> str:
    """That any of them is found; empty, which is anything, if one of them is."""
    return _joined(list(dict.fromkeys(asked)), "OR") if all(asked) else ""


def _joined(asked: list[str], word: str) -> str:
    return f"({f' {word} '.join(asked)})" if len(asked) > 1 else "".join(asked)
