"""Which row of a table of routes a request is for, by the segments of its path as they were sent.

A segment is decoded after the path was taken apart: a UID may hold any character, also a slash (invariant 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from scp.web.dicomweb.asked import Route
from scp.web.dicomweb.faults import Refused

# No resource has more, nor a UID of 64 characters that is percent-encoded more of them.
_MOST_SEGMENTS, _LONGEST_SEGMENT = 16, 4096


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and the parts of the path that it names."""

    route: Route
    named: Mapping[str, str]


class Routes:
    """Looks up routes; ``described_by`` is what tells of them, whatever resource it is asked of."""

    def __init__(self, routes: Iterable[Route], described_by: Route) -> None:
        self._described_by = described_by
        self._routes: dict[int, list[tuple[tuple[str, ...], Route]]] = {}  # by the number of segments
        for route in routes:
            pattern = tuple(route.path.strip("/").split("/"))
            self._routes.setdefault(len(pattern), []).append((pattern, route))

    def find(self, method: str, raw_path: str) -> Match:
        """The route of a path below the base, as it was sent; HEAD is GET. Raises Refused (400, 404, 405)."""
        if method == "OPTIONS":
            return Match(self._described_by, {})
        segments = _segments(raw_path)
        method, allowed = "GET" if method == "HEAD" else method, set()
        for pattern, route in self._routes.get(len(segments), ()):
            named = _named(pattern, segments)
            if named is not None and route.method == method:
                return Match(route, named)
            if named is not None:
                allowed |= {route.method, "HEAD"} if route.method == "GET" else {route.method}
        if allowed:
            raise Refused(405, f"{method} is not for this resource.", {"Allow": ", ".join(sorted(allowed))})
        raise Refused(404, "There is no such resource; OPTIONS tells which there are.")


def _segments(raw_path: str) -> tuple[str, ...]:
    parts = raw_path.removeprefix("/").removesuffix("/").split("/", _MOST_SEGMENTS)
    if len(parts) > _MOST_SEGMENTS or any(len(part) > _LONGEST_SEGMENT for part in parts):
        raise Refused(404, "There is no resource with such a long path.")
    try:
        return tuple(unquote(part, errors="strict") for part in parts)
    except UnicodeDecodeError:
        raise Refused(400, "The path is not percent-encoded UTF-8.") from None


def _named(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    """What the named parts of a pattern of as many segments are; None where it does not match."""
    named = {}
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            if not given:
                return None
            named[wanted.strip("{}")] = given
        elif wanted != given:
            return None
    return named
