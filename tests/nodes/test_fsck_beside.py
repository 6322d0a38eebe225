"""fsck beside another node: what that has under way is no fault; and on a database and a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from several_nodes import OneNode, an_object, nodes

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.link import link
from scp.config.settings import Settings
from scp.lifecycle import fsck as module
from scp.lifecycle.fsck import MISSING, UNRECORDED, Finding, fsck
from scp.lifecycle.reindex import reindex
from scp.lifecycle.verify import verify
from scp.node.build import open_archive

pytestmark = pytest.mark.usefixtures("codecs_here")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[OneNode]]:
    with nodes(tmp_path, "a", "b", policy=[{"name": "all", "stages": [{"form": "zstd"}]}]) as made:
        yield made


def unrecorded(node: OneNode) -> Any:
    """An object of which a node has put the file, and what it is yet to record."""
    sent = an_object()
    node.keep(sent)
    while node.encoder.round():
        pass
    (held,) = node.archive.named(sent.sop_instance_uid)
    row = node.archive.reader.read_back(held.key)
    node.archive.forget(held.sop_instance_uid, held.key)
    return row


def kinds(found: Iterator[Finding]) -> list[str]:
    return [one.kind for one in found]


@pytest.mark.parametrize("records", [True, False])
def test_a_file_that_another_node_is_about_to_record(pair: list[OneNode], records: bool) -> None:
    a, b = pair
    instance, facts = unrecorded(b)
    waited: list[float] = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        if records:
            b.archive.record_rows([(instance, facts.attributes)])

    assert kinds(fsck(a.archive, Silent(), repair=True, wait=meanwhile)) == ([] if records else [UNRECORDED])
    assert waited == [module._OTHERS_SECONDS]
    assert len(a.archive.named(instance.sop_instance_uid)) == 1


@pytest.fixture
def in_bucket(tmp_path: Path, seaweedfs: Any) -> Iterator[Archive]:
    """An archive with its index on PostgreSQL and its objects in a bucket."""
    server = import_module("servers_postgresql").shared()
    storage = {**seaweedfs.storage(), "spool": f"file://{tmp_path}/spool", "backlog": 0, "reserve": 0}
    policy = [{"name": "all", "stages": [{"form": "zstd"}]}]
    tables = {"storage": storage, "policy": policy, **server.tables(server.database())}
    settings = link(Settings.model_validate(tables, by_alias=True, by_name=False))[0]
    archive = open_archive(settings, repairs=True)
    yield archive
    archive.close()


@pytest.mark.cluster
def test_each_disagreement_of_database_and_bucket_is_found(in_bucket: Archive) -> None:
    sent = [an_object(seed) for seed in range(40)]
    for one in sent:
        in_bucket.ingest(one)
    held = [in_bucket.named(one.sop_instance_uid)[0] for one in sent]
    assert kinds(fsck(in_bucket, Silent())) == []
    in_bucket.forget(held[0].sop_instance_uid, held[0].key)
    in_bucket.files.discard(held[1].key)
    in_bucket.files.discard(held[2].key)
    in_bucket.files.rewrite(held[2].key, b"rotten")
    found = {one.key: one.kind for one in fsck(in_bucket, Silent())}
    assert found == {held[0].key: UNRECORDED, held[1].key: MISSING}
    checked = list(verify(in_bucket, in_bucket.all()))
    assert {one.instance.key for one in checked if one.fault} == {held[1].key, held[2].key}
    assert [one.instance.key for one in checked] == [one.key for one in in_bucket.all()]
    assert [(one.kind, one.repaired) for one in fsck(in_bucket, Silent(), repair=True)] == [
        (UNRECORDED, "recorded"),
        (MISSING, ""),
    ]
    outcome = reindex(in_bucket, Silent())
    assert outcome.gone == [held[1].key]
    assert [key for key, _ in outcome.damaged] == [held[2].key]
