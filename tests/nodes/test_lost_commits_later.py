"""Lost commits of a database, where more goes wrong meanwhile: no object stays lost, or unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lost_commits import Standby, counted, encoded, kept
from several_nodes import OneNode, nodes
from structlog.testing import capture_logs

from scp.errors import ObjectUnavailable, OutOfResources
from scp.lifecycle.lost_commits import LostCommits
from scp.model import Received

pytestmark = pytest.mark.usefixtures("codecs_here")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[OneNode]:
    with nodes(tmp_path, "a") as (one,):
        kept(one, 900)
        encoded(one)
        yield one


def away(*_: object) -> Any:
    raise OutOfResources("the index does not answer")


def after(calls: int, real: Any) -> Any:
    """What works so many times, and then finds the index away."""
    count: list[int] = []

    def call(*given: Any, **named: Any) -> Any:
        if len(count) == calls:
            away()
        count.append(1)
        return real(*given, **named)

    return call


def held(node: OneNode, sent: list[Received]) -> list[bool]:
    return [bool(node.key(one)) for one in sent]


@pytest.mark.parametrize("first", ["encoder", "look"])
def test_a_new_form_whose_commit_is_in_doubt_is_not_removed_with_the_old_one(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    standby = Standby(tmp_path)
    (sent,) = kept(node, 1)
    with monkeypatch.context() as patch:
        patch.setattr(node.archive.replacer, "index_fault", away)
        with pytest.raises(OutOfResources):
            encoded(node)
    standby.takes_over(node)
    looking = LostCommits(node.archive)
    if first == "look":
        looking.look()
    node.encoder.free()
    looking.look()
    assert node.content(sent) == sent.dataset


def test_objects_that_came_to_the_new_server_prove_nothing(node: OneNode, tmp_path: Path) -> None:
    standby = Standby(tmp_path)
    lost = kept(node, 1, 2, 3)
    standby.takes_over(node)
    kept(node, *range(100, 120))
    node.archive.index._writer.close()  # type: ignore[attr-defined]  # the connection breaks once more
    LostCommits(node.archive).look()
    assert all(held(node, lost))


def test_objects_that_were_sent_again_prove_nothing(node: OneNode, tmp_path: Path) -> None:
    standby = Standby(tmp_path)
    (lost,) = kept(node, 1)
    series = kept(node, *range(100, 120))
    standby.takes_over(node)
    for one in series:
        node.keep(one)
    LostCommits(node.archive).look()
    assert held(node, [lost]) == [True]


def test_a_repair_that_is_interrupted_goes_on_and_tells_of_all(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby = Standby(tmp_path)
    lost = kept(node, *range(1, 31))
    standby.takes_over(node)
    looking, before = LostCommits(node.archive), counted()
    with monkeypatch.context() as patch:
        patch.setattr(node.archive.index, "add", after(20, node.archive.index.add))
        with pytest.raises(OutOfResources):
            looking.look()
    assert sum(held(node, lost)) == 20
    node.archive.index._writer.close()  # type: ignore[attr-defined]
    looking.look()
    assert all(held(node, lost))
    assert counted() - before == 30


def test_what_is_in_a_store_that_is_away_is_looked_at_again(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby = Standby(tmp_path)
    (lost,) = kept(node, 1)
    encoded(node)
    standby.takes_over(node)
    looking = LostCommits(node.archive)

    def unavailable(*_: object) -> bool:
        raise ObjectUnavailable("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(node.archive.files, "has", unavailable)
        looking.look()
    looking.look()
    assert held(node, [lost]) == [True]


def test_a_damaged_file_is_told(node: OneNode, tmp_path: Path) -> None:
    standby = Standby(tmp_path)
    (lost,) = kept(node, 1)
    encoded(node)
    path = tmp_path / "objects" / node.key(lost)
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"x" * 50 + data[250:])
    standby.takes_over(node)
    with capture_logs() as logged:
        LostCommits(node.archive).look()
    assert held(node, [lost]) == [False]
    assert [one["event"] for one in logged if one["log_level"] == "error"] == ["not recorded again"]


def test_one_object_that_cannot_be_recorded_holds_up_no_other(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby = Standby(tmp_path)
    lost = kept(node, 1, 2, 3)
    bad, real = node.key(lost[0]), node.archive.reader.take_up
    standby.takes_over(node)
    monkeypatch.setattr(node.archive.reader, "take_up", lambda key: away() if key == bad else real(key))
    looking = LostCommits(node.archive)
    for _ in range(2):
        with pytest.raises(OutOfResources):
            looking.look()
    assert held(node, lost) == [False, True, True]
