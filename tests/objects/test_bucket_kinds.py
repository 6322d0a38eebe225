"""What differs between kinds of buckets, and what is told of one that cannot be had."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest
from buckets import bucket_in_memory
from servers_azurite import ACCOUNT_KEY, Azurite
from servers_seaweedfs import SeaweedFS

from scp.config.stores import BucketPlace
from scp.errors import ConfigurationError, ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects.bucket import LARGE, PART, Bucket, Found
from scp.objects.bucket_kinds import KINDS
from scp.objects.bucket_marks import BucketMark
from scp.objects.bucket_store import ObjectsInBucket
from scp.objects.mark import Mark
from scp.objects.names import object_key
from scp.objects.trash_bucket import BucketCan
from scp.objects.trashed import Trashed

KEY = object_key("1.2", "1.2.3", "ab" * 32, "htj2k", token="0123abcd")
OTHER_KEY = base64.b64encode(bytes(64)).decode()


# -- without a server ----------------------------------------------------------------------------------


def of_azure(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket in memory that is asked as one of Azure is."""
    bucket = bucket_in_memory(monkeypatch)
    bucket.kind = KINDS["az"]
    return bucket


def failing(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, error: Exception, *verbs: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    for verb in verbs:
        monkeypatch.setattr(bucket._opened().library, verb, fail)


def test_a_copy_is_made_by_the_node_where_the_servers_may_go_on_behind_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = of_azure(monkeypatch)
    failing(monkeypatch, bucket, AssertionError("the server was asked to copy"), "copy")
    data = bytes(range(256)) * (PART // 200)  # more than a part
    for size in (0, 17, len(data)):
        bucket.put("a/1", data[:size])
        bucket.copy("a/1", "b/1")
        assert bucket.get("b/1", lambda _found, pieces: b"".join(pieces)) == data[:size]
    with pytest.raises(ObjectMissing):
        bucket.copy("a/none", "b/none")
    failing(monkeypatch, bucket, OSError("it is overloaded"), "head")
    with pytest.raises(OutOfResources, match="overloaded"):
        bucket.copy("a/1", "b/1")


def test_a_listing_begins_behind_a_key_whatever_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for bucket in (bucket_in_memory(monkeypatch), of_azure(monkeypatch)):
        for key in ("a/1", "a/2", "a/3", "b/1"):
            bucket.put(key, b"x")
        assert [found.key for found in bucket.list("a", "a/1")] == ["a/2", "a/3"]


def test_without_a_token_what_was_put_before_its_copy_goes_where_etags_are_no_digests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = of_azure(monkeypatch)
    can, key = BucketCan(bucket), object_key("1.2", "1.2.3", "ab" * 32, "htj2k")
    bucket.put(key, b"x")
    (one,) = can.begin([Trashed(key, "1.2.3", "1.2", 1, "a rule", 0.0, id="0" * 32)])
    assert can.in_place(one)
    bucket.put(key, b"y")  # sent again since
    assert not can.in_place(one)


def test_a_conflict_while_reading_says_nothing_of_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a blob in Azure's archive tier: it was called damaged."""
    bucket = of_azure(monkeypatch)
    errors = bucket._opened().library.exceptions
    bucket.put("a/1", b"x")
    failing(monkeypatch, bucket, errors.AlreadyExistsError("409 Conflict"), "get")
    with pytest.raises(ObjectUnavailable, match="does not get it now"):
        bucket.note("a/1")
    failing(monkeypatch, bucket, errors.PreconditionError("412"), "get")
    with pytest.raises(ObjectDamaged, match="replaced while it was read"):
        bucket.note("a/1")


def test_what_an_address_asks_for_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SAS token of the environment stands there."""
    bucket = of_azure(monkeypatch)
    error = bucket._opened().library.exceptions.GenericError(
        "Error performing GET https://a.example/c/1?sv=2026&sig=hidden in 3 ms - 500:"
        " <?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    )
    failing(monkeypatch, bucket, error, "get")
    with pytest.raises(ObjectUnavailable) as told:
        bucket.note("a/1")
    assert "https://a.example/c/1 in 3 ms - 500 (InternalError)" in str(told.value)
    assert "hidden" not in str(told.value)


def test_an_account_key_of_the_environment_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "hidden!")
    with pytest.raises(ConfigurationError, match="obstore does not take account and secret_key") as told:
        Bucket(replace(NOWHERE["az"], secret_key="")).look("a/1")
    assert "hidden" not in "".join(traceback.format_exception(told.value))


def test_advice_names_who_asks_where_an_identity_is_refused() -> None:
    for kind in KINDS.values():
        assert kind.who in kind.advice("Error performing token request: HTTP error: error sending request")
        assert kind.advice("500 Internal Server Error") == ""


NOWHERE = {
    "az": BucketPlace(
        "container", "zscp", "http://127.0.0.1:9", secret_key=OTHER_KEY, scheme="az", account="hospital"
    ),
    "s3": BucketPlace("bucket", "zscp", "http://127.0.0.1:9", "us-east-1", "key", OTHER_KEY),
}


@pytest.mark.parametrize("scheme", KINDS)
def test_a_server_that_is_not_reached_is_told_with_the_keys_to_look_at(scheme: str) -> None:
    pytest.importorskip("obstore")
    bucket = Bucket(NOWHERE[scheme], seconds=0.6)
    for ask, error in every_request(bucket):
        with pytest.raises(error, match=r"; look at url.* endpoint, and at the network") as told:
            ask()
        assert OTHER_KEY not in str(told.value)
    assert OTHER_KEY not in repr(bucket._opened())


def every_request(bucket: Bucket) -> list[tuple[Callable[[], object], type[Exception]]]:
    return [
        (lambda: bucket.put("a/1", b"x"), OutOfResources),
        (lambda: bucket.put("a/1", b"x", only="new"), OutOfResources),
        (lambda: bucket.note("a/1"), ObjectUnavailable),
        (lambda: bucket.look("a/1"), ObjectUnavailable),
        (lambda: list(bucket.list()), OutOfResources),
        (lambda: bucket.delete("a/1"), OutOfResources),
        (lambda: bucket.copy("a/1", "a/2"), OutOfResources),
    ]


# -- with one ------------------------------------------------------------------------------------------


@pytest.fixture(params=["seaweedfs", "azure"])
def server(request: pytest.FixtureRequest) -> SeaweedFS | Azurite:
    return request.getfixturevalue(request.param)


@pytest.mark.cluster
def test_what_is_wrong_is_told_with_the_key_of_the_configuration(server: SeaweedFS | Azurite) -> None:
    """A wrong key, a wrong name and a bucket that nobody made: never as an object that is missing."""
    place = server.place()
    of_azure = place.scheme == "az"
    wrong = [
        (replace(place, secret_key=OTHER_KEY), "look at (account|access_key) and secret_key"),
        (
            replace(place, bucket="nobody-made-it"),
            "no bucket for .*://nobody-made-it/.* or correct url",
        ),
    ]
    if of_azure:
        wrong += [
            (replace(place, account="other"), "look at account and secret_key"),
            (
                replace(place, account="other", endpoint=place.endpoint.rpartition("/")[0] + "/other"),
                "or correct url, account and endpoint|look at account and secret_key",
            ),
        ]
    for changed, told in wrong:
        bucket = Bucket(changed, 20.0)
        for ask, error in every_request(bucket):
            if not of_azure and changed.bucket != place.bucket and error is OutOfResources:
                continue  # SeaweedFS makes a bucket that is put into
            with pytest.raises(error, match=told) as fault:
                ask()
            assert not isinstance(fault.value, ObjectMissing)
            assert place.secret_key not in str(fault.value)
            assert changed.secret_key not in str(fault.value)


@pytest.mark.cluster
def test_a_large_object_is_put_copied_and_read_in_parts(server: SeaweedFS | Azurite) -> None:
    store, data = ObjectsInBucket(Bucket(server.place(), 120.0)), os.urandom(LARGE + PART + 17)
    store.put("a/1", memoryview(data)[: 1 << 20], memoryview(data)[1 << 20 :])
    store.bucket.copy("a/1", "a/2")
    assert bytes(store.get("a/2", len(data))) == data
    assert sorted(store.keys()) == ["a/1", "a/2"]
    store.delete("a/1")
    store.delete("a/1")
    assert list(store.keys()) == ["a/2"]


@pytest.mark.cluster
def test_a_version_is_told_by_its_etag(server: SeaweedFS | Azurite) -> None:
    """What the archive's mark, and reads in parts, are built on."""
    bucket = Bucket(server.place())
    one, other = BucketMark(bucket), BucketMark(bucket)
    assert one.read() is other.read() is None
    one.write(Mark("a", "i", 1))
    with pytest.raises(OutOfResources, match="by another process"):
        other.write(Mark("b", "i", 1))
    assert other.read() == Mark("a", "i", 1)
    bucket.put("a/1", b"first")
    found: Found = bucket.look("a/1")
    assert bucket.part(found, 1, 3) == b"ir"
    bucket.put("a/1", b"other")
    with pytest.raises(ObjectDamaged, match="replaced while it was read"):
        bucket.part(found, 1, 3)


@pytest.mark.cluster
def test_a_trashed_object_leaves_its_place_and_comes_back(server: SeaweedFS | Azurite) -> None:
    bucket = Bucket(server.place())
    can = BucketCan(bucket)
    bucket.put(KEY, b"content")
    (one,) = can.begin([Trashed(KEY, "1.2.3", "1.2", 1, "a rule", 0.0, id="0" * 32)])
    can.take(one)
    with pytest.raises(ObjectMissing):
        bucket.look(KEY)
    can.put_back(one)
    assert bucket.note(KEY)[0] == "content"
    assert ACCOUNT_KEY not in repr(bucket._opened())
