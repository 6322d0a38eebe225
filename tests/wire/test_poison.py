"""One object that cannot be handled ends two processes at most, holds up no other, and the node starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scp.index.sql import SqlIndex

from .configured import left_by_the_dead
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, VERIFICATION, Scu, Sent, Sink, identifier, image, until
from .poison import DeadlyNode, poison

pytestmark = pytest.mark.slow

_PATIENCE = 120.0


def _others(count: int) -> list[Sent]:
    return [image(instance=f"1.2.3.7.{n}", seed=n, rows=48, InstanceNumber=n) for n in range(count)]


def _stored(node: DeadlyNode, objects: list[Sent]) -> None:
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in objects] == [0] * len(objects)


def _forms(node: DeadlyNode, objects: list[Sent]) -> list[str]:
    index = SqlIndex.open(f"sqlite:///{node.root}/index.db")
    try:
        held = [index.newest(one.instance) for one in objects]
    finally:
        index.close()
    return [("" if one is None else "pending" if one.pending else one.form) for one in held]


def _retrieved(node: DeadlyNode) -> dict[str, bytes]:
    contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
    with Scu(node.address, contexts, roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    return {one.instance: one.data for one in done.objects}


def _works_on(node: DeadlyNode) -> None:
    """Only then all that is to be encoded was looked at since the start."""
    later = image(instance="1.2.3.7.999", seed=999, rows=48)
    _stored(node, [later])
    until(lambda: _forms(node, [later]) == ["htj2k"], "what comes later is encoded", _PATIENCE)


def _is_sound(node: DeadlyNode) -> None:
    assert json.loads(node.here("verify", "--deep", "--json"))["damaged"] == 0
    assert json.loads(node.here("fsck", "--json"))["findings"] == []


def test_several_in_a_row_end_neither_the_node_nor_its_encoding(tmp_path: Path) -> None:
    """122 objects waited for ever behind one that ended the encoder; five deaths in a row ended the node."""
    node = DeadlyNode(
        tmp_path, ("scp.archive.encode", "encoded"), storage={"backlog": "1GB"}, node={"workers": 1}
    )
    node.start()
    try:
        bad, good = [poison(number) for number in range(6)], _others(40)
        _stored(node, bad + good)
        until(lambda: set(_forms(node, good)) == {"htj2k"}, "the others are encoded", _PATIENCE)
        until(lambda: set(_forms(node, bad)) == {"received"}, "the bad ones are settled", _PATIENCE)
        assert 2 <= node.deaths() <= 2 * len(bad)
        with Scu(node.address, [(VERIFICATION, [EXPLICIT])]) as scu:
            assert scu.echo() == 0
        assert _retrieved(node) == {one.instance: one.data for one in bad + good}
        refused = {one["sop_instance_uid"]: one for one in json.loads(node.here("ls", "--refused", "--json"))}
        assert set(refused) == {one.instance for one in bad}
        assert {one["refused"] for one in refused.values()} == {"encode"}
        assert json.loads(node.here("stats", "--json"))["refused"] == len(bad)
        told = [one for one in node.events() if one["event"] == "object refused"]
        assert {one["sop_instance"] for one in told} == set(refused)
        assert all("recompress --now --match" in one["remedy"] for one in told)
        node.kill()
        deaths = node.deaths()
        node.start()
        _works_on(node)
        assert node.deaths() == 0 < deaths  # none is tried again
        assert "not done any more" in node.here("explain", bad[0].instance)
        _is_sound(node)
    finally:
        node.kill()


def test_what_ends_the_start_does_not_keep_the_node_from_starting(tmp_path: Path) -> None:
    """It could not be started any more: recovery looked into the same object each time."""
    looks = [("scp.archive.reader", "facts_of_stored"), ("scp.archive.form_maker", "facts_of_stored")]
    node = DeadlyNode(tmp_path, *looks, node={"workers": 1})
    (node.root / "objects").mkdir()
    bad, good = [poison(number) for number in range(3)], _others(5)
    for one in bad + good:
        left_by_the_dead(node.root, one)
    node.start()
    try:
        assert "" not in _forms(node, bad + good)
        until(lambda: set(_forms(node, good)) == {"htj2k"}, "the others are encoded", _PATIENCE)
        until(lambda: set(_forms(node, bad)) == {"received"}, "the bad ones are settled", _PATIENCE)
        assert 2 <= node.deaths() <= 2 * len(bad)
        contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
        with Scu(node.address, contexts, roles=[MR_IMAGE]) as scu:
            for one in bad:  # by the UID under which it came
                asked = identifier("IMAGE", SOPInstanceUID=one.instance)
                assert [each.data for each in scu.get(STUDY_GET, asked).objects] == [one.data]
    finally:
        node.kill()
    node.start()
    try:
        _works_on(node)
        assert node.deaths() == 0
    finally:
        node.kill()


def test_what_ends_the_sender_holds_up_nothing_that_is_sent_on_or_ahead(tmp_path: Path) -> None:
    study = {"Modality": "MR", "StudyDate": "20240101"}
    prior = {"Modality": "CT", "StudyDate": "20230101"}
    bad = [poison(1, study="1.2.9", **study), poison(2, study="1.2.8", **prior)]
    good = [image(instance=f"1.2.3.7.{n}", study="1.2.9", seed=n, rows=48, **study) for n in range(6)]
    priors = [image(instance=f"1.2.3.8.{n}", study="1.2.8", seed=n, rows=48, **prior) for n in range(3)]
    with Sink(accepts=lambda _, syntax: syntax == EXPLICIT) as sink:
        node = DeadlyNode(
            tmp_path,
            ("scp.archive.deliver", "_exact"),
            peer=[{"aet": "SINK", "host": "127.0.0.1", "port": sink.port}],
            forward=[{"name": "on", "to": ["SINK"], "match": {"Modality": "MR"}}],
            prefetch=[{"name": "ahead", "to": "SINK", "modality": ["CT"], "match": {"Modality": "MR"}}],
            policy=[{"name": "all", "stages": [{"form": "htj2k"}]}],
            node={"workers": 1},
        )
        node.start()
        try:
            _stored(node, [bad[1], *priors, bad[0], *good])
            wanted = {one.instance for one in good + priors}
            until(lambda: set(sink.objects) >= wanted, "the others are sent", _PATIENCE)
            left = [("ahead", 1, True), ("on", 1, True)]
            until(lambda: _waiting(node) == left, "the bad ones are not", _PATIENCE)
            deaths = node.deaths()
            assert 2 <= deaths <= 2 * len(bad)
            refused = json.loads(node.here("ls", "--refused", "--json"))
            assert {(one["sop_instance_uid"], one["refused"]) for one in refused} == {
                (one.instance, "decode") for one in bad
            }
            later = image(instance="1.2.3.7.99", study="1.2.9", seed=99, rows=48, **study)
            _stored(node, [later])
            until(lambda: later.instance in sink.objects, "what comes later is sent", _PATIENCE)
            assert node.deaths() == deaths  # they are not tried again
            assert set(sink.objects) == wanted | {later.instance}
        finally:
            node.kill()


def _waiting(node: DeadlyNode) -> list[tuple[str, int, bool]]:
    """What is yet to be sent: by which rule, how many objects, and whether it is written down why."""
    queued = json.loads(node.here("ls", "--outgoing", "--json"))
    left = [one for one in queued if one["state"] == "waiting"]
    return sorted((one["rule"], one["objects"], bool(one["fault"])) for one in left)
