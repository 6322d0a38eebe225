"""Nodes whose clocks differ: what replaced another content is the newer one, also for a rebuild."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from several_nodes import OneNode, Uploading, an_object, nodes, trashed

from scp.background.progress import Silent
from scp.lifecycle.reindex import reindex
from scp.model import Received

pytestmark = pytest.mark.usefixtures("codecs_here")


def by_a_clock_that_is_ahead(noise: float) -> Received:
    sent = an_object(noise=noise)
    return replace(sent, received_at=sent.received_at + timedelta(hours=1))


def settled(node: OneNode, sent: Received) -> str:
    """The key of an object once it has a file of its own."""
    node.archive.upload(node.key(sent))
    while node.encoder.round():
        pass
    node.encoder.free()
    return node.key(sent)


@pytest.mark.parametrize("backlog", ["1GB", "0"], ids=["landed", "put"])
def test_the_newer_content_stays_the_newer_one(tmp_path: Path, backlog: str) -> None:
    with nodes(tmp_path, "a", "b", storage={"backlog": backlog}) as (a, b):
        old, new = by_a_clock_that_is_ahead(0.1), an_object(noise=0.2)
        a.keep(old)
        path = tmp_path / "objects" / settled(a, old)
        file = path.read_bytes()
        with Uploading(a):
            assert b.keep(new).outcome == "replaced"
        held = settled(b, new)
        assert trashed(b) == [old.sha256]
        path.write_bytes(file)  # as if the node had died before that, or from a copy
        reindex(b.archive, Silent())
        assert b.key(new) == held
        assert b.content(new) == new.dataset


def test_a_replacement_meanwhile_is_replaced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another node replaces what is held between the look at it and its own turn."""
    with nodes(tmp_path, "a", "b", storage={"backlog": "0"}) as (a, b):
        a.keep(an_object(noise=0.1))
        meanwhile, new = by_a_clock_that_is_ahead(0.2), an_object(noise=0.3)
        put, todo = b.archive.store.put, [meanwhile]

        def put_meanwhile(key: str, *parts: object) -> None:
            put(key, *parts)
            if todo:
                a.keep(todo.pop())

        monkeypatch.setattr(b.archive.store, "put", put_meanwhile)
        kept = b.keep(new)
        assert kept.outcome == "replaced"
        assert kept.instance.received_at > meanwhile.received_at
        assert b.content(new) == new.dataset
        assert b.archive.provenance(kept.instance).received_at == kept.instance.received_at
        assert len(list(b.archive.files.keys())) == 1
        assert meanwhile.sha256 in trashed(b)
