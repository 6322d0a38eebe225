"""One large index on each database, in a folder of its own: filled, put out of memory, weighed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from bench import index_fill, index_fill_server
from bench.index_rows import Shape
from bench.index_server import Server, evict
from scp.index.databases import Database


class Place(Protocol):
    """An index somewhere."""

    database: Database

    def fill(self) -> float:
        """Make it if it is not there; seconds it took."""

    def start(self) -> None:
        """Make it ready to be asked, as it is operated."""

    def evict(self) -> None:
        """Put it out of all memory."""

    def favour(self) -> None:
        """Give what serves the open connections the niceness of this process."""

    def sizes(self) -> dict[str, int]:
        """Bytes on the disk: ``all``, and of its parts what is known."""

    def stop(self) -> None:
        """End what it runs."""


class OnSqlite:
    def __init__(self, folder: Path, studies: int, shape: Shape) -> None:
        self._folder, self._studies, self._shape = folder, studies, shape
        self.database = Database("")

    def fill(self) -> float:
        url, seconds = index_fill.filled(self._folder, self._studies, self._shape)
        self.database = Database(url)
        return seconds

    def start(self) -> None:
        pass  # there is no server

    def evict(self) -> None:
        evict(self._path)

    def favour(self) -> None:
        pass

    def sizes(self) -> dict[str, int]:
        return {"all": self._path.stat().st_size}

    def stop(self) -> None:
        pass

    @property
    def _path(self) -> Path:
        return Path(self.database.url.removeprefix("sqlite:///"))


class OnServer:
    def __init__(self, folder: Path, studies: int, shape: Shape) -> None:
        self.server = Server(folder)
        self._studies, self._shape = studies, shape
        self.name = ""

    def fill(self) -> float:
        self.server.start(hasty=True)
        self.name, seconds = index_fill_server.filled(self.server, self._studies, self._shape)
        self.server.stop()
        return seconds

    def start(self) -> None:
        self.server.start()

    @property
    def database(self) -> Database:
        return self.server.named(self.name)

    def evict(self) -> None:
        self.server.evict()

    def favour(self) -> None:
        self.server.favour()

    def sizes(self) -> dict[str, int]:
        tables = "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class WHERE relkind = 'r'"
        with self.server.connect(self.name) as connection:
            found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            rows = connection.execute(f"{tables} AND relname IN ('patient', 'study', 'series', 'instance')")
            parts = {name: (table, indexes) for name, table, indexes in rows}
        assert found is not None
        named = {name: table for name, (table, _) in parts.items()}
        return {"all": found[0]} | named | {f"indexes of {name}": size for name, (_, size) in parts.items()}

    def stop(self) -> None:
        self.server.stop()


KINDS: dict[str, type[OnSqlite] | type[OnServer]] = {"SQLite": OnSqlite, "PostgreSQL": OnServer}


def place(folder: Path, database: str, studies: int, shape: Shape) -> Place:
    """The place of an index in a folder that all places share."""
    return KINDS[database](_own(folder, database, studies, shape), studies, shape)


def remove(folder: Path, database: str, studies: int, shape: Shape) -> None:
    """Remove it with its folder; it must be stopped."""
    shutil.rmtree(_own(folder, database, studies, shape))


def _own(folder: Path, database: str, studies: int, shape: Shape) -> Path:
    return folder / f"{database.lower()}-{studies}-{shape.mean}"
