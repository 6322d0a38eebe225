"""A whole node on a bucket of a real S3 server: the same acts, and the same promises, as on a disk."""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file
from servers_seaweedfs import SeaweedFS

from scp.config.stores import BucketPlace
from scp.errors import ObjectUnavailable
from scp.objects.bucket import Bucket

from .conftest import NodeProcess
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Scu,
    Sent,
    identifier,
    image,
    of_file,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_RANDOM = random.Random(20261129)
SOME = [image(instance=f"1.2.3.1.{n}", seed=n, InstanceNumber=n) for n in range(1, 7)]
LARGE = image(instance="1.2.3.1.9", seed=9, rows=3200, columns=3200)  # some 20 MB: in parts
ODD = of_file(bundled_file("JPEG2000.dcm"))
ALL = [*SOME, LARGE, ODD]
# What each says is in the bucket before Success, and what else: [storage].
_WAYS: dict[str, dict[str, Any]] = {
    "encoded before": {"backlog": 0},
    "encoded behind": {"backlog": 10**9, "landing": False},
    "with a spool": {"backlog": 10**9},
}


def ways(*often: str) -> pytest.MarkDecorator:
    """Each way; those that are not named in ``make long`` alone."""
    more = pytest.mark.long
    return pytest.mark.parametrize(
        "way", [pytest.param(way, marks=[] if way in often else more) for way in _WAYS]
    )


def on(server: SeaweedFS, root: Path, **more: Any) -> dict[str, Any]:
    """The table of a first store in a new prefix, with a spool in a folder."""
    return {**server.storage(), "spool": f"file://{root}/spool", "reserve": 0, **more}


def bucket_of(table: dict[str, Any]) -> Bucket:
    bucket, _, prefix = table["url"].removeprefix("s3://").partition("/")
    keys = (table["access_key"], table["secret_key"])
    return Bucket(BucketPlace(bucket, prefix, table["endpoint"], "us-east-1", *keys))


def keys_in(table: dict[str, Any]) -> list[str]:
    """The keys of all stored objects in a bucket."""
    return sorted(found.key for found in bucket_of(table).list() if not found.key.startswith("."))


def said(node: NodeProcess, *arguments: object, status: int = 0) -> Any:
    return json.loads(node.here(*arguments, "--json", status=status))


def send(address: tuple[str, int], objects: list[Sent], seconds: float = 90) -> list[int]:
    wanted = dict.fromkeys((sent.sop_class, sent.syntax) for sent in objects)
    with Scu(address, [(uid, [syntax]) for uid, syntax in wanted]) as scu:
        return [scu.store(sent).status for sent in objects]


def got(address: tuple[str, int], *studies: str) -> dict[str, bytes]:
    """What C-GET gives of some studies, in the syntax that it was sent in, by SOP Instance UID."""
    storage = [(MR_IMAGE, [EXPLICIT]), (SECONDARY_CAPTURE, [ODD.syntax])]
    found: dict[str, bytes] = {}
    with Scu(address, [(STUDY_GET, [EXPLICIT]), *storage], roles=[uid for uid, _ in storage]) as scu:
        for study in studies:
            done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=study))
            assert done.final.status == 0, done.final
            found |= {sent.instance: sent.data for sent in done.objects}
    return found


STUDIES = ("1.2.3", str(ODD.dataset.StudyInstanceUID))
WHOLE = {sent.instance: sent.data for sent in ALL}


@ways("encoded before", "with a spool")
def test_the_acts_of_a_node(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path, way: str
) -> None:
    storage = on(seaweedfs, tmp_path, **_WAYS[way])
    node = process(storage=storage)
    node.start()
    assert send(node.address, ALL) == [0] * len(ALL)
    assert got(node.address, *STUDIES) == WHOLE, "also what is in the spool is served"
    until(lambda: len(keys_in(storage)) == len(ALL), "all are uploaded")
    with Scu(node.address, [(STUDY_FIND, [EXPLICIT]), (STUDY_MOVE, [EXPLICIT])]) as scu:
        found = scu.find(STUDY_FIND, identifier("IMAGE", StudyInstanceUID="1.2.3", SOPInstanceUID=""))
        assert len(found) == len(SOME) + 2
    assert node.kill(signal.SIGTERM) == 0

    # Deleted, restored, held.
    assert said(node, "delete", "1.2.3.1.1", "--reason", "test", "--yes")
    assert len(keys_in(storage)) == len(ALL) - 1
    assert [one["sop_instance_uid"] for one in said(node, "trash", "list")] == ["1.2.3.1.1"]
    assert said(node, "trash", "restore", "1.2.3.1.1")
    assert said(node, "trash", "list") == []
    node.here("hold", "add", "1.2.3", "--reason", "a case")
    node.here("delete", "1.2.3.1.2", "--reason", "test", "--yes", status=1)
    assert len(keys_in(storage)) == len(ALL)
    node.here("hold", "remove", "1.2.3")
    assert said(node, "hold", "list") == []

    # Read back, encoded anew, compared with the index.
    assert said(node, "recompress", "--now") is not None
    assert said(node, "verify", "--deep")["sound"] == len(ALL)
    assert said(node, "fsck")["findings"] == []

    # Another node, of which nothing was ever on this machine, makes the index again from the bucket alone.
    shutil.rmtree(tmp_path / "spool")
    (node.root / "index.db").unlink()
    node.here("ls", status=1)
    assert said(node, "reindex")
    assert said(node, "fsck")["findings"] == []
    node.start()
    assert got(node.address, *STUDIES) == WHOLE


