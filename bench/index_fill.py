"""A large index to measure against, made by SQL alone (bench.index_rows), in SQLite.

``bench.index_fill_server`` makes the same one in PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.index_rows import CT_HEAVY, LISTS, PATIENTS_OF, Shape, hashed, patients
from scp.index.keys import fold
from scp.index.sql import SqlIndex

BATCH = 50_000  # studies a statement
_SIZES = {"hex8": 8, "stored": 32, "received": 32}
_RANDOM = {name: f"lower(hex(randomblob({size})))" for name, size in _SIZES.items()}


def filled(folder: Path, studies: int, shape: Shape = CT_HEAVY) -> tuple[str, float]:
    """The URL of an index of ``studies`` studies in ``folder``, made if it is not there; seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"index-{studies}" if shape is CT_HEAVY else f"index-{studies}-{shape.mean}"
    database = folder / f"{name}.db"
    url = f"sqlite:///{database}"
    if database.exists():
        SqlIndex.open(url).close()  # brings it to this version's schema
        return url, 0.0
    began = time.perf_counter()
    making = database.with_suffix(".making")
    making.unlink(missing_ok=True)
    SqlIndex.open(f"sqlite:///{making}").close()
    with closing(sqlite3.connect(making, isolation_level=None)) as connection:
        _fill(connection, studies, shape)
    making.rename(database)
    return url, time.perf_counter() - began


def _fill(connection: sqlite3.Connection, studies: int, shape: Shape) -> None:
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.create_function("hash", 1, hashed, deterministic=True)
    connection.create_function("folded", 1, fold, deterministic=True)
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
    dropped = dict(indexes.fetchall())
    for name in dropped:
        connection.execute(f"DROP INDEX {name}")
    for name, (columns, rows) in LISTS.items():
        connection.execute(f"CREATE TEMP TABLE {name} (n INTEGER PRIMARY KEY, {columns})")
        values = ", ".join("?" * (len(rows[0]) + 1))
        connection.executemany(
            f"INSERT INTO {name} VALUES ({values})", [(n, *row) for n, row in enumerate(rows)]
        )
    connection.execute("BEGIN")
    connection.execute(PATIENTS_OF.format(patients=patients(studies)))
    for first in range(1, studies + 1, BATCH):
        for statement in shape.statements(first, min(first + BATCH - 1, studies), studies, _RANDOM):
            connection.execute(statement)
    connection.execute("COMMIT")
    for sql in dropped.values():
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
