"""The file of a SQLite index: whether it is there, whole, and still the one that was opened.

A database server looks after its own files: the functions here do not check its databases.
"""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Engine, inspect

from scp.errors import IndexDamaged, OutOfResources
from scp.index.databases import Database
from scp.index.dialect import REMEDY, connect, reads, translated
from scp.index.schema import META

_BESIDE = ("", "-wal", "-shm")
# A database up to this size is read completely at each start: that takes 0.2 s.
_SMALL = 64 << 20


def path_of(where: str | Database) -> Path | None:
    """The file of an index; None if it is not in a file."""
    return _path(Database.at(where).parsed)


def _path(url: URL) -> Path | None:
    is_file = url.get_backend_name() == "sqlite"
    return Path(url.database) if is_file and url.database else None


def exists(where: str | Database) -> bool:
    """Whether there is an index: a file, or the tables in a server's database.

    Raises :class:`scp.errors.OutOfResources` where the server does not say.
    """
    path = path_of(where)
    if path is not None:
        return path.exists()
    engine = connect(where)
    try:
        with reads(engine) as connection:
            return inspect(connection).has_table(META.name)
    finally:
        engine.dispose()


def identity(engine: Engine) -> tuple[int, int] | None:
    """Device and inode of the file at the engine's URL; zeros for a database server, None without a file."""
    path = _path(engine.url)  # not by its text: each commit asks, and reading a URL takes 20 µs
    if path is None:
        return (0, 0)
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check(engine: Engine, thorough: bool) -> None:
    """Read a small database completely, or any and all of it if ``thorough``.

    Raises IndexDamaged, OutOfResources.
    """
    path = path_of(engine.url.render_as_string(hide_password=False))
    if path is None or not (thorough or path.stat().st_size <= _SMALL):
        return
    with (
        translated(engine),
        closing(engine.raw_connection()) as connection,
        closing(connection.cursor()) as cursor,
    ):
        # Only the slower one compares tables with their indexes, which a query may have found to differ.
        pragma = "integrity_check" if thorough else "quick_check"
        found = cursor.execute(f"PRAGMA {pragma}(1)").fetchone()[0]
    if found != "ok":
        raise IndexDamaged(f"the index is damaged: {found}; {REMEDY}")


def set_aside(where: str | Database) -> str:
    """Rename a damaged index, and return its new name. Raises OutOfResources."""
    path = path_of(where)
    if path is None:
        raise OutOfResources(
            "PostgreSQL found its files damaged: restore the database, or name an empty one in index.url, "
            "which the node fills from the stored files; and look after the server's disk and memory"
        )
    kept = f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    try:
        for end in reversed(_BESIDE):
            if Path(f"{path}{end}").exists():
                os.rename(f"{path}{end}", f"{kept}{end}")  # noqa: PTH104 - names, not paths
    except OSError as error:
        raise OutOfResources(f"the damaged index {path} cannot be moved aside: {error.strerror}") from error
    return kept
