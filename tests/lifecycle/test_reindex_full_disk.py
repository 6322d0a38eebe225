"""A disk that is full while the index is made again."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pytest
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.rules import DEFAULT_POLICY
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.reindex import reindex
from scp.objects.local import LocalStore

pytestmark = pytest.mark.quick


def test_no_room_for_what_is_sorted_is_told_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    archive = Archive(LocalStore(tmp_path / "objects"), index, DEFAULT_POLICY)
    archive.ingest(received(bundled_file("CT_small.dcm")))

    def full(*_: Any, **__: Any) -> IO[str]:
        return Path("/dev/full").open("w+", encoding="utf-8")

    with monkeypatch.context() as patched:
        patched.setattr("scp.lifecycle.reindex.TemporaryFile", full)
        with pytest.raises(OutOfResources, match="No space left"):
            reindex(archive, Silent())
    assert archive.index.counts().instances == 1
    assert reindex(archive, Silent()).recorded == 1
    archive.close()
