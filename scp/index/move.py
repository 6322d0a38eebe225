"""An index copied from one database to another of any kind, and compared with it row by row.

Order, safe to stop at any moment and to run again: the target's tables are made and must be empty, or left by
a copy that did not end → a note of that is written → the rows are copied in batches, those that name the
archive last → both are read again and compared → the note is removed. A node that opens an unfinished copy
finds that it was never paired with the stores, and rebuilds it from the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Table, delete, func, insert, select, tuple_

from scp.background.progress import Progress
from scp.errors import ConfigurationError, IndexDamaged
from scp.index import files
from scp.index.databases import Database
from scp.index.dialect import connect, kind, translated
from scp.index.schema import CLAIM, META, METADATA
from scp.index.upgrade import upgrade

_BATCH = 2000  # rows, of some KB each
_NOTE = "unfinished copy"  # a name in Meta
# Claims are of processes, of which none runs; what the index says of itself comes last.
_TABLES = (*(one for one in METADATA.sorted_tables if one not in (CLAIM, META)), META)


@dataclass(frozen=True, slots=True)
class TableDigest:
    """How many rows a table has, and the SHA-256 of all their values in the order of the primary key."""

    rows: int
    sha256: str


class _Digest:
    def __init__(self) -> None:
        self._rows, self._sum = 0, hashlib.sha256()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows += len(rows)
        for row in rows:
            self._sum.update(_text(row).encode())

    def done(self) -> TableDigest:
        return TableDigest(self._rows, self._sum.hexdigest())


def move(source: Database, target: Database, progress: Progress) -> Mapping[str, TableDigest]:
    """Copy an index into an empty database; returns what was copied, by table.

    Nobody else may have either of them open. Raises ConfigurationError where somebody has, where there is no
    index or the target holds anything, IndexDamaged where the copy differs, and OutOfResources.
    """
    if source.parsed == target.parsed:
        raise ConfigurationError("both names are of one database; name another one to copy the index to")
    if not files.exists(source):
        raise ConfigurationError(f"{source.url}: there is no index; check the name")
    with ExitStack() as closed:
        before, after = (_opened(one, closed) for one in (source, target))
        _make_room(after, target)
        progress.total(sum(_count(before, table) for table in _TABLES))
        copied = {table.name: _copy(before, after, table, progress) for table in _TABLES}
        for table in _TABLES:
            found = _digest(after, table)
            if found != copied[table.name]:
                raise IndexDamaged(
                    f"{target.url}: table {table.name} has {found.rows} rows after {copied[table.name].rows} "
                    "were copied, or other ones; remove that database, and copy again"
                )
        kind(after.engine).count_on(after, [table for table in _TABLES if _is_numbered(table)])
        _write(after, delete(META).where(META.c.name == _NOTE))
        return copied


def _is_numbered(table: Table) -> bool:
    """Whether the database numbers its rows."""
    return "id" in table.columns and isinstance(table.columns["id"].type, Integer)


def _opened(where: Database, closed: ExitStack) -> Connection:
    """A connection of which nobody else has the database open. Raises ConfigurationError, OutOfResources."""
    engine = connect(where)
    closed.callback(engine.dispose)
    closed.enter_context(translated(engine))
    upgrade(engine)
    engine.dispose()  # SQLite lets only a new connection have a file alone
    connection = closed.enter_context(engine.connect())
    if not kind(engine).is_alone(connection):
        raise ConfigurationError(f"{where.url} is in use; stop all nodes and commands that use it first")
    return connection


def _make_room(connection: Connection, target: Database) -> None:
    """Empty what a copy left that did not end, and note that one began. Raises ConfigurationError."""
    noted = select(META.c.value).where(META.c.name == _NOTE)
    if connection.execute(noted).first() is not None:
        for table in reversed(_TABLES):
            _write(connection, delete(table))
    if any(_count(connection, table) for table in (*_TABLES, CLAIM) if table is not META):
        raise ConfigurationError(f"{target.url} holds an index already; name an empty database")
    _write(connection, delete(META))  # what an empty index says of itself
    _write(connection, insert(META).values(name=_NOTE, value="begun"))


def _copy(before: Connection, after: Connection, table: Table, progress: Progress) -> TableDigest:
    digest = _Digest()
    for rows in _batches(before, table):
        digest.add(rows)
        kind(after.engine).load(after, table, rows)
        progress.advance(len(rows))
    return digest.done()


def _digest(connection: Connection, table: Table) -> TableDigest:
    digest = _Digest()
    for rows in _batches(connection, table):
        digest.add(rows)
    return digest.done()


def _batches(connection: Connection, table: Table) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows but the note, in the order of the primary key; texts are in that of their code points."""
    keys = list(table.primary_key.columns)
    places = [list(table.columns).index(key) for key in keys]
    asked = select(table).order_by(*keys).limit(_BATCH)
    if table is META:
        asked = asked.where(META.c.name != _NOTE)
    rows = connection.execute(asked).all()
    while rows:
        yield rows
        last = [rows[-1][place] for place in places]
        rows = connection.execute(asked.where(tuple_(*keys) > tuple_(*last))).all()


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _write(connection: Connection, statement: Any) -> None:
    """Write, in one transaction."""
    kind(connection.engine).begin(connection)
    connection.execute(statement)
    connection.commit()


def _text(row: Sequence[Any]) -> str:
    """A row as any database gives it back: PostgreSQL cannot store NUL (:mod:`scp.index.postgresql`)."""
    text = repr(tuple(row))
    if r"\x00" in text:  # as good as never; to look at each of a hundred values takes longer than all else
        text = repr(tuple(value.replace("\0", "") if isinstance(value, str) else value for value in row))
    return text
