"""Locks by name among all processes that share an index, whichever node they are of.

With SQLite they are files beside the database: all its processes run on one machine. A database server gives
advisory locks. Either ends with the process that has it.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, func, select

from scp.errors import OutOfResources
from scp.index.databases import Database
from scp.index.dialect import translated
from scp.index.files import path_of

_SPACE = 0x7A736370  # "zscp": the first of the two numbers of an advisory lock


_POLL_SECONDS = 0.02


@contextmanager
def exclusive(engine: Engine, name: str, wait: bool | float) -> Iterator[bool]:
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
def _file(path: str, wait: bool | float) -> Iterator[bool]:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise OutOfResources(f"the lock {path} cannot be made: {error.strerror}") from error
    try:
        yield _locked(path, descriptor, wait)
    finally:
        os.close(descriptor)


def _locked(path: str, descriptor: int, wait: bool | float) -> bool:
    """Lock a file; False where another process has it and this one does not wait. Raises OutOfResources."""
    until = time.monotonic() + float(wait)
    try:
        if wait is True:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return True
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    return False
                if time.monotonic() > until:
                    raise OutOfResources(f"another process has had the lock {path} for too long") from None
                time.sleep(_POLL_SECONDS)
            else:
                return True
    except OSError as error:  # as without memory for locks
        raise OutOfResources(f"the lock {path} cannot be had: {error.strerror}") from error


@contextmanager
def _advisory(engine: Engine, name: str, wait: bool | float) -> Iterator[bool]:
    """A lock of a session of its own, which ends with the connection.

    It is a session's, not a transaction's: a connection pool between node and server must not hand the
    session on to others meanwhile (docs/cluster.md).
    """
    numbers = _SPACE, zlib.crc32(name.encode()) - (1 << 31)
    with translated(engine):
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with translated(engine):
            lock = func.pg_advisory_lock if wait else func.pg_try_advisory_lock
            most = 0 if wait is True else max(1, int(wait * 1000))  # 0: without a limit
            connection.exec_driver_sql(f"SET lock_timeout = {most}")
            got = connection.execute(select(lock(*numbers))).scalar_one()
            connection.exec_driver_sql("SET lock_timeout = 0")
        yield bool(wait) or bool(got)  # one that waits returns nothing
    finally:
        _give_back(connection, numbers)


def _give_back(connection: Connection, numbers: tuple[int, int]) -> None:
    with suppress(Exception):  # a connection that is gone has no lock any more
        connection.exec_driver_sql("SET lock_timeout = 0")
        connection.execute(select(func.pg_advisory_unlock(*numbers)))
        connection.close()
        return
    connection.invalidate()
    connection.close()
