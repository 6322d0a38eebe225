"""What is committed → what outlives a power cut.

SQLite in write-ahead mode appends commits to a log file, and with synchronous=NORMAL waits for the
disk only when it copies the log into the database: the log before, the database after. So whatever
is committed is in the log that is there now, or in the database and on the disk; waiting for the
log, whichever process wrote it, is all it takes.
"""

from __future__ import annotations

import os
from contextlib import closing

from sqlalchemy import Engine

from scp.errors import OutOfResources
from scp.index.dialect import JOURNAL_BYTES


def sync(engine: Engine) -> None:
    """Wait until all that was committed is on the disk.

    PostgreSQL is left alone: its commits wait, unless it was told otherwise.

    Raises :class:`scp.errors.OutOfResources` when the disk fails; what was committed is unsure then.
    """
    if engine.dialect.name == "sqlite" and _log_on_disk(f"{engine.url.database}-wal") > JOURNAL_BYTES:
        # Here, where somebody waits for the disk anyway, and not in a commit. PASSIVE waits for nobody,
        # and nobody for it.
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _log_on_disk(name: str) -> int:
    """Wait for the disk; the length of the log in bytes.

    SQLite keeps no lock on this file, so that closing it again does no harm (it would to the database).
    """
    try:
        log = os.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return 0  # nothing was committed since the log was last copied and removed
    try:
        os.fsync(log)
        return os.fstat(log).st_size
    except OSError as error:
        raise OutOfResources(f"the index's log cannot be brought to the disk: {error}") from error
    finally:
        os.close(log)
