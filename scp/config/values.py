"""The values of the configuration: how an admin writes each, and what the models keep.

Every reader here takes what tomllib read, and returns what is kept or raises ValueError with what is
wrong and what would be right; :mod:`scp.config.sources` puts file and key before it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Hashable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from scp.model import CALLING_AET
from scp.syntaxes import BY_KEYWORD, BY_UID, FORMS

# What a rule may ask besides the attributes of the dataset.
SPECIAL_KEYS = (CALLING_AET, "called_aet", "transfer_syntax", "size")

_LEAST_MEMORY = 64 * 10**6
_MOST_DIGITS = 18  # of an amount, as a 64-bit number has them
_BYTE_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTE_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_LONGEST = 1000 * _SECONDS["y"]
_COMPARISON = re.compile(r"\s*(<=|>=|<|>)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_UID_GLOB = re.compile(r"[\d.*?\[\]!-]+")
# VRs that Facts.attributes leaves out (scp.model), so that a rule on them could never match.
_UNMATCHABLE_VRS = {"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"}

T = TypeVar("T")


class Table(BaseModel):
    """A table of the file: never changed once read, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


def nearest(word: str, known: Collection[str], otherwise: str = "") -> str:
    """What ``word`` was meant to be: the close names among ``known``, else all of them.

    ``otherwise`` stands in for a list that is too long to read.
    """
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=3)
    if close:
        return "did you mean " + " or ".join(f'"{by_folded[name]}"' for name in close) + "?"
    return otherwise or "known: " + ", ".join(known)


def byte_count(value: object) -> int:
    """Bytes from a whole number or from text such as ``"500MB"``, ``"1.5 GB"``, ``"1GiB"``."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).casefold())
    if isinstance(value, bool) or parts is None or parts[2] not in _BYTE_UNITS:
        raise ValueError(f'"{value}" is not an amount of bytes; write a number, "500MB", "2GB" or "1GiB"')
    unit = _BYTE_UNITS[parts[2]]
    if len(parts[1]) > _MOST_DIGITS:  # a float would become infinite, or lose what was written
        raise ValueError(f'{parts[1][:_MOST_DIGITS]}… has too many digits; write, say, "2TB"')
    return int(float(parts[1]) * unit) if "." in parts[1] else int(parts[1]) * unit


def memory_bytes(value: object) -> int:
    """Bytes of memory for objects; ``"auto"`` is 0. Raises ValueError for less than 64 MB."""
    if value == "auto":
        return 0
    found = byte_count(value)
    if 0 < found < _LEAST_MEMORY:
        raise ValueError(f'{found} bytes are too few to work on an object; write "auto", or at least "64MB"')
    return found


def duration(value: object) -> int | None:
    """Seconds from text such as ``"0s"``, ``"12h"``, ``"30d"``, ``"6w"``, ``"5y"`` (of 365 days)."""
    if value is None:
        return None
    parts = re.fullmatch(r"(\d+)\s*([smhdwy])", value.strip()) if isinstance(value, str) else None
    if parts is None:
        raise ValueError(f'"{value}" is not a duration; write "0s", "15m", "12h", "30d", "6w" or "5y"')
    seconds = int(parts[1]) * _SECONDS[parts[2]] if len(parts[1]) <= _MOST_DIGITS else _LONGEST + 1
    if seconds > _LONGEST:  # beyond what dates are counted with
        raise ValueError(f'"{parts[0][:40]}" is too long; the longest is "1000y"')
    return seconds


def part(value: object) -> float | None:
    """A part of 1 from text such as ``"90%"``; None where it is empty."""
    if value == "":
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if parts is None or not 0 < float(parts[1]) <= 100:
        raise ValueError(f'"{value}" is not a percentage; write, say, "90%", or "" for none')
    return float(parts[1]) / 100


def tcp_port(value: object) -> int | None:
    """A TCP port, 0 for any that is free; None where it is empty."""
    if value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError(
            f'"{value}" is no port; write a whole number up to 65535, such as 2762, or "" for none'
        )
    return value


def hours(value: object) -> tuple[int, int] | None:
    """Hours of a day as minutes from midnight, from text such as ``"19:00-06:00"``; None for all day."""
    if value == "":
        return None
    parts = (
        re.fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", value) if isinstance(value, str) else None
    )
    numbers = [int(part) for part in parts.groups()] if parts else [24, 60, 24, 60]
    begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if max(numbers[0::2]) > 23 or max(numbers[1::2]) > 59 or begin == end:
        raise ValueError(f'"{value}" is not a time of day; write, say, "19:00-06:00", or "" for all day')
    return begin, end


def ae_title(text: str) -> str:
    """An AE title without the padding that PS3.5 6.2 calls insignificant."""
    title = text.strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError(f'"{title}" has {len(title)} characters; an AE title has 1 to 16')
    if not (title.isascii() and title.isprintable()) or "\\" in title:
        raise ValueError(f"{title!r} is not an AE title; use ASCII without backslash or control characters")
    return title


def index_url(text: str) -> str:
    """The index's database: ``sqlite:///relative``, ``sqlite:////absolute``, or a PostgreSQL server's.

    A URL has no password, as it is shown and logged.
    """
    if re.match(r"\w+(\+\w+)?://[^/]*:[^/]*@", text) or re.search(r"[?&]password=", text):
        raise ValueError("has a password in it; write that as index.password, which is never shown")
    if re.fullmatch(r"postgresql\+psycopg://[^/\s]*/[^/\s]+", text):
        return text
    if text.startswith("postgres"):
        raise ValueError(f'"{text}" is not known; use "postgresql+psycopg://user@host/database"')
    if not re.fullmatch(r"sqlite:///.*[^/\s]", text):
        raise ValueError(
            f'"{text}" is not known; use "sqlite:///relative.db", "sqlite:////absolute.db" or '
            '"postgresql+psycopg://user@host/database"'
        )
    return text


def worker_count(value: object) -> object:
    """How many processes serve: ``"auto"`` or a whole number from 1."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value == "auto" or whole:
        return value
    raise ValueError(f'"{value}" is not a number of processes; write "auto" or a whole number from 1')


