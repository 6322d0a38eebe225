"""A stored file is input too: whatever took its place, its one object is damaged, and all else goes on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from replaced_files import NOT_READ_WHOLE, REPLACED, archive_in, archive_index, frame

from scp.archive.archive import Archive
from scp.archive.replacement import moved
from scp.background.progress import Silent
from scp.config.rules import Stage
from scp.config.settings import Settings
from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable, ObjectUnreadable, OutOfResources
from scp.lifecycle.fsck import fsck
from scp.lifecycle.reindex import reindex
from scp.lifecycle.scrub import Scrubber
from scp.lifecycle.verify import verify
from scp.model import Instance
from scp.objects import file_meta, files, part10
from scp.objects.decoded import DecodedCache
from scp.objects.dictionaries import Dictionaries
from scp.objects.holds import Hold, Holds
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.mark import ArchiveMark, Mark
from scp.objects.names import in_store
from scp.objects.provenance import decoded
from scp.objects.segments import keys_in
from scp.objects.tiers import MediumMark, Tier, TieredStore
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed
from scp.resources import bounds
from scp.spool import Buffer, FileMap, sha256

# MB by which the process may grow, of all that is read in it: bombs of 40 GB, JSON of 2 MB, maps of 256 MB.
_MOST_GROWN = 200
_SECONDS = 30  # of processor time, of one of them


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each, by its name; and under "" what memory it took."""
    folder = tmp_path_factory.mktemp("replaced")
    script = Path(__file__).parents[1] / "replaced_files.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line.get("name", ""): line for line in lines}


@pytest.mark.parametrize("name", REPLACED)
def test_one_object_is_damaged_and_the_others_go_on(name: str, told: dict[str, dict[str, Any]]) -> None:
    found = told[name]
    fetched = found["fetched"]
    if ("dictionary" in name and "another" not in name) or name == "its dictionary another":
        assert set(fetched) == {"DictionaryMissing"}  # all of them need it
        assert len(found["verified"]) == 4
        return
    assert fetched[0] in ("ObjectDamaged", "ObjectMissing")
    assert fetched[1:] == ["", "", ""]
    assert list(found["verified"]) == [found["first"]]
    assert found["scrubbed"] == 1
    assert set(found["fsck"]) <= {"unreadable file", "row without a file"}
    if name not in NOT_READ_WHOLE:
        assert found["reindexed"] >= 3
    assert found["seconds"] < _SECONDS


def test_memory_is_bounded(told: dict[str, dict[str, Any]]) -> None:
    assert told[""]["grown"] < _MOST_GROWN


# Frames


@pytest.fixture
def bounded() -> int:
    bounds.use(replace(bounds.DEFAULTS, inflated_bytes=4 << 20))
    return 4 << 20


@pytest.mark.parametrize("declared", [False, True])
def test_a_frame_may_hold_so_much_and_no_more(bounded: int, declared: bool) -> None:
    begin = bytes(128) + b"DICM"
    for size, refused in ((bounded, False), (bounded + (256 << 10), True)):
        made = frame(begin, size)
        if declared:
            made = zstandard.ZstdCompressor().compress(begin + bytes(size - len(begin)))
        if refused:
            with pytest.raises(ObjectDamaged, match=str(bounded)):
                part10.unwrap(made)
        else:
            assert len(part10.unwrap(made)) <= bounded


def test_what_does_not_shrink_may_be_larger(bounded: int) -> None:
    large = os.urandom(5 << 20)
    assert part10.unwrap(part10.wrap(large, 3)) == large


def test_what_begins_as_no_file_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(part10.Spool, "write", lambda _, data: written.append(len(data)))  # type: ignore[attr-defined]
    with pytest.raises(ObjectDamaged, match="not a DICOM Part 10 file"):
        part10.unpack(frame(b"", 1 << 30))
    assert sum(written) == 0


