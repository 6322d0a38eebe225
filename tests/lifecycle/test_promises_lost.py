"""An index that is made again, or an older copy, knows no promise for what came before, by any clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from objects import bundled_file, received

from scp.archive.archive import Archive
from scp.config.link import link
from scp.config.settings import Settings
from scp.node.build import make_ready, open_archive

pytestmark = pytest.mark.quick


def started(root: Path) -> Archive:
    plain = {
        "storage": {"url": f"file://{root}/objects", "reserve": 0},
        "index": {"url": f"sqlite:///{root}/index.db"},
    }
    archive = open_archive(
        link(Settings.model_validate(plain, by_alias=True, by_name=False))[0], repairs=True
    )
    make_ready(archive, link(Settings.model_validate(plain, by_alias=True, by_name=False))[0], "a start")
    return archive


@pytest.mark.parametrize("lost", ["the index", "what came since a copy"])
@pytest.mark.parametrize("shown", [1000.0, None], ids=["in 1970", "right"])
def test_an_object_of_before_may_have_been_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, shown: float | None
) -> None:
    index = tmp_path / "index.db"
    started(tmp_path).close()
    copy = index.read_bytes()
    archive = started(tmp_path)
    one = archive.ingest(received(bundled_file("CT_small.dcm"))).instance
    archive.commitments.promises.add([one.sop_instance_uid])
    archive.close()
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    if lost != "the index":
        index.write_bytes(copy)
    if shown is not None:
        monkeypatch.setattr("time.time", lambda: shown)
    archive = started(tmp_path)
    promises = archive.commitments.promises
    assert archive.index.counts().instances == 1
    assert not promises.covers(one.sop_instance_uid)
    assert promises.since() > one.received_at.timestamp()
    since = promises.since()
    archive.close()
    archive = started(tmp_path)
    assert archive.commitments.promises.since() == since, "the next start changes nothing"
    archive.close()