def transfer_syntaxes(value: object) -> tuple[str, ...]:
    """The UIDs of transfer syntaxes that are named by keyword or UID."""
    return tuple(_transfer_syntax(name) for name in texts(value))


def _transfer_syntax(name: str) -> str:
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise ValueError(f'"{name}" is not a transfer syntax; {nearest(name, BY_KEYWORD)}')
    return row.uid


def form_names(value: object) -> tuple[str, ...]:
    """One form or several, in the order in which they are tried."""
    names = texts(value)
    if not names:
        raise ValueError("names no form; known: " + ", ".join(FORMS))
    for name in names:
        if name not in FORMS:
            raise ValueError(f'"{name}" is not a form; {nearest(name, FORMS)}')
    return names


def match_table(value: object) -> dict[str, tuple[str, ...]]:
    """What a rule asks of an object: key → globs and comparisons, any of which may hold.

    Comparisons come out without blanks and with plain numbers: ``">= 10MB"`` is ``">=10000000"``.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f'"{value}" is not a table; write {{ Modality = "MG", calling_aet = "MAMMO*" }}')
    faults = [fault for key in value if (fault := _key_fault(key))]
    if faults:
        raise ValueError("; ".join(faults))
    return {key: _patterns(key, wanted) for key, wanted in value.items()}


def _key_fault(key: str) -> str:
    """Why no rule can ask for ``key``, or an empty text."""
    if key in SPECIAL_KEYS:
        return ""
    tag = tag_for_keyword(key)
    if tag is None:
        names = [*SPECIAL_KEYS, *keyword_dict]
        remedy = nearest(key, names, f"use a keyword of PS3.6 or {', '.join(SPECIAL_KEYS)}")
        return f'"{key}" cannot be matched; {remedy}'
    # Groups 0000 and 0002 are the command set and the File Meta Information: not in a dataset.
    if tag >> 16 in (0x0000, 0x0002):
        remedy = nearest(key, SPECIAL_KEYS, f"use an attribute of the dataset or {', '.join(SPECIAL_KEYS)}")
        return f'"{key}" is not part of a dataset; {remedy}'
    if dictionary_VR(tag) in _UNMATCHABLE_VRS:
        return f'"{key}" is a sequence or a bulk value, which cannot be matched; use a plain attribute'
    return ""


def _patterns(key: str, value: object) -> tuple[str, ...]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    patterns = tuple(_pattern(key, text) for text in texts(str(value) if number else value, key))
    if not patterns:
        raise ValueError(f"{key} names no value, so the rule could never match; leave the key out")
    return patterns


def _pattern(key: str, text: str) -> str:
    compared = _COMPARISON.fullmatch(text)
    if compared:
        return compared[1] + _operand(key, compared[2])
    if key == "size":
        raise ValueError(f'size: "{text}" is not a comparison; write ">=10MB" or "<100KB"')
    if key == "transfer_syntax":
        _check_syntax_glob(text)
    return text


def _operand(key: str, text: str) -> str:
    if key == "size":
        return str(byte_count(text))
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'{key}: "{text}" is not a number to compare with; write, say, "<=8"')
    return text


def _check_syntax_glob(text: str) -> None:
    """A misspelt keyword would never match, silently; a UID may be a private one."""
    if not _UID_GLOB.fullmatch(text) and not any(fnmatchcase(keyword, text) for keyword in BY_KEYWORD):
        raise ValueError(f'transfer_syntax: "{text}" matches none; {nearest(text, BY_KEYWORD)}')


def texts(value: object, key: str = "") -> tuple[str, ...]:
    """One text or a list of texts, as a tuple."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key}{': ' if key else ''}{value!r} is not text or a list of texts in quotes")
    return tuple(texts)


