"""Fetching ahead: in order, within its bounds, and with nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from scp.archive.deliver import Outgoing
from scp.dimse.scu.fetch_ahead import Ahead, Fetched, Reach, Work
from scp.errors import CannotDecode, ObjectMissing
from scp.model import Instance
from scp.resources import budget
from scp.resources.budget import Budget

pytestmark = pytest.mark.quick

MB = 1 << 20


def instances(count: int, size: int = 1) -> list[Instance]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Instance("1", str(n), "2", "3", f"key{n}", "zstd", "4", size, "", "4", size, "", when, "A", "")
        for n in range(count)
    ]


class Source:
    """Fetches slowly, and knows how many at a time; with ``meets`` none but the first ends before two met."""

    def __init__(self, meets: bool = False) -> None:
        self.meets, self.met = meets, threading.Event()
        self.begun: list[str] = []
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, instance: Instance) -> Outgoing:
        with self._lock:
            first = not self.begun
            self.begun.append(instance.sop_instance_uid)
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.inside > 1:
                self.met.set()
        self.met.wait(30 if self.meets and not first else 0.005)
        with self._lock:
            self.inside -= 1
        return Outgoing(instance, "4", iter([instance.sop_instance_uid.encode()]))


def _slowly(instance: Instance) -> Outgoing:
    threading.Event().wait(0.005)
    return Outgoing(instance, "4", iter([b"frame"]))


def _body(fetched: Fetched) -> bytes:
    return b"".join(fetched.chunks)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_all_come_in_order(count: int) -> None:
    work, source = Work(instances(count)), Source(meets=count > 1)
    with Ahead(work, source) as fetching:
        found = [(one.instance.sop_instance_uid, _body(one)) for one in fetching]
    assert found == [(str(n), str(n).encode()) for n in range(count)]
    assert source.most <= Reach().objects
    assert (source.most > 1) == (count > 1)


def test_no_more_bytes_than_allowed() -> None:
    source = Source()
    with Ahead(Work(instances(10, size=100)), source, reach=Reach(size=100)) as fetching:
        assert len(list(fetching)) == 10
    assert source.most == 1


def test_without_memory_nothing_is_fetched_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that do not read hold all that may be held: the others get one object after another."""
    full = Budget(MB)
    monkeypatch.setattr(budget, "_budget", full)
    reach = Reach(objects=4)
    stuck = full.hold(full.unit * 112)
    assert stuck is not None
    work, source = Work(instances(10, size=100_000)), Source()
    with Ahead(work, source, reach=reach) as fetching:
        assert len(list(fetching)) == 10
    assert source.most == 1
    stuck.give_back()
    source = Source(meets=True)
    with Ahead(Work(instances(10, size=100_000)), source, reach=reach) as fetching:
        assert len(list(fetching)) == 10
    assert source.most > 1
    assert full.used == 0


def test_what_is_fetched_ahead_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As what it is stored as: what is decoded of it is held by who decodes it."""
    shared = Budget(256 * MB)
    monkeypatch.setattr(budget, "_budget", shared)
    small = [replace(one, received_size=3 * MB) for one in instances(10, size=1000)]
    with Ahead(Work(small), _slowly, reach=Reach(objects=4)) as fetching:
        next(iter(fetching))
        assert shared.used == 4 * 1000


def test_what_is_not_given_out_is_put_back() -> None:
    work, source = Work(instances(20)), Source()
    with Ahead(work, source) as fetching:
        given = [one.instance.sop_instance_uid for one in islice(fetching, 3)]
    assert given + [one.sop_instance_uid for one in work.left()] == [str(n) for n in range(20)]
    assert source.inside == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_several_share_the_work() -> None:
    work = Work(instances(60))
    found: list[str] = []

    def take() -> None:
        with Ahead(work, Source(), share=3) as fetching:
            found.extend(one.instance.sop_instance_uid for one in fetching)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=int) == [str(n) for n in range(60)]


def test_what_cannot_be_fetched_or_decoded_is_told() -> None:
    def fetch(instance: Instance) -> Outgoing:
        if instance.sop_instance_uid == "1":
            raise ObjectMissing("gone")

        def chunks() -> Iterator[bytes]:
            yield b"frame"
            if instance.sop_instance_uid == "2":
                raise CannotDecode("the second frame")

        return Outgoing(instance, "4", chunks())

    with Ahead(Work(instances(4)), fetch) as fetching:
        found = list(fetching)
    assert [type(one.error) for one in found] == [type(None), ObjectMissing, CannotDecode, type(None)]
    assert [_body(one) for one in found if one.error is None] == [b"frame", b"frame"]


def test_a_large_object_is_not_decoded_as_a_whole() -> None:
    taken = 0

    def fetch(instance: Instance) -> Outgoing:
        def chunks() -> Iterator[bytes]:
            nonlocal taken
            for _ in range(100):
                taken += 1
                yield bytes(1 << 20)

        return Outgoing(instance, "4", chunks())

    with Ahead(Work(instances(1)), fetch) as fetching:
        for one in fetching:
            assert taken == 4
            assert len(_body(one)) == 100 << 20


def test_who_waits_for_a_large_object_does_something_meanwhile() -> None:
    """Alone, too: a C-GET of one object that takes minutes to decode tells its requester that it goes on."""
    looked = threading.Event()

    def fetch(instance: Instance) -> Outgoing:
        assert looked.wait(30)
        return Outgoing(instance, "4", iter([b"frame"]))

    large, reach = Work(instances(1, size=8 << 20)), Reach(look_seconds=0.01)
    with Ahead(large, fetch, meanwhile=looked.set, reach=reach) as fetching:
        assert [_body(one) for one in fetching] == [b"frame"]


def test_what_is_fetched_quickly_is_fetched_when_it_is_asked_for() -> None:
    """And the next one only then: it needs no thread, until one takes long."""
    slow, begun, here = threading.Event(), list[str](), list[bool]()

    def fetch(instance: Instance) -> Outgoing:
        begun.append(instance.sop_instance_uid)
        here.append(threading.current_thread() is threading.main_thread())
        if slow.is_set():
            threading.Event().wait(0.02)
        return Outgoing(instance, "4", iter([b"frame"]))

    with Ahead(Work(instances(40)), fetch) as fetching:
        given = iter(fetching)
        next(given)
        while not all(here[-2:]) or len(begun) < 2:  # a busy machine may make any of them slow
            next(given)
        ahead = len(begun)
        assert ahead < 40
        slow.set()
        for _ in given:
            pass
    assert not here[0]  # nobody knows yet whether its store is slow
    assert sorted(begun, key=int) == [str(n) for n in range(40)]
    assert not all(here[ahead:])


SLOW = [
    {"key": "@cold/key"},
    {"pending": True},
    {"transfer_syntax": "1.2.840.10008.1.2.4.90"},
    {"dataset_at": 300},
]


@pytest.mark.parametrize("other", SLOW, ids=lambda other: next(iter(other)))
def test_what_is_of_another_kind_may_be_slow(other: dict[str, Any]) -> None:
    """It is fetched in a thread, the last one too, so that somebody looks after the requester meanwhile."""
    here = list[bool]()

    def fetch(instance: Instance) -> Outgoing:
        here.append(threading.current_thread() is threading.main_thread())
        return Outgoing(instance, "4", iter([b"frame"]))

    (one,) = instances(1)
    with Ahead(Work([one, replace(one, **other)] * 10), fetch, reach=Reach(objects=1)) as fetching:
        for _ in fetching:
            pass
    assert not any(here)
