"""What a node takes up of a dead process, while another node works on the same object, loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from several_nodes import OneNode, an_object, die, know_each_other, nodes

from scp.background.progress import Silent
from scp.errors import ConfigurationError, OutOfResources
from scp.lifecycle.fsck import Finding, fsck
from scp.lifecycle.rebuild import check_unused
from scp.lifecycle.recovery import recover
from scp.model import Received

pytestmark = pytest.mark.usefixtures("codecs_here")


def left_by_the_dead(root: Path, living: list[OneNode], sent: Received) -> str:
    """An object that a node put into the store and recorded; it died before its journal heard of it."""
    dead = OneNode(root, "dead")
    know_each_other([*living, dead])
    landed = dead.keep(sent).instance.key
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dead.archive.store.inner, "settle", lambda _: None)
        dead.archive.upload(landed)
    dead.close()
    return dead.key(sent)


def as_in_a_bucket(node: OneNode, patch: pytest.MonkeyPatch) -> None:
    """Each put file has a key of its own."""
    patch.setattr(node.archive.files, "fresh_key", lambda key: key.replace(".received", ".received-own"))


@pytest.mark.parametrize("verb", ["put", "recorded"])
def test_what_another_node_has(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = an_object(1)
    with nodes(tmp_path, "a", "b") as made:
        a, b = made
        old = left_by_the_dead(tmp_path, made, sent)
        assert a.archive.interrupted.unsettled()[old] is False
        (held,) = b.archive.named(sent.sop_instance_uid)
        as_in_a_bucket(b, monkeypatch)
        change = b.archive.encode(held)
        assert change.after.key != old
        target, name = {
            "put": (b.archive.store, "put_many"),
            "recorded": (b.archive.index, "change_many"),
        }[verb]
        work = getattr(target, name)

        def meanwhile(given: Any) -> Any:
            done = work(given)
            assert recover(a.archive).damaged == ()
            return done

        monkeypatch.setattr(target, name, meanwhile)
        b.archive.replace([change])
        assert b.key(sent) == change.after.key
        for node in made:
            assert node.content(sent) == sent.dataset
        assert list(a.archive.files.keys()) == [change.after.key]
        assert dict(a.archive.interrupted.unsettled()) == {}


def test_an_old_file_is_in_the_journal_until_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = an_object(1)

    def fail(_: object) -> None:
        raise OutOfResources("not now")

    with nodes(tmp_path, "a", "b") as (a, b):
        a.archive.upload(a.keep(sent).instance.key)
        (held,) = a.archive.named(sent.sop_instance_uid)
        as_in_a_bucket(a, monkeypatch)
        change = a.archive.encode(held)
        assert change.after.key != held.key
        with monkeypatch.context() as patch:
            patch.setattr(a.archive.store, "delete_many", fail)
            with pytest.raises(OutOfResources, match="not now"):
                a.archive.replace([change])
        assert {held.key, change.after.key} == set(a.archive.interrupted.unsettled())
        recover(b.archive)  # a lives: its entries are left alone
        a.archive.remove_replaced()
        assert dict(a.archive.interrupted.unsettled()) == {}
        assert list(a.archive.files.keys()) == [change.after.key]
        assert b.content(sent) == sent.dataset


def test_fsck_removes_nothing_that_another_node_may_have_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = an_object(1)
    found: list[Finding] = []
    with nodes(tmp_path, "a", "b") as (a, b):
        b.archive.upload(b.keep(sent).instance.key)
        as_in_a_bucket(b, monkeypatch)
        change = b.archive.encode(b.archive.named(sent.sop_instance_uid)[0])
        put_many = b.archive.store.put_many
        # As on a bucket, where nodes do not share the journal: the put file is not known to be under way.
        monkeypatch.setattr(a.archive.interrupted, "unsettled", dict)

        def meanwhile(given: Any) -> None:
            put_many(given)
            found.extend(fsck(a.archive, Silent(), repair=True, wait=lambda _: die(b, a)))

        monkeypatch.setattr(b.archive.store, "put_many", meanwhile)
        b.archive.replace([change])
        assert [one.repaired for one in found if one.key == change.after.key] == [""]
        assert b.content(sent) == sent.dataset


def test_reindex_refuses_while_another_node_lives(tmp_path: Path) -> None:
    with nodes(tmp_path, "a", "b") as (a, b):
        with pytest.raises(ConfigurationError, match=b.id):
            check_unused(a.archive, "nothing was reindexed")
        die(b, a)
        check_unused(a.archive, "nothing was reindexed")