def test_a_large_window_leaves_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = part10._contexts.__dict__.get("decompressors", {}).copy()
    assert len(part10.unwrap(frame(bytes(100), 1 << 20, window=0x88))) > 100
    assert part10._contexts.__dict__.get("decompressors", {}) == kept


# File Meta Information and JSON


def _element(number: int, value: bytes) -> bytes:
    return file_meta.written([(number, b"OB", value)])[12:]


def test_long_values_are_as_empty_and_those_before_are_not() -> None:
    group = _element(0x10, b"1.2") + _element(0x102, bytes(3 << 20)) + _element(0x103, b"after")
    found = file_meta.read(group, 0)
    assert (found.text(0x10), found.values[0x102], found.text(0x103)) == ("1.2", b"", "after")
    assert found.end == len(group)


def test_a_group_has_no_more_elements_than_numbers() -> None:
    elements = _element(0x13, b"") * ((1 << 16) - 1)  # and the group length
    assert file_meta.read(
        file_meta.written([])[:8] + len(elements).to_bytes(4, "little") + elements, 0
    ).counted
    elements += _element(0x13, b"")
    with pytest.raises(ObjectDamaged, match="more than 65536 elements"):
        file_meta.read(file_meta.written([])[:8] + len(elements).to_bytes(4, "little") + elements, 0)


_SOUND = '{"version":1,"syntax":"1.2","sha256":"0","size":1,"at":"2026-01-01T00:00:00+00:00"%s}'


@pytest.mark.parametrize(
    "more",
    [
        ',"size":9223372036854775808',
        ',"size":' + "9" * 5000, ',"rule":"\\ud800"', ',"given":{"a":"\\udfff"}',
        ',"at":"0001-01-01T00:00:00+23:59"', ',"restore":{"vr":"OW","prefix":1e400}', "," + "[" * 100_000,
    ],
)  # fmt: skip
def test_what_the_index_could_not_hold_is_damage(more: str) -> None:
    assert decoded((_SOUND % "").encode()).size == 1
    with pytest.raises(ObjectDamaged) as raised:
        decoded((_SOUND % more).encode())
    assert len(str(raised.value)) < 400


# Files


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, ObjectUnreadable), (errno.EPERM, ObjectUnreadable), (errno.EMFILE, ObjectUnreadable),
        (errno.EIO, ObjectDamaged), (errno.ELOOP, ObjectDamaged), (errno.ENXIO, ObjectDamaged),
        (errno.ENOENT, ObjectMissing), (errno.ENOTDIR, ObjectMissing),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_damaged_missing_or_out_of_reach(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    store.put("a/b", b"content")

    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "open", fails)  # type: ignore[attr-defined]
    with pytest.raises(error, match="a/b"):
        store.get("a/b")


