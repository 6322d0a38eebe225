"""What every object store has to do, and what the one on a disk does when things go wrong."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from scp.config.keys import EncryptionKey
from scp.errors import ConfigurationError, ObjectDamaged, ObjectMissing, OutOfResources
from scp.objects import journal, names, stores
from scp.objects.bucket import Bucket
from scp.objects.bucket_kinds import KINDS
from scp.objects.bucket_store import BucketStore
from scp.objects.encrypted import Cipher, EncryptedStore
from scp.objects.folders import locked
from scp.objects.journal import Journaled, JournaledStore
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.memory import MemoryStore
from scp.objects.names import object_key, siblings_prefix
from scp.objects.store import check_size, pieces_of
from scp.objects.stores import StorePlace
from scp.objects.tiers import Tier, TieredStore
from scp.spool import Buffer

pytestmark = pytest.mark.quick

KEY = "3f/a2/1.2.3/1.2.3.4_0123456789abcdef.htj2k.dcm"
ROOT = Path(__file__).parents[2]
KEYED = Cipher([EncryptionKey("2026", bytes(range(32)))])


class PlainFiles:
    """Six verbs over files, none of which tells whose a file is: as a store that others serve would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._memory = MemoryStore()
        self._count = itertools.count()

    def put(self, key: str, *parts: Buffer) -> None:
        path, fresh = self.root / key, self.root / f"{os.getpid()}.{next(self._count)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(b"".join(parts))
        fresh.replace(path)

    def get(self, key: str, size: int | None = None) -> Buffer:
        try:
            data = (self.root / key).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"{key} is not in the object store") from None
        check_size(key, len(data), size)
        return data

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        yield from pieces_of(self.get(key, size))

    def size(self, key: str) -> int:
        return len(self.get(key))

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> Iterator[str]:
        files = (path for path in self.root.glob("*/**/*") if path.is_file())
        return (key for path in files if (key := path.relative_to(self.root).as_posix()).startswith(prefix))

    def close(self) -> None:
        pass


def of_table(scheme: str, root: Path) -> JournaledStore:
    return stores.open_store(StorePlace(f"{scheme}://", root))


def noted(root: Path) -> Journaled:
    return Journaled(PlainFiles(root / "objects"), root)


def tiered(root: Path) -> TieredStore:
    cold = Journaled(MemoryStore(), root / "cold-journal")
    return TieredStore(LocalStore(root), [Tier("cold", cold, lambda: True)])


def landed(root: Path) -> LandedStore:
    return LandedStore(LocalStore(root), LandingLog(root, segment=1 << 20))


def encrypted(root: Path) -> EncryptedStore:
    return EncryptedStore(LocalStore(root), KEYED)


def encrypted_tier(root: Path) -> LandedStore:
    """As an archive has them: a plain store, with an encrypted one beside it."""
    return LandedStore(TieredStore(encrypted(root), [Tier("cold", encrypted(root / "cold"), lambda: True)]))


# Those of the table that need no server, and what stores are put together from.
STORES: dict[str, Callable[[Path], JournaledStore]] = {
    **{scheme: partial(of_table, scheme) for scheme in stores.STORES if scheme not in KINDS},
    "noted": noted,
    "tiered": tiered,
    "landed": landed,
    "encrypted": encrypted,
    "encrypted tier": encrypted_tier,
}
# What outlives its process.
LASTING: dict[str, Callable[[Path], JournaledStore]] = {"local": LocalStore, "noted": noted}


# The servers of those that need one, as fixtures; each kind of bucket has one.
SERVERS = {"s3": "seaweedfs", "az": "azure"}


def in_bucket(request) -> Callable[[Path], JournaledStore]:
    """A store in a new bucket of a real server."""
    place = request.getfixturevalue(SERVERS[request.param]).place()
    return lambda root: stores.open_store(StorePlace(f"{place.name}", root, bucket=place))


def with_buckets(kinds: Iterable[str]) -> list[object]:
    return [*kinds, *(pytest.param(scheme, marks=pytest.mark.cluster) for scheme in KINDS)]


@pytest.fixture(params=with_buckets(STORES))
def store(request, tmp_path: Path) -> Iterator[JournaledStore]:
    make = in_bucket(request) if request.param in SERVERS else STORES[request.param]
    made = make(tmp_path / "made" / "when" / "needed")
    yield made
    made.close()


