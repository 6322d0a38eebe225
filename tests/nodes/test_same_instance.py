"""Two nodes that store one SOP instance at once end with one object, and lose no acknowledged content."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from several_nodes import OneNode, Uploading, an_object, nodes, trashed

from scp.archive.behind import Acknowledged
from scp.background.progress import Silent
from scp.errors import DuplicateRejected, OutOfResources
from scp.lifecycle.fsck import fsck
from scp.model import Kept, Received

pytestmark = pytest.mark.usefixtures("codecs_here")

ROUNDS, SENDERS = 4, 2


def recorded(node: OneNode, one: Received) -> Kept:
    return node.keep(one)


def recorded_behind(node: OneNode, one: Received) -> Kept:
    """What became of an object that may be acknowledged before it is recorded."""
    follows: list[Acknowledged] = []
    kept = node.archive.ingest(one, follow=follows.append)
    assert all(each.wait() for each in follows)
    return follows[0].kept if follows else kept


def stored(
    made: list[OneNode], sent: list[list[Received]], keep: Callable[[OneNode, Received], Kept] = recorded
) -> list[tuple[Received, Kept]]:
    """What each node acknowledged of what it was sent; all send at once, and node by node in their order."""
    acknowledged: list[tuple[Received, Kept]] = []
    begin = threading.Barrier(len(made) * SENDERS)

    def sends(node: OneNode, objects: list[Received]) -> None:
        begin.wait()
        for one in objects:
            for _ in range(5):
                try:
                    acknowledged.append((one, keep(node, one)))
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


def test_no_content_is_lost_that_was_acknowledged_before_it_was_recorded(tmp_path: Path) -> None:
    check_that_none_is_lost(tmp_path, "replace", 3, recorded_behind)


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
@pytest.mark.parametrize("contents", [1, 3], ids=["the same content", "other contents"])
def test_no_acknowledged_content_is_lost(tmp_path: Path, duplicates: str, contents: int) -> None:
    check_that_none_is_lost(tmp_path, duplicates, contents, recorded)


def check_that_none_is_lost(
    tmp_path: Path, duplicates: str, contents: int, keep: Callable[[OneNode, Received], Kept]
) -> None:
    with nodes(tmp_path, "a", "b", storage={"duplicates": duplicates}) as made:
        a, b = made
        sent = [[an_object(noise=0.1 * (1 + (n + i) % contents)) for n in range(ROUNDS)] for i in range(2)]
        with Uploading(a), Uploading(b):
            acknowledged = stored(made, sent, keep)
            (held,) = a.archive.all()
            there = {held.received_sha256, *trashed(a)}
            # What another node recorded first though it came later puts the earlier one into the trash.
            discards = duplicates == "keep"
            kept = {one.sha256 for one, what in acknowledged if not discards or what.outcome != "discarded"}
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
