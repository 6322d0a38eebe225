"""Where the disk of the first store is not mounted, nothing is made in its place, and no index is rebuilt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file, received
from typer.testing import CliRunner

from scp.archive.replacement import Change
from scp.cli.main import app
from scp.config.link import link
from scp.config.settings import Settings
from scp.config.sources import OTHER_STORES
from scp.errors import ConfigurationError
from scp.node.build import make_ready, open_archive
from scp.objects.names import in_store

pytestmark = pytest.mark.quick


def settings_in(root: Path, **tables: Any) -> Settings:
    plain = {
        "storage": {"url": f"file://{root}/mount", "reserve": 0},
        "index": {"url": f"sqlite:///{root}/index.db"},
    }
    return link(Settings.model_validate(plain | tables, by_alias=True, by_name=False))[0]


def keep(settings: Settings) -> None:
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "first")
    archive.ingest(received(bundled_file("CT_small.dcm")))
    archive.close()


@pytest.mark.parametrize("point", ["empty", "missing"])
@pytest.mark.parametrize("repairs", [False, True])
def test_nothing_is_made_below_an_empty_mount_point(tmp_path: Path, point: str, repairs: bool) -> None:
    settings = settings_in(tmp_path)
    keep(settings)
    mount = tmp_path / "mount"
    mount.rename(tmp_path / "away")
    if point == "empty":
        mount.mkdir()
    with pytest.raises(ConfigurationError, match=r"storage\.url mounted"):
        open_archive(settings, repairs=repairs)
    assert list(mount.glob("**/*")) == []
    assert mount.exists() == (point == "empty")
    if mount.exists():
        mount.rmdir()
    (tmp_path / "away").rename(mount)
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "second")
    assert archive.index.counts().instances == 1
    archive.close()


@pytest.mark.parametrize("command", ["check", "ls", "fsck", "stats", "verify", "reindex"])
def test_no_command_makes_anything_there(tmp_path: Path, command: str) -> None:
    keep(settings_in(tmp_path))
    (tmp_path / "mount").rename(tmp_path / "away")
    (tmp_path / "mount").mkdir()
    config = tmp_path / "zscp.toml"
    url, index = json.dumps(f"file://{tmp_path}/mount"), json.dumps(f"sqlite:///{tmp_path}/index.db")
    config.write_text(f"[storage]\nurl = {url}\nreserve = 0\n[index]\nurl = {index}\n", encoding="utf-8")
    found = CliRunner().invoke(app, [command, "--config", str(config)])
    assert isinstance(found.exception, ConfigurationError)
    assert list((tmp_path / "mount").iterdir()) == []


def test_what_another_store_holds_is_no_reason_to_rebuild_the_index(tmp_path: Path) -> None:
    """The rebuilt one would not know what lies on the disk that is away, nor what waits for peers."""
    settings = settings_in(tmp_path, **{OTHER_STORES: [{"name": "old", "url": f"file://{tmp_path}/old"}]})
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "first")
    archive.ingest(received(bundled_file("CT_small.dcm")))
    other = archive.ingest(received(bundled_file("MR_small.dcm"))).instance
    data = archive.store.get(other.key)
    there = replace(other, key=in_store("old", other.key))
    archive.replace([Change(other, there, data)])
    archive.close()
    (tmp_path / "mount").rename(tmp_path / "away")
    with pytest.raises(ConfigurationError, match="mounted"):
        open_archive(settings, repairs=True)
    (tmp_path / "away").rename(tmp_path / "mount")
    archive = open_archive(settings)
    assert archive.index.counts().instances == 2
    archive.close()


@pytest.mark.parametrize("away", [False, True])
def test_a_damaged_index_is_made_again_from_files_without_a_mark_and_not_from_nothing(
    tmp_path: Path, away: bool
) -> None:
    """One disk that fails may take the mark of the store, and a page of the index."""
    settings = settings_in(tmp_path)
    keep(settings)
    (mark,) = (tmp_path / "mount" / ".zscp").glob("archive")
    mark.unlink()
    index = tmp_path / "index.db"
    index.write_bytes(index.read_bytes()[:100] + b"\xff" * 8192)
    if away:
        (tmp_path / "mount").rename(tmp_path / "away")
        (tmp_path / "mount").mkdir()
        with pytest.raises(ConfigurationError, match=r"storage\.url mounted"):
            open_archive(settings, repairs=True)
        assert list((tmp_path / "mount").iterdir()) == []
        return
    archive = open_archive(settings, repairs=True)
    make_ready(archive, settings, "second")
    assert archive.index.counts().instances == 1
    archive.close()
