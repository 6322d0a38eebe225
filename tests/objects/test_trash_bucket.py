"""The trash of a bucket, on a server in memory whose ETags are numbers: no digest of the data.

As those of AWS are, where it encrypts with keys of its own.
"""

from __future__ import annotations

import time

import pytest
from buckets import bucket_in_memory

from scp.objects.bucket import Bucket
from scp.objects.names import object_key
from scp.objects.trash_bucket import BucketCan
from scp.objects.trashed import Trashed

OBJECT = object_key("1.2", "1.2.3", "ab" * 32, "htj2k", token="0123abcd")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_in_memory(monkeypatch)


def entry(key: str = OBJECT, name: str = "0" * 32) -> Trashed:
    return Trashed(key, "1.2.3", "1.2", 1, "a rule", time.time(), id=name)


def keys(bucket: Bucket) -> set[str]:
    return {found.key for found in bucket.list()}


def test_what_went_to_the_trash_leaves_its_place_whatever_an_etag_is(bucket: Bucket) -> None:
    can = BucketCan(bucket)
    bucket.put(OBJECT, b"x")
    (one,) = can.begin([entry()])
    assert can.in_place(one)
    can.take(one)
    assert not can.in_place(one)
    assert OBJECT not in keys(bucket)
    can.put_back(one)
    assert can.in_place(one)


def test_nothing_leaves_its_place_whose_copy_is_not_whole(bucket: Bucket) -> None:
    can = BucketCan(bucket)
    bucket.put(OBJECT, b"x")
    (one,) = can.begin([entry()])
    bucket.put(f".trash/{one.id}.dcm", b"")
    can.take(one)
    bucket.delete(f".trash/{one.id}.dcm")
    can.take(one)
    assert OBJECT in keys(bucket)


def test_without_a_token_another_object_that_was_sent_since_stays(bucket: Bucket) -> None:
    can, key = BucketCan(bucket), object_key("1.2", "1.2.3", "ab" * 32, "htj2k")
    bucket.put(key, b"x")
    (one,) = can.begin([entry(key)])
    bucket.put(key, b"y")
    can.take(one)
    assert key in keys(bucket)
