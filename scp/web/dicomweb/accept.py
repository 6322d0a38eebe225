"""What a client accepts: a header, or the query parameter of that name (RFC 9110 12.5.1, PS3.18 8.3.3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from starlette.requests import Request

MULTIPART = "multipart/related"
ANYTHING = "*/*"
# More media ranges than these are not looked at: no client has so many, and each costs time.
_MOST = 64

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"\s*({_WORD}/{_WORD})\s*")
# A value of a parameter, quoted or not. Media types stand there without quotes, too, as viewers write them.
_PARAMETER = re.compile(rf';\s*(?:({_WORD})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*)?')
_NEXT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])*,?')
_PLUS = re.compile(r"(?<=dicom) (?=json|xml)")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One of the media types that a client accepts, or a range of them.

    ``media_type`` is in lower case. Within multipart/related it is that of the parts, and ``multipart`` is
    true; ``*/*`` where its ``type`` is not given. ``transfer_syntax`` is a UID, ``*`` for any, or empty.
    ``quality`` is from 0, not acceptable, to 1.
    """

    media_type: str
    multipart: bool = False
    transfer_syntax: str = ""
    quality: float = 1.0
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)

    def covers(self, media_type: str) -> bool:
        """Whether a media type is in the range."""
        kind, _, name = self.media_type.partition("/")
        if name == "*":
            return kind in ("*", media_type.partition("/")[0])
        return self.media_type == media_type

    @property
    def exactness(self) -> int:
        """How closely it names what it means: 0 for anything, 1 for a range, 2 for a media type."""
        return 2 - self.media_type.count("*")


def accepted_by(request: Request) -> tuple[MediaRange, ...]:
    """What the sender of a request accepts; several header fields, or parameters, are one list."""
    query = ", ".join(request.query_params.getlist("accept"))
    return accepted(", ".join(request.headers.getlist("accept")), query)


@lru_cache(64)  # a client sends the same with each request; with the longest heads these are some 10 MB
def accepted(header: str, query: str = "") -> tuple[MediaRange, ...]:
    """What is accepted, the best first; those of equal quality in the order in which they were given.

    The ``query`` parameter stands in the place of the header. Where neither says anything, anything is
    accepted. What is no media range is left out. The result is empty where nothing that was said is one.
    """
    text = _PLUS.sub("+", query) if query.strip() else header
    if not text.strip():
        return (MediaRange(ANYTHING),)
    found = [one for one in _ranges(text) if one.quality > 0]
    return tuple(sorted(found, key=lambda one: -one.quality))


def _ranges(text: str) -> Iterator[MediaRange]:
    at, count = 0, 0
    while at < len(text) and count < _MOST:
        begun = _TYPE.match(text, at)
        if begun is not None:
            parameters, at = _parameters(text, begun.end())
            if at >= len(text) or text[at] == ",":
                yield from _range(begun[1].lower(), parameters)
        at = max(_end(text, at), at + 1)
        count += 1


def _end(text: str, at: int) -> int:
    """Behind the comma that ends a range."""
    found = _NEXT.match(text, at)
    return found.end() if found is not None else at


def _parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while (one := _PARAMETER.match(text, at)) is not None:
        at = one.end()
        if one[1] is not None:
            found.setdefault(one[1].lower(), _unquoted(one[2]))
    return found, at


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _range(media_type: str, parameters: dict[str, str]) -> Iterator[MediaRange]:
    try:
        quality = min(max(float(parameters.pop("q", "1")), 0.0), 1.0)
    except ValueError:
        return
    syntax = parameters.get("transfer-syntax", "").strip()
    multipart = media_type == MULTIPART
    if multipart:
        media_type = parameters.get("type", "").strip().lower() or ANYTHING
    yield MediaRange(media_type, multipart, syntax, quality, parameters)
