"""The landing log: durable with one sync, found again after any death, freed when all is over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from scp.errors import ObjectMissing, OutOfResources
from scp.objects import landing
from scp.objects.landing import LandingLog
from scp.objects.names import LANDING, is_landed, segment_of
from scp.objects.spares import IDLE_SECONDS, SPARE, Spares
from scp.objects.sync import GroupSync
from scp.resources.room import Room

pytestmark = pytest.mark.quick

HEAD, SIZE = b"head of a file", 1 << 20


def dataset(number: int, size: int = 30_000) -> bytes:
    return bytes([number % 256]) * size


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LandingLog]:
    monkeypatch.setattr(LandingLog, "prepare", lambda _: None)  # no spare but what is freed
    one = LandingLog(tmp_path, segment=SIZE)
    yield one
    one.close()


def append(log: LandingLog, head: bytes, content: bytes) -> str:
    key = log.write(head, content)
    log.sync(key)
    return key


def segments(root: Path, pattern: str = "*.log") -> list[str]:
    return sorted(path.name for path in (root / LANDING).glob(f"*/{pattern}"))


def test_what_is_appended_is_there(log: LandingLog) -> None:
    keys = [append(log, HEAD, dataset(n)) for n in range(10)]
    assert len(set(keys)) == 10
    for number, key in enumerate(keys):
        assert is_landed(key)
        assert log.get(key) == HEAD + dataset(number)
    assert sorted(log.keys()) == sorted(keys)
    assert len({segment_of(key) for key in keys}) == 1


def test_records_share_no_block(log: LandingLog) -> None:
    """A block of what is acknowledged is never written again: a torn write would take it along."""
    ends = [0]
    for size in (1, 4096, 5000, 4095, 1):
        key = append(log, HEAD, dataset(1, size))
        at, length = map(int, key.rpartition("/")[2].removesuffix(".dcm").split("-"))
        assert (at - landing.HEADER) // 4096 > ends[-1] // 4096  # type: ignore[attr-defined]
        ends.append(at + length - 1)


def test_another_process_reads_it(log: LandingLog, tmp_path: Path) -> None:
    key = append(log, HEAD, dataset(3))
    assert LandingLog(tmp_path).get(key) == HEAD + dataset(3)


@pytest.mark.parametrize(
    "key", [".landing/1-a/000001/0-1.dcm", ".landing/../x", "aa/bb", ".landing/1/2/3.dcm"]
)
def test_what_is_not_there_is_missing(log: LandingLog, key: str) -> None:
    with pytest.raises(ObjectMissing):
        log.get(key)


def test_full_segments_are_freed_and_used_again(log: LandingLog, tmp_path: Path) -> None:
    keys = []
    for number in range(80):
        keys.append(append(log, HEAD, dataset(number)))
        log.recorded(keys[-1])
    used = {segment_of(key) for key in keys}
    assert len(used) == len(segments(tmp_path)) == 3
    log.free(set())
    assert set(log.keys()) == set(keys), "that nothing names them frees nothing"
    log.settle(key for key in keys[1:-1])
    log.free({segment_of(keys[0])})
    assert log.get(keys[0]) == HEAD + dataset(0)
    second = next(key for key in keys if segment_of(key) != segment_of(keys[0]))
    with pytest.raises(ObjectMissing):
        log.get(second)
    assert log.get(keys[-1]) == HEAD + dataset(79), "it is being filled"
    assert len(segments(tmp_path, "*.spare")) == 1
    before = set(log.keys())
    again = [append(log, HEAD, dataset(number, 100)) for number in range(200)]
    assert segments(tmp_path, "*.spare") == []
    assert set(log.keys()) == before | set(again), "nothing of a segment's former use is a record"


def test_a_segment_with_a_record_that_is_not_in_the_index_yet_is_not_freed(log: LandingLog) -> None:
    first = append(log, HEAD, dataset(1))
    while segment_of(append(log, HEAD, dataset(2))) == segment_of(first):
        pass
    everything = list(log.keys())
    assert list(log.strays(set())) == []
    log.free(set())
    assert log.get(first) == HEAD + dataset(1)
    for key in everything:
        log.recorded(key)
    in_first = [key for key in everything if segment_of(key) == segment_of(first)]
    assert list(log.strays(set())) == in_first
    assert list(log.strays({first})) == [], "the index names the segment"
    log.settle(in_first)
    log.free(set())
    with pytest.raises(ObjectMissing):
        log.get(first)


def test_threads_append_at_once(log: LandingLog) -> None:
    keys: dict[str, bytes] = {}
    lock = threading.Lock()

    def work(number: int) -> None:
        for turn in range(20):
            content = os.urandom(3000 + number * turn)
            key = append(log, HEAD, content)
            log.recorded(key)
            with lock:
                keys[key] = HEAD + content

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 160
    assert all(log.get(key) == content for key, content in keys.items())


def test_a_spare_is_made_ready_and_taken(tmp_path: Path) -> None:
    log = LandingLog(tmp_path, segment=SIZE)

    def spares(count: int) -> None:
        end = time.monotonic() + 10
        while len(segments(tmp_path, "*.spare")) != count:
            assert time.monotonic() < end
            time.sleep(0.01)

    log.prepare()
    spares(1)
    append(log, HEAD, dataset(1))
    assert len(segments(tmp_path)) == 1
    spares(2)
    assert len(list(log.keys())) == 1
    log.close()


def test_what_is_withdrawn_is_no_record(log: LandingLog) -> None:
    kept, refused = append(log, HEAD, dataset(1)), append(log, HEAD, dataset(2))
    log.withdraw(refused)
    log.recorded(refused)
    assert list(log.keys()) == [kept]


# -- sync ------------------------------------------------------------------------------------------------


def test_one_sync_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    syncs, go = [], threading.Event()

    def fdatasync(_descriptor: int) -> None:
        syncs.append(1)
        go.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    group = GroupSync(0)
    threads = [threading.Thread(target=group.wait) for _ in range(10)]
    threads[0].start()
    while not syncs:
        pass
    for thread in threads[1:]:
        thread.start()
    while group._asked < 10:
        pass
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(syncs) == 2, "the nine came while the first ran, and share the next"


def test_a_sync_that_failed_is_never_taken_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = iter([OSError(errno.EIO, "broken"), None, None])

    def fdatasync(_descriptor: int) -> None:
        fault = next(faults)
        if fault:
            raise fault

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    group = GroupSync(0)
    for _ in range(3):
        with pytest.raises(OSError, match="broken"):
            group.wait()


@pytest.mark.parametrize("name", ["pwritev", "fdatasync", "posix_fallocate"])
def test_a_disk_that_fails_takes_no_object_and_recovers(
    log: LandingLog, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept = append(log, HEAD, dataset(1)) if name != "posix_fallocate" else ""

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fails)
        with pytest.raises(OutOfResources, match="No space"):
            append(log, HEAD, dataset(2))
    key = append(log, HEAD, dataset(3))
    assert log.get(key) == HEAD + dataset(3)
    if kept:
        assert segment_of(key) != segment_of(kept), "a segment whose sync failed is not written to"
        assert log.get(kept) == HEAD + dataset(1)


def test_a_write_that_is_cut_short_goes_on(log: LandingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: real(fd, [b"".join(parts)[:1000]], at))
    assert log.get(append(log, HEAD, dataset(7))) == HEAD + dataset(7)


def test_a_reserve_is_left_free(tmp_path: Path) -> None:
    log = LandingLog(tmp_path, reserve=1 << 60, segment=SIZE)
    with pytest.raises(OutOfResources, match=r"storage\.reserve keeps"):
        append(log, HEAD, b"x")


# -- recovery --------------------------------------------------------------------------------------------


def died(root: Path, script: str) -> None:
    head = f"""
        import os
        from pathlib import Path
        from scp.objects.landing import LandingLog
        log = LandingLog(Path({str(root)!r}), segment={SIZE})
        keys = [log.write(b"head", bytes([n]) * 30_000) for n in range(5)]
        log.sync(keys[-1])
    """
    code = textwrap.dedent(head) + textwrap.dedent(script) + "\nos._exit(9)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, capture_output=True
    )
    assert done.returncode == 9, done.stderr


def test_what_a_dead_process_left_is_found(tmp_path: Path) -> None:
    died(tmp_path, "")
    log = LandingLog(tmp_path)
    found = list(log.strays(set()))
    assert [log.get(key) for key in found] == [b"head" + bytes([n]) * 30_000 for n in range(5)]
    assert list(log.strays(set(found[:3]))) == found[3:], "the index names the others"
    log.free(set())
    assert list(log.strays(set())) == found
    log.settle(found[:4])
    log.free(set())
    assert log.get(found[4]) == b"head" + bytes([4]) * 30_000
    log.settle(found)
    log.free({segment_of(found[0])})
    assert len(segments(tmp_path)) == 1
    log.free(set())
    assert list((tmp_path / LANDING).glob("*/")) == []


def test_a_living_process_is_left_alone(log: LandingLog, tmp_path: Path) -> None:
    key = append(log, HEAD, dataset(1))
    log.recorded(key)
    other = LandingLog(tmp_path)
    assert list(other.strays(set())) == []
    other.settle([key])
    other.free(set())
    assert segments(tmp_path) == ["000001.log"], "it is being filled"


@pytest.mark.parametrize("at", [0, 10, 60, 3000, 20_000])
def test_a_torn_record_hides_none_behind_it(tmp_path: Path, at: int) -> None:
    """Of two that were written at once, the later may be whole and acknowledged, and the earlier not."""
    died(tmp_path, "")
    log = LandingLog(tmp_path)
    keys = sorted(log.keys(), key=lambda key: int(key.rpartition("/")[2].split("-")[0]))
    path = tmp_path / f"{segment_of(keys[1])}.log"
    content = bytearray(path.read_bytes())
    start = int(keys[1].rpartition("/")[2].split("-")[0]) - landing.HEADER  # type: ignore[attr-defined]
    content[start + at : start + at + 5000] = bytes(5000)
    path.write_bytes(content)
    found = set(log.strays(set()))
    assert {keys[0], *keys[2:]} <= found
    assert (keys[1] in found) == (at >= 60), "its head shows; what is behind, only the dataset's digest does"


def test_what_waits_when_it_is_closed_is_never_freed(tmp_path: Path) -> None:
    """Whatever the index says at the next start: it may be another one."""
    log = LandingLog(tmp_path, segment=SIZE)
    key = append(log, HEAD, dataset(1))
    log.recorded(key)
    log.close()
    later = LandingLog(tmp_path)
    later.free(set())
    assert list(later.strays(set())) == [key]
    assert later.get(key) == HEAD + dataset(1)
    later.settle([key])
    with pytest.raises(ObjectMissing):
        later.get(key)
    later.free(set())
    assert segments(tmp_path) == []


def test_a_segment_with_something_unclear_in_it_is_kept_aside(tmp_path: Path) -> None:
    """A record whose header has rotted cannot be told from one that was torn: nothing is written over it."""
    log = LandingLog(tmp_path, segment=SIZE)
    keys = [append(log, HEAD, dataset(n)) for n in range(3)]
    log.close()
    path = tmp_path / f"{segment_of(keys[1])}.log"
    content = bytearray(path.read_bytes())
    content[int(keys[1].rpartition("/")[2].split("-")[0]) - landing.HEADER + 30] ^= 1  # type: ignore[attr-defined]
    path.write_bytes(content)
    later = LandingLog(tmp_path)
    assert list(later.strays(set())) == [keys[0], keys[2]]
    later.settle([keys[0], keys[2]])
    later.free(set())
    assert segments(tmp_path) == []
    assert [one.read_bytes().count(dataset(1)) for one in (tmp_path / ".damaged").iterdir()] == [1]


def test_a_mark_reaches_no_record_but_its_own(log: LandingLog) -> None:
    """Segments are used again, and records of one size lie at the same places in each use."""
    old = []
    while len(set(map(segment_of, old))) < 2:
        old.append(append(log, HEAD, dataset(1)))
        log.recorded(old[-1])
    first = [key for key in old if segment_of(key) == segment_of(old[0])]
    log.settle(first)
    log.free(set())
    new = [append(log, HEAD, dataset(2)) for _ in range(60)]
    log.settle(first)
    assert all(log.get(key) == HEAD + dataset(2) for key in new)


def test_a_log_that_is_closed_does_not_finish_its_spare_segment(tmp_path: Path) -> None:
    """Which takes a second: a node that is told to stop waited for it."""
    log = LandingLog(tmp_path, segment=1 << 30)
    log.prepare()
    until(lambda: list(tmp_path.rglob("*.zeros")), "it is begun")
    log.close()
    assert list(tmp_path.rglob("*.zeros")) == []
    assert segments(tmp_path, "*.spare") == []


def test_no_spare_is_written_while_something_is_received(tmp_path: Path) -> None:
    now = [100.0]
    spares = Spares(lambda: tmp_path, 1 << 20, Room(tmp_path), clock=lambda: now[0])
    spares.received()
    spares.prepare()
    time.sleep(2 * IDLE_SECONDS)
    assert list(tmp_path.iterdir()) == [], "not even begun"
    now[0] += IDLE_SECONDS
    until(lambda: len(list(tmp_path.glob("*.spare"))) == 1, "a spare, as nothing came for a while")
    spares.close()


def test_a_process_that_used_up_its_spares_makes_more_of_them(tmp_path: Path) -> None:
    spares = Spares(lambda: tmp_path, 1 << 18, Room(tmp_path))
    for taken, there in enumerate((1, 2, 3, SPARE, SPARE)):
        spares.prepare()
        until(lambda there=there: len(list(tmp_path.glob("*.spare"))) == there, f"{there} after {taken}")
        assert spares.take(tmp_path, tmp_path / f"{taken}.log")
    for path in tmp_path.glob("*.spare"):
        path.unlink()
    assert not spares.take(tmp_path, tmp_path / "none.log")
    spares.close()