@pytest.fixture(params=with_buckets(LASTING))
def opened(request, tmp_path: Path) -> Callable[[], JournaledStore]:
    """Opens one store again and again, as processes do."""
    make = in_bucket(request) if request.param in SERVERS else LASTING[request.param]
    return lambda: make(tmp_path / "lasting")


def died(store: JournaledStore) -> None:
    """What is left when a process ends: its files, and nobody who holds the lock."""
    inner = store.inner if isinstance(store, EncryptedStore) else store
    os.close(inner._journal._own_lock)  # type: ignore[attr-defined]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    made = LocalStore(tmp_path)
    yield made
    made.close()


def files_below(root: Path) -> list[str]:
    """Everything but the journal's locks."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock"
    )


# The contract


def test_what_is_put_is_there(store) -> None:
    store.put(KEY, b"content")
    assert store.get(KEY) == b"content"
    assert store.size(KEY) == 7
    assert list(store.keys()) == [KEY]
    store.settle(KEY)
    assert store.get(KEY) == b"content"


@pytest.mark.parametrize("size", [0, 7, 1 << 16, (1 << 16) + 1, 68 << 10, 700_001])
def test_it_is_read_piece_by_piece(store, size: int) -> None:
    content = os.urandom(size)
    store.put(KEY, content)
    pieces = [bytes(one) for one in store.pieces(KEY, size)]
    assert b"".join(pieces) == content
    assert len(pieces) <= 12
    assert all(map(len, pieces[:-1]))
    for wrong in (abs(size - 1), size + 1):
        with pytest.raises(ObjectDamaged, match="is not what was written"):
            next(store.pieces(KEY, wrong))


def test_its_pieces_are_of_one_version(store) -> None:
    """Of an object that is replaced meanwhile, what comes of it is the old one, or it ends as damaged."""
    old, new = b"old" * 100_000, b"new" * 100_000
    store.put(KEY, old)
    pieces = store.pieces(KEY, len(old))
    found = bytes(next(pieces))
    store.put(KEY, new)
    with suppress(ObjectDamaged):
        for piece in pieces:
            found += piece
    assert old.startswith(found)


def test_many_are_put_at_once(store) -> None:
    store.put("aa/bb/1.2/0_0.rle.dcm", b"old")
    store.settle("aa/bb/1.2/0_0.rle.dcm")
    many = {f"aa/bb/1.{n % 3}/{n}_0.rle.dcm": bytes([n]) * 1000 for n in range(20)} | {
        "aa/bb/1.2/0_0.rle.dcm": b"new"
    }
    store.put_many(many.items())
    assert {key: bytes(store.get(key)) for key in list(store.keys())} == many
    store.put_many([])
    store.put("aa/parts", b"one", memoryview(b"two"))
    assert store.get("aa/parts") == b"onetwo"


def test_what_is_not_there_is_missing(store) -> None:
    for look in (store.get, store.size, lambda key: next(store.pieces(key, 7))):
        with pytest.raises(ObjectMissing, match="not in the object store"):
            look(KEY)
    assert list(store.keys()) == []
    store.delete(KEY)
    store.settle(KEY)
    assert list(store.recover()) == []


def test_put_again_it_is_replaced(store) -> None:
    store.put(KEY, b"one")
    store.put(KEY, b"another")
    assert store.get(KEY) == b"another"
    store.settle(KEY)
    store.put(KEY, b"three")
    store.settle(KEY)
    assert store.get(KEY) == b"three"
    assert list(store.keys()) == [KEY]


def test_deleted_it_is_gone_and_can_come_again(store) -> None:
    store.put(KEY, b"one")
    store.settle(KEY)
    store.delete(KEY)
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    store.put(KEY, b"two")
    assert store.get(KEY) == b"two"


def test_keys_by_prefix(store) -> None:
    keys = [
        "aa/bb/1.2/11_0.rle.dcm",
        "aa/bb/1.2/1_0.rle.dcm",
        "aa/bb/1.2/1_0.zstd.dcm.zst",
        "aa/bb/1.23/1_0.rle.dcm",
        "ab/bb/3/1_0.rle.dcm",
    ]
    for key in keys:
        store.put(key, key.encode())
    for prefix in (
        "",
        "a",
        "aa",
        "aa/",
        "aa/b",
        "aa/bb/1.2",
        "aa/bb/1.2/",
        "aa/bb/1.2/1_",
        "aa/bb/1.2/1_0.rle.dcm",
        "x",
        "aa/x/",
        "b",
    ):
        assert sorted(store.keys(prefix)) == [key for key in keys if key.startswith(prefix)], prefix


def test_dictionaries_lie_beside_the_objects(store) -> None:
    """Their keys are found below a prefix, and the mark of the newest is put over and over."""
    store.put(KEY, b"object")
    for number in (1, 2):
        store.put(f"dictionaries/1.2.3/000{number}-4000{number}-0123456789abcdef.zdict", b"content")
        store.put("dictionaries/1.2.3/newest", b"%d" % number)
        store.settle("dictionaries/1.2.3/newest")
    store.put("dictionaries/1.2.33/newest", b"")
    assert len([*store.keys("dictionaries/")]) == 4
    assert sorted(store.keys("dictionaries/1.2.3/"))[-1] == "dictionaries/1.2.3/newest"
    assert len([*store.keys("dictionaries/1.2.3/")]) == 3
    assert bytes(store.get("dictionaries/1.2.3/newest")) == b"2"


def test_an_empty_object_is_one(store) -> None:
    store.put(KEY, b"")
    assert (store.get(KEY), store.size(KEY)) == (b"", 0)


def test_readers_see_one_or_the_other_and_never_half(store) -> None:
    """Unsettled too: the journal's entry is the same file, and was once written over in place."""
    contents = [bytes([number]) * 300_000 for number in range(2)]
    turns = 60 if bucket_in(store) is None else 12
    store.put(KEY, contents[0])
    with ThreadPoolExecutor(2) as threads:
        done = threads.submit(lambda: [store.put(KEY, contents[turn % 2]) for turn in range(turns)])
        while not done.done():
            assert store.get(KEY) in contents
        done.result()


