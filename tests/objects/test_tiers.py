"""Several stores as one, and what becomes of those who wait for a slow one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scp.errors import ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects.journal import Journaled
from scp.objects.local import LocalStore
from scp.objects.memory import MemoryStore
from scp.objects.names import in_store, store_of
from scp.objects.store import Availability
from scp.objects.tiers import MediumMark, Tier, TieredStore
from scp.spool import Buffer

pytestmark = pytest.mark.quick

KEY = "3f/a2/1.2.3/1.2.3.4_0123456789abcdef.htj2k.dcm"
COLD = f"@cold/{KEY}"


def test_a_key_names_its_store() -> None:
    assert (store_of(KEY), store_of(COLD)) == ("", "cold")
    assert in_store("cold", KEY) == in_store("cold", in_store("tape", KEY)) == COLD
    assert in_store("", COLD) == in_store("", KEY) == KEY


@pytest.fixture
def places(tmp_path: Path) -> tuple[LocalStore, LocalStore]:
    return LocalStore(tmp_path / "first"), LocalStore(tmp_path / "cold", maps=False)


@pytest.fixture
def mark(tmp_path: Path) -> MediumMark:
    made = MediumMark(tmp_path / "cold", "cold")
    made.make()
    return made


@pytest.fixture
def store(places: tuple[LocalStore, LocalStore], mark: MediumMark) -> TieredStore:
    return TieredStore(places[0], [Tier("cold", places[1], mark.is_there)])


def test_each_goes_where_its_key_says(store: TieredStore, places: tuple[LocalStore, LocalStore]) -> None:
    store.put_many([(COLD, b"cold"), (KEY, b"first"), (COLD + ".zst", b"too")])
    assert (bytes(places[0].get(KEY)), bytes(places[1].get(KEY))) == (b"first", b"cold")
    assert (bytes(store.get(COLD)), store.size(COLD + ".zst")) == (b"cold", 3)
    assert sorted(store.keys()) == sorted([KEY, COLD, COLD + ".zst"])
    assert sorted(store.keys("@cold/3f/a2")) == [COLD, COLD + ".zst"]
    assert list(store.keys("3f/")) == [KEY]
    store.delete(COLD)
    with pytest.raises(ObjectMissing):
        store.get(COLD)
    assert bytes(store.get(KEY)) == b"first"


def test_where_one_store_takes_nothing_none_is_there(
    store: TieredStore, places: tuple[LocalStore, LocalStore]
) -> None:
    places[1].room.reserve = 1 << 60
    with pytest.raises(OutOfResources, match=r"storage\.reserve"):
        store.put_many([(KEY, b"first"), (COLD, b"cold")])
    assert list(store.keys()) == []
    assert list(store.recover()) == []


def test_what_was_not_settled_is_found_in_each(
    store: TieredStore, places: tuple[LocalStore, LocalStore], mark: MediumMark
) -> None:
    store.put_many([(KEY, b"first"), (COLD, b"cold"), (COLD + ".zst", b"settled")])
    store.settle(COLD + ".zst")
    for one in places:  # the process dies: its locks go
        one.close()
    again = TieredStore(LocalStore(places[0].root), [Tier("cold", LocalStore(places[1].root), mark.is_there)])
    assert sorted(again.recover()) == sorted([KEY, COLD])


def test_a_medium_that_is_not_there(store: TieredStore, places: tuple[LocalStore, LocalStore]) -> None:
    """Nothing counts as gone, nothing is written to the empty mount point, and the first store goes on."""
    store.put(COLD, b"cold")
    store.settle(COLD)
    away = places[1].root.with_name("elsewhere")
    places[1].root.rename(away)
    places[1].root.mkdir()
    asking: tuple[Callable[[], object], ...] = (
        lambda: store.get(COLD),
        lambda: store.size(COLD),
        lambda: list(store.keys()),
    )
    for ask in asking:
        with pytest.raises(ObjectUnavailable, match="medium of store cold is not there"):
            ask()
    with pytest.raises(OutOfResources, match="medium of store cold is not there"):
        store.put(COLD, b"again")
    store.delete(COLD)
    store.settle(COLD)
    store.put(KEY, b"first")
    assert list(store.recover()) == []
    assert list(places[1].root.iterdir()) == []
    places[1].root.rmdir()
    away.rename(places[1].root)
    assert bytes(store.get(COLD)) == b"cold"


def test_a_store_that_is_no_longer_configured(places: tuple[LocalStore, LocalStore]) -> None:
    with pytest.raises(ObjectUnavailable, match=r"no \[\[storage\]\] is called so"):
        TieredStore(places[0], []).get(COLD)


def test_what_is_not_on_an_offline_medium_is_on_another(tmp_path: Path) -> None:
    store = tape(MemoryStore(), tmp_path, "OFFLINE", 60)
    for ask in (store.get, store.size):
        with pytest.raises(ObjectUnavailable, match="bring the other"):
            ask("@tape/1")
    assert store.tiers == {"tape": "OFFLINE"}


class Slow(MemoryStore):
    """Gives nothing until it is told to, or raises what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.put("1", b"one")
        self.put("2", b"two")
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def get(self, key: str, size: int | None = None) -> Buffer:
        self.go.acquire()
        if self.error is not None:
            raise self.error
        return super().get(key)


