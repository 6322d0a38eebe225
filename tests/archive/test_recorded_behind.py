"""Small objects are acknowledged once they are durable, and recorded behind that, in groups."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from buckets import bucket_in_memory
from objects import Shape, phantom
from structlog.contextvars import bound_contextvars, get_contextvars
from waiting import until

from scp.archive import behind, safekeeping
from scp.archive.archive import Archive
from scp.archive.behind import MOST, Acknowledged, Behind, Unrecorded
from scp.archive.options import Options
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import RecentHolds, Safekeeping
from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.config.rules import DEFAULT_POLICY
from scp.errors import DuplicateRejected, OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.recovery import recover
from scp.model import Instance, Kept, Received
from scp.objects.holds import Hold, Holds
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.names import is_landed

Opened = Callable[..., Archive]
_KEYS = ("issuer_of_patient_id", "patient_id", "study_instance_uid", "series_instance_uid")


class FailingIndex:
    """An index whose groups fail while ``fault`` is set, before they are committed, or ``after``."""

    def __init__(self, index: SqlIndex) -> None:
        self._index = index
        self.fault: Exception | None = None
        self.after: Exception | None = None
        self.bad: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def add(self, *item: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return self._index.add(*item)

    def add_many(self, items: Any) -> Any:
        self.gate.wait(60)
        if self.fault is not None:
            return [self.fault] * len(items)
        if any(one.sop_instance_uid in self.bad for one, *_ in items):
            raise ValueError("a bug that one object shows")
        found = self._index.add_many(items)
        return found if self.after is None else [self.after] * len(items)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens an archive on the same folder and index as the others: as another process does."""
    archives: list[Archive] = []
    # Until it is asked for, no group is committed, however slow the machine is.
    monkeypatch.setattr(behind, "WINDOW_SECONDS", 3600.0)

    def opens(**options: Any) -> Archive:
        store = LandedStore(LocalStore(tmp_path / "objects"), LandingLog(tmp_path / "objects"))
        index: Any = FailingIndex(SqlIndex.open(f"sqlite:///{tmp_path}/index.db"))
        pending = PendingBound(lambda: 0, 10**9, Doorbell())
        places = Safekeeping({"": tmp_path / "objects"})
        chosen = Options(**{"pending": pending, "safekeeping": places, **options})
        archives.append(Archive(store, index, DEFAULT_POLICY, chosen))
        return archives[-1]

    yield opens
    for archive in archives:
        archive.close()


def sent(seed: int = 0, noise: float = 0.1) -> Received:
    """An object that was received now; another ``noise`` is other content."""
    return replace(phantom(Shape(seed=seed, noise=noise)), received_at=datetime.now(UTC))


def stored(archive: Archive, received: Received) -> tuple[Kept, list[Acknowledged]]:
    follows: list[Acknowledged] = []
    return archive.ingest(received, follow=follows.append), follows


def acknowledged(archive: Archive, received: Received) -> Acknowledged:
    _, (one,) = stored(archive, received)
    return one


def content(archive: Archive, received: Received) -> bytes:
    (held,) = archive.named(received.sop_instance_uid)
    return b"".join(map(bytes, archive.fetch(held, [received.transfer_syntax]).chunks))


def index_of(archive: Archive) -> Any:
    return archive.index


def test_it_is_acknowledged_first_and_recorded_when_somebody_waits(opened: Opened) -> None:
    archive, other = opened(), opened()
    received = sent()
    kept, (one,) = stored(archive, received)
    assert (kept.outcome, other.named(received.sop_instance_uid)) == ("kept", [])
    assert archive.files.get(kept.instance.key)
    told: list[Kept] = []
    one.then(told.append)
    assert told == []
    assert one.wait()
    assert told == [kept]
    assert other.named(received.sop_instance_uid) == [kept.instance]
    one.then(told.append)
    assert told == [kept, kept]


