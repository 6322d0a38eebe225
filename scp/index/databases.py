"""What is said of a database whatever its kind: where it is, and what its errors mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from scp.errors import ConfigurationError

# Execution options of connections: their transactions will write; they begin their transactions themselves.
WRITES, BEGUN = "zscp_writes", "zscp_begun"


class Fault(StrEnum):
    """What an error of a database's driver means; the metric ``zscp_index_errors_total`` counts them so."""

    DAMAGED = "damaged"  # what is stored is not what was written
    OPEN = "open"  # it cannot be opened
    CONTRADICTION = "contradiction"  # its rows contradict each other
    USE = "use"  # it is full, locked or gone


@dataclass(frozen=True, slots=True)
class HeldTrigrams:
    """Whether a table of trigrams has all studies but some that are due to be added, and whether any are."""

    complete: bool
    due: bool


@dataclass(frozen=True, slots=True)
class Database:
    """Where an index is: its URL, the password for it, and how many connections a process may open.

    SQLite has neither password nor a limit of connections.
    """

    url: str
    password: str = field(default="", repr=False)
    connections: int = 8

    @classmethod
    def at(cls, where: str | Database) -> Database:
        """``where``, which may be no more than a URL."""
        return where if isinstance(where, Database) else cls(where)

    @property
    def parsed(self) -> URL:
        """The URL with the password. Raises :class:`scp.errors.ConfigurationError` for one that is none."""
        try:
            parsed = make_url(self.url)
        except ArgumentError as error:
            raise ConfigurationError(f"index.url: {self.url!r} cannot be used: {error}") from error
        return parsed.set(password=self.password) if self.password else parsed
