"""How many examples hypothesis tries of a property."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

_LEAST, _PART = 20, 3
_all = False


def try_all() -> None:
    """From now on all examples are tried: ``make long`` runs each property so, in place of a third."""
    global _all  # noqa: PLW0603 - said once, before any test is read
    _all = True


def examples(most: int, **more: Any) -> settings:
    """A third of ``most`` examples for a change, and at least 20."""
    return settings(max_examples=most if _all else max(most // _PART, _LEAST), deadline=None, **more)
