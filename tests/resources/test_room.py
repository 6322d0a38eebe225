"""The reserve of a disk holds against everything that writes, to a megabyte."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scp import spool
from scp.encoding.streams import gathered, inflated
from scp.errors import OutOfResources
from scp.objects import part10
from scp.objects.decoded import DecodedCache
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.spares import write_spare
from scp.resources import budget, room
from scp.resources.room import Room
from scp.spool import IN_MEMORY, Spool

pytestmark = pytest.mark.quick

MB = 1 << 20
RESERVE = 100 * MB


class Disk:
    """A disk on which so much is free, and on which whoever looks has written a megabyte since the last."""

    def __init__(self, free: int) -> None:
        self.free = RESERVE + free
        self.looks = 0

    def __call__(self, _folder: Path) -> int:
        self.looks += 1
        self.free -= MB
        return self.free + MB


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    def make(free: int) -> Disk:
        made = Disk(free)
        monkeypatch.setattr(room, "free_bytes", made)
        spool.keep_in(tmp_path, RESERVE)
        return made

    yield make
    spool.keep_in(None)


def _write_on(written: Spool, step: int) -> None:
    for _ in range(100):
        written.write(bytes(step))


def test_at_the_edge(disk: Callable[[int], Disk], tmp_path: Path) -> None:
    disk(10 * MB)
    kept = Room(tmp_path, RESERVE)
    kept.check(10 * MB)
    kept.check(9 * MB)
    with pytest.raises(OutOfResources, match=r"storage\.reserve keeps 104857600; make room"):
        kept.check(8 * MB + 1)


def test_a_look_is_good_for_a_while_where_there_is_plenty(
    disk: Callable[[int], Disk], tmp_path: Path
) -> None:
    """And not near the edge."""
    times = iter([100.0, 100.05, 100.06, 100.11, 100.3])
    found, kept = disk(3 << 30), Room(tmp_path, RESERVE, lambda: next(times))
    for size, looks in ((MB, 1), (MB, 1), (3 << 29, 1), (MB, 2), (MB, 3)):
        kept.check(size)
        assert found.looks == looks
    near, kept = disk(1 << 30), Room(tmp_path, RESERVE, lambda: 200.0)
    for _ in range(3):
        kept.check(MB)
    assert near.looks == 3


def test_spooled(disk: Callable[[int], Disk]) -> None:
    """Received, decoded and transcoded bytes; also in one piece."""
    disk(20 * MB)
    written = Spool()
    with pytest.raises(OutOfResources, match=r"storage\.reserve"):
        _write_on(written, MB)
    assert 18 * MB < written.size <= 22 * MB
    disk(20 * MB)
    with pytest.raises(OutOfResources):
        Spool().write(bytes(30 * MB))
    small = Spool()
    small.write(bytes(IN_MEMORY))  # needs no disk
    assert len(small.view()) == IN_MEMORY


def test_inflated_and_decompressed(disk: Callable[[int], Disk]) -> None:
    """What a few kilobytes become is written no further than the reserve."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = bomb.compress(bytes(60 * MB)) + bomb.flush()
    disk(20 * MB)
    with pytest.raises(OutOfResources):
        inflated(deflated)
    frame = bytes(part10.wrap(bytes(60 * MB), 3, Spool(in_memory=100 * MB)))
    disk(20 * MB)
    with pytest.raises(OutOfResources):
        part10.unwrap(frame)
    disk(20 * MB)
    with pytest.raises(OutOfResources):
        gathered(bytes(MB) for _ in range(60))


def test_stored(disk: Callable[[int], Disk], tmp_path: Path) -> None:
    """Refused before it is begun or, where others fill the disk meanwhile, given up: nothing of it stays."""
    store = LocalStore(tmp_path / "objects", RESERVE)
    store.root.mkdir()
    disk(10 * MB)
    with pytest.raises(OutOfResources):
        store.put("a/b/c/one.received.dcm", bytes(11 * MB))
    disk(12 * MB)
    with pytest.raises(OutOfResources):
        store.put("a/b/c/two.received.dcm", bytes(11 * MB), bytes(MB), bytes(MB // 2))
    assert [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_landed(disk: Callable[[int], Disk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment, a spare one, and a copy of what is set aside."""
    log = LandingLog(tmp_path, RESERVE, segment=4 * MB)
    found = disk(10 * MB)
    monkeypatch.setattr(log, "prepare", lambda: None)
    key = log.write(b"head", b"dataset")
    log.recorded(key)
    found.free = RESERVE
    with pytest.raises(OutOfResources):
        log.set_aside(key)
    found.free = RESERVE + 2 * MB
    with pytest.raises(OutOfResources):
        write_spare(tmp_path / "one.spare", 4 * MB, log.room)
    assert list(tmp_path.glob("one*")) == []
    log.close()
    found.free = RESERVE + 4 * MB  # gone, once another process has taken its room too
    other = LandingLog(tmp_path, RESERVE, segment=4 * MB)
    monkeypatch.setattr(room.Room, "check", _fails_again(other.room))
    with pytest.raises(OutOfResources):
        other.write(b"head", b"dataset")
    assert len(list(tmp_path.rglob("*.log"))) == 1


def _fails_again(_room: Room) -> Callable[[Room, int], None]:
    def check(_self: Room, size: int) -> None:
        if not size:
            raise OutOfResources("storage.reserve")

    return check


def test_cached(disk: Callable[[int], Disk], tmp_path: Path) -> None:
    """All of it goes on to who asked; nothing of it is kept."""
    cache = DecodedCache(tmp_path / "cache", 40 * MB, RESERVE)
    disk(10 * MB)
    assert sum(map(len, cache.keep("one", (bytes(MB) for _ in range(30))))) == 30 * MB
    assert cache.get("one") is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_of_the_disk_that_objects_are_on(tmp_path: Path) -> None:
    """What is exported to that disk leaves the reserve free; another one's is nobody's business."""
    (tmp_path / "objects").mkdir()
    room.use([Room(tmp_path / "objects", 5), Room(tmp_path / "objects", 7), Room(tmp_path / "none", 9)])
    assert room.of(tmp_path / "new" / "folder").reserve == 7
    assert room.of(Path("/proc")).reserve == 0


def test_what_memory_has_no_room_for_lies_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_budget", budget.Budget(8 * MB))  # 3.5 MB of it may be held
    spool.keep_in(tmp_path)
    spools = [Spool() for _ in range(5)]
    try:
        for one in spools:
            for _ in range(8):
                one.write(bytes(128 << 10))
        held = [one for one in spools if one._file is None]
        assert len(held) == 3
        assert all(bytes(one.view()) == bytes(MB) for one in spools)
        views = [one.view() for one in held]
        del spools, held, one
        assert budget.budget().used == 3 * MB
        del views
        assert budget.budget().used == 0
    finally:
        spool.keep_in(None)


def test_several_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass the reserve by a megabyte each at most."""
    lock, left = threading.Lock(), [RESERVE + 40 * MB]
    monkeypatch.setattr(room, "free_bytes", lambda _: left[0])

    def write_all(_descriptor: int, data: object) -> None:
        with lock:
            left[0] -= len(data)  # type: ignore[arg-type]

    monkeypatch.setattr(spool, "write_all", write_all)
    spool.keep_in(tmp_path, RESERVE)

    def write(one: Spool) -> None:
        with pytest.raises(OutOfResources):
            _write_on(one, 3 * MB)

    try:
        threads = [threading.Thread(target=write, args=(Spool(in_memory=0),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert RESERVE - 8 * MB <= left[0] < RESERVE + MB
    finally:
        spool.keep_in(None)
