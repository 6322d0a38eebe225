"""Two nodes with one index and one store: what one has in its landing log, and the other is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from several_nodes import OneNode, Uploading, an_object, die, know_each_other, nodes, trashed
from structlog.testing import capture_logs
from waiting import until

from scp.archive.elsewhere import Cluster
from scp.background.progress import Silent
from scp.errors import ObjectElsewhere, ObjectMissing, OutOfResources
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.recovery import Recovered, recover, take_up_landed
from scp.lifecycle.reindex import reindex
from scp.lifecycle.uploads import Uploader
from scp.lifecycle.verify import verify
from scp.model import Instance
from scp.objects.names import is_landed, node_of

pytestmark = pytest.mark.usefixtures("codecs_here")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[OneNode]]:
    with nodes(tmp_path, "a", "b") as made:
        yield made


def test_a_landed_key_names_its_node(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    assert is_landed(b.key(sent))
    assert node_of(b.key(sent)) == b.id != a.id


def test_what_another_node_has_is_neither_missing_nor_damaged(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    (held,) = a.archive.named(sent.sop_instance_uid)
    for read in (a.archive.files.get, a.archive.files.has, a.archive.store.size, a.archive.files.set_aside):
        with pytest.raises(ObjectElsewhere, match=b.id):
            read(held.key)
    with pytest.raises(ObjectElsewhere):
        a.archive.verify(held)
    assert not a.archive.files.keeps(held.key)
    assert a.archive.pending(9) == []
    assert a.archive.count_pending().instances == 0
    assert a.encoder.round() is False
    assert list(fsck(a.archive, Silent(), repair=True, forget=True)) == []
    assert reindex(a.archive, Silent()).gone == []
    assert [bool(one.fault) for one in verify(a.archive, [held], Silent())] == [True]
    assert a.archive.integrity.damaged() == []
    assert a.archive.integrity.due(2**31, 2**31, 9, a.archive.elsewhere.prefixes()) == []
    recover(a.archive)
    assert b.content(sent) == sent.dataset
    assert b.encoder.round() is True
    assert not is_landed(b.key(sent))
    assert a.content(sent) == sent.dataset


def test_a_node_that_stops_leaves_nothing_to_itself(pair: list[OneNode]) -> None:
    a, b = pair
    several = [an_object(seed) for seed in range(20)]
    for sent in several:
        b.keep(sent)
    Uploader(b.archive).close()
    assert not any(is_landed(b.key(sent)) for sent in several)
    assert [a.content(sent) for sent in several] == [sent.dataset for sent in several]
    assert a.archive.pending(99) != [], "another node encodes them"


def test_a_node_that_stops_alone_does_not_upload(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    die(a, b)
    Uploader(b.archive).close()
    assert is_landed(b.key(sent))


def test_a_node_that_stops_uploads_for_no_longer_than_it_may(
    pair: list[OneNode],
) -> None:
    _, b = pair
    sent = an_object()
    b.keep(sent)
    with capture_logs() as logged:
        b.uploader.close()
    assert is_landed(b.key(sent))
    assert [one["objects"] for one in logged if one["event"] == "not all is uploaded"] == [1]


def test_a_node_brings_what_another_one_just_acknowledged(pair: list[OneNode]) -> None:
    a, b = pair
    several = [an_object(seed) for seed in range(5)]
    for one in several:
        b.keep(one)
    with Uploading(b):
        assert a.content(several[0]) == several[0].dataset
        until(lambda: not any(is_landed(a.key(one)) for one in several), "all of the study is uploaded")
    for one in several:
        assert a.content(one) == one.dataset
    assert [one.pending for one in a.archive.all()] == [True] * 5  # stored as received, and yet to be encoded
    while a.encoder.round():
        pass
    assert [one.pending for one in b.archive.all()] == [False] * 5
    assert b.archive.elsewhere.asked() == []


def test_what_landed_in_its_form_is_uploaded_in_that_form(tmp_path: Path) -> None:
    first = [{"name": "first", "stages": [{"form": "zstd"}]}]
    several = [an_object(seed, size=64) for seed in range(3)]
    again = an_object(1, noise=0.3, size=64)
    with nodes(tmp_path, "a", "b", policy=first) as (a, b):
        for one in several:
            b.keep(one)
            assert is_landed(a.key(one))
        assert a.encoder.round() is False
        with Uploading(b):
            assert a.content(several[0]) == several[0].dataset
            assert a.keep(again).outcome == "replaced"
        b.archive.upload(b.key(several[2]))  # as a node that stops does
        assert trashed(a) == [several[1].sha256]
        wanted = [several[0].dataset, again.dataset, several[2].dataset]
        assert [a.content(one) for one in several] == wanted
        assert [one.pending or is_landed(one.key) for one in a.archive.all()] == [False] * 3
        assert [one.form for one in a.archive.all()] == ["zstd"] * 3
        assert sorted(one.key for one in a.archive.all()) == sorted(a.archive.files.keys())


def test_what_a_dead_node_has_fails_at_once_and_is_there_when_it_is_back(
    pair: list[OneNode], tmp_path: Path
) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    die(b, a)
    with pytest.raises(ObjectElsewhere, match=f"{b.id}.*does not run"):
        a.content(sent)
    b.beat()
    a.archive.elsewhere.cluster._until = 0
    with Uploading(b):
        assert a.content(sent) == sent.dataset


def test_a_node_that_does_not_upload_in_time_is_named(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    (held,) = a.archive.named(sent.sop_instance_uid)
    with pytest.raises(ObjectElsewhere, match=f"{b.id}.*did not within 0 s"):
        a.archive.elsewhere.brought(held, seconds=0)


def test_who_was_slow_is_not_waited_for_by_each_object(pair: list[OneNode]) -> None:
    a, b = pair
    several = [an_object(seed) for seed in range(2)]
    for one in several:
        b.keep(one)
    first, second = a.archive.all()
    with pytest.raises(ObjectElsewhere, match="did not within"):
        a.archive.elsewhere.brought(first, seconds=0)
    with pytest.raises(ObjectElsewhere, match="did not answer just now"):
        a.archive.elsewhere.brought(second)
    b.uploader.turn()
    assert a.content(several[0]) == several[0].dataset


def test_objects_in_the_store_are_encoded_by_one_node_each(tmp_path: Path) -> None:
    """Also those that a dead node received: each node claims what it encodes."""
    several = [an_object(seed) for seed in range(8)]
    with nodes(tmp_path, "a", "b", "c") as (a, b, c):
        for one in several:
            c.keep(one)
        for key in [c.key(one) for one in several]:
            c.archive.upload(key)
        die(c, a)
        found = a.archive.pending(9)
        assert len(found) == 8
        with a.encoder._ours(found[:5]) as ours:
            assert ours == found[:5]
            assert b.archive.pending(9) == found[5:]
            with b.encoder._ours(found) as others:
                assert others == found[5:]
        while a.encoder.round() or b.encoder.round():
            pass
        assert not any(one.pending for one in a.archive.all())
        assert all(a.content(one) == one.dataset for one in several)


def test_the_same_content_sent_to_another_node_leaves_one_object(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    old = b.key(sent)
    assert a.keep(an_object()).outcome in ("kept", "replaced", "duplicate")
    assert node_of(a.key(sent)) == a.id
    take_up_landed(b.archive, Recovered())
    assert not b.archive.interrupted.counts(old)
    assert b.archive.elsewhere.asked() == []
    assert a.content(sent) == sent.dataset
    assert len(list(a.archive.all())) == 1


def test_a_replaced_record_is_not_taken_up_after_its_object_was_deleted(pair: list[OneNode]) -> None:
    """B does not know that A replaced the object: it finds the record, and no row, when it starts again."""
    a, b = pair
    sent = an_object()
    b.keep(sent)
    a.keep(an_object())
    while a.encoder.round():
        pass
    assert Deletion(a.archive, a.settings.folders).delete(list(a.archive.all()), "test").deleted
    a.heart.close()
    b.archive.elsewhere.cluster.nodes.forget(a.id)  # what it asked for stays
    b.archive.store.log.close()  # its process dies: the next one reads all its records
    take_up_landed(b.archive, Recovered())
    assert list(b.archive.all()) == []


def test_a_record_that_is_to_be_over_counts_as_over_at_once(pair: list[OneNode]) -> None:
    """Between the look at the index and that at the record, another node replaces and deletes the object."""
    a, b = pair
    sent = an_object()
    b.keep(sent)
    key = b.key(sent)
    assert b.archive.interrupted.counts(key)
    a.keep(an_object())
    assert not b.archive.interrupted.counts(key)


def test_a_record_is_kept_while_a_row_names_it(pair: list[OneNode]) -> None:
    """A dies between saying that the record will be over and replacing its row."""
    a, b = pair
    sent = an_object()
    b.keep(sent)
    a.archive.store.journal_removal(b.key(sent))
    b.uploader.turn()
    take_up_landed(b.archive, Recovered())
    assert b.content(sent) == sent.dataset
    assert len(b.archive.elsewhere.asked()) == 1
    while b.encoder.round():
        pass
    b.uploader.turn()
    assert b.archive.elsewhere.asked() == []
    assert a.content(sent) == sent.dataset


def test_other_content_replaces_what_another_node_has_and_that_is_in_the_trash(pair: list[OneNode]) -> None:
    a, b = pair
    first, second = an_object(), an_object(noise=0.5)
    b.keep(first)
    with Uploading(b):
        assert a.keep(second).outcome == "replaced"
    assert a.content(second) == second.dataset
    assert trashed(a) == [first.sha256]


def test_other_content_is_refused_while_the_node_that_has_the_first_is_dead(pair: list[OneNode]) -> None:
    a, b = pair
    first, second = an_object(), an_object(noise=0.5)
    b.keep(first)
    die(b, a)
    with pytest.raises(OutOfResources, match=b.id):
        a.keep(second)
    assert b.content(first) == first.dataset
    assert list(a.archive.store.log.keys()) == []  # it was not acknowledged


def test_what_is_deleted_while_it_is_waited_for_is_not_replaced(
    pair: list[OneNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    first, second = an_object(), an_object(noise=0.5)
    b.keep(first)

    def deleted(held: Instance) -> Instance:
        b.archive.forget(held.sop_instance_uid, held.key)
        raise ObjectMissing(held.key)

    monkeypatch.setattr(a.archive.elsewhere, "brought", deleted)
    a.keep(second)
    monkeypatch.undo()
    assert a.content(second) == second.dataset


def test_a_deletion_waits_for_the_node_that_has_the_object(pair: list[OneNode]) -> None:
    a, b = pair
    sent = an_object()
    b.keep(sent)
    deletion = Deletion(a.archive, a.settings.folders)
    with Uploading(b):
        assert deletion.delete(list(a.archive.all()), "test").deleted == (sent.sop_instance_uid,)
    assert trashed(a) == [sent.sha256]
    b.keep(an_object())
    die(b, a)
    assert deletion.delete(list(a.archive.all()), "test").left == (sent.sop_instance_uid,)
    assert b.content(sent) == sent.dataset


def test_a_folder_that_was_moved_here_is_read_here(tmp_path: Path) -> None:
    """The way to bring back what a node had that is gone for ever: by its disk."""
    sent = an_object()
    with nodes(tmp_path, "a", "b") as (a, b):
        b.keep(sent)
        key = b.key(sent)
    (folder,) = (tmp_path / "b" / ".landing").glob("*-*-*")
    with nodes(tmp_path, "a") as (a,):
        assert a.archive.pending(9) == []
        (tmp_path / "a" / ".landing").mkdir(exist_ok=True)
        folder.rename(tmp_path / "a" / ".landing" / folder.name)
        assert not a.archive.store.is_elsewhere(key)
        a.archive.elsewhere.cluster._until = 0
        know_each_other([a])
        assert a.encoder.round() is True
        assert not is_landed(a.key(sent))
        assert a.content(sent) == sent.dataset


def test_what_is_known_of_the_others_is_what_was_known_last_while_the_index_is_away(
    pair: list[OneNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    cluster: Cluster = a.archive.elsewhere.cluster
    assert [one.report.id for one in cluster.others()] == [b.id]

    def away() -> None:
        raise OutOfResources("away")

    monkeypatch.setattr(cluster.nodes, "all", away)
    cluster._until = 0
    assert [one.report.id for one in cluster.others()] == [b.id]
