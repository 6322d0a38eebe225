"""A node whose objects are in a container of a server that speaks as Azure Blob Storage does."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers_azurite import ACCOUNT_KEY, Azurite

from scp.config.stores import StorageSettings
from scp.objects.stores import bucket_at

from .conftest import NodeProcess
from .peers import image, until
from .test_bucket import got, said, send

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SOME = [image(instance=f"1.2.3.1.{n}", seed=n, InstanceNumber=n) for n in range(20)]
WHOLE = {sent.instance: sent.data for sent in SOME}
OTHER_KEY = base64.b64encode(bytes(64)).decode()


def keys_in(storage: dict[str, Any]) -> list[str]:
    """The keys of all stored objects in a container."""
    place = StorageSettings.model_validate(storage).bucket
    assert place is not None
    return [found.key for found in bucket_at(place, 30.0).list() if not found.key.startswith(".")]


@pytest.mark.parametrize(
    "landing",
    [pytest.param(False, marks=pytest.mark.long, id="in the bucket"), pytest.param(True, id="in the spool")],
)
def test_a_killed_node_has_all_that_it_acknowledged(
    azure: Azurite,
    process: Callable[..., NodeProcess],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    landing: bool,
) -> None:
    storage = {
        **azure.storage(),
        "spool": f"file://{tmp_path}/spool",
        "reserve": 0,
        "backlog": 10**9,
        "landing": landing,
    }
    node = process(storage=storage)
    node.start()
    assert send(node.address, SOME) == [0] * len(SOME)
    node.kill()
    node.start()
    assert got(node.address, "1.2.3") == WHOLE
    until(lambda: said(node, "stats")["pending"]["instances"] == 0, "all are encoded", 300)
    until(lambda: len(keys_in(storage)) == len(SOME), "what was replaced is gone", 300)
    assert node.kill(signal.SIGTERM) == 0

    # Deleted, and restored: a copy in the trash.
    node.here("delete", "1.2.3.1.1", "--reason", "test", "--yes")
    assert len(keys_in(storage)) == len(SOME) - 1
    node.here("trash", "restore", "1.2.3.1.1")
    assert said(node, "verify", "--deep")["sound"] == len(SOME)
    assert said(node, "fsck")["findings"] == []

    # The index is made again from the container alone.
    shutil.rmtree(tmp_path / "spool")
    (node.root / "index.db").unlink()
    node.here("ls", status=1)
    assert said(node, "reindex")
    assert said(node, "fsck")["findings"] == []
    node.start()
    assert got(node.address, "1.2.3") == WHOLE
    assert node.kill(signal.SIGTERM) == 0
    told = node.here("check")
    assert storage["url"] in told
    assert ACCOUNT_KEY not in told

    monkeypatch.setenv("ZSCP_STORAGE__SECRET_KEY", OTHER_KEY)
    told = node.here("check", "--json", status=1)
    assert "look at account and secret_key of this [[storage]]" in json.loads(told)["index"]
    assert OTHER_KEY not in told