def tape(store: MemoryStore, root: Path, availability: Availability, seconds: float) -> TieredStore:
    tier = Tier("tape", Journaled(store, root / "tape"), lambda: True, availability, seconds)
    return TieredStore(Journaled(MemoryStore(), root / "first"), [tier])


def test_a_slow_store_is_waited_for(tmp_path: Path) -> None:
    slow = Slow()
    store = tape(slow, tmp_path, "NEARLINE", 60)
    found: list[Buffer] = []
    threads = [
        threading.Thread(target=lambda key=key: found.append(store.get(key)))
        for key in ("@tape/1", "@tape/2")
    ]
    for thread in threads:
        thread.start()
    slow.go.release(len(threads))
    for thread in threads:
        thread.join(10)
    assert sorted(map(bytes, found)) == [b"one", b"two"]


def test_a_piece_of_a_slow_store_is_waited_for_as_an_object_is(tmp_path: Path) -> None:
    slow, size = Slow(), 100_000
    slow.put("3", bytes(size))
    store = tape(slow, tmp_path, "NEARLINE", 0.2)
    slow.go.release()
    assert list(map(len, store.pieces("@tape/3", size))) == [68 << 10, size - (68 << 10)]
    with pytest.raises(ObjectUnavailable, match="store tape has given nothing"):
        next(store.pieces("@tape/3", size))
    slow.go.release()


def test_a_silent_store_is_given_up_and_then_not_waited_for(tmp_path: Path) -> None:
    """Whoever comes while it is silent fails at once; when it gives something again, all goes on."""
    slow = Slow()
    store = tape(slow, tmp_path, "NEARLINE", 0.2)
    with pytest.raises(ObjectUnavailable, match=r"store tape has given nothing for 0\.2 s; ask again later"):
        store.get("@tape/1")
    threads = threading.active_count()
    for _ in range(50):
        with pytest.raises(ObjectUnavailable):
            store.get("@tape/2")
    assert threading.active_count() == threads  # no thread waits for each of them
    slow.go.release()
    slow.go.release()
    until = time.monotonic() + 10
    while True:
        try:
            assert bytes(store.get("@tape/2")) == b"two"
        except ObjectUnavailable:
            assert time.monotonic() < until
        else:
            break


def test_a_slow_store_tells_what_is_wrong(tmp_path: Path) -> None:
    slow = Slow()
    store = tape(slow, tmp_path, "NEARLINE", 60)
    for error, expected in (
        (ObjectMissing("gone"), ObjectMissing),
        (OSError(5, "broken"), ObjectUnavailable),
    ):
        slow.error = error
        slow.go.release()
        with pytest.raises(expected):
            store.get("@tape/1")


def test_the_other_store_reads_without_a_map(tmp_path: Path) -> None:
    """A map of a file on a medium that goes away would end the process when it is read."""
    local = LocalStore(tmp_path, maps=False)
    local.put(KEY, bytes(40 << 20))
    data = local.get(KEY)
    with (tmp_path / KEY).open("r+b") as file:
        file.truncate(0)
    assert sum(memoryview(data)[:: 1 << 16]) == 0
    local.close()