def test_a_disk_that_gives_nothing_is_told_by_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission for one file is gone, or its sector is: all loops go on with the others."""
    archive = archive_in(tmp_path)
    first = next(iter(archive.index.all()))
    denied, opened = archive.store.inner.root / first.key, files.opened  # type: ignore[attr-defined]

    def fails(path: Path) -> int:
        if path == denied:
            raise OSError(errno.EACCES, "Permission denied")
        return opened(path)

    monkeypatch.setattr(files, "opened", fails)
    verdicts = list(verify(archive, archive.index.all()))
    assert [one.away for one in verdicts if one.fault] == [True]
    assert "Permission denied" in "".join(one.fault for one in verdicts)
    outcome = reindex(archive, Silent())
    assert (outcome.recorded, len(outcome.damaged), outcome.gone) == (3, 1, [])
    archive.index.forget(first.sop_instance_uid, first.key)
    assert [one.kind for one in fsck(archive, Silent(), repair=True)] == ["unreadable file"]
    monkeypatch.undo()
    assert [one.kind for one in fsck(archive, Silent(), repair=True)] == ["file without a row"]
    assert len(list(archive.index.all())) == 4
    archive.close()


@pytest.fixture
def in_a_tier(tmp_path: Path) -> Iterator[Archive]:
    """Four objects in a store whose medium may go away: its files are copied, and not mapped."""
    first = archive_in(tmp_path)
    first.close()
    cold = Tier("cold", LocalStore(tmp_path / "cold", maps=False), lambda: True)
    store = TieredStore(LocalStore(tmp_path / "objects"), [cold])
    archive = Archive(store, archive_index(tmp_path), [])
    for one in list(archive.index.all()):
        archive.replace([moved(one, store.get(one.key), Stage(forms=("zstd",), store="cold"))])
    yield archive
    archive.close()


def test_what_took_a_files_place_in_a_tier_is_not_copied(
    in_a_tier: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of another size than what was written: copying it to see that would fill the disk."""
    first, *_ = in_a_tier.index.all()
    os.truncate(tmp_path / "cold" / in_store("", first.key), 1 << 40)
    copied: list[int] = []
    monkeypatch.setattr(files, "copied_from", copied.append)
    damaged = [one for one in verify(in_a_tier, in_a_tier.index.all()) if one.fault]
    assert [(one.instance.key, one.away) for one in damaged] == [(first.key, False)]
    assert f"{1 << 40} bytes" in damaged[0].fault
    assert copied == []


def test_one_file_without_room_for_its_copy_stops_no_loop(
    in_a_tier: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as one that cannot be looked at now, and is neither damaged nor in the way of others."""
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    copied_from, full = files.copied_from, [True]  # type: ignore[attr-defined]

    def copied(descriptor: int) -> Buffer:
        if full:
            full.clear()
            raise OutOfResources("no room")
        return copied_from(descriptor)

    monkeypatch.setattr(files, "copied_from", copied)
    verdicts = list(verify(in_a_tier, in_a_tier.index.all()))
    assert sorted((one.away, "no room" in one.fault) for one in verdicts) == [(False, False)] * 3 + [
        (True, True)
    ]
    full.append(True)
    scrubber = Scrubber(in_a_tier, lambda: Settings.model_validate({"scrub": {"interval": "1s"}}), "test")
    found = scrubber.round(time.time() + 10)
    assert (found.read, found.damaged) == (4, 0)
    assert not full


@pytest.mark.parametrize("error", [OutOfResources("no memory"), ObjectUnavailable("away")])
def test_what_one_check_has_no_resources_for_stops_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    archive = archive_in(tmp_path)
    first, check = next(iter(archive.index.all())), Archive.verify

    def checked(self: Archive, instance: Instance, deep: bool = False) -> str:
        if instance.key == first.key:
            raise error
        return check(self, instance, deep)

    monkeypatch.setattr(Archive, "verify", checked)
    verdicts = list(verify(archive, archive.index.all()))
    assert [one.instance.key for one in verdicts if one.fault and one.away] == [first.key]
    assert len(verdicts) == 4
    scrubber = Scrubber(archive, lambda: Settings.model_validate({"scrub": {"interval": "1s"}}), "test")
    assert (scrubber.round(time.time() + 10).read, scrubber.round(time.time() + 10).read) == (4, 3)
    archive.close()


def _truncating(path: Path, size: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", f"import os; os.truncate({str(path)!r}, {size})"])


def test_who_cuts_off_a_mapped_file_waits(store: LocalStore) -> None:
    """Without a lease the process that reads the map ends with SIGBUS: this very one."""
    content = os.urandom(8 << 20)
    store.put("a/b", content)
    data: Any = store.get("a/b")
    if not isinstance(data.obj, FileMap):
        pytest.skip("this file system has no leases: large files are copied, see the next test")
    cutting = _truncating(store.root / "a/b", 0)
    with pytest.raises(subprocess.TimeoutExpired):
        cutting.wait(1.5)
    assert data == content
    del data
    assert cutting.wait(60) == 0
    assert (store.root / "a/b").stat().st_size == 0


@pytest.mark.parametrize("left", [0, 4096, 5 << 20])
def test_a_file_that_is_cut_off_before_its_lease(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Its size was asked for before: the process would end that reads what lies behind the new end."""
    store.put("a/b", os.urandom(8 << 20))
    leased = files._is_leased

    def late(descriptor: int) -> bool:
        os.truncate(store.root / "a/b", left)
        return leased(descriptor) or True

    monkeypatch.setattr(files, "_is_leased", late)
    if left:
        assert len(store.get("a/b")) == left
    else:
        with pytest.raises(ObjectDamaged, match="cut off"):
            store.get("a/b")


def test_where_there_is_no_lease_it_is_copied(store: LocalStore) -> None:
    content = os.urandom(8 << 20)
    store.put("a/b", content)
    with (store.root / "a/b").open("r+b") as writing:  # who writes already is not made to wait
        data: Any = store.get("a/b")
        assert not isinstance(data.obj, FileMap)
        writing.truncate(0)
    assert data == content


@pytest.mark.parametrize("asks", [True, False])
def test_a_digest_of_a_mapped_file_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """And not the end of the process, which reading the map would be: the file is cut off."""
    if not asks:  # Linux before 5.14
        monkeypatch.setattr("scp.spool._POPULATE_READ", 9999)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 << 20))
    descriptor = os.open(path, os.O_RDONLY)
    data = memoryview(FileMap.of(descriptor, 8 << 20))  # without a lease
    whole = sha256(path.read_bytes())
    assert sha256(data) == whole
    os.truncate(path, 1 << 20)
    if asks:
        with pytest.raises(OSError, match="Input/output"):
            sha256(data)
    else:
        assert sha256(data) != whole


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EINTR])
def test_a_machine_without_memory_damages_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system says so when it is asked for pages; the file is sound, and is read otherwise."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 << 20))
    data = memoryview(FileMap.of(os.open(path, os.O_RDONLY), 8 << 20))
    asked: list[int] = []

    def without_memory(self: FileMap, option: int, start: int = 0, length: int = 0) -> None:
        asked.append(option)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileMap, "madvise", without_memory)
    assert sha256(data) == sha256(path.read_bytes())
    assert asked


