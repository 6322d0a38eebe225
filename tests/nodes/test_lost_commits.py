"""A database that comes back without its last commits: what was acknowledged is recorded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lost_commits import Standby, counted, encoded, kept
from several_nodes import OneNode, an_object, nodes
from structlog.testing import capture_logs

from scp.background.progress import Silent
from scp.errors import OutOfResources
from scp.index import committed
from scp.lifecycle.fsck import fsck
from scp.lifecycle.lost_commits import LostCommits

pytestmark = pytest.mark.usefixtures("codecs_here")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[OneNode]:
    with nodes(tmp_path, "a") as (one,):
        yield one


@pytest.mark.parametrize("then", [lambda _: None, encoded], ids=["landed", "encoded"])
def test_what_was_acknowledged_is_there_again(
    node: OneNode, tmp_path: Path, then: Callable[[OneNode], None]
) -> None:
    early = kept(node, 1, 2)
    encoded(node)
    standby = Standby(tmp_path)
    late = kept(node, 3, 4, 5)
    then(node)
    standby.takes_over(node)
    assert [node.key(one) for one in late] == [""] * 3
    before = counted()
    with capture_logs() as logged:
        LostCommits(node.archive).look()
    (told,) = [one for one in logged if one["event"] == "the database had lost commits"]
    assert (told["objects"], told["log_level"]) == (3, "error")
    assert "lacks nothing" in told["reason"]
    assert counted() - before == 3
    for one in early + late:
        assert node.content(one) == one.dataset
    assert list(fsck(node.archive, Silent())) == []


def test_a_form_whose_row_was_lost_is_named_again(node: OneNode, tmp_path: Path) -> None:
    """The row names the landed record again, which is over."""
    (sent,) = kept(node, 1)
    standby = Standby(tmp_path)
    encoded(node)
    key = node.key(sent)
    standby.takes_over(node)
    assert node.key(sent) != key
    LostCommits(node.archive).look()
    assert node.key(sent) == key
    assert node.content(sent) == sent.dataset


def test_content_that_had_replaced_another(node: OneNode, tmp_path: Path) -> None:
    """The row names the content before, whose file is in the trash by now, or still there."""
    kept(node, 1)
    encoded(node)
    standby = Standby(tmp_path)
    again = an_object(1, noise=0.2)
    node.keep(again)
    encoded(node)
    standby.takes_over(node)
    LostCommits(node.archive).look()
    assert node.content(again) == again.dataset


def test_nothing_is_done_where_nothing_was_lost(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(node, *range(1, 6))
    encoded(node)
    Standby(tmp_path).takes_over(node)
    before = counted()
    monkeypatch.setattr(node.archive.index, "add", None)
    with capture_logs() as logged:
        LostCommits(node.archive).look()
    assert logged == []
    assert counted() == before


def test_what_was_deleted_since_stays_deleted(node: OneNode, tmp_path: Path) -> None:
    standby = Standby(tmp_path)
    gone, stays = kept(node, 1, 2)
    encoded(node)
    key = node.key(gone)
    node.archive.forget(gone.sop_instance_uid, key)
    node.archive.files.discard(key)
    standby.takes_over(node)
    LostCommits(node.archive).look()
    assert (node.key(gone), bool(node.key(stays))) == ("", True)


def test_newer_content_stays(node: OneNode, tmp_path: Path) -> None:
    """The object was sent again to the database that had lost it."""
    standby = Standby(tmp_path)
    kept(node, 1)
    encoded(node)
    standby.takes_over(node)
    again = an_object(1, noise=0.2)
    node.keep(again)
    encoded(node)
    LostCommits(node.archive).look()
    assert node.content(again) == again.dataset


def test_it_is_looked_again_where_the_index_does_not_answer(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby = Standby(tmp_path)
    (sent,) = kept(node, 1)
    standby.takes_over(node)
    looking = LostCommits(node.archive)

    def away(_: str) -> None:
        raise OutOfResources("the index does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(node.archive.index, "named", away)
        with pytest.raises(OutOfResources):
            looking.look()
    assert node.key(sent) == ""
    looking.look()
    assert node.key(sent)


def test_what_was_looked_at_before_is_lost_later(node: OneNode, tmp_path: Path) -> None:
    standby, looking = Standby(tmp_path), LostCommits(node.archive)
    (first,) = kept(node, 1)
    node.archive.index._writer.close()  # type: ignore[attr-defined]
    looking.look()
    (second,) = kept(node, 2)
    standby.takes_over(node)
    looking.look()
    assert node.key(first)
    assert node.key(second)


def test_more_than_is_remembered(node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed, "MOST", 2)
    node.archive.index._writer._committed = committed.Committed()  # type: ignore[attr-defined]
    standby = Standby(tmp_path)
    sent = kept(node, 1, 2, 3)
    standby.takes_over(node)
    with capture_logs() as logged:
        LostCommits(node.archive).look()
    assert "run zscp fsck --repair" in logged[-1]["reason"]
    assert [bool(node.key(one)) for one in sent] == [False, True, True]
