"""How long work tells of itself, whoever listens: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of each object that is done."""

    def total(self, count: int) -> None:
        """How many there will be, once that is known."""

    def advance(self, count: int = 1) -> None:
        """Some more are done."""


class Silent:
    """Tells nobody."""

    def total(self, count: int) -> None:
        """See Progress."""

    def advance(self, count: int = 1) -> None:
        """See Progress."""
