"""Where the index is: the [index] of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from scp.config.values import IndexUrl, Table


class IndexSettings(Table):
    """The database that answers queries: a file of SQLite, or one of a PostgreSQL server.

    The server's ``password`` is never shown. Each process opens at most so many ``connections`` to it, and
    one more to write.
    """

    url: IndexUrl = "sqlite:///zscp-data/index.db"
    password: SecretStr = SecretStr("")
    connections: Annotated[int, Field(strict=True, ge=1, le=1000)] = 8

    @property
    def path(self) -> Path | None:
        """The database's file, if it is one; a relative one counts from the working directory."""
        file = self.url.removeprefix("sqlite:///")
        return None if file == self.url else Path(file)

    @property
    def shown(self) -> str:
        """Where the index is, for people."""
        return self.url if self.path is None else str(self.path.absolute())