def test_what_is_logged_of_it_names_the_request_that_it_came_by(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened()
    recording = archive.receiver._behind
    settle, seen = recording._settle, []

    def settles(*given: Any) -> Kept:
        seen.append(get_contextvars())
        return settle(*given)

    monkeypatch.setattr(recording, "_settle", settles)
    sending = []
    for association in "AB":
        with bound_contextvars(association=association):
            sending.append(acknowledged(archive, sent(ord(association))))
    assert all(one.wait() for one in sending)
    assert sorted(one["association"] for one in seen) == ["A", "B"]


def test_a_call_that_fails_keeps_nobody_waiting(opened: Opened) -> None:
    archive = opened()
    _, (one,) = stored(archive, sent())
    told: list[Kept] = []
    one.then(Mock(side_effect=KeyError("a bug")))
    one.then(told.append)
    assert one.wait()
    assert len(told) == 1


def test_without_a_caller_that_follows_it_is_recorded_first(opened: Opened) -> None:
    archive = opened()
    kept = archive.ingest(sent())
    assert archive.named(kept.instance.sop_instance_uid) == [kept.instance]


def test_another_process_finds_it_soon_though_nobody_waits(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "WINDOW_SECONDS", 0.02)
    archive, other = opened(), opened()
    received = sent()
    _, (one,) = stored(archive, received)
    until(lambda: other.named(received.sop_instance_uid), "the window is over")
    until(lambda: one.done)


def test_a_group_is_one_transaction(opened: Opened) -> None:
    archive, sender = opened(), Unrecorded()
    groups: list[int] = []
    plain = index_of(archive).add_many
    index_of(archive).add_many = lambda items: groups.append(len(items)) or plain(items)
    for seed in range(10):
        archive.ingest(sent(seed), follow=sender.add)
    assert sender.wait()
    assert groups == [10]
    assert archive.count() == 10


def test_many_do_not_wait_for_the_window(opened: Opened) -> None:
    archive = opened()
    for seed in range(MOST // 2):
        stored(archive, sent(seed))
    until(lambda: archive.count() == MOST // 2, "they are recorded")


def test_with_reject_it_is_recorded_first(opened: Opened) -> None:
    archive = opened(duplicates="reject")
    kept, follows = stored(archive, sent())
    assert follows == []
    assert archive.named(kept.instance.sop_instance_uid) == [kept.instance]
    with pytest.raises(DuplicateRejected):
        stored(archive, sent(noise=0.3))


@pytest.mark.parametrize(
    ("duplicates", "noise", "outcome"),
    [("replace", 0.1, "duplicate"), ("replace", 0.3, "replaced"), ("keep", 0.3, "discarded")],
)
def test_what_became_of_it_beside_a_held_one(
    opened: Opened, duplicates: str, noise: float, outcome: str
) -> None:
    archive = opened(duplicates=duplicates)
    first, again = sent(), sent(noise=noise)
    archive.ingest(first)
    kept, (one,) = stored(archive, again)
    told: list[Kept] = []
    one.then(told.append)
    assert one.wait()
    assert kept.outcome == "kept"
    assert [one.outcome for one in told] == [outcome]
    wanted = again if outcome == "replaced" else first
    assert content(archive, first) == wanted.dataset
    assert len(list(archive.store.log.keys())) == 1


def test_a_second_one_of_its_uid_waits_until_it_is_recorded(opened: Opened) -> None:
    archive = opened()
    received, other = sent(), sent(noise=0.3)
    first = acknowledged(archive, received)
    second = acknowledged(archive, other)
    assert first.done
    assert (second.wait(), second.kept.outcome) == (True, "replaced")
    assert content(archive, received) == other.dataset


@pytest.mark.parametrize("duplicates", ["replace", "keep"])
def test_what_another_process_acknowledged_later_stays(
    opened: Opened, duplicates: str, tmp_path: Path
) -> None:
    archive, other = opened(duplicates=duplicates), opened(duplicates=duplicates)
    earlier = acknowledged(archive, sent())
    later = sent(noise=0.3)
    other.ingest(later)
    assert earlier.wait()
    assert earlier.kept.outcome == "discarded"
    assert content(archive, later) == later.dataset
    trash = archive._options.safekeeping
    assert trash is not None
    assert len(list(trash.trash.entries())) == 1
    assert [one.key for one in archive.index.all()] == list(archive.store.log.keys())


def test_beside_a_clock_that_is_ahead_the_last_one_stays(opened: Opened) -> None:
    archive, other = opened(), opened()
    ahead = replace(sent(noise=0.3), received_at=datetime.now(UTC) + timedelta(hours=1))
    one = acknowledged(archive, received := sent())
    other.ingest(ahead)
    assert one.wait()
    assert content(archive, received) == received.dataset
    (held,) = archive.index.all()
    assert held.received_at > ahead.received_at


def test_what_is_under_a_hold_is_recorded_first(opened: Opened) -> None:
    archive = opened()
    archive.ingest(sent())
    assert archive._options.safekeeping is not None
    uid = sent().sop_instance_uid
    archive._options.safekeeping.holds.add(Hold("IMAGE", uid, "a case", time.time()))
    with pytest.raises(DuplicateRejected, match="legal hold"):
        stored(archive, sent(noise=0.3))
    assert len(stored(archive, sent(seed=1))[1]) == 1  # other objects are not


def test_a_hold_that_comes_meanwhile_costs_no_acknowledged_object(opened: Opened, tmp_path: Path) -> None:
    archive = opened()
    first, again = sent(), sent(noise=0.3)
    archive.ingest(first)
    one = acknowledged(archive, again)
    assert archive._options.safekeeping is not None
    archive._options.safekeeping.holds.add(Hold("IMAGE", first.sop_instance_uid, "a case", time.time()))
    assert one.wait()
    assert one.kept.outcome == "discarded"
    assert content(archive, first) == first.dataset
    (aside,) = [path for path in (tmp_path / "objects" / ".damaged").rglob("*") if path.is_file()]
    assert again.dataset in aside.read_bytes()


# -- when the commit fails --------------------------------------------------------------------------------


def test_it_is_recorded_when_the_index_comes_back(opened: Opened) -> None:
    archive = opened()
    index = index_of(archive)
    one = acknowledged(archive, received := sent())
    index.fault = OutOfResources("the index is away")
    assert not one.wait(0.3)
    with pytest.raises(OutOfResources):  # answered after its commit meanwhile: truly
        stored(archive, sent(seed=1))
    assert list(archive.store.log.keys()) == [one.kept.instance.key]
    index.fault = None
    until(lambda: one.done, "it is tried again")
    assert archive.named(received.sop_instance_uid) == [one.kept.instance]
    assert len(stored(archive, sent(seed=1))[1]) == 1


def test_a_store_that_is_recorded_has_the_others_tried_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "_AGAIN", BackOff(3600.0))
    archive = opened()
    index = index_of(archive)
    one = acknowledged(archive, sent())
    index.fault = OutOfResources("the index is away")
    assert not one.wait(0.3)
    index.fault = None
    assert stored(archive, sent(seed=1))[1] == []
    until(lambda: one.done, "it is tried again")


def test_a_commit_without_an_answer_is_no_duplicate(opened: Opened) -> None:
    archive = opened()
    index = index_of(archive)
    one = acknowledged(archive, sent())
    index.after = OutOfResources("the answer was lost")
    assert not one.wait(0.3)
    index.after = None
    until(lambda: one.done, "it is tried again")
    assert (one.kept.outcome, archive.count()) == ("kept", 1)
    assert list(archive.store.log.keys()) == [one.kept.instance.key]


@pytest.mark.parametrize("deleted", [False, True])
def test_after_a_commit_without_an_answer_it_may_be_encoded_or_deleted(opened: Opened, deleted: bool) -> None:
    """Before it is tried again: no row may name a record that is over."""
    archive = opened()
    index = index_of(archive)
    one = acknowledged(archive, received := sent())
    index.after = OutOfResources("the answer was lost")
    assert not one.wait(0.3)
    encoder = Encoder(archive, Doorbell())
    until(lambda: encoder.round() or not archive.pending(10), "it is encoded")
    encoder.close()
    (moved,) = archive.named(received.sop_instance_uid)
    assert not is_landed(moved.key)
    if deleted:
        archive.forget(moved.sop_instance_uid, moved.key)
    index.after = None
    assert one.wait()
    assert archive.named(received.sop_instance_uid) == ([] if deleted else [moved])
    assert list(archive.store.log.keys()) == []


def test_one_that_cannot_be_recorded_holds_up_no_other(opened: Opened) -> None:
    archive = opened()
    bad = sent(seed=1)
    index_of(archive).bad.add(bad.sop_instance_uid)
    others = [acknowledged(archive, sent(seed)) for seed in (2, 3)]
    one = acknowledged(archive, bad)
    assert all(each.wait() for each in others)
    assert not one.wait(0.3)
    assert acknowledged(archive, sent(seed=4)).wait()
    index_of(archive).bad.clear()
    until(lambda: one.done, "it is tried again")
    assert archive.count() == 4


def test_a_bug_does_not_end_the_recording(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = opened()
    one = acknowledged(archive, sent())
    with monkeypatch.context() as patch:
        patch.setattr(Behind, "_record", Mock(side_effect=KeyError("a bug")))
        assert not one.wait(0.3)
    until(lambda: one.done, "it is tried again")
    assert acknowledged(archive, sent(seed=1)).wait()
    assert archive.count() == 2


def test_what_a_process_could_not_record_the_next_one_does(opened: Opened, tmp_path: Path) -> None:
    archive = opened()
    index = index_of(archive)
    received = sent()
    one = acknowledged(archive, received)
    index.fault = OutOfResources("the index is away")
    archive.close()
    assert (one.done, one.kept.outcome) == (True, "kept")
    after = opened()
    assert after.named(received.sop_instance_uid) == []
    assert recover(after).recorded == 1
    assert content(after, received) == received.dataset


def test_a_process_that_ends_records_what_waits(opened: Opened) -> None:
    archive = opened()
    stored(archive, received := sent())
    archive.close()
    assert len(opened().named(received.sop_instance_uid)) == 1


def test_while_the_index_does_not_answer_few_are_acknowledged(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "_ANSWERS_SECONDS", 0.05)
    archive = opened()
    index = index_of(archive)
    one = acknowledged(archive, sent())
    index.gate.clear()
    assert not one.wait(0.2)
    assert stored(archive, sent(seed=1))[1] == []
    index.gate.set()
    assert one.wait()


def test_no_more_wait_than_there_is_room_for(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "MOST", 3)
    archive = opened()
    index_of(archive).gate.clear()
    follows = [len(stored(archive, sent(seed))[1]) for seed in range(5)]
    index_of(archive).gate.set()
    assert follows == [1, 1, 1, 0, 0]


def test_a_sender_waits_for_its_own_and_not_for_ever(opened: Opened) -> None:
    archive, sender, another = opened(), Unrecorded(), Unrecorded()
    index = index_of(archive)
    archive.ingest(sent(), follow=sender.add)
    index.fault = OutOfResources("the index is away")
    assert another.wait(0.0)
    assert not sender.wait(0.2)
    index.fault = None
    assert sender.wait()


def stored_as(uid: str) -> Instance:
    return cast(Instance, SimpleNamespace(**dict.fromkeys(_KEYS, ""), sop_instance_uid=uid))


def test_holds_in_a_bucket_are_known_a_little_later_and_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holds = Holds(bucket_in_memory(monkeypatch))
    hold = Hold("IMAGE", "1.2.3", "a case", 1.0)
    holds.add(hold)
    recent = RecentHolds(holds, in_bucket=True)
    covered, another = stored_as("1.2.3"), stored_as("1.2.4")
    assert recent.may_cover(another)  # it is asked meanwhile
    until(lambda: not recent.may_cover(another), "it is asked")
    assert recent.may_cover(covered)
    holds.remove(holds.all())
    until(lambda: not recent.may_cover(covered), "it is asked again")
    monkeypatch.setattr(holds, "all", Mock(side_effect=OutOfResources("the bucket does not answer")))
    until(lambda: recent.may_cover(another), "nobody knows any more")


def test_holds_in_a_folder_are_the_present_ones_and_read_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = Holds(tmp_path)
    recent, covered = RecentHolds(holds, in_bucket=False), stored_as("1.2.3")
    assert not recent.may_cover(covered)
    holds.add(Hold("IMAGE", "1.2.3", "a case", 1.0))
    assert recent.may_cover(covered)
    assert not recent.may_cover(stored_as("1.2.4"))
    folder = next(path for path in tmp_path.rglob("*") if any(path.glob("*.json")))
    os.utime(folder, (1.0, 1.0))  # it changed long ago
    recent.may_cover(covered)
    monkeypatch.setattr(holds, "all", Mock(side_effect=AssertionError("read again")))
    monkeypatch.setattr(safekeeping, "_FRESH_SECONDS", 0.0)
    assert recent.may_cover(covered)
