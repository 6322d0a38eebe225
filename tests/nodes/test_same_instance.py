"""Two nodes that store one SOP instance at once end with one object, and lose no acknowledged content."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from several_nodes import OneNode, Uploading, an_object, nodes, trashed

from scp.background.progress import Silent
from scp.errors import DuplicateRejected, OutOfResources
from scp.lifecycle.fsck import fsck
from scp.model import Kept, Received

pytestmark = pytest.mark.usefixtures("codecs_here")

ROUNDS, SENDERS = 4, 2


def stored(made: list[OneNode], sent: list[list[Received]]) -> list[tuple[Received, Kept]]:
    """What each node acknowledged of what it was sent; all send at once, and node by node in their order."""
    acknowledged: list[tuple[Received, Kept]] = []
    begin = threading.Barrier(len(made) * SENDERS)

    def sends(node: OneNode, objects: list[Received]) -> None:
        begin.wait()
        for one in objects:
            for _ in range(5):
                try:
                    acknowledged.append((one, node.keep(one)))
                    break
                except DuplicateRejected:
                    break
                except OutOfResources:  # as the sender would
                    time.sleep(0.1)

    threads = [
        threading.Thread(target=sends, args=(node, objects[number::SENDERS]))
        for node, objects in zip(made, sent, strict=True)
        for number in range(SENDERS)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return acknowledged


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
@pytest.mark.parametrize("contents", [1, 3], ids=["the same content", "other contents"])
def test_no_acknowledged_content_is_lost(tmp_path: Path, duplicates: str, contents: int) -> None:
    with nodes(tmp_path, "a", "b", storage={"duplicates": duplicates}) as made:
        a, b = made
        sent = [[an_object(noise=0.1 * (1 + (n + i) % contents)) for n in range(ROUNDS)] for i in range(2)]
        with Uploading(a), Uploading(b):
            acknowledged = stored(made, sent)
            (held,) = a.archive.all()
            there = {held.received_sha256, *trashed(a)}
            kept = {one.sha256 for one, what in acknowledged if what.outcome != "discarded"}
            assert kept <= there
            assert kept
            wanted = next(one for one in sent[0] + sent[1] if one.sha256 == held.received_sha256)
            for node in made:
                assert node.content(wanted) == wanted.dataset
            while a.encoder.round() or b.encoder.round():
                pass
        for node in made:
            node.encoder.free()
            assert node.content(wanted) == wanted.dataset
            assert list(node.archive.store.log.keys()) == []
        assert {one.received_sha256 for one in b.archive.all()} == {wanted.sha256}
        assert {*trashed(a), wanted.sha256} >= kept
        assert list(fsck(a.archive, Silent())) == []
