"""A truncated, overwritten or replaced index: what requests and commands come to, and who notices."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import objects
import pytest
from sqlalchemy import text

from scp.archive.archive import Archive
from scp.cli.main import main
from scp.config.settings import Settings
from scp.dimse.status import comment_of, status_of
from scp.errors import IndexDamaged, OutOfResources
from scp.index.dialect import reads
from scp.index.sql import SqlIndex
from scp.lifecycle.guard import Guard
from scp.model import Query, QueryKey
from scp.node.build import open_archive
from scp.syntaxes import EXPLICIT

MARK = "SECRET^MARK"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    storage = {"url": f"file://{tmp_path}/objects", "reserve": 0}
    return Settings.model_validate({"storage": storage, "index": {"url": f"sqlite:///{tmp_path}/index.db"}})


def sent(number: int) -> Any:
    dataset = objects.described(objects.Shape(), f"1.2.3.{number}")
    dataset.PatientName = MARK
    data = objects.written(dataset, explicit=True, little=True)
    return objects.as_received(data, EXPLICIT, sop_instance=f"1.2.3.{number}")


def truncated(length: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, length)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)


def behind_the_first_page(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def a_folder(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.mkdir()


DAMAGES = {
    "empty": truncated(0),
    "100 bytes": truncated(100),
    "half": halved,
    "first page": overwritten,
    "other pages": behind_the_first_page,
}


def filled(settings: Settings) -> Archive:
    archive = open_archive(settings)
    for number in range(3):
        archive.ingest(sent(number))
    with closing(sqlite3.connect(file_of(settings))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return archive


def file_of(settings: Settings) -> Path:
    path = settings.index.path
    assert path is not None
    return path


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_requests_are_out_of_resources(settings: Settings, damage: Callable[[Path], None]) -> None:
    """PS3.4 B.2.3: 0xA700, so that the sender comes again; and the next look opens the index again."""
    archive = filled(settings)
    damage(file_of(settings))
    query = Query("STUDY", "STUDY", (QueryKey("PatientName", "PN", MARK),))
    acts: list[Callable[[], Any]] = [
        lambda: archive.ingest(sent(8)),
        lambda: archive.ingest(sent(1)),
        lambda: archive.named("1.2.3.1"),
        archive.statistics,
        lambda: list(archive.find(query)),
    ]
    failures: list[Exception] = []
    for act in acts:
        try:
            act()
        except Exception as failure:  # noqa: BLE001 - whatever it is, a peer would be answered with it
            failures.append(failure)
    assert len(failures) >= 4  # half of an index may answer some queries
    for error in failures:
        assert status_of(error) == 0xA700
        assert "SELECT" not in str(error)
        assert MARK not in str(error)
        assert "the index is damaged" in comment_of(str(error))
    ended: list[bool] = []
    assert archive.pairing is not None
    Guard(archive.pairing, lambda: ended.append(True)).watch()
    assert ended
    with suppress(Exception):
        archive.close()


def test_a_thorough_check_compares_tables_with_their_indexes(settings: Settings) -> None:
    """Else a process that met such damage would end, and its successor find nothing, for ever."""
    filled(settings).close()
    named, path = ("ix_study_date",), file_of(settings)
    with closing(sqlite3.connect(path)) as one, one:
        of_index = one.execute("SELECT * FROM sqlite_master WHERE name = ?", named).fetchone()
        one.execute("PRAGMA writable_schema = 1")
        one.execute("DELETE FROM sqlite_master WHERE name = ?", named)
    with closing(sqlite3.connect(path)) as one, one:
        one.execute("UPDATE study SET study_date_key = '20260101'")
        one.execute("PRAGMA writable_schema = 1")
        one.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", of_index)
    SqlIndex.open(settings.index.url, check=True).close()
    with pytest.raises(IndexDamaged, match="ix_study_date"):
        SqlIndex.open(settings.index.url, check=True, thorough=True)


def test_what_the_database_refuses_is_told_without_values(settings: Settings) -> None:
    archive = filled(settings)
    engine = archive.index._engine  # type: ignore[attr-defined]
    copy = "INSERT INTO patient SELECT * FROM patient WHERE :name = :name"
    with pytest.raises(OutOfResources) as told, reads(engine) as connection:
        connection.execute(text(copy), {"name": MARK})
    assert "constraint failed" in str(told.value)
    assert "INSERT" not in str(told.value)
    with pytest.raises(Exception, match="hidden") as raw, engine.connect() as connection:
        connection.execute(text(copy), {"name": MARK})
    assert MARK not in str(raw.value)
    archive.close()


@pytest.mark.parametrize("damage", [*DAMAGES.values(), a_folder], ids=[*DAMAGES, "folder"])
def test_commands_name_the_remedy(
    settings: Settings,
    tmp_path: Path,
    damage: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled(settings).close()
    damage(file_of(settings))
    config = tmp_path / "zscp.toml"
    urls = (settings.storage.url, settings.index.url)
    config.write_text('[storage]\nurl = "{}"\n[index]\nurl = "{}"\n'.format(*urls), encoding="utf-8")
    for command in ("ls", "stats", "verify", "fsck", "check", "plan"):
        monkeypatch.setattr("sys.argv", ["zscp", command, "-c", str(config)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        told = capsys.readouterr()
        assert "zscp reindex" in told.out + told.err


def test_an_index_that_may_not_be_opened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, permissions have no effect: SQLite's own error stands for it."""
    cause = sqlite3.OperationalError("unable to open database file")
    cause.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN

    def refuses(*_: object, **__: object) -> None:
        raise cause

    monkeypatch.setattr(sqlite3.dbapi2, "connect", refuses)
    with pytest.raises(OutOfResources, match=r"may read and write.*zscp reindex"):
        SqlIndex.open(settings.index.url)
