"""Identifiers of C-FIND, C-MOVE and C-GET: read, checked, and written (PS3.4 C.2.2, C.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.dsutils import decode, encode

from scp.encoding.census import excess_of
from scp.encoding.characters import TEXT_VRS, decoded, terms_of
from scp.encoding.elements import Encoding
from scp.encoding.streams import inflated_within
from scp.errors import IdentifierTooLarge, QueryError, UnreadableDataset
from scp.model import LEVELS, UNIQUE_KEYS, Query, QueryKey
from scp.resources.bounds import Bounds
from scp.spool import Buffer
from scp.syntaxes import TransferSyntax, lookup

_LEVEL, _CHARSET = 0x00080052, 0x00080005
# Elements of the service itself: neither keys to match nor attributes of objects.
SERVICE_KEYS = frozenset((_LEVEL, _CHARSET, 0x00080053, 0x00080054, 0x00080056, 0x00080201))
# Outside of these lie groups that no dataset has, those of commands and files (PS3.5 7.1), and those of
# signatures and padding: a key in them is ignored, and not returned.
_FIRST_GROUP, _LAST_GROUP = 0x0008, 0xFFF9
_DEEPEST = 8  # sequences within sequences, in a key
# What an identifier may be and hold: a key takes 30 µs, a sequence's item 100. Those that PS3.6 has for all
# levels together are some 300.
OF_QUERIES = Bounds(elements=5_000, items=1_000, fragments=0, depth=_DEEPEST, inflated_bytes=4 << 20)
IDENTIFIER = "identifier"  # what the count of limits calls these bounds: they have no key
_UNFOLLOWED = 65_536  # so many bytes hold no more elements than that, wherever they begin


def read_identifier(data: Buffer | None, transfer_syntax: str, limits: Bounds = OF_QUERIES) -> Dataset:
    """Decode an identifier, its texts by its own character set.

    Raises QueryError; IdentifierTooLarge, before more is done with it, where it passes ``limits``.
    """
    if data is None:
        raise QueryError("the request has no identifier")
    syntax = lookup(transfer_syntax)
    try:
        data = bounded(data, syntax, limits)
        identifier = decode(BytesIO(bytes(data)), not syntax.explicit_vr, syntax.little_endian)
        _read_values(identifier, ())
    except QueryError:
        raise
    except Exception as error:  # pydicom raises whatever a malformed value makes it raise
        raise QueryError(f"the identifier cannot be read: {error}") from error
    return identifier


def bounded(data: Buffer, syntax: TransferSyntax, limits: Bounds) -> Buffer:
    """An identifier's data, inflated, if neither its size nor what it holds passes ``limits``."""
    plain = inflated_within(data, limits.inflated_bytes) if syntax.deflated else data
    if plain is None or len(plain) > limits.inflated_bytes:
        told = f"the identifier is longer than {limits.inflated_bytes} bytes"
        raise IdentifierTooLarge(told, limit=IDENTIFIER)
    try:
        beyond = excess_of(plain, Encoding(syntax.explicit_vr, syntax.little_endian), limits)
    except UnreadableDataset:  # pydicom may know how to go on
        if len(plain) > _UNFOLLOWED:
            raise
        return plain
    if beyond is not None:
        most = f"{limits.elements} elements, {limits.items} items, {limits.depth} levels of sequences"
        told = f"the identifier holds too much; the most is {most}"
        raise IdentifierTooLarge(told, limit=IDENTIFIER)
    return plain


def _read_values(dataset: Dataset, around: Sequence[str], depth: int = 0) -> None:
    """Read all values, which pydicom would do only when each is asked for; texts are decoded here.

    See :mod:`scp.encoding.characters` for the reason. ``around`` is the character set of the dataset that
    this one is an item of.
    """
    if depth > _DEEPEST:
        raise QueryError(f"sequences nest deeper than {_DEEPEST}")
    terms = terms_of(joined(dataset[_CHARSET].value)) if _CHARSET in dataset else around
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        vr = _vr_of(raw)
        if isinstance(raw, RawDataElement) and raw.VR == "UN" != vr:
            dataset[tag] = raw = raw._replace(VR=vr)
        if isinstance(raw, RawDataElement) and vr in TEXT_VRS:
            text = decoded(raw.value or b"", terms, name=vr == "PN").rstrip(" \0")
            dataset[tag] = DataElement(tag, vr, text, already_converted=True)
            continue
        if isinstance(raw, RawDataElement) and vr == "UI":
            dataset[tag] = DataElement(tag, vr, _uids(raw.value or b""), already_converted=True)
            continue
        value = dataset[tag].value
        if dataset[tag].VR == "SQ":
            for item in value:
                _read_values(item, terms, depth + 1)


