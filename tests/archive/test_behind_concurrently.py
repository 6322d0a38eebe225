"""Objects that wait for the index together: none is forgotten, and none is kept waiting by another's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from objects import Shape, phantom
from structlog.testing import capture_logs
from waiting import until

from scp.archive import behind, receive
from scp.archive.archive import Archive
from scp.archive.behind import Acknowledged, Unrecorded
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import Safekeeping
from scp.background.doorbell import Doorbell
from scp.config.rules import DEFAULT_POLICY
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.model import Instance, Kept, Received
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """No group is committed until it is asked for. All UIDs share one lock, as every 256th does."""
    monkeypatch.setattr(behind, "WINDOW_SECONDS", 3600.0)
    monkeypatch.setattr(receive, "_STRIPES", 1)
    store = LandedStore(LocalStore(tmp_path / "objects"), LandingLog(tmp_path / "objects"))
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    options = Options(
        pending=PendingBound(lambda: 0, 10**9, Doorbell()),
        safekeeping=Safekeeping({"": tmp_path / "objects"}),
    )
    archive = Archive(store, index, DEFAULT_POLICY, options)
    yield archive
    archive.close()


def sent(seed: int = 0, noise: float = 0.1) -> Received:
    """An object that was received now; another ``noise`` is other content."""
    return replace(phantom(Shape(seed=seed, noise=noise)), received_at=datetime.now(UTC))


def acknowledged(archive: Archive, received: Received) -> Acknowledged:
    follows: list[Acknowledged] = []
    archive.ingest(received, follow=follows.append)
    (one,) = follows
    return one


def test_the_second_one_of_a_uid_is_not_forgotten_with_the_first(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that records is held up when all were told of the first, until the second was added."""
    added, settle = threading.Event(), Acknowledged.settle

    def is_held_up(one: Acknowledged, kept: Kept) -> None:
        settle(one, kept)
        added.wait(60)

    monkeypatch.setattr(Acknowledged, "settle", is_held_up)
    acknowledged(archive, sent())
    second = acknowledged(archive, sent(noise=0.3))
    added.set()
    assert second.wait()
    assert archive.receiver._behind.size == 0


class Recorded:
    """An object that is recorded. Who asks first whether it is, is interrupted before the answer."""

    def __init__(self) -> None:
        self.asked, self.goes_on = threading.Event(), threading.Event()

    @property
    def done(self) -> bool:
        if not self.asked.is_set():
            self.asked.set()
            self.goes_on.wait(60)
        return True


class Waits:
    """An object that is not recorded."""

    done = False

    def wait(self, _seconds: float) -> bool:
        return False


def test_two_threads_of_one_association_forget_nothing_that_waits() -> None:
    """Where requests are served in a window, objects are added by several threads."""
    sender, recorded, waits = Unrecorded(), Recorded(), Waits()
    add: Any = sender.add
    add(recorded)
    interrupted = threading.Thread(target=add, args=[Waits()], daemon=True)
    interrupted.start()
    assert recorded.asked.wait(60)
    other = threading.Thread(target=add, args=[waits], daemon=True)
    other.start()
    other.join(0.5)  # or it waits for the first thread
    recorded.goes_on.set()
    interrupted.join(60)
    other.join(60)
    assert waits in sender._objects
    assert not sender.wait(0.0)


def test_one_held_object_that_is_slow_to_check_keeps_no_other_sender_waiting(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are in one group: one of them lies in a store that does not answer."""
    answers = threading.Event()
    slow, quick = sent(seed=1), sent(seed=2)
    for received in (slow, quick):
        archive.ingest(received)
    verify = archive.reader.verify

    def is_held_up(instance: Instance, deep: bool = False) -> str:
        if instance.sop_instance_uid == slow.sop_instance_uid:
            answers.wait(60)
        return verify(instance, deep)

    monkeypatch.setattr(archive.reader, "verify", is_held_up)
    one, other = acknowledged(archive, slow), acknowledged(archive, quick)
    try:
        assert other.wait(10)
    finally:
        answers.set()
    assert one.wait()


def test_the_pauses_between_tries_grow(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    one = acknowledged(archive, sent())

    def pauses() -> list[float]:
        return [line["retry_seconds"] for line in lines if "retry_seconds" in line]

    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr(SqlIndex, "add_many", Mock(side_effect=OutOfResources("the index is away")))
        assert not one.wait(0.0)
        until(lambda: len(pauses()) > 2, "it is tried three times")
    assert pauses()[:3] == [0.1, 0.2, 0.4]


def test_one_that_is_sent_again_holds_up_no_object_of_another_uid(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of its UID cannot be recorded; others can."""
    bad, waits = acknowledged(archive, sent()), threading.Event()
    add_many, wait = SqlIndex.add_many, Acknowledged.wait

    def adds(index: SqlIndex, items: Any) -> Any:
        if any(one.key == bad.kept.instance.key for one, *_ in items):
            raise ValueError("a bug that one object shows")
        return add_many(index, items)

    def begins(one: Acknowledged, *seconds: float) -> bool:
        waits.set()
        return wait(one, *seconds)

    def sent_again() -> None:
        with suppress(OutOfResources):  # where it has waited in vain
            archive.ingest(sent(noise=0.3))

    kept: list[Kept] = []
    with monkeypatch.context() as patch:
        patch.setattr(SqlIndex, "add_many", adds)
        patch.setattr(Acknowledged, "wait", begins)
        again = threading.Thread(target=sent_again, daemon=True)
        again.start()
        assert waits.wait(60)
        other = threading.Thread(target=lambda: kept.append(archive.ingest(sent(seed=1))), daemon=True)
        other.start()
        other.join(10)
        told = list(kept)
    again.join(60)
    other.join(60)
    assert len(told) == 1
