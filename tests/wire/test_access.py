"""What a retrieve does to objects in later stages: it puts them off, or brings the objects back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from scp.objects.names import store_of
from scp.policy.stages import fingerprint

from .aging import FAST, OBJECTS, policy, stage
from .conftest import RunningNode, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, STUDY_MOVE, Sink, identifier, until

COLD = {"after": "1s", "form": "jpegls", "wrap": "none", "store": "cold"}


def rules(**on_access: Any) -> list[dict[str, Any]]:
    return [{**policy(FAST, COLD)[0], "on_access": on_access}]


@pytest.fixture
def node(start: Starter, tmp_path: Path) -> RunningNode:
    """A node whose objects have all gone to the cold store."""
    node = start(
        policy=policy(FAST, COLD),
        lifecycle={"max_cpu": 16.0},
        storage={"backlog": 10**9},
        tiers=[{"name": "cold", "url": f"file://{tmp_path}/cold", "reserve": 0}],
    )
    node.keep(*OBJECTS[:6])
    time.sleep(1)
    node.wake()
    until(lambda: where(node) == {("cold", "jpegls")}, "all are there")
    return node


def where(node: RunningNode, count: int = 6) -> set[tuple[str, str]]:
    return {(store_of(node.held(one).key), node.held(one).form) for one in OBJECTS[:count]}


def get(node: RunningNode, *uids: str) -> list[bytes]:
    wanted = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": node.held(OBJECTS[0]).series_instance_uid}
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("IMAGE", **wanted, SOPInstanceUID=list(uids)))
    assert done.final.status == 0
    return sorted(one.data for one in done.objects)


@pytest.mark.parametrize(
    ("on_access", "form"), [({"keep_for": "1h"}, "jpegls"), ({"keep_for": "1h", "form": "rle"}, "rle")]
)
def test_what_is_retrieved_comes_back_and_nothing_else(
    node: RunningNode, on_access: dict[str, Any], form: str
) -> None:
    node.reload(policy=rules(**on_access))
    before = [node.held(one) for one in OBJECTS[:6]]
    wanted = [one.instance for one in OBJECTS[:2]]
    assert get(node, *wanted) == sorted(one.data for one in OBJECTS[:2])
    until(lambda: where(node, 2) == {("", form)}, "they have come back")
    assert [node.held(one).key for one in OBJECTS[2:6]] == [one.key for one in before[2:]]
    for one in OBJECTS[:2]:
        node.archive.verify(node.held(one), deep=True)
    assert get(node, *wanted) == sorted(one.data for one in OBJECTS[:2])
    # When nobody has asked for an hour, they go again: here by a clock that is ahead.
    archive = node.archive
    for one in OBJECTS[:2]:
        again = archive.encode(node.held(one), time.time() + 3700)
        assert store_of(again.after.key) == "cold"
        assert again.after.stage == fingerprint(stage(COLD))
        assert archive.encode(node.held(one), time.time() + 60).data is None


def test_a_move_counts_as_a_retrieve(node: RunningNode) -> None:
    node.reload(policy=rules(keep_for="1h"))
    with Sink() as sink:
        node.peer("SINK", sink.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            done = scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID="1.2.3"), "SINK")
    assert done.final.status == 0
    until(lambda: where(node) == {("", "jpegls")}, "all have come back")


def test_without_a_rule_that_asks_nothing_is_written_down(node: RunningNode) -> None:
    get(node, OBJECTS[0].instance)
    assert node.held(OBJECTS[0]).accessed == 0
    assert where(node) == {("cold", "jpegls")}
