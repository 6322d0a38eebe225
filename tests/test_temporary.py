"""Folders of tests are in memory where there is enough of it, and nowhere else than is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import temporary

pytestmark = pytest.mark.quick

ROOM = SimpleNamespace(f_flag=0, f_bavail=8 << 30, f_frsize=1)


def chosen(monkeypatch: pytest.MonkeyPatch, folder: Path, gigabytes: int = 16, **there: int) -> str | None:
    """Where pytest is told to make its folders, on a machine with so much memory to spare."""
    meminfo = folder / "meminfo"
    meminfo.write_text(f"MemTotal: 99 kB\nMemAvailable:   {gigabytes << 20} kB\nBuffers: 1 kB\n")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**vars(ROOM) | there))
    temporary.use_memory(folder, meminfo)
    return os.environ.get("PYTEST_DEBUG_TEMPROOT")


@pytest.fixture(autouse=True)
def _nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR"):
        monkeypatch.setenv(name, "")  # what is set here is put back
        monkeypatch.delenv(name)


def test_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert chosen(monkeypatch, tmp_path) == str(tmp_path)


@pytest.mark.parametrize(
    "there",
    [{"f_bavail": 64 << 20}, {"gigabytes": 4}, {"f_flag": os.ST_NOEXEC}],
    ids=["64 MB, as in a container", "little memory", "no programs"],
)
def test_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: dict[str, int]) -> None:
    assert chosen(monkeypatch, tmp_path, **there) is None


@pytest.mark.parametrize("name", ["PYTEST_DEBUG_TEMPROOT", "TMPDIR"])
def test_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv(name, "/asked/for")
    assert chosen(monkeypatch, tmp_path) in (None, "/asked/for")


def test_a_system_without_it(tmp_path: Path) -> None:
    temporary.use_memory(tmp_path / "not there", tmp_path / "neither")
    assert "PYTEST_DEBUG_TEMPROOT" not in os.environ
