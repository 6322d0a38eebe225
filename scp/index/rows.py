"""An instance and its attributes → the texts that the index holds, and the columns of its rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import RowMapping

from scp.identity import Identity
from scp.index.attributes import HELD, HELD_BY_KEYWORD, HELD_BY_TABLE, IDENTIFYING, KEYWORDS
from scp.index.keys import clean, keys
from scp.index.schema import INSTANCE_COLUMNS
from scp.model import UNIQUE_KEYS, Instance

Values = dict[str, Any]
UNIQUE: Mapping[str, str] = {level: HELD_BY_KEYWORD[keyword].column for level, keyword in UNIQUE_KEYS.items()}
_EMPTY: Mapping[str, Values] = {
    level: {name: "" for row in rows for name in (row.column, *row.key_columns)}
    for level, rows in HELD_BY_TABLE.items()
}
_OWN = frozenset(column.name for column in INSTANCE_COLUMNS)
_ROW_KEYWORDS: Mapping[str, tuple[str, ...]] = {
    level: tuple(row.keyword for row in rows if level != "IMAGE" or row.column not in _OWN)
    for level, rows in HELD_BY_TABLE.items()
}
_NO_TEXTS: Mapping[str, str] = dict.fromkeys(KEYWORDS, "")
_SHORT = 64  # characters of texts that are cached; most repeat from instance to instance

above: Callable[[Mapping[str, str]], tuple[str, ...]] = itemgetter(
    *(row.keyword for row in HELD if row.level != "IMAGE")
)


def texts(instance: Instance, attributes: Mapping[str, str]) -> dict[str, str]:
    """Keyword → text of all held attributes, '' for none; study and series as ``instance`` names them.

    :func:`above` selects those of patient, study and series, in the same order for all instances.
    """
    if isinstance(attributes, dict):  # chosen before: 20 texts, and 100 that are missing
        found = {**_NO_TEXTS, **attributes}
    else:
        get = attributes.get  # not items(): an object has hundreds, which are read when requested
        found = {keyword: get(keyword) or "" for keyword in KEYWORDS}
    found["StudyInstanceUID"] = instance.study_instance_uid
    found["SeriesInstanceUID"] = instance.series_instance_uid
    for keyword in IDENTIFYING:  # as instances hold them, so that they can be compared
        found[keyword] = cleaned(keyword, found[keyword])
    return found


def identity(instance: Instance, given: Mapping[str, str]) -> Identity:
    """The identity of an instance, by the texts that :func:`texts` made."""
    uids = (instance.sop_instance_uid, instance.study_instance_uid)
    return Identity(*uids, *(given[keyword] for keyword in IDENTIFYING))


@lru_cache(maxsize=8192)
def cleaned(keyword: str, text: str) -> str:
    """A value of an identifying attribute, as the index holds and compares it; most values repeat."""
    return clean(HELD_BY_KEYWORD[keyword], text)


def row(level: str, given: Mapping[str, str]) -> Values:
    """The columns of the table of ``level``; a missing value is '', a missing unique key NULL.

    The row of an instance lacks the fields of :class:`scp.model.Instance`.
    """
    values = dict(_EMPTY[level])
    for keyword in _ROW_KEYWORDS[level]:
        text = given[keyword]
        if text:
            values.update(_remembered(keyword, text) if len(text) <= _SHORT else _columns(keyword, text))
    if level in UNIQUE and level != "IMAGE":
        values[UNIQUE[level]] = values[UNIQUE[level]] or None
    return values


def _columns(keyword: str, text: str) -> Values:
    attribute = HELD_BY_KEYWORD[keyword]
    text = clean(attribute, text)
    values: Values = dict(zip(attribute.key_columns, keys(attribute, text), strict=True))
    values[attribute.column] = text
    return values


_remembered = lru_cache(maxsize=8192)(_columns)


# What :func:`reading_order` needs of a row.
ORDERING = (
    "study_instance_uid",
    "patient_id",
    "issuer_of_patient_id",
    "series_number_key",
    "series_instance_uid",
    "instance_number_key",
    "sop_instance_uid",
)


def reading_order(row: RowMapping) -> tuple[str, str, str, int, str, int, str]:
    """What instances that are retrieved are sorted by."""
    return (
        row["study_instance_uid"],
        row["patient_id"],
        row["issuer_of_patient_id"],
        _number(row["series_number_key"]),
        row["series_instance_uid"],
        _number(row["instance_number_key"]),
        row["sop_instance_uid"],
    )


def _number(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else 0
