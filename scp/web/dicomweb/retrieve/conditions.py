"""Conditional requests, and parts of a body (RFC 9110 13, 14): what a client has is not sent again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from scp.model import Instance
from scp.web.dicomweb.faults import Refused

_TAG = re.compile(r'(?:W/)?"[^"\s]*"')
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?", re.ASCII)
# Who has an answer asks whether it still holds: an object may be deleted, or be sent with other content.
_KEPT = "private, no-cache"


def tag_of(told: Iterable[str], weak: bool = False) -> str:
    """An entity tag of what makes an answer what it is."""
    digest = hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f'W/"{digest}"' if weak else f'"{digest}"'


def same(instances: Iterable[Instance]) -> Iterable[str]:
    """What tells whether these are the same stored files."""
    for one in instances:
        yield f"{one.key} {one.stored_sha256 or one.received_sha256}"


def headers_of(tag: str, vary: str = "Accept") -> dict[str, str]:
    """Headers of an answer that a client may keep, and ask for again by its tag."""
    return {"ETag": tag, "Cache-Control": _KEPT, "Vary": vary}


def unchanged(headers: Mapping[str, str], tag: str, vary: str = "Accept") -> Response | None:
    """What answers a client that has it already: 304; None for others. Weak comparison (RFC 9110 13.1.2).

    Raises Refused (412) where the client wants another one: strong comparison (13.1.1).
    """
    wanted = headers.get("if-match", "*")
    if wanted.strip() != "*" and (tag.startswith("W/") or tag not in _TAG.findall(wanted)):
        raise Refused(412, "It is not what If-Match names.")
    given = headers.get("if-none-match", "")
    plain = tag.removeprefix("W/")
    if given.strip() == "*" or plain in (one.removeprefix("W/") for one in _TAG.findall(given)):
        return Response(status_code=304, headers=headers_of(tag, vary))
    return None


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a body of ``size``, from ``start`` to before ``end``."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        """The header of that name."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def span_of(headers: Mapping[str, str], tag: str, size: int) -> Span | None:
    """The one range that is asked for; None where all is to be sent, as for several ranges.

    Raises Refused (416) for one that the body does not have.
    """
    given = headers.get("if-range", "")
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or (given and given != tag) or (found[1] is None and found[2] is None):
        return None
    if found[1] is None:  # the last so many bytes
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2] or size) + 1, size)
        if found[2] is not None and int(found[2]) < start:
            return None
    if start >= end:
        raise Refused(416, f"It has {size} bytes.", {"Content-Range": f"bytes */{size}"})
    return Span(start, end, size)
