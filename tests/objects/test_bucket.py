"""A bucket of a real S3 server, and what lies in it besides objects: locks, marks, notes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import waiting
from buckets import bucket_in_memory
from servers_seaweedfs import SeaweedFS

from scp.config.stores import BucketPlace
from scp.errors import (
    ConfigurationError,
    ObjectChanged,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    OutOfResources,
)
from scp.objects import bucket as bucket_module
from scp.objects.bucket import LARGE, PART, Bucket, Found
from scp.objects.bucket_marks import BucketMark, BucketMedium
from scp.objects.bucket_store import BucketStore, ObjectsInBucket
from scp.objects.mark import Mark
from scp.objects.names import has_token, object_key

NOBODY = BucketPlace("bucket", "zscp", "http://127.0.0.1:9", "us-east-1", "key", "a-secret")
OBJECT = object_key("1.2", "1.2.3", "ab" * 32, "htj2k", token="0123abcd")


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Bucket:
    server: SeaweedFS = request.getfixturevalue("seaweedfs")
    return Bucket(server.place())


# -- without a server ----------------------------------------------------------------------------------


def test_a_store_that_does_not_answer_is_told_within_its_time() -> None:
    pytest.importorskip("obstore")
    bucket = Bucket(NOBODY, seconds=0.6)
    begun = time.monotonic()
    with pytest.raises(OutOfResources, match="does not put it now"):
        bucket.put("a/1", b"x")
    for look in (bucket.look, bucket.note):
        with pytest.raises(ObjectUnavailable) as told:
            look("a/1")
        assert "a-secret" not in str(told.value)
    assert time.monotonic() - begun < 30
    with pytest.raises(OutOfResources):
        list(bucket.list())
    assert "a-secret" not in repr(NOBODY)


def test_without_the_package_it_is_said_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(bucket_module, "import_module", gone)
    with pytest.raises(ConfigurationError, match="install the extra s3"):
        Bucket(NOBODY).look("a/1")


def _opens() -> None:
    try:
        Bucket(NOBODY, seconds=1.0).look("a/1")
    except RuntimeError:
        os._exit(7)


def test_a_process_that_was_forked_after_the_first_request_gets_an_error_and_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setattr(bucket_module, "_opened_in", {os.getpid()})  # as it is after a request
    child = multiprocessing.get_context("fork").Process(target=_opens)
    child.start()
    child.join(30)
    assert child.exitcode == 7


_LOADS_AND_FORKS = """
import os
from pathlib import Path
from scp.config.stores import BucketPlace
from scp.errors import ObjectUnavailable
from scp.objects.bucket import Bucket, library_for

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

before = threads()
library_for("bucket")
assert threads() == before, "loading it starts its runtime"
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    Bucket(BucketPlace("bucket", "zscp", "http://127.0.0.1:9", "us-east-1", "key", "secret"), 1.0).look("a/1")
except ObjectUnavailable:
    os._exit(7)
"""


def test_a_process_that_was_forked_after_the_package_was_loaded_asks_as_usual() -> None:
    pytest.importorskip("obstore")
    done = subprocess.run([sys.executable, "-c", _LOADS_AND_FORKS], timeout=60, check=False)
    assert done.returncode == 7


def test_while_a_failed_put_is_taken_back_others_put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bucket that is away makes it long; it was done under a lock that each put of the node takes."""
    bucket, other = bucket_in_memory(monkeypatch), OBJECT.replace("0123abcd", "0123abce")
    store, reached, answers = BucketStore(bucket, tmp_path), threading.Event(), threading.Event()
    store.put(OBJECT, b"x")

    def delete(key: str) -> None:
        reached.set()
        answers.wait(2 * waiting.SECONDS)
        bucket.delete(key)

    monkeypatch.setattr(store._store, "delete", delete)
    with ThreadPoolExecutor(2) as threads:
        taken_back = threads.submit(store.withdraw, OBJECT)
        assert reached.wait(waiting.SECONDS)
        try:
            threads.submit(store.put, other, b"y").result(waiting.SECONDS)
            assert OBJECT in store.unsettled(), "its note goes after the object"
        finally:
            answers.set()
        taken_back.result()
    assert list(store.keys()) == list(store.unsettled()) == [other]
    store.close()


def refused(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, *verbs: str) -> None:
    """Let the server of a bucket in memory fail with some requests from now on."""
    library = bucket._opened().library

    def fail(*_: object, **__: object) -> None:
        raise library.exceptions.GenericError("it is overloaded")

    for verb in verbs:
        monkeypatch.setattr(library, verb, fail)


def test_a_look_whose_second_request_fails_tells_it_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_in_memory(monkeypatch)
    with pytest.raises(ObjectMissing):
        bucket.look(OBJECT)
    refused(monkeypatch, bucket, "get")
    with pytest.raises(ObjectUnavailable, match="overloaded"):
        bucket.look(OBJECT)


