"""A store that was away while the index was rebuilt is read when it is back, beside nodes that work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from several_nodes import OneNode, an_object, nodes, trashed

from scp.background.progress import Silent
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.fsck import fsck
from scp.lifecycle.rebuild import make_fit
from scp.model import Received
from scp.objects.stores import places

pytestmark = pytest.mark.usefixtures("codecs_here")


def as_if_it_was_away(node: OneNode, patch: pytest.MonkeyPatch, *lacked: Received) -> None:
    """The first store, whose files the rebuilt index lacks."""
    make_fit(node.archive, Silent())
    for one in lacked:
        node.archive.forget(one.sop_instance_uid, node.key(one))
    left = [("",)]
    patch.setattr(node.archive.pairing, "unread", lambda: left.pop() if left else ())


@pytest.mark.parametrize("verb", ["nothing", "replaced", "deleted"])
def test_what_other_nodes_do_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """What was read was recorded over what another node had put since, and then its row was removed."""
    lacked, held, newer = an_object(1), an_object(2), an_object(2, noise=0.3)
    with nodes(tmp_path, "a", "b", storage={"backlog": "0"}) as (a, b):
        for one in (lacked, held):
            a.keep(one)
        landed = b.keep(an_object(3))
        as_if_it_was_away(a, monkeypatch, lacked)
        read, todo = a.archive.reader.take_up, [verb]

        def meanwhile(key: str) -> Any:
            done = read(key)
            if done[0].sop_instance_uid == held.sop_instance_uid and todo:
                act(todo.pop())
            return done

        def act(verb: str) -> None:
            if verb == "replaced":
                assert b.keep(newer).outcome == "replaced"
            elif verb == "deleted":
                deletion = Deletion(b.archive, places(b.settings))
                assert deletion.delete(b.archive.named(held.sop_instance_uid), "a test").deleted

        monkeypatch.setattr(a.archive.reader, "take_up", meanwhile)
        make_fit(a.archive, Silent())
        assert todo == []
        assert b.content(lacked) == lacked.dataset
        assert b.archive.current(landed.instance.identity) == landed.instance
        if verb == "replaced":
            assert b.content(newer) == newer.dataset
        else:
            assert bool(b.key(held)) == (verb == "nothing")
        assert trashed(b) == ([] if verb == "nothing" else [held.sha256])
        assert list(fsck(a.archive, Silent())) == []


def test_other_content_that_came_later_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = an_object(1), an_object(1, noise=0.3)
    with nodes(tmp_path, "a", "b", storage={"backlog": "0"}) as (a, b):
        a.keep(new)
        as_if_it_was_away(a, monkeypatch, new)
        b.keep(old)
        make_fit(a.archive, Silent())
        assert b.content(new) == new.dataset