def test_descriptors_go_with_their_maps(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 << 20))
    for _ in range(50):
        files.read(path)
    open_files = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    assert str(path) not in open_files


@pytest.mark.parametrize("full", [False, True])
def test_an_object_is_mended_where_a_folder_lies(tmp_path: Path, full: bool) -> None:
    archive = archive_in(tmp_path)
    one = next(iter(archive.index.all()))
    path = archive.store.inner.root / one.key  # type: ignore[attr-defined]
    sound = path.read_bytes()
    path.unlink()
    path.mkdir()
    if full:
        (path / "file").write_bytes(b"somebody's")
    archive.store.set_aside(one.key)
    archive.store.put(one.key, sound)
    archive.store.settle(one.key)
    archive.verify(one, deep=True)
    assert len(list((archive.store.inner.root / ".damaged").iterdir())) == 1  # type: ignore[attr-defined]
    archive.close()


# Small notes: trash, holds, marks, the landing log, dictionaries, decoded objects

_BAD = [b"", b"{", b"[" * 100_000, b"[]", b"5", b"\xff\xfe", b'{"uid": 5}', b" " * (2 << 20)]


@pytest.mark.parametrize("bad", _BAD)
def test_a_hold_that_cannot_be_read_lets_nothing_go(tmp_path: Path, bad: bytes) -> None:
    holds = Holds(tmp_path)
    holds.add(Hold("STUDY", "1.2", "a law suit", time.time()))
    assert len(holds.all()) == 1
    next((tmp_path / ".holds").iterdir()).write_bytes(bad)
    with pytest.raises(ObjectDamaged, match=r"legal hold .* add the hold again"):
        holds.all()