def test_a_repeated_put_that_cannot_be_compared_lacks_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_in_memory(monkeypatch)
    store = ObjectsInBucket(bucket)
    store.put(OBJECT, b"x")
    for other in (b"y", b"longer"):
        with pytest.raises(ObjectChanged):
            store.put(OBJECT, other)
    refused(monkeypatch, bucket, "get")
    with pytest.raises(OutOfResources, match="overloaded") as told:
        store.put(OBJECT, b"x")
    assert not isinstance(told.value, ObjectChanged), "who has put it is not known"


def test_a_damaged_mark_that_cannot_be_looked_at_lacks_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_in_memory(monkeypatch)
    bucket.put(".zscp/archive", b"\xff")
    assert BucketMark(bucket).read() is None
    refused(monkeypatch, bucket, "head")
    with pytest.raises(OutOfResources, match="overloaded"):
        BucketMark(bucket).read()


# -- with one ------------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_a_large_object_goes_and_comes_in_parts(bucket: Bucket) -> None:
    store, data = ObjectsInBucket(bucket), os.urandom(LARGE + PART + 17)
    store.put("a/1", memoryview(data)[: 1 << 20], memoryview(data)[1 << 20 :])
    assert store.size("a/1") == len(data)
    assert bytes(store.get("a/1", len(data))) == data
    assert bytes(store.get("a/1")) == data
    with pytest.raises(ObjectDamaged, match="not what was written"):
        store.get("a/1", len(data) + 1)


@pytest.mark.cluster
def test_a_part_of_what_was_replaced_is_no_part_of_the_object(bucket: Bucket) -> None:
    bucket.put("a/1", b"first")
    found = bucket.look("a/1")
    assert bucket.part(found, 1, 3) == b"ir"
    bucket.put("a/1", b"other")
    with pytest.raises(ObjectDamaged, match="replaced while it was read"):
        bucket.part(found, 1, 3)


@pytest.mark.cluster
def test_a_key_with_a_token_is_put_once(bucket: Bucket, tmp_path: Path) -> None:
    """A request that is repeated finds its own object; another's stays, though a journal says it was put."""
    one, other = BucketStore(bucket, tmp_path / "one"), BucketStore(bucket, tmp_path / "other")
    one.put(OBJECT, b"mine")
    one.put(OBJECT, b"mine")
    with pytest.raises(ObjectChanged):
        other.put(OBJECT, b"other bytes")
    assert bytes(one.get(OBJECT)) == b"mine"
    assert dict(other.unsettled()) == {}
    assert has_token(one.fresh_key(object_key("1.2", "1.2.3", "ab" * 32, "htj2k")))
    assert one.fresh_key(OBJECT) != OBJECT
    one.close()
    other.close()


@pytest.mark.cluster
def test_a_key_without_a_token_pairs_one_row_with_the_bytes_of_another(
    bucket: Bucket, tmp_path: Path
) -> None:
    """Why keys have tokens: two nodes whose puts share a key end with the bytes of the last."""
    stores = [BucketStore(bucket, tmp_path / str(number)) for number in range(2)]
    for number, store in enumerate(stores):
        store.put("aa/bb/1.2/key", b"by node %d" % number)
    assert bytes(stores[0].get("aa/bb/1.2/key")) == b"by node 1"
    for store in stores:
        store.close()


@pytest.mark.cluster
def test_nodes_leave_the_journals_of_others_alone(bucket: Bucket, tmp_path: Path) -> None:
    one, other = BucketStore(bucket, tmp_path / "one"), BucketStore(bucket, tmp_path / "other")
    one.put(OBJECT, b"x")
    assert list(other.recover()) == []
    assert dict(other.unsettled()) == {}
    one.close()
    other.close()
    assert list(BucketStore(bucket, tmp_path / "one").recover()) == [OBJECT], "its own next start"


@pytest.mark.cluster
def test_a_mark_is_written_over_what_was_read(bucket: Bucket) -> None:
    one, other = BucketMark(bucket), BucketMark(bucket)
    assert one.read() is None
    assert other.read() is None
    one.write(Mark("a", "i", 1))
    with pytest.raises(ObjectChanged):
        other.write(Mark("b", "i", 1))
    assert other.read() == Mark("a", "i", 1)
    other.write(Mark("a", "i", 2))
    with pytest.raises(ObjectChanged):
        one.write(Mark("a", "i", 3))
    assert one.read() == one.recent() == Mark("a", "i", 2)
    bucket.put(".zscp/archive", b"{")
    assert one.read() is None


@pytest.mark.cluster
def test_a_bucket_without_a_mark_is_no_store(bucket: Bucket) -> None:
    medium = BucketMedium(bucket, "cold")
    assert not medium.is_there()
    medium.make("an archive")
    assert medium.is_there()
    assert medium.owner() == "an archive"
    assert not BucketMedium(Bucket(NOBODY, 1.0), "cold").is_there()


@pytest.mark.cluster
def test_a_bucket_that_is_not_there_is_told_for_each_request(bucket: Bucket) -> None:
    absent = Bucket(replace(bucket._place, bucket="nobody-made-it"))
    for ask in (
        absent.look,
        absent.note,
        lambda key: absent.part(Found(key, 1, "", datetime.now(UTC)), 0, 1),
    ):
        with pytest.raises(ObjectUnavailable, match="there is no bucket for s3://nobody-made-it"):
            ask("a/1")
