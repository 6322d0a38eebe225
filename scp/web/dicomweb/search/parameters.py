"""The query parameters of a search (PS3.18 8.3.4): a query string → a query, and what is asked beside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from scp.errors import QueryError
from scp.model import LEVELS, UNIQUE_KEYS, Query, QueryKey
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.search.attributes import everything, is_known, is_matched, required

# Of a query string: as long as the head of a request may be (scp.web.page.serving), and more keys than PS3.6
# has for all levels together.
MOST_BYTES, MOST_PARAMETERS = 32_768, 1000
_DEEPEST = 8  # sequences within sequences, as of C-FIND
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_SWITCHES = {"true": True, "false": False}
# Who asks for these is told that they are not there. Multiple Value Matching is there, asked for or not.
_UNSUPPORTED = {
    "fuzzymatching": "The fuzzymatching parameter is not supported. "
    "Only literal matching has been performed.",
    "emptyvaluematching": "The emptyvaluematching parameter is not supported. "
    "Empty Value Matching has not been performed.",
}
_SWITCHED = (*_UNSUPPORTED, "multiplevaluematching")
# The media type, which is looked at elsewhere (PS3.18 8.3.3.1).
_OTHERS = ("accept",)
PARAMETERS = ("includefield", "limit", "offset", *_SWITCHED, *_OTHERS)
_LISTED_BY_COMMAS = ("CS", "UI")  # no value of these has one (PS3.5 6.2); viewers ask for modalities so
_ALL = "all"
_MOST_TOLD = 20  # attributes, in a header


@dataclass(frozen=True, slots=True)
class Search:
    """What a search asks for: ``offset`` matches are skipped, ``limit`` are told at most; None: all.

    ``fields`` are the keywords that each match has. ``warnings`` are for its Warning header.
    """

    query: Query
    fields: tuple[str, ...]
    limit: int | None
    offset: int
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Parameters:
    matched: dict[tuple[str, ...], str]
    included: list[tuple[str, ...]]
    single: dict[str, str]
    everything: bool = False


def search_of(
    level: str, named: Mapping[str, str], query_string: bytes, seen: tuple[QueryKey, ...] = ()
) -> Search:
    """What a query string asks for at a level, below the entities that are ``named``: level → UID.

    Raises QueryError for what the standard does not allow, Refused (404, 414).
    """
    if len(query_string) > MOST_BYTES:
        raise Refused(414, f"The query is longer than {MOST_BYTES} bytes.")
    given = _read(query_string)
    warnings = [told for name, told in _UNSUPPORTED.items() if _switch(given.single, name)]
    _switch(given.single, "multiplevaluematching")
    matched = _keys(given.matched)
    above = {UNIQUE_KEYS[each]: _uid(uid) for each, uid in named.items()}
    if both := sorted(above.keys() & matched.keys()):
        raise QueryError(f"{both[0]} is named by the path: leave it out of the query")
    ignored = [keyword for keyword in matched if not is_matched(keyword)]
    included = [path[0] for path in given.included]
    ignored += [keyword for keyword in included if not is_known(keyword)]
    warnings += _told_of(list(dict.fromkeys(ignored)))
    fields = dict.fromkeys(required(level, named))
    fields |= dict.fromkeys(everything(level) if given.everything else ())
    fields |= dict.fromkeys(UNIQUE_KEYS[each] for each in LEVELS[1 : LEVELS.index(level) + 1])
    fields |= dict.fromkeys((*matched, *included))
    limiting = {keyword: value for keyword, value in matched.items() if is_matched(keyword)}
    wanted = dict.fromkeys(fields, "") | limiting | above
    keys = tuple(QueryKey(keyword, _vr_of(keyword), value) for keyword, value in wanted.items())
    # Dates are matched with their times, and studies by what is in them (PS3.18 8.3.4.1.1, 10.6.1.2).
    query = Query("STUDY", level, keys, relational=True, combined_datetime=True, seen=seen)
    limit = _count(given.single, "limit")
    return Search(query, tuple(fields), limit, _count(given.single, "offset") or 0, tuple(warnings))


def _told_of(ignored: list[str]) -> list[str]:
    """The Warning of attributes that the index does not have, or cannot be matched by."""
    if not ignored:
        return []
    more = f" and {len(ignored) - _MOST_TOLD} more" if len(ignored) > _MOST_TOLD else ""
    names = ", ".join(ignored[:_MOST_TOLD])
    return [f"These attributes are not supported, and were ignored: {names}{more}"]


def _read(query_string: bytes) -> _Parameters:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MOST_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        told = f"the query is not percent-encoded UTF-8, or has more than {MOST_PARAMETERS} parameters"
        raise QueryError(told) from None
    found = _Parameters({}, [], {})
    for name, value in pairs:
        if name == "includefield":
            words = [word for word in value.split(",") if word]
            found.everything = found.everything or _ALL in words
            found.included += [_attribute(word) for word in words if word != _ALL]
        elif name in _OTHERS:
            continue
        elif name in ("limit", "offset", *_SWITCHED):
            _once(found.single, name, value, name)
        else:
            _once(found.matched, _attribute(name), value, name)
    return found


def _once(found: dict[Any, str], key: object, value: str, name: str) -> None:
    if key in found:
        raise QueryError(f"{name} is there more than once", quoted=name)
    found[key] = value


def _attribute(name: str) -> tuple[str, ...]:
    """The keywords of an attribute, or of one within items of sequences; of a private one its tag."""
    path = tuple(map(_keyword, name.split(".")))
    if len(path) > _DEEPEST:
        raise QueryError(f"sequences nest deeper than {_DEEPEST}")
    for keyword in path[:-1]:
        if _vr_of(keyword) != "SQ":
            raise QueryError(f"{keyword} is no sequence, and has nothing within")
    return path


def _keyword(name: str) -> str:
    if _TAG.fullmatch(name):
        return keyword_for_tag(int(name, 16)) or name.upper()
    if tag_for_keyword(name) is None:
        told = f"{name[:64]!r} is neither a parameter of searches, nor the keyword or tag of an attribute"
        raise QueryError(told, quoted=repr(name[:64]))
    return name


def _vr_of(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return "UN" if tag is None else dictionary_VR(tag)


def _keys(matched: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """Keyword → value; of a sequence the JSON of one item, with all that is asked of it."""
    found: dict[str, str] = {}
    items: dict[str, dict[str, Any]] = {}
    for path, value in matched.items():
        vr = _vr_of(path[-1])
        if vr == "SQ" and value:
            raise QueryError(
                f"{path[-1]} is a sequence: ask for an attribute within, as {path[-1]}.CodeValue"
            )
        text = value.replace(",", "\\") if vr in _LISTED_BY_COMMAS else value
        if len(path) == 1:
            found.setdefault(path[0], text)
            continue
        item = items.setdefault(path[0], {})
        for keyword in path[1:-1]:
            item = item.setdefault(keyword, [{}])[0]
        if text:
            item[path[-1]] = text
    return found | {keyword: json.dumps([item], ensure_ascii=False) for keyword, item in items.items()}


def _uid(text: str) -> str:
    """A UID of a path: one value, which is compared as it is. Raises Refused (404) for what can be none."""
    if not text.strip(" \0*") or "\\" in text:
        raise Refused(404, "The path names no UID.")
    return text


def _switch(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in _SWITCHES:
        raise QueryError(f'{name} is "true" or "false"')
    return _SWITCHES[value]


def _count(given: Mapping[str, str], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not _COUNT.fullmatch(value):
        raise QueryError(f"{name} is a whole number, such as 100")
    return int(value)


def asked_for(query: Query) -> Iterable[str]:
    """The keywords that a query is limited by: for the log, which has no values."""
    return [key.keyword for key in query.keys if key.value]
