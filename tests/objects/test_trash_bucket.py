"""The trash of a bucket, on a server in memory whose ETags are numbers: no digest of the data.

As those of AWS are, where it encrypts with keys of its own.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import bucket_in_memory

from scp.objects import files, trash_bucket
from scp.objects.bucket import Bucket
from scp.objects.names import object_key
from scp.objects.trash import Trash
from scp.objects.trash_bucket import BucketCan
from scp.objects.trashed import GONE, UNFINISHED, State, Trashed

OBJECT = object_key("1.2", "1.2.3", "ab" * 32, "htj2k", token="0123abcd")
OTHER = object_key("1.2", "1.2.4", "ab" * 32, "htj2k", token="0123abcd")


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


def test_a_listing_tells_what_is_unfinished_and_no_other_note_is_read(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    trash, read = Trash({"": bucket}), []
    note = bucket.note
    monkeypatch.setattr(bucket, "note", lambda key: read.append(key) or note(key))
    assert trash.is_settled()
    bucket.put(OBJECT, b"x")
    bucket.put(OTHER, b"y")
    one, other = trash.begin([entry(name=""), entry(OTHER, "")])
    trash.take(one)
    one = trash.mark(one, "gone")
    assert not trash.is_settled()
    assert [found.key for found in trash.entries(UNFINISHED)] == [OTHER]
    trash.take(other)
    other = trash.mark(other, "gone")
    assert trash.is_settled()
    assert trash.entries(UNFINISHED) == []
    assert read == [f".trash/{other.id}.going.json"]
    assert trash.entries() == [one, other]
    trash.drop(one)
    trash.drop(other)
    assert keys(bucket) == set()


def test_only_notes_that_are_old_are_read_for_purging(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    trash, read = Trash({"": bucket}), []
    for key in (OBJECT, OTHER):
        bucket.put(key, b"x")
    now = time.time()
    for one in trash.begin([replace(entry(name=""), at=now - 60), entry(OTHER, "")]):
        trash.mark(one, "gone")
    note = bucket.note
    monkeypatch.setattr(bucket, "note", lambda key: read.append(key) or note(key))
    assert trash.entries(GONE, now - 2 * 3600) == []
    assert read == [], "no note was written so long ago"
    assert [one.key for one in trash.entries(GONE, now - 30)] == [OBJECT]
    assert len(read) == 2, "the clocks of node and server may differ"
    assert len(trash.entries(GONE, now + 30)) == 2


def test_of_the_latest_entries_no_other_note_is_read(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket and in a folder."""
    named = [object_key("1.2", f"1.2.{n}", "ab" * 32, "htj2k", token="0123abcd") for n in range(5)]
    read: list[str] = []
    note, folder_note = bucket.note, files.note
    monkeypatch.setattr(bucket, "note", lambda key: read.append(key) or note(key))
    monkeypatch.setattr(files, "note", lambda path: read.append(str(path)) or folder_note(path))
    for place in (bucket, tmp_path):
        trash = Trash({"": place})
        for number, key in enumerate(named):
            if isinstance(place, Path):
                (place / key).parent.mkdir(parents=True, exist_ok=True)
                (place / key).write_bytes(b"x")
            else:
                place.put(key, b"x")
            for one in trash.begin([replace(entry(key, ""), at=1e9 + number)]):
                trash.mark(one, "gone")
            time.sleep(0.01)  # notes are told apart by when they were written
        read.clear()
        found, count = trash.latest(1, 2)
        assert ([one.key for one in found], count) == ([named[3], named[2]], 5)
        assert len(read) == 3
        assert [one.key for one in trash.latest(4, 10)[0]] == [named[0]]


@pytest.mark.parametrize(("before", "after"), [("going", "gone"), ("gone", "back")])
def test_a_process_that_dies_while_a_state_changes_leaves_the_later_one(
    bucket: Bucket, before: State, after: State
) -> None:
    can = BucketCan(bucket)
    bucket.put(OBJECT, b"x")
    (one,) = can.begin([entry()])
    one = can.mark(one, before)
    left = bucket.note(f".trash/{one.id}.{before}.json")[0]
    can.mark(one, after)
    bucket.put(f".trash/{one.id}.{before}.json", left.encode())
    assert not can.is_settled()
    can.tidy()
    assert [found.state for _, found in can.notes() if isinstance(found, Trashed)] == [after]
    assert keys(bucket) == {OBJECT, f".trash/{one.id}.dcm", f".trash/{one.id}.{after}.json"}


def test_a_copy_without_a_note_is_tidied_when_it_is_old(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    can = BucketCan(bucket)
    bucket.put(".trash/1.dcm", b"x")
    assert can.is_settled(), "its process may live"
    monkeypatch.setattr(trash_bucket, "_LEFT_SECONDS", -60)
    assert not can.is_settled()
    can.tidy()
    assert keys(bucket) == set()


def test_a_clock_that_jumped_makes_no_copy_old(bucket: Bucket) -> None:
    """Another process may be about to write its note."""
    bucket.put(".trash/1.dcm", b"x")
    jumped = BucketCan(bucket, lambda: time.time() + 2 * 86_400)
    assert not jumped.is_settled()
    trash = Trash({"": bucket}, clock=time.time)  # as the trusted one is
    assert trash.is_settled()
    trash.tidy()
    assert keys(bucket) == {".trash/1.dcm"}


@pytest.mark.parametrize("state", ["going", "gone"])
def test_an_entry_of_a_process_that_died_is_not_made_again(
    bucket: Bucket, tmp_path: Path, state: State
) -> None:
    """Its id is that of the object: what comes again is what lies there, unless that is being restored."""
    for place in (bucket, tmp_path):
        if isinstance(place, Path):
            (place / OBJECT).parent.mkdir(parents=True)
            (place / OBJECT).write_bytes(b"x")
        else:
            place.put(OBJECT, b"x")
        trash = Trash({"": place})
        (one,) = trash.begin([entry()])
        trash.mark(one, state)
        assert [(again.id, again.state) for again in trash.begin([entry()])] == [(one.id, state)]
        assert len(trash.entries()) == 1
        trash.mark(replace(one, state=state), "back")
        (other,) = trash.begin([entry()])
        assert other.id != one.id, "one that is being restored loses its entry"
