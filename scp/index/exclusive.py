"""Locks by name among all processes that share an index, whichever node they are of.

With SQLite they are files beside the database: all its processes run on one machine. A database server gives
advisory locks. Either ends with the process that has it.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, func, select

from scp.errors import OutOfResources
from scp.index.databases import Database
from scp.index.dialect import translated
from scp.index.files import path_of

_SPACE = 0x7A736370  # "zscp": the first of the two numbers of an advisory lock


@contextmanager
def exclusive(engine: Engine, name: str, wait: bool) -> Iterator[bool]:
    """See :meth:`scp.index.index.Index.exclusive`."""
    path = path_of(engine.url.render_as_string(hide_password=False))
    held = _file(f"{path}.{name}.lock", wait) if path is not None else _advisory(engine, name, wait)
    with held as got:
        yield got


@contextmanager
def opening(where: str | Database) -> Iterator[None]:
    """Keep other processes from opening, and repairing, a SQLite index meanwhile; it may be damaged.

    A database server repairs its own. Raises OutOfResources.
    """
    path = path_of(where)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _file(f"{path}.opening.lock", wait=True):
        yield


@contextmanager
def _file(path: str, wait: bool) -> Iterator[bool]:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise OutOfResources(f"the lock {path} cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextmanager
def _advisory(engine: Engine, name: str, wait: bool) -> Iterator[bool]:
    """A lock of a session of its own, which ends with the connection."""
    numbers = _SPACE, zlib.crc32(name.encode()) - (1 << 31)
    with translated(engine):
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with translated(engine):
            lock = func.pg_advisory_lock if wait else func.pg_try_advisory_lock
            got = connection.execute(select(lock(*numbers))).scalar_one()
        yield wait or bool(got)  # one that waits returns nothing
    finally:
        _give_back(connection, numbers)


def _give_back(connection: Connection, numbers: tuple[int, int]) -> None:
    with suppress(Exception):  # a connection that is gone has no lock any more
        connection.execute(select(func.pg_advisory_unlock(*numbers)))
        connection.close()
        return
    connection.invalidate()
    connection.close()
