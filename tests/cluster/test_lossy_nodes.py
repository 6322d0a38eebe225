"""Two nodes on one PostgreSQL and one bucket carry out the same lossy stage at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from lossy_stages import NEAR, SAME, as_sent, lossless, opened, picture, rules
from servers_seaweedfs import SeaweedFS
from waiting import until
from wire.configured import settings_of

from scp.background.progress import Silent
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.objects.stores import places

from .topology import ClusterNode

pytestmark = pytest.mark.cluster

_COUNT = 40


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.mark.parametrize("stage", [NEAR, SAME], ids=["new UID", "same UID"])
def test_each_object_is_made_lossy_once(
    tmp_path: Path, seaweedfs: SeaweedFS, stack: ExitStack, stage: dict[str, Any]
) -> None:
    postgresql = import_module("servers_postgresql")
    shared = postgresql.shared()
    tables = {
        **shared.tables(shared.database(made=False)),
        "storage": {**seaweedfs.storage(), "landing": False},
        "lifecycle": {"max_cpu": 2.0},
        "policy": rules(stage),
    }
    nodes = []
    for name in ("node1", "node2"):
        own = {"storage": {**tables["storage"], "spool": f"file://{tmp_path}/{name}/spool"}}
        nodes.append(ClusterNode(tmp_path / name, **{**tables, **own}))
    settings = settings_of(nodes[0].tables)
    sent = [picture(number) for number in range(_COUNT)]
    archive = opened(settings)
    for one in sent:
        archive.ingest(as_sent(one))
    archive.close()
    for node in nodes:
        stack.callback(node.lose_power)
        node.begin()
    for node in nodes:
        node.listens()
    archive = opened(settings)
    stack.callback(archive.close)
    until(lambda: all(one.lossy_of for one in archive.all()), "all are made lossy", 180)
    for node in nodes:
        assert node.kill(15, 60) == 0

    told = [event for node in nodes for event in node.events() if event.get("event") == "made lossy"]
    uids = sorted(one.instance for one in sent)
    assert sorted(event["sop_instance"] for event in told) == uids, "each is made lossy once"
    assert Counter(one.lossy_of for one in archive.all()) == dict.fromkeys(uids, 1)
    deletion = Deletion(archive, places(settings))
    entries = deletion.trash.entries()
    assert sorted((one.sop_instance_uid, one.state) for one in entries) == [(uid, "gone") for uid in uids]
    assert list(fsck(archive, Silent())) == []
    list(deletion.restore(entries))
    for one in sent:
        (held,) = archive.named(one.instance)
        assert lossless(archive, held) == one.data