def _vr_of(raw: RawDataElement | DataElement) -> str:
    """An element's VR; by the dictionary of PS3.6 where it has none, or UN.

    Lists of more than 64 KB are UN in explicit VR, as their own VR has 16 bits for the length (PS3.5 6.2.2).
    pydicom keeps them as bytes.
    """
    known = dictionary_VR(raw.tag) if keyword_for_tag(raw.tag) else "UN"
    if raw.VR == "UN":
        return "UN" if known == "SQ" or " or " in known else known
    return str(raw.VR or known)


def _uids(value: bytes) -> str | list[str]:
    """UIDs without their padding. pydicom strips tabs too, under which objects may be held."""
    uids = [uid.strip(" \0") for uid in value.decode("latin-1").split("\\")]
    return uids if len(uids) > 1 else uids[0]


def query_of(
    identifier: Dataset, root: str, *, strict: bool, relational: bool, combined_datetime: bool = False
) -> Query:
    """The query that an identifier makes.

    Raises QueryError for a level that its root does not have and, where ``strict``, for a hierarchical
    query that does not pin the entities above its level (PS3.4 C.4.1.2.2.1).
    """
    level = level_of(identifier)
    levels = LEVELS if root == "PATIENT" else LEVELS[1:]
    if level not in levels:
        told = f"Query/Retrieve Level {level!r} is none of {', '.join(levels)}"
        raise QueryError(told, quoted=repr(level))
    keys = tuple(_key(element) for element in keys_of(identifier))
    if strict and not relational:
        _check_hierarchy(keys, level, levels)
    return Query(root, level, keys, relational, combined_datetime)


def level_of(identifier: Dataset) -> str:
    """The Query/Retrieve Level, empty where there is none."""
    return str(identifier.get("QueryRetrieveLevel", "") or "").strip(" \0")


def keys_of(identifier: Dataset) -> Iterator[DataElement]:
    """The elements that ask for something: attributes of the standard that an object may have."""
    for element in identifier:
        asks = _FIRST_GROUP <= element.tag.group <= _LAST_GROUP and element.tag.element != 0
        if asks and element.tag not in SERVICE_KEYS and keyword_for_tag(element.tag):
            yield element


def joined(value: Any) -> str:
    """A value as text, several values with backslashes between them; bytes give no text."""
    if value is None or isinstance(value, bytes):
        return ""
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return "\\".join("" if one is None else str(one) for one in values)


def is_sequence(keyword: str) -> bool:
    """Whether an attribute is a sequence, by the dictionary of PS3.6."""
    tag = tag_for_keyword(keyword)  # an overlay's has none
    return tag is not None and dictionary_VR(tag) == "SQ"


def _key(element: DataElement) -> QueryKey:
    return QueryKey(keyword_for_tag(element.tag), element.VR, _text(element))


def _text(element: DataElement) -> str:
    """A key's value; of a sequence the JSON of its items, as :class:`scp.model.QueryKey` has it."""
    if element.VR == "UN" and element.value:  # no value to compare: it would match everything
        raise QueryError(f"{element.keyword}: its VR is UN, and its value cannot be read")
    if element.VR != "SQ":
        text = joined(element.value).strip(" \0" if element.VR == "UI" else None)
    else:
        items = [item for item in map(_item, element.value or ()) if item]
        text = json.dumps(items, ensure_ascii=False) if items else ""
    if text and is_sequence(element.keyword) != (element.VR == "SQ"):
        raise QueryError(f"{element.keyword}: its VR is not {element.VR}")
    return text


def _item(item: Dataset) -> dict[str, Any]:
    """What an item of a sequence key asks for: keyword → text, or the items of a sequence within."""
    asked = {element.keyword: (element.VR, _text(element)) for element in keys_of(item)}
    return {
        keyword: json.loads(text) if vr == "SQ" else text
        for keyword, (vr, text) in asked.items()
        if text and tag_for_keyword(keyword) is not None  # not an overlay's, which no index holds
    }


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


def write_identifier(identifier: Dataset, transfer_syntax: str) -> bytes:
    """Encode a response's identifier."""
    syntax = lookup(transfer_syntax)
    data = encode(identifier, not syntax.explicit_vr, syntax.little_endian, syntax.deflated)
    if data is None:
        raise ValueError("the response's identifier cannot be encoded")
    return data
