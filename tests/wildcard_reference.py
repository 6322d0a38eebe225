"""The reference of wildcard matching: by its definition, however long that takes."""

from __future__ import annotations

from functools import cache


def alike(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern of literal text, ``*`` and ``?`` (PS3.4 C.2.2.2.4)."""

    @cache
    def at(place: int, start: int) -> bool:
        if place == len(pattern):
            return start == len(text)
        if pattern[place] == "*":
            return at(place + 1, start) or (start < len(text) and at(place, start + 1))
        return start < len(text) and pattern[place] in {"?", text[start]} and at(place + 1, start + 1)

    return at(0, 0)