@pytest.mark.parametrize("bad", [*_BAD, b'{"key": "../../etc/passwd", "sop_instance_uid": "1"}'])
def test_a_note_of_the_trash_hides_no_other(tmp_path: Path, bad: bytes) -> None:
    trash = Trash({"": tmp_path})
    keys = ("3f/a2/1.2/a.dcm", "3f/a2/1.2/b.dcm")
    (tmp_path / "3f/a2/1.2").mkdir(parents=True)
    for key in keys:
        (tmp_path / key).write_bytes(b"file")
    begun = trash.begin(Trashed(key, "1.2", "1.2", 4, "test", 1.0) for key in keys)
    (tmp_path / ".trash" / f"{begun[0].id}.going").write_bytes(bad)
    assert [one.key for one in trash.entries()] == [keys[1]]
    assert [Path(where).stem for where, _ in trash.unreadable()] == [begun[0].id]
    trash.tidy()
    assert (tmp_path / ".trash" / f"{begun[0].id}.dcm").exists()


@pytest.mark.parametrize("bad", _BAD)
def test_a_mark_that_is_none_says_nothing(tmp_path: Path, bad: bytes) -> None:
    mark = ArchiveMark(tmp_path)
    mark.write(Mark("a", "b", 1))
    (tmp_path / ".zscp" / "store").write_bytes(bad)
    assert MediumMark(tmp_path, "name").owner() == ""
    (tmp_path / ".zscp" / "archive").write_bytes(bad)
    assert mark.read() is None


def test_a_fifo_in_a_notes_place_is_none(tmp_path: Path) -> None:
    (tmp_path / ".zscp").mkdir()
    (tmp_path / ".holds").mkdir()
    (tmp_path / ".landing" / "1-a").mkdir(parents=True)
    for name in (".zscp/archive", ".zscp/store", ".holds/a.json", ".landing/1-a/000001.log", "decoded"):
        os.mkfifo(tmp_path / name)

    def look() -> None:
        assert ArchiveMark(tmp_path).read() is None
        assert MediumMark(tmp_path, "name").owner() == ""
        with pytest.raises(ObjectDamaged, match="a FIFO"):
            Holds(tmp_path).all()
        log = LandingLog(tmp_path)
        assert list(log.keys()) == []
        with pytest.raises(ObjectDamaged, match="a FIFO"):
            log.get(".landing/1-a/000001/4136-10.dcm")
        assert DecodedCache(tmp_path, 1 << 20).get("decoded") is None

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(20)
    assert not looking.is_alive(), "a FIFO holds up its reader"


def test_a_segment_that_is_far_too_large_is_not_gone_through(tmp_path: Path) -> None:
    log = LandingLog(tmp_path)
    key = log.write(b"head", b"dataset")
    log.recorded(key)
    (path,) = tmp_path.glob(".landing/*/*.log")
    assert list(keys_in(path)) == [key]
    os.truncate(path, 1 << 40)
    assert list(keys_in(path)) == []
    huge = f"{key.rpartition('/')[0]}/4136-{1 << 40}.dcm"
    with pytest.raises((ObjectDamaged, ObjectUnavailable)):
        log.get(huge)
    log.close()


def test_a_dictionarys_mark_may_be_anything(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    dictionaries = Dictionaries(store)
    for bad in (b"", b"x" * 1000, b"../../a", b"0001-32768-0123456789abcdef.zdict"):
        store.put("dictionaries/1.2/newest", bad)
        assert Dictionaries(store).newest("1.2") is None
    assert dictionaries.entries("1.2") == []


def test_a_cached_object_that_is_too_large_goes(tmp_path: Path) -> None:
    cache = DecodedCache(tmp_path, 1 << 20)
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 1 << 40)
    assert cache.get("a") is None
    assert not (tmp_path / "a").exists()