def test_a_damaged_object_is_told_and_replaced(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    storage = on(seaweedfs, tmp_path, backlog=0)
    node = process(storage=storage)
    node.start()
    assert send(node.address, SOME[:2]) == [0, 0]
    key = next(key for key in keys_in(storage) if "1.2.3.1.1_" in key)
    bucket_of(storage).put(key, b"rotten")
    assert send(node.address, SOME[:1]) == [0], "it is sent again, and what is there is not believed"
    assert got(node.address, "1.2.3") == {sent.instance: sent.data for sent in SOME[:2]}
    node.kill(signal.SIGTERM)
    assert said(node, "verify", "--deep")["sound"] == 2


class _Sender(threading.Thread):
    """Stores objects, each until it is acknowledged, whatever becomes of the node meanwhile."""

    def __init__(self, node: NodeProcess, objects: list[Sent]) -> None:
        super().__init__(daemon=True)
        self.node, self.objects = node, objects
        self.acknowledged: list[Sent] = []
        self.statuses: set[int] = set()
        self.longest = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        rest = list(self.objects)
        while rest and not self.over.wait(0.1):
            try:
                with Scu(self.node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
                    while rest and scu.established and not self.over.is_set():
                        begun = time.monotonic()
                        status = scu.store(rest[0]).status
                        self.longest = max(self.longest, time.monotonic() - begun)
                        self.statuses.add(status)
                        if status == 0:
                            self.acknowledged.append(rest.pop(0))
                        time.sleep(0.03 if status == 0 else 0.2)
            except Exception:  # noqa: BLE001 - the node was killed: the association is opened again
                continue


def _is_removed(folder: Path) -> bool:
    """Remove a folder; False while others still remove files in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@ways("encoded behind", "with a spool")
def test_killed_while_it_stores(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path, way: str
) -> None:
    node = process(storage=on(seaweedfs, tmp_path, **_WAYS[way]))
    objects = [image(instance=f"1.2.3.7.{n}", seed=n, InstanceNumber=n) for n in range(400)]
    senders = []
    for round_ in range(3):
        node.start()
        senders.append(_Sender(node, objects[round_ * 100 :][:100]))
        senders[-1].start()
        until(lambda: len(senders[-1].acknowledged) > _RANDOM.randrange(5, 40), "some are acknowledged", 60)
        node.kill()
        senders[-1].over.set()
        senders[-1].join(60)
    if way != "with a spool":  # its disk is gone, and its journal: nothing acknowledged depends on it
        until(lambda: _is_removed(tmp_path / "spool"), "no process of the killed node uses its spool")
    node.start()
    acknowledged = {sent.instance: sent.data for one in senders for sent in one.acknowledged}
    found = got(node.address, "1.2.3")
    assert {uid: found.get(uid) for uid in acknowledged} == acknowledged
    assert all(found[sent.instance] == sent.data for sent in objects if sent.instance in found)
    node.kill(signal.SIGTERM)
    assert said(node, "fsck", "--repair") is not None
    assert said(node, "fsck")["findings"] == []


def test_the_store_is_away_for_20_seconds(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """Statuses are those for a lack of resources, and come in time; the service comes back by itself."""
    with SeaweedFS(tmp_path / "weed") as server:
        nodes = [
            process(
                storage=on(server, tmp_path / way.replace(" ", "-"), **_WAYS[way]),
                limits={"dimse_seconds": 10.0},
            )
            for way in ("encoded behind", "with a spool")
        ]
        for node in nodes:
            node.start()
        objects = [image(instance=f"1.2.3.8.{n}", seed=n) for n in range(2000)]
        senders = [_Sender(node, objects) for node in nodes]
        for sender in senders:
            sender.start()
            until(lambda one=sender: len(one.acknowledged) > 5, "some are acknowledged", 60)
        server.kill()
        time.sleep(20)
        with pytest.raises(ObjectUnavailable):
            bucket_of(nodes[0].tables["storage"]).look(".zscp/archive")
        server.start()
        for node, sender in zip(nodes, senders, strict=True):
            before = len(sender.acknowledged)
            until(
                lambda one=sender, least=before: len(one.acknowledged) > least + 5,
                "objects are taken again",
                60,
            )
            sender.over.set()
            sender.join(60)
            assert sender.statuses <= {0, 0xA700}, sender.statuses
            assert sender.longest < 40
            acknowledged = {sent.instance: sent.data for sent in sender.acknowledged}
            found = until(lambda one=node: got(one.address, "1.2.3"), "all are served", 60)
            assert {uid: found.get(uid) for uid in acknowledged} == acknowledged
        assert senders[1].statuses == {0}, "the spool takes them meanwhile"
        for node in nodes:
            assert node.kill(signal.SIGTERM, 60) == 0


def two_nodes(process: Callable[..., NodeProcess], root: Path, storage: dict[str, Any]) -> list[NodeProcess]:
    """Running, with one index and one bucket, and a spool each."""
    nodes = [
        process(
            storage={**storage, "spool": f"file://{root}/spool{number}"},
            index={"url": f"sqlite:///{root}/index.db"},
            node={"host": "127.0.0.1", "port": 0, "workers": 1},
        )
        for number in range(2)
    ]
    for node in nodes:
        node.start()
    return nodes


def test_a_node_and_its_disk_are_lost_right_after_success(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """With ``landing = false`` the other node serves what the first acknowledged, and encodes it."""
    storage = on(seaweedfs, tmp_path, **_WAYS["encoded behind"])
    lost, other = two_nodes(process, tmp_path, storage)
    assert send(lost.address, SOME) == [0] * len(SOME)
    lost.kill()
    shutil.rmtree(tmp_path / "spool0")
    assert got(other.address, "1.2.3") == {sent.instance: sent.data for sent in SOME}
    other.encodes_all(120)  # what another node took up is looked for each minute
    assert got(other.address, "1.2.3") == {sent.instance: sent.data for sent in SOME}
    other.kill(signal.SIGTERM)
    assert said(other, "verify", "--deep")["sound"] == len(SOME)


@pytest.mark.parametrize("way", ["encoded before", "encoded behind"])
def test_two_nodes_store_the_same_objects_at_once(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path, way: str
) -> None:
    """With one index and one bucket, and a spool each: one object is left of each, and it is sound."""
    storage = on(seaweedfs, tmp_path, **_WAYS[way])
    nodes = two_nodes(process, tmp_path, storage)
    objects = [image(instance=f"1.2.3.6.{n}", seed=n) for n in range(40)]
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(send, node.address, objects) for node in nodes for _ in range(2)]
        assert [set(one.result()) for one in sent] == [{0}] * 4
    for node in nodes:
        assert got(node.address, "1.2.3") == {one.instance: one.data for one in objects}
    until(lambda: len(keys_in(storage)) == len(objects), "what was replaced is gone", 120)
    for node in nodes:
        node.kill(signal.SIGTERM)
    assert said(nodes[0], "verify", "--deep")["sound"] == len(objects)
    assert said(nodes[0], "fsck")["findings"] == []
    assert len(keys_in(storage)) == len(objects)


def test_a_bucket_as_a_later_store(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    cold = {"name": "cold", **seaweedfs.storage()}
    stages = [{"form": "htj2k"}, {"after": "1s", "store": "cold"}]
    node = process(tiers=[cold], policy=[{"name": "all", "stages": stages}])
    node.start()
    assert send(node.address, SOME) == [0] * len(SOME)
    until(lambda: len(keys_in(cold)) == len(SOME), "all have moved", 90)  # stages are looked for each minute
    assert got(node.address, "1.2.3") == {sent.instance: sent.data for sent in SOME}
    node.kill(signal.SIGTERM)
    assert said(node, "delete", "1.2.3.1.1", "--reason", "test", "--yes")
    assert len(keys_in(cold)) == len(SOME) - 1
    assert said(node, "trash", "restore", "1.2.3.1.1")
    assert said(node, "verify", "--deep")["sound"] == len(SOME)
    (node.root / "index.db").unlink()
    assert said(node, "reindex")
    assert said(node, "fsck")["findings"] == []


def test_what_check_says_of_a_bucket(
    seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    in_bucket, on_disk = "durable in the bucket before Success", "durable on one disk until"
    for way, promise in zip(_WAYS, (in_bucket, in_bucket, on_disk), strict=True):
        node = process(storage=on(seaweedfs, tmp_path, **_WAYS[way]))
        told = node.here("check")
        assert promise in told
        assert "s3://zscp/p" in told
        assert "not-a-secret" not in told
        assert "not-a-secret" not in node.here("check", "--json")
