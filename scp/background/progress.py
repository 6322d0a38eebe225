"""How long work reports its progress: as a bar on a terminal, as log lines elsewhere."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of work, object by object."""

    def total(self, count: int) -> None:
        """How many there will be, once that is known."""

    def advance(self, count: int = 1) -> None:
        """Some more are done."""


class Silent:
    """Reports nothing."""

    def total(self, count: int) -> None:
        """See Progress."""

    def advance(self, count: int = 1) -> None:
        """See Progress."""
