"""Text of a VR → what the index keeps of it: the text to return, and keys that can be compared.

Recorded values and the values of a query use the same functions, so that the two always agree.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256

from scp.index.attributes import Attribute

VALUES = "\\"  # between the values of an attribute (PS3.5 6.4)
_LEADING_SPACES_COUNT = frozenset({"LT", "ST", "UT"})  # PS3.5 Table 6.2-1
_GROUPS = 3
# Attributes whose texts are keys of database indexes.
BOUNDED = frozenset({"PatientID", "IssuerOfPatientID", "AccessionNumber", "Modality"})
_MOST_BYTES, _MOST_NAME_BYTES, _DIGEST_BYTES = 256, 2048, 48

_TIME = r"(?:[01]\d|2[0-4])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"  # 24: seen for midnight
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_OFFSET = r"(?:[+-](?:0\d|1[0-4])[0-5]\d)?"
# VR → its grammar, and its first and last moment; the ends of these complete a value of lower precision.
_MOMENTS = {
    "DA": (re.compile(rf"(\d{{4}}{_MONTH}{_DAY})", re.ASCII), "00000101", "99991231"),
    "TM": (re.compile(f"({_TIME})", re.ASCII), "000000.000000", "235959.999999"),
    "DT": (
        re.compile(rf"(\d{{4}}(?:{_MONTH}(?:{_DAY}(?:{_TIME})?)?)?){_OFFSET}", re.ASCII),
        "00000101000000.000000",
        "99991231235959.999999",
    ),
}


def bounded(text: str, most: int = _MOST_BYTES) -> str:
    """``text`` as a database index can hold it: of a long one its beginning, and a digest of all of it.

    An entry of PostgreSQL's has 2704 bytes, in which the keys of an entry of the send queue must have room:
    two UIDs, a Patient ID and its issuer. The standard's values of LO have 64 characters, so 256 bytes.
    """
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most:
        return text
    beginning = encoded[: most - _DIGEST_BYTES].decode("utf-8", "ignore")
    return f"{beginning}…{sha256(encoded).hexdigest()[:40]}"


def storable(text: str) -> str:
    """``text`` without characters that a database cannot store.

    NUL, which pads UIDs, is removed. Lone surrogates, which a wrong Specific Character Set causes, become
    question marks.
    """
    text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean(attribute: Attribute, text: str) -> str:
    """``text`` as it is kept and returned: storable, and without padding (PS3.5 6.2)."""
    text = storable(text)
    if attribute.keyword in BOUNDED:
        return bounded(text.strip(" "))
    if attribute.several:
        return VALUES.join(value.strip(" ") for value in text.split(VALUES)).rstrip(VALUES)
    return text.rstrip(" ") if attribute.vr in _LEADING_SPACES_COUNT else text.strip(" ")


def keys(attribute: Attribute, text: str) -> tuple[str, ...]:
    """The keys of cleaned ``text``, one for each of ``attribute.key_columns``.

    A date or time that cannot be parsed has an empty key: only universal matching finds it.
    """
    if attribute.vr == "PN":
        made = _name_keys(text.split(VALUES) if attribute.several else [text])
        return made if attribute.several else tuple(bounded(group, _MOST_NAME_BYTES) for group in made)
    if attribute.vr == "IS":
        return (integer(text),)
    if attribute.vr in _MOMENTS:
        moments = period(attribute.vr, text)
        return (moments[0] if moments else "",)
    return (text,)


def fold(text: str) -> str:
    """``text`` as names are compared: without differences of compatibility form (half-width kana) and case.

    Folding once is not enough: NFKC may compose the result again, and that may fold further.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded).casefold()


def name_group(group: str) -> str:
    """One component group of a name without spaces around components, or delimiters at the end.

    ``Doe ^John^^`` becomes ``Doe^John`` (PS3.5 6.2.1.1: trailing null components may be left out).
    """
    return "^".join(component.strip(" ") for component in group.split("^")).rstrip("^")


def integer(text: str) -> str:
    """An Integer String in its shortest form (``+007`` becomes ``7``); other text is returned unchanged."""
    return str(int(text)) if re.fullmatch(r"[+-]?[0-9]{1,12}", text) else text


def period(vr: str, text: str) -> tuple[str, str] | None:
    """The first and last moment that a DA, TM or DT value stands for, as keys; None if it is malformed.

    ``10`` is the hour from ``100000.000000`` to ``105959.999999``. The UTC offset of a DT is left out: most
    values have none, so only local times can be compared.
    """
    grammar, first, last = _MOMENTS[vr]
    found = grammar.fullmatch(_without_old_delimiters(vr, text))
    if found is None:
        return None
    value = found[1]
    return value + first[len(value) :], value + last[len(value) :]


def always(vr: str) -> tuple[str, str]:
    """Keys below and above (or equal to) all keys of DA, TM or DT values, except the empty one."""
    first = _MOMENTS[vr][1]
    return re.sub(r"\d", "0", first), re.sub(r"\d", "9", first)


def _without_old_delimiters(vr: str, text: str) -> str:
    """Text without ACR-NEMA 2.0 delimiters (1993.08.22, 10:15:30), which PS3.5 Table 6.2-1 still allows."""
    if vr == "DA" and re.fullmatch(r"\d{4}\.\d\d\.\d\d", text):
        return text.replace(".", "")
    return text.replace(":", "") if vr == "TM" else text


def _name_keys(names: list[str]) -> tuple[str, ...]:
    groups = [[*name.split("="), "", ""][:_GROUPS] for name in names]
    return tuple(
        VALUES.join(fold(name_group(group)) for group in column if group)
        for column in zip(*groups, strict=True)
    )
