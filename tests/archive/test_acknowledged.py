"""What befalls objects that are acknowledged, and are yet to be recorded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from objects import Shape, deflate, phantom
from several_nodes import OneNode, an_object, die, nodes, settings_in
from waiting import until

from scp.archive import behind
from scp.archive.behind import Acknowledged, Unrecorded
from scp.background.doorbell import Doorbell
from scp.encoding.facts import survey
from scp.errors import OutOfResources
from scp.lifecycle.recovery import recover
from scp.model import Received
from scp.node.service import BackgroundProcess
from scp.objects.segments import BLOCK
from scp.syntaxes import DEFLATED

pytestmark = pytest.mark.usefixtures("codecs_here")


@pytest.fixture(autouse=True)
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is committed until it is asked for, however slow the machine is."""
    monkeypatch.setattr(behind, "WINDOW_SECONDS", 3600.0)


def acknowledged(node: OneNode, received: Received) -> Acknowledged:
    follows: list[Acknowledged] = []
    node.archive.ingest(received, follow=follows.append)
    (one,) = follows
    return one


# -- what the next process makes of it ------------------------------------------------------------------


def test_an_object_that_another_node_keeps_from_being_recorded_keeps_no_node_from_starting(
    tmp_path: Path,
) -> None:
    """Node a has the object in its landing log, and is switched off. Node b acknowledges other content."""
    with nodes(tmp_path, "a", "b") as (a, b):
        a.keep(an_object(noise=0.1))
        die(a, b)
        held_up = acknowledged(b, an_object(noise=0.2))
        other = an_object(seed=1)
        assert not held_up.wait(0.5)
        acknowledged(b, other)
        b.archive.receiver._behind._thread = None  # b is killed now: the other one has no row
        b.archive.close()
        after = OneNode(tmp_path, "b")
        try:
            die(a, after)
            recover(after.archive)
            assert after.key(other)
        finally:
            after.close()


def test_what_the_encoder_takes_up_is_forwarded_by_the_rules_in_force(tmp_path: Path) -> None:
    """It takes up what a killed worker acknowledged, perhaps before that one's successor does."""
    to = {"peer": [{"aet": "PACS", "host": "127.0.0.1", "port": 104}]}
    after = settings_in(tmp_path, **to, forward=[{"name": "all", "to": ["PACS"]}])
    process = BackgroundProcess(settings_in(tmp_path, **to), lambda: after, Doorbell(), lambda *_: [])
    try:
        process.reload()
        facts = survey(an_object())
        assert [one.destination for one in process._archive.recorder.sends(facts)] == ["PACS"]
    finally:
        process.stop()


# -- within one process ---------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> Iterator[OneNode]:
    with nodes(tmp_path, "a") as (a,):
        yield a


def test_a_row_whose_segment_cannot_be_sealed_once_does_not_wait_for_ever(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or no file descriptor, as the last record of a full segment is recorded."""
    log = node.archive.store.log
    assert log is not None
    one = acknowledged(node, an_object())
    (segment,) = log._open.values()
    segment.full, log._current = True, None  # as the next object finds it
    touch, faults = Path.touch, [OSError(28, "No space left on device")]

    def touch_later(path: Path, *more: Any, **named: Any) -> None:
        if path.suffix == ".sealed" and faults:
            raise faults.pop()
        touch(path, *more, **named)

    monkeypatch.setattr(Path, "touch", touch_later)
    assert one.wait(5)
    behind_ = node.archive.receiver._behind
    until(lambda: not faults, "it was tried")
    until(lambda: not behind_._waiting, "nothing waits any more", 5)


def test_an_object_whose_record_is_damaged_is_not_taken_for_one_that_is_recorded(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit failed once. That the record is not what was written does not mean that it is over."""
    one = acknowledged(node, sent := an_object())
    log = node.archive.store.log
    assert log is not None
    (segment,) = log._open.values()
    os.pwrite(segment.descriptor, b"?", BLOCK + 1)
    add_many, faults = node.archive.index.add_many, [OutOfResources("the index is away")]
    monkeypatch.setattr(
        node.archive.index, "add_many", lambda items: [faults.pop()] if faults else add_many(items)
    )
    one.wait(1)
    until(lambda: one.done, "it is tried again")
    assert node.key(sent)


def test_what_one_association_notes_stays_small_though_one_object_waits_for_long() -> None:
    sender, kept = Unrecorded(), Mock()
    sender.add(Acknowledged(kept, threading.Condition(), lambda: None))
    for _ in range(1000):
        one = Acknowledged(kept, threading.Condition(), lambda: None)
        one.settle(kept)
        sender.add(one)
    assert len(sender._objects) <= behind.MOST


def test_a_deflated_object_is_recorded_before_it_is_acknowledged(node: OneNode) -> None:
    """It is inflated for its facts, which would be held until then: up to a thousand times its size."""
    follows: list[Acknowledged] = []
    plain = phantom(Shape(rows=1024, columns=1900, noise=0.0))
    packed = deflate(bytes(plain.dataset))
    sent = replace(plain, transfer_syntax=DEFLATED, dataset=packed, sha256="", received_at=datetime.now(UTC))
    assert node.archive.ingest(sent, follow=follows.append).outcome == "kept"
    assert follows == []
