"""A whole node on a bucket of a real S3 server: the same acts, and the same promises, as on a disk."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from objects import bundled_file
from servers_seaweedfs import SeaweedFS

from scp.config.stores import BucketPlace
from scp.objects.bucket import Bucket

from .conftest import NodeProcess
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    PATIENT_GET,
    STUDY_FIND,
    STUDY_MOVE,
    Scu,
    Sent,
    identifier,
    image,
    of_file,
    until,
)

pytestmark = pytest.mark.cluster


def on(server: SeaweedFS, root: Path, **more: Any) -> dict[str, Any]:
    """The table of a first store in a new prefix, with a spool in a folder."""
    return {**server.storage(), "spool": f"file://{root}/spool", "reserve": 0, **more}


def bucket_of(node: NodeProcess) -> Bucket:
    table = node.tables["storage"]
    bucket, _, prefix = table["url"].removeprefix("s3://").partition("/")
    keys = (table["access_key"], table["secret_key"])
    return Bucket(BucketPlace(bucket, prefix, table["endpoint"], "us-east-1", *keys))


def keys_in(node: NodeProcess) -> list[str]:
    """The keys of all stored objects in the bucket."""
    return sorted(found.key for found in bucket_of(node).list() if not found.key.startswith("."))


def said(node: NodeProcess, *arguments: object, status: int = 0) -> Any:
    return json.loads(node.run(*arguments, "--json", status=status).stdout)


SOME = [image(instance=f"1.2.3.1.{n}", seed=n, InstanceNumber=n) for n in range(1, 9)]
ODD = [of_file(bundled_file("JPEG2000.dcm")), of_file(bundled_file("chrGreek.dcm"))]


def sent_to(node: NodeProcess, objects: list[Sent]) -> list[int]:
    wanted = dict.fromkeys((sent.sop_class, sent.syntax) for sent in objects)
    with Scu(node.address, [(uid, [syntax]) for uid, syntax in wanted]) as scu:
        return [scu.store(sent).status for sent in objects]


def test_a_node_on_a_bucket(seaweedfs: SeaweedFS, process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = process(storage=on(seaweedfs, tmp_path, backlog=0))
    node.start()
    assert sent_to(node, SOME + ODD) == [0] * len(SOME + ODD)
    print(keys_in(node))
    node.kill(signal.SIGTERM)
    print(node.log.read_text())
    print(said(node, "verify", "--deep"))
    print(said(node, "fsck"))
