"""Identifiers of C-FIND, C-MOVE and C-GET: read, checked, and written (PS3.4 C.2.2, C.4)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import STR_VR
from pynetdicom.dsutils import decode, encode

from scp.errors import QueryError
from scp.model import LEVELS, UNIQUE_KEYS, Query, QueryKey
from scp.spool import Buffer
from scp.syntaxes import lookup

_LEVEL, _CHARSET = 0x00080052, 0x00080005
# Neither keys nor answers of the objects: the service's own.
SERVICE_KEYS = frozenset((_LEVEL, _CHARSET, 0x00080053, 0x00080054, 0x00080056, 0x00080201))
_UTF8 = "ISO_IR 192"
_INTEGERS = frozenset("US SS UL SL UV SV".split())
_FLOATS = frozenset("FL FD".split())


def read_identifier(data: Buffer | None, transfer_syntax: str) -> Dataset:
    """Decode an identifier, its texts by its own character set. Raises QueryError."""
    if data is None:
        raise QueryError("the request has no identifier")
    syntax = lookup(transfer_syntax)
    try:
        identifier = decode(
            BytesIO(bytes(data)), not syntax.explicit_vr, syntax.little_endian, syntax.deflated
        )
        identifier.decode()
        for element in identifier:  # pydicom reads values when they are asked for: ask now
            _ = element.value
    except Exception as error:  # pydicom raises whatever a malformed value makes it raise
        raise QueryError(f"the identifier cannot be read: {error}") from error
    return identifier


def query_of(
    identifier: Dataset, root: str, *, strict: bool, relational: bool, combined_datetime: bool = False
) -> Query:
    """The query that an identifier makes.

    Raises QueryError for a level that its root does not have and, where ``strict``, for a hierarchical
    query that does not pin the entities above its level (PS3.4 C.4.1.2.2.1).
    """
    level = str(identifier.get("QueryRetrieveLevel", "") or "").strip()
    levels = LEVELS if root == "PATIENT" else LEVELS[1:]
    if level not in levels:
        raise QueryError(f"Query/Retrieve Level {level!r} is none of {', '.join(levels)}")
    keys = tuple(_key(element) for element in identifier if _is_key(element))
    if strict and not relational:
        _check_hierarchy(keys, level, levels)
    return Query(root, level, keys, relational, combined_datetime)


def _is_key(element: DataElement) -> bool:
    return element.tag not in SERVICE_KEYS and element.tag.element != 0 and bool(keyword_for_tag(element.tag))


def _key(element: DataElement) -> QueryKey:
    return QueryKey(keyword_for_tag(element.tag), element.VR, _text(element))


def _text(element: DataElement) -> str:
    if element.VR == "SQ" or element.value is None:
        return ""
    value = element.value
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    if isinstance(value, bytes):
        return ""
    text = "\\".join("" if one is None else str(one) for one in values)
    return text.strip(" \0" if element.VR == "UI" else None)


def _check_hierarchy(keys: tuple[QueryKey, ...], level: str, levels: tuple[str, ...]) -> None:
    """A UID pins its entity and, being unique in the world, those above it."""
    values = {key.keyword: key.value for key in keys}
    above = levels[: levels.index(level)]
    pinned = [one for one in above if _is_single(one, values.get(UNIQUE_KEYS[one], ""))]
    if above and above[-1] not in pinned:
        raise QueryError(
            f"{UNIQUE_KEYS[above[-1]]} must have one value at {level} level, "
            "unless relational queries are negotiated"
        )


def _is_single(level: str, value: str) -> bool:
    return bool(value.strip("*")) and "\\" not in value and not _is_pattern(level, value)


def _is_pattern(level: str, value: str) -> bool:
    """Whether a unique key has wildcards; those of the levels below the patient are UIDs, which have none."""
    return level == LEVELS[0] and any(c in value for c in "*?")


def check_retrieve(query: Query) -> None:
    """A retrieve names entities by their unique keys alone (PS3.4 C.4.2.1.4). Raises QueryError."""
    wanted = UNIQUE_KEYS[query.level]
    value = next((key.value for key in query.keys if key.keyword == wanted), "")
    if not value.strip("*") or _is_pattern(query.level, value):
        raise QueryError(f"{wanted} must name what is to be retrieved at {query.level} level")


def answer(identifier: Dataset, match: Mapping[str, str], service: Mapping[str, str]) -> Dataset:
    """A response's identifier: every key that was asked for, empty where it is not held.

    ``service`` holds what the archive adds, such as RetrieveAETitle.
    """
    result = Dataset()
    for element in identifier:
        if _is_key(element):
            _put(result, element.tag, element.VR, match.get(keyword_for_tag(element.tag), ""))
    for keyword, text in {**match, **service}.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and tag not in result:
            _put(result, tag, dictionary_VR(tag), text)
    texts = "".join(match.values())
    if not texts.isascii():
        result.SpecificCharacterSet = _charset_for(texts, identifier.get("SpecificCharacterSet", ""))
    return result


def _put(result: Dataset, tag: int, vr: str, text: str) -> None:
    """Add an element; a value that its VR cannot hold is left empty rather than sent wrong."""
    with suppress(ValueError, TypeError, OverflowError):
        result.add_new(tag, vr, _value(vr, text))
        return
    result.add_new(tag, vr, _value(vr, ""))


def _value(vr: str, text: str) -> Any:
    if vr == "SQ":
        return []
    if not text:
        return None
    if vr in _INTEGERS:
        return _several([int(part) for part in text.split("\\")])
    if vr in _FLOATS:
        return _several([float(part) for part in text.split("\\")])
    if vr not in STR_VR:
        return None
    return text


def _several(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def _charset_for(texts: str, asked: Any) -> Any:
    """The character set of the query where it can hold the answer, else UTF-8."""
    if not asked:
        return _UTF8
    try:
        encodings = convert_encodings(asked)
        kept = decode_bytes(encode_string(texts, encodings), encodings, set()) == texts
    except (LookupError, UnicodeError, ValueError):
        return _UTF8
    return asked if kept else _UTF8


def write_identifier(identifier: Dataset, transfer_syntax: str) -> bytes:
    """Encode a response's identifier."""
    syntax = lookup(transfer_syntax)
    data = encode(identifier, not syntax.explicit_vr, syntax.little_endian, syntax.deflated)
    if data is None:
        raise ValueError("the response's identifier cannot be encoded")
    return data