def test_put_and_delete_in_one_folder_from_threads(store) -> None:
    """Deleting the last object takes its folder away; putting must not stumble over that.

    A bucket has no folders, and an emulator needs a request for each.
    """
    turns = 40 if bucket_in(store) is None else 4

    def work(number: int) -> None:
        for turn in range(turns):
            key = f"aa/bb/1.2/{number}_{turn}.rle.dcm"
            store.put(key, b"x")
            store.settle(key)
            store.delete(key)
        store.put(f"aa/bb/1.2/{number}_last.rle.dcm", b"x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(list(store.keys())) == 8


# The journal


def test_what_is_taken_back_is_only_what_was_put_there(store: JournaledStore) -> None:
    """An object that is sent twice has one key: what was there before is no part of the second try."""
    store.put("aa/new", b"first")
    store.withdraw("aa/new")
    assert list(store.keys()) == []
    store.put("aa/kept", b"acknowledged")
    store.settle("aa/kept")
    store.put("aa/kept", b"acknowledged")
    store.withdraw("aa/kept")
    assert bytes(store.get("aa/kept")) == b"acknowledged"
    assert dict(store.unsettled()) == {}


def test_what_another_process_put_meanwhile_stays(opened: Callable[[], JournaledStore]) -> None:
    one, other = opened(), opened()
    one.put("aa/key", b"same")
    other.put("aa/key", b"same")
    other.settle("aa/key")
    one.withdraw("aa/key")
    assert bytes(other.get("aa/key")) == b"same"


def test_what_a_dead_process_had_not_settled_is_found_once(opened: Callable[[], JournaledStore]) -> None:
    dead = opened()
    dead.put("a/1", b"1")
    dead.put_many([("a/2", b"2"), ("a/3", b"3")])
    dead.settle("a/2")
    dead.put("a/4", b"4")
    dead.settle("a/4")
    dead.journal_removal("a/4")
    dead.journal_removal("a/none")
    living = opened()
    assert dict(living.unsettled()) == {"a/1": True, "a/3": True, "a/4": True}
    assert list(living.recover()) == [], "it lives"
    died(dead)
    assert dict(living.unsettled()) == {"a/1": False, "a/3": False, "a/4": False}
    assert sorted(living.recover()) == ["a/1", "a/3", "a/4"]
    assert list(opened().recover()) == []
    assert sorted(living.keys()) == ["a/1", "a/2", "a/3", "a/4"]


def test_what_was_withdrawn_or_deleted_is_not_recovered(opened: Callable[[], JournaledStore]) -> None:
    dead = opened()
    dead.put("a/1", b"1")
    dead.withdraw("a/1")
    dead.put("a/2", b"2")
    dead.delete("a/2")
    died(dead)
    living = opened()
    assert list(living.recover()) == []
    assert list(living.keys()) == []


def test_within_recovery_others_are_put_and_taken_back(opened: Callable[[], JournaledStore]) -> None:
    dead = opened()
    dead.put("a/1", b"1")
    died(dead)
    living = opened()
    for key in living.recover():
        living.put(key, b"2")
        living.settle(key)
        living.put("a/2", b"2")
        living.withdraw("a/2")
        living.journal_removal(key)
    assert {key: bytes(living.get(key)) for key in list(living.keys())} == {"a/1": b"2"}
    assert dict(living.unsettled()) == {"a/1": True}


def test_where_one_of_many_fails_none_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store raises, and it may have put the object all the same."""
    store = noted(tmp_path)
    store.put("a/2", b"acknowledged")
    store.settle("a/2")
    put = PlainFiles.put

    def puts(files: PlainFiles, key: str, *parts: Buffer) -> None:
        put(files, key, *parts)
        if key == "a/3":
            raise OutOfResources("no room")

    monkeypatch.setattr(PlainFiles, "put", puts)
    with pytest.raises(OutOfResources, match="no room"):
        store.put_many([(f"a/{n}", b"acknowledged") for n in range(1, 4)])
    assert list(store.keys()) == ["a/2"]
    assert dict(store.unsettled()) == {}


def test_what_two_processes_put_at_once_is_taken_back_by_neither(tmp_path: Path) -> None:
    """The second writes its note between the note and the object of the first."""
    second = noted(tmp_path)

    class Interrupted(PlainFiles):
        def put(self, key: str, *parts: Buffer) -> None:
            second.put(key, *parts)
            super().put(key, *parts)

    first = Journaled(Interrupted(tmp_path / "objects"), tmp_path)
    first.put(KEY, b"same")
    first.settle(KEY)
    second.withdraw(KEY)
    assert bytes(first.get(KEY)) == b"same"


def test_a_journal_that_cannot_be_written_stores_nothing(tmp_path: Path) -> None:
    store = noted(tmp_path)
    store.put("a/1", b"1")
    (store.root / ".incoming").rename(tmp_path / "elsewhere")
    with pytest.raises(OutOfResources, match="the journal cannot take a/2"):
        store.put("a/2", b"2")
    assert list(store.keys()) == ["a/1"]


def test_what_is_set_aside_is_kept_where_no_key_leads_to(store: JournaledStore) -> None:
    store.put(KEY, b"rotten")
    store.set_aside(KEY)
    store.set_aside(KEY + ".none")
    store.delete(KEY)
    assert list(store.keys()) == []
    assert [bytes(KEYED.opened(KEY, one)) for one in set_aside(store)] == [b"rotten"]


def bucket_in(store: JournaledStore) -> Bucket | None:
    inner = getattr(store, "inner", None)
    return inner.bucket if isinstance(inner, BucketStore) else None


def set_aside(store: JournaledStore) -> list[bytes]:
    bucket = bucket_in(store)
    if bucket is not None:
        return [bucket.note(found.key)[0].encode() for found in bucket.list(".damaged")]
    return [path.read_bytes() for path in Path(store_root(store)).rglob(".damaged/*")]


def store_root(store: JournaledStore) -> Path:
    match store:
        case TieredStore():
            return store_root(store._first)
        case LandedStore() | EncryptedStore():
            return store_root(store.inner)
    return store.root  # type: ignore[attr-defined]


def test_each_url_names_its_store(tmp_path: Path) -> None:
    for url in ("objects", "/srv/a:b", "file:///srv/objects"):
        made = stores.open_store(StorePlace(url, tmp_path))
        assert isinstance(made, EncryptedStore)
        assert isinstance(made.inner, LocalStore)
        assert made.cipher.newest is None
    known = ", ".join(f"{scheme}://" for scheme in stores.STORES)
    with pytest.raises(ConfigurationError, match=f"there are {known}"):
        stores.open_store(StorePlace("ftp://there", tmp_path))


# On a disk


def test_a_folder_goes_with_its_last_object(local) -> None:
    local.put(KEY, b"x")
    local.put(KEY + ".zst", b"x")
    folder = (local.root / KEY).parent
    local.delete(KEY)
    assert folder.is_dir()
    local.delete(KEY + ".zst")
    assert not folder.exists()


def failing(monkeypatch, module: object, name: str, number: int, calls: int) -> None:
    """Lets a function fail on one of its calls, counted from 0."""
    real, seen = getattr(module, name), iter(range(10**6))

    def function(*arguments, **named):
        if next(seen) == calls:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, function)


STEPS = [
    (os, "fsync", 0),  # of the content
    (os, "link", 0),
    (Path, "mkdir", 2),  # of the first folder below the root
    (os, "fsync", 1),  # of the root
    (Path, "replace", 0),
    (os, "fsync", 4),  # of the study's folder
]


@pytest.mark.parametrize(
    ("module", "name", "calls"), STEPS, ids=lambda value: getattr(value, "__name__", str(value))
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_fails_leaves_nothing_behind(
    local, monkeypatch, module, name: str, calls: int, number: int
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, module, name, number, calls)
        with pytest.raises(OutOfResources, match=r"1\.2\.3\.4"):
            local.put(KEY, b"content")
    assert files_below(local.root) == []
    assert list(local.keys()) == []
    local.put(KEY, b"content")
    assert local.get(KEY) == b"content"


@pytest.mark.parametrize(("name", "calls"), [("fsync", 0), ("link", 0), ("fsync", 1)])
def test_what_fails_over_another_leaves_one_of_them_whole(local, monkeypatch, name: str, calls: int) -> None:
    """An acknowledged object must not go because its own copy could not be written."""
    local.put(KEY, b"old")
    local.settle(KEY)
    with monkeypatch.context() as patch:
        failing(patch, os, name, errno.ENOSPC, calls)
        with pytest.raises(OutOfResources):
            local.put(KEY, b"new")
    assert local.get(KEY) in (b"old", b"new")
    assert list(local.keys()) == [KEY]
    assert not [file for file in files_below(local.root) if file.endswith("~")]


@pytest.mark.parametrize(("name", "calls"), [("fsync", 2), ("link", 1), ("fsync", 3)])
def test_of_many_all_or_none_are_there(local, monkeypatch, name: str, calls: int) -> None:
    with monkeypatch.context() as patch:
        failing(patch, os, name, errno.ENOSPC, calls)
        with pytest.raises(OutOfResources):
            local.put_many([(f"aa/bb/1.2/{n}.dcm", b"x") for n in range(3)])
    assert files_below(local.root) == []


def test_what_is_about_to_go_is_found_by_the_next(tmp_path: Path) -> None:
    """An object that is being replaced elsewhere: its file is recovered, should the process die."""
    script = "store.put(key, b'1'); store.settle(key); store.journal_removal(key); os._exit(9)"
    assert in_another_process(tmp_path, script).wait() == 9
    assert list(LocalStore(tmp_path).recover()) == [KEY]


def test_other_faults_are_not_called_a_lack_of_room(local, monkeypatch) -> None:
    failing(monkeypatch, os, "link", errno.EPERM, 0)
    with pytest.raises(PermissionError):
        local.put(KEY, b"content")
    assert files_below(local.root) == []


def test_a_reserve_is_left_free(tmp_path: Path, monkeypatch) -> None:
    local = LocalStore(tmp_path, reserve=1_000_000)
    real = os.statvfs(tmp_path)

    def statvfs(_path) -> os.statvfs_result:
        fields = list(real)
        fields[1], fields[4] = 1000, 1500  # f_frsize, f_bavail: 1.5 MB
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", statvfs)
    local.put(KEY, b"x" * 500_000)
    with pytest.raises(
        OutOfResources, match=r"999999 bytes would be left free, storage.reserve keeps 1000000"
    ):
        local.put(KEY + ".zst", b"x" * 500_001)
    assert list(local.keys()) == [KEY]


# Recovery


def in_another_process(root: Path, script: str) -> subprocess.Popen[str]:
    head = f"""
        import os, sys
        from pathlib import Path
        from scp.objects.local import LocalStore
        store, key = LocalStore(Path({str(root)!r})), {KEY!r}

        def dies(module, name, calls, before):
            real, left = getattr(module, name), [calls]
            def function(*arguments, **named):
                left[0] -= 1
                if before and left[0] < 0:
                    os._exit(9)
                result = real(*arguments, **named)
                if left[0] < 0:
                    os._exit(9)
                return result
            setattr(module, name, function)
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


DEATHS = {
    "while the content is written": ("dies(os, 'fsync', 0, True)", False),
    "after it": ("dies(os, 'fsync', 0, False)", False),
    "after the link": ("dies(os, 'link', 0, False)", False),
    "before the replace": ("dies(Path, 'replace', 0, True)", False),
    "after the replace": ("dies(Path, 'replace', 0, False)", True),
    "after the folder's sync": ("dies(os, 'fsync', 2, False)", True),
    "after the put": ("store.put(key, b'content'); os._exit(9)", True),
}


@pytest.mark.parametrize("death", DEATHS)
def test_what_a_killed_process_placed_is_found_and_the_rest_removed(death: str, tmp_path: Path) -> None:
    how, placed = DEATHS[death]
    other = "store.put('3f/a2/settled', b'1'); store.settle('3f/a2/settled')"
    assert in_another_process(tmp_path, f"{other}\n{how}\nstore.put(key, b'content')").wait() == 9
    local = LocalStore(tmp_path)
    found = list(local.recover())
    assert found == ([KEY] if placed else [])
    assert {*local.keys()} - {"3f/a2/settled"} == {*found}
    assert [file for file in files_below(tmp_path) if file.startswith(".incoming")] == []
    if placed:
        assert local.get(KEY) == b"content"
    assert list(local.recover()) == []


def test_a_living_process_is_left_alone(tmp_path: Path) -> None:
    other = in_another_process(
        tmp_path, "store.put(key, b'content'); print('put', flush=True); sys.stdin.read()"
    )
    try:
        assert other.stdout.readline() == "put\n"
        local = LocalStore(tmp_path)
        assert list(local.recover()) == []
        local.put("3f/a2/other", b"1")
        assert list(local.recover()) == []
        assert len(files_below(tmp_path)) == 4
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdin.close()
        other.stdout.close()
    assert list(local.recover()) == [KEY]
    assert local.get(KEY) == b"content"
    local.settle("3f/a2/other")
    assert files_below(tmp_path) == sorted(["3f/a2/other", KEY])


def test_recovery_that_breaks_off_goes_on_next_time(tmp_path: Path) -> None:
    """A key counts as settled when the next one is asked for, not when it is given out."""
    assert (
        in_another_process(tmp_path, "store.put('a/1', b'1'); store.put('a/2', b'2'); os._exit(9)").wait()
        == 9
    )
    first = LocalStore(tmp_path).recover()
    assert next(first) == "a/1"
    first.close()  # type: ignore[attr-defined]
    assert list(LocalStore(tmp_path).recover()) == ["a/1", "a/2"]
    assert list(LocalStore(tmp_path).recover()) == []


def test_a_process_that_ends_well_while_it_is_looked_at_stops_no_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is gone when its lock is asked for: a node could not be started for that."""
    dead, ending = LocalStore(tmp_path), LocalStore(tmp_path)
    for one in (dead, ending):
        one.put(f"a/{id(one)}", b"data")
    ending.settle(f"a/{id(ending)}")
    died(dead)

    def locking(folder: Path, wait: bool = True) -> object:
        if folder == ending._journal._own:
            ending.close()
        return locked(folder, wait)

    monkeypatch.setattr(journal, "locked", locking)
    assert list(LocalStore(tmp_path).recover()) == [f"a/{id(dead)}"]


def test_what_is_recovered_may_be_put_and_settled_within_the_loop(tmp_path: Path) -> None:
    assert in_another_process(tmp_path, "store.put(key, b'1'); os._exit(9)").wait() == 9
    local = LocalStore(tmp_path)
    for key in local.recover():
        local.put(key, b"2")
        local.settle(key)
    assert local.get(KEY) == b"2"


def test_closed_it_leaves_nothing_but_what_is_unsettled(tmp_path: Path) -> None:
    for settled in (True, False):
        local = LocalStore(tmp_path)
        local.put(KEY, b"1")
        if settled:
            local.settle(KEY)
        local.close()
        assert list(LocalStore(tmp_path).recover()) == ([] if settled else [KEY])


# Keys


@pytest.mark.parametrize(
    "uid", ["../../x", "", "1" * 70, "1.2/3", "/etc/passwd", ".", "..", "1..2", "x\0y", "é", "1.2\n", "!"]
)
def test_odd_uids_make_safe_keys(uid: str, store) -> None:
    keys = [
        object_key(uid, "1.2.3", "ab" * 32, "rle", False),
        object_key("1.2.3", uid, "ab" * 32, "rle", True),
    ]
    for key in keys:
        assert len(key.split("/")) == 4
        assert all(part not in ("", ".", "..") and len(part) <= 120 for part in key.split("/"))
        assert key.isascii()
        assert set(key) <= set("0123456789abcdefghijklmnopqrstuvwxyz./_-")
        store.put(key, b"x")
        store.settle(key)
    assert sorted(store.keys()) == sorted(keys)


def test_keys_tell_objects_apart() -> None:
    usual = ("1.2", "1.2.3", "ab" * 32, "htj2k", False)
    assert object_key(*usual) == "77/ac/1.2/1.2.3_abababababababab.htj2k.dcm"
    others = [("1.3", *usual[1:]), ("1.2", "1.2.4", *usual[2:]), ("1.2", "1.2.3", "cd" * 32, *usual[3:])]
    others += [("1.2", "1.2.3", "ab" * 32, "rle", False), ("1.2", "1.2.3", "ab" * 32, "htj2k", True)]
    assert len({object_key(*usual), *(object_key(*other) for other in others)}) == 6
    assert object_key("x1", *usual[1:]) != object_key("x2", *usual[1:])


def test_siblings_are_all_forms_of_one_instance(store) -> None:
    mine = [
        object_key("1.2", "1.2.3", digest * 32, form, wrapped)
        for digest, form, wrapped in (("ab", "rle", False), ("cd", "zstd", True))
    ]
    for key in (
        *mine,
        object_key("1.2", "1.2.33", "ab" * 32, "rle", False),
        object_key("1.3", "1.2.3", "ab" * 32, "rle", False),
    ):
        store.put(key, b"x")
    assert sorted(store.keys(siblings_prefix(mine[0], "1.2.3"))) == sorted(mine)


def test_what_a_key_says_is_read_from_it() -> None:
    landed = names.landed_key(names.segment_name("7-1f", "000002"), 4156, 300)
    assert (landed, names.is_landed(landed)) == (".landing/7-1f/000002/4156-300.dcm", True)
    assert names.landed_name(landed) == names.LandedName("7-1f", "000002", 4156, 300)
    assert names.segment_of(landed) == ".landing/7-1f/000002"
    dictionary = names.dictionary_key("1.2.840", 3, 40001, "ab" * 32)
    assert dictionary == "dictionaries/1.2.840/0003-40001-abababababababab.zdict"
    assert names.dictionary_name(dictionary) == names.DictionaryName(
        dictionary, "1.2.840", 3, 40001, "ab" * 8
    )
    assert names.dictionary_name(names.newest_key("1.2.840")) is None
    kinds = [names.is_object(key) for key in (KEY, f"@cold/{KEY}", landed, dictionary, names.newest_key(""))]
    assert kinds == [True, True, False, False, False]
    again = object_key("1.2.3", "1.2.3.4", "ab" * 32, "htj2k", True, token="1f")
    assert again.endswith("/1.2.3/1.2.3.4_abababababababab.htj2k-1f.dcm.zst")
    assert (names.instance_in(again), names.digest_in(again)) == ("1.2.3.4", "ab" * 8)
    assert names.key_in(names.file_name(again)) == again
    assert dict(names.prefixes(["cold"])) == {"@cold/": "cold"}
