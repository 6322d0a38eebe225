"""Makes commits survive a power cut.

SQLite in write-ahead mode appends commits to a log file. With synchronous=NORMAL it waits for the disk only
when it copies the log into the database: it syncs the log before that, and the database after it. So each
commit is in the current log, or in the database and on the disk. It is enough to sync the log, whichever
process wrote it.
"""

from __future__ import annotations

import os
from contextlib import closing

from sqlalchemy import Engine

from scp.errors import OutOfResources
from scp.index.sqlite import JOURNAL_BYTES
from scp.metrics import counting


def sync(engine: Engine) -> None:
    """Wait until all that was committed is on the disk.

    Does nothing for PostgreSQL: its commits wait for the disk, unless it is configured otherwise.

    Raises :class:`scp.errors.OutOfResources` if the disk fails; whether commits are durable is unknown then.
    """
    if engine.dialect.name == "sqlite" and _log_on_disk(f"{engine.url.database}-wal") > JOURNAL_BYTES:
        # The log is copied here, where the caller waits for the disk anyway, and not in a commit. PASSIVE
        # waits for no other connection, and none waits for it.
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _log_on_disk(name: str) -> int:
    """Wait until the log is on the disk; returns its length in bytes.

    SQLite holds no lock on this file, so closing it does no harm; closing the database file would.
    """
    try:
        log = os.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return 0  # nothing was committed since the log was last copied and removed
    try:
        os.fsync(log)
        return os.fstat(log).st_size
    except OSError as error:
        counting.count("zscp_index_errors_total", "sync")
        raise OutOfResources(f"the index's log cannot be brought to the disk: {error}") from error
    finally:
        os.close(log)
