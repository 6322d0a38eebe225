"""Amounts as people read them: in the page, and in what commands print."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes as people read them, decimal: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(count: int, thing: str, things: str = "") -> str:
    """How many of a thing: 1 study, 2 studies; without ``things`` the plural has an s."""
    return f"{count} {thing if count == 1 else things or f'{thing}s'}"


def percent(part: int, whole: int) -> str:
    """A share of what was received."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def span(seconds: float) -> str:
    """A time that has passed or will, in its largest unit: 5 s, 12 min, 3 h, 40 days."""
    for most, each, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) < most:
            return f"{seconds / each:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