def list_of_tables(value: object) -> object:
    """A list as tomllib reads it, as a tuple; the slip of writing [x] for [[x]] explained."""
    if isinstance(value, Mapping):
        raise ValueError("is one table, not a list of tables; write its header with two brackets")
    return tuple(value) if isinstance(value, list) else value


def unique(
    key: Callable[[T], Hashable], named: str, first_number: int = 0
) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    """A validator that refuses two entries with the same ``key``, which it calls ``named``."""

    def check(entries: tuple[T, ...]) -> tuple[T, ...]:
        first: dict[Hashable, int] = {}
        for number, entry in enumerate(entries, first_number):
            if key(entry) in first:
                earlier = first[key(entry)]
                raise ValueError(
                    f'{named} "{key(entry)}" stands in [{earlier}] and [{number}]; keep one of them'
                )
            first[key(entry)] = number
        return entries

    return check


AeTitle = Annotated[str, AfterValidator(ae_title)]
Bytes = Annotated[int, BeforeValidator(byte_count)]
MemoryBytes = Annotated[int, BeforeValidator(memory_bytes)]
Part = Annotated[float | None, BeforeValidator(part)]
TcpPort = Annotated[int | None, BeforeValidator(tcp_port)]
Span = Annotated[int, BeforeValidator(duration)]
Duration = Annotated[int | None, BeforeValidator(duration)]
Hours = Annotated[tuple[int, int] | None, BeforeValidator(hours)]
Forms = Annotated[tuple[str, ...], BeforeValidator(form_names)]
IndexUrl = Annotated[str, AfterValidator(index_url)]
Match = Annotated[dict[str, tuple[str, ...]], BeforeValidator(match_table)]
TransferSyntaxes = Annotated[tuple[str, ...], BeforeValidator(transfer_syntaxes)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(worker_count)]

# Strict: TOML has types, so `true` for a number or "no" for a switch is a slip to be told of.
Switch = Annotated[bool, Field(strict=True)]
Quality = Annotated[float, Field(strict=True, ge=1, le=100)]
SampleError = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
# Waits of the kernel and of locks take no more than some 10^9 seconds, which are 31 years.
Seconds = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
