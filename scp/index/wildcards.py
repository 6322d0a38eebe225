"""Wildcard matching of PS3.4 C.2.2.2.4 without backtracking: the parts between stars are found one by one.

A regular expression takes exponential time with many stars, and holds the interpreter's lock meanwhile. Each
part may be taken where it is first found: if the rest matches behind a later place, it does behind this one.
So a text of n characters takes a time of n, or of n times the longest part if that has question marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

ESCAPE = "/"  # of LIKE
_LIKE = {"*": "%", "?": "_"}
_UNITS = re.compile(r"/(.)|([%_])|([^%_/]+)", re.DOTALL)

Matcher = Callable[[str], bool]
# Finds a part of a pattern from a place on, and returns where it ends; -1 if it is not there.
_Finder = Callable[[str, int], int]


def matcher(tokens: Sequence[str]) -> Matcher:
    """A test of texts for a pattern: literal text at the even positions, ``*`` or ``?`` at the odd ones."""
    parts: list[list[str | None]] = [[]]
    for place, unit in enumerate(tokens):
        if place % 2 == 0:
            parts[-1] += unit
        elif unit == "*":
            parts.append([])
        else:
            parts[-1].append(None)
    first, *between = parts
    begins = _compiled(first)
    if not between:
        return lambda text: begins.fullmatch(text) is not None
    last = between.pop()
    ends, size = _compiled(last), len(last)
    finders = [_finder(part) for part in between if part]

    def matches(text: str) -> bool:
        begun = begins.match(text)
        at = begun.end() if begun else -1
        for find in finders:
            if at < 0:
                return False
            at = find(text, at)
        end = len(text) - size
        return 0 <= at <= end and ends.match(text, end) is not None

    return matches


def like(tokens: Sequence[str]) -> str:
    """The pattern as LIKE has it, with :data:`ESCAPE`."""
    return "".join(
        _LIKE[token] if place % 2 else re.sub(r"([%_/])", r"/\1", token) for place, token in enumerate(tokens)
    )


@lru_cache(maxsize=1024)
def matcher_of_like(pattern: str) -> Matcher:
    """The test for a pattern that :func:`like` made."""
    tokens = [""]
    for escaped, wildcard, text in _UNITS.findall(pattern):
        if wildcard:
            tokens += ["*" if wildcard == "%" else "?", ""]
        else:
            tokens[-1] += escaped or text
    return matcher(tokens)


def _compiled(part: Sequence[str | None]) -> re.Pattern[str]:
    """A part as a regular expression of single characters: nothing in it can be tried twice."""
    return re.compile("".join("." if one is None else re.escape(one) for one in part), re.DOTALL)


def _finder(part: Sequence[str | None]) -> _Finder:
    literal = [one for one in part if one is not None]
    if len(literal) == len(part):
        text = "".join(literal)

        def find(within: str, at: int) -> int:
            found = within.find(text, at)
            return found + len(text) if found >= 0 else -1

        return find
    compiled = _compiled(part)

    def search(within: str, at: int) -> int:
        found = compiled.search(within, at)
        return found.end() if found else -1

    return search
