"""Cursors that keep their connections: none is lost, none holds the database up."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from scp.errors import OutOfResources
from scp.index.cursors import Cursors
from scp.index.dialect import connect, translated
from scp.index.sql import SqlIndex

pytestmark = pytest.mark.quick


def test_one_after_the_other_takes_the_same_connection(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/index.db")
    cursors = Cursors(engine)
    found = []
    for _ in range(3):
        with cursors.one() as cursor:
            found.append(cursor)
            assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    assert len(set(map(id, found))) == 1
    cursors.close()
    engine.dispose()


def test_threads_that_read_at_once_have_one_each(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/index.db")
    cursors, together = Cursors(engine), Barrier(4, timeout=30)

    def read() -> int:
        with cursors.one() as cursor:
            together.wait()
            cursor.execute("SELECT 1").fetchall()
            return id(cursor)

    with ThreadPoolExecutor(4) as pool:
        found = {one.result() for one in [pool.submit(read) for _ in range(4)]}
    assert len(found) == 4
    cursors.close()
    engine.dispose()


def test_after_an_error_the_next_one_reads_by_another(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/index.db")
    cursors = Cursors(engine)
    with pytest.raises(OutOfResources), translated(engine), cursors.one() as failed:
        failed.execute("SELECT * FROM nothing")
    with cursors.one() as cursor:
        assert cursor is not failed
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    cursors.close()
    engine.dispose()


def test_a_connection_that_is_kept_holds_no_transaction(tmp_path: Path) -> None:
    """Else the write-ahead log could not be copied into the database, and would grow."""
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    assert index.named("1.2.3") == []
    other = sqlite3.connect(tmp_path / "index.db", timeout=0, isolation_level=None)
    other.execute("CREATE TABLE another (x)")
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert index.named("1.2.3") == []
    other.close()
    index.close()
    with sqlite3.connect(tmp_path / "index.db", timeout=0) as alone:  # nobody has it open any more
        assert alone.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
