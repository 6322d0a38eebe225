"""Which entities a retrieve names (PS3.4 C.4.2.1.4): by unique keys, or by others that leave no doubt.

Client stacks leave out what the standard asks for: the Patient ID in patient root, the UIDs above the level,
the level itself; some retrieve by Accession Number. Other archives answer them, and so does this one unless
its hierarchy is strict, as long as it is one entity that is named (docs/decisions/0101).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from pydicom.dataset import Dataset

from scp.dimse.identifier import check_retrieve, joined, level_of, query_of
from scp.errors import QueryError
from scp.model import LEVELS, UNIQUE_KEYS, Query, QueryKey

_STUDY_UID, _ACCESSION, _ISSUER = "StudyInstanceUID", "AccessionNumber", "IssuerOfPatientID"
_SEVERAL = {"PATIENT": "patients", "STUDY": "studies", "SERIES": "series"}


class FoundMatches(Protocol):
    """The matches of a query, as keyword → text."""

    def __iter__(self) -> Iterator[Mapping[str, str]]:
        """One after the other."""

    def close(self) -> None:
        """End the query."""


Find = Callable[[Query], FoundMatches]


def named(identifier: Dataset, root: str, find: Find, *, strict: bool, relational: bool) -> Query:
    """What a retrieve's identifier names; ``find`` is asked where the identifier does not make that clear.

    Raises QueryError for an identifier that names nothing, and one that could mean several entities.
    """
    if not strict and not level_of(identifier):
        identifier.QueryRetrieveLevel = _level_by_keys(identifier)
    query = query_of(identifier, root, strict=strict, relational=relational)
    if not strict:
        query = _by_accession_number(query, find)
    check_retrieve(query)
    if not strict and not relational:
        _check_one(query, find)
    return query


def _level_by_keys(identifier: Dataset) -> str:
    """The lowest level at which a key names something."""
    for level in reversed(LEVELS):
        if joined(identifier.get(UNIQUE_KEYS[level], None)).strip(" \0"):
            return level
        if level == "STUDY" and joined(identifier.get(_ACCESSION, None)).strip(" \0"):
            return level
    return ""


def _by_accession_number(query: Query, find: Find) -> Query:
    """The query with the Study Instance UID of the one study that has its Accession Number."""
    given = _given(query)
    number = given.get(_ACCESSION, "")
    if query.level != "STUDY" or given.get(_STUDY_UID) or not number or set(number) & set("*?\\"):
        return query
    asked = {_STUDY_UID: "", _ACCESSION: number, **_patient(given)}
    with closing(find(_asking(query, asked))) as found:
        uids = {match[_STUDY_UID] for match in found}
    if len(uids) != 1:
        what = f"is that of {len(uids)} studies: name one by its UID" if uids else "is that of no study"
        raise QueryError(f"{_ACCESSION} {what}")
    others = tuple(key for key in query.keys if key.keyword != _STUDY_UID)
    return replace(query, keys=(*others, QueryKey(_STUDY_UID, "UI", uids.pop())))


def _check_one(query: Query, find: Find) -> None:
    """Check that each UID is of one entity, where keys above do not say of which. Raises QueryError."""
    levels = LEVELS if query.root == "PATIENT" else LEVELS[1:]
    given = _given(query)
    missing = [level for level in levels[: levels.index(query.level)] if not given.get(UNIQUE_KEYS[level])]
    if not missing:
        return
    own = UNIQUE_KEYS[query.level]
    unique = {UNIQUE_KEYS[level]: given.get(UNIQUE_KEYS[level], "") for level in levels}
    above: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    with closing(find(_asking(query, {**unique, **_patient(given)}))) as found:
        for match in found:
            above[match[own]].add(tuple(match.get(keyword, "") for keyword in _keywords(missing)))
            if len(above[match[own]]) > 1:
                which = missing[0]  # an Error Comment has 64 characters
                raise QueryError(f"{own} is of several {_SEVERAL[which]}: add {UNIQUE_KEYS[which]}")


def _keywords(levels: list[str]) -> list[str]:
    """The attributes that tell apart the entities of some levels."""
    unique = [UNIQUE_KEYS[level] for level in levels]
    return [*unique, _ISSUER] if "PATIENT" in levels else unique


def _asking(query: Query, asked: Mapping[str, str]) -> Query:
    return replace(query, keys=tuple(QueryKey(keyword, "", value) for keyword, value in asked.items()))


def _patient(given: Mapping[str, str]) -> dict[str, str]:
    return {keyword: given.get(keyword, "") for keyword in (UNIQUE_KEYS["PATIENT"], _ISSUER)}


def _given(query: Query) -> dict[str, str]:
    return {key.keyword: key.value for key in query.keys}
