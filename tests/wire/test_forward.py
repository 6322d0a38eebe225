"""Sending on and sending ahead, to DCMTK's storescp and to another zscp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scp.dimse import forwarder

from .conftest import NodeProcess, Starter
from .peers import (
    Sink,
    files_in,
    free_port,
    image,
    storescp,
    until,
)

HTJ2K = "1.2.840.10008.1.2.4.201"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(forwarder.Forwarder.__init__, "__defaults__", (0.2,))
    yield


def peer(aet: str, port: int) -> dict[str, object]:
    return {"aet": aet, "host": "127.0.0.1", "port": port}


def forward(*to: str, **more: object) -> dict[str, object]:
    return {"name": "on", "to": list(to), **more}


def test_what_matches_arrives_in_a_syntax_that_the_peer_takes(start: Starter, tmp_path: Path) -> None:
    # Kept as HTJ2K; storescp takes explicit little endian alone (+xe).
    with storescp(tmp_path / "in", "+xe") as port:
        node = start(
            peer=[peer("DEST", port)],
            forward=[forward("DEST", match={"Modality": "MR"})],
            policy=[{"name": "all", "stages": [{"form": "htj2k"}]}],
        )
        wanted, other = image(seed=1), image(seed=2, Modality="CT")
        node.keep(wanted, other)
        assert node.held(wanted).transfer_syntax == HTJ2K
        until(lambda: not node.archive.index.deliveries.outstanding(), "all is sent")
        assert list(files_in(tmp_path / "in")) == [wanted.instance]
        assert files_in(tmp_path / "in")[wanted.instance].data == wanted.data


def test_another_zscp_gets_it_and_sends_nothing_back(start: Starter) -> None:
    there = start(node={"aet": "THERE"})
    here = start(peer=[peer("THERE", there.address[1])], forward=[forward("THERE")])
    there.reload(peer=[peer("ZSCP", here.address[1])], forward=[forward("ZSCP")])
    sent = [image(seed=n) for n in range(5)]
    here.keep(*sent)
    until(lambda: not here.archive.index.deliveries.outstanding(), "all is sent")
    assert [there.held(one).calling_aet for one in sent] == ["ZSCP"] * 5
    assert there.archive.index.deliveries.all() == []


def test_a_duplicate_is_not_sent_again(start: Starter) -> None:
    with Sink() as sink:
        node = start(peer=[peer("SINK", sink.port)], forward=[forward("SINK")])
        one = image()
        node.keep(one)
        until(lambda: not node.archive.index.deliveries.outstanding(), "it is sent")
        node.keep(one)
        assert node.archive.index.deliveries.all() == []
        assert len(sink.arrived) == 1


def test_what_is_refused_is_tried_again_and_holds_up_no_other(start: Starter) -> None:
    bad, good = image(seed=1), image(seed=2)
    refused: list[str] = []

    def status(sent: object) -> int:
        if sent.instance == bad.instance and len(refused) < 2:
            refused.append(bad.instance)
            return 0xA700
        return 0

    with Sink(status=status) as sink:
        node = start(peer=[peer("SINK", sink.port)], forward=[forward("SINK")])
        node.keep(bad, good)
        until(lambda: not node.archive.index.deliveries.outstanding(), "both are sent")
        instances = [one.sent.instance for one in sink.arrived]
    assert instances.count(good.instance) == 1
    assert instances[-1] == bad.instance


def test_given_up_is_told_and_tried_again_after_a_reload(start: Starter) -> None:
    port = free_port()
    node = start(peer=[peer("DEST", port)], forward=[forward("DEST", give_up="0s")])
    node.keep(image())
    outstanding = node.archive.index.deliveries
    until(lambda: outstanding.all()[0].state == "given up", "it is given up")
    assert "does not answer" in outstanding.all()[0].fault
    with Sink() as sink:
        node.peer("DEST", sink.port)
        until(lambda: not outstanding.outstanding(), "it is sent")
        assert len(sink.arrived) == 1


def test_killed_while_the_peer_is_away_it_arrives_once_it_is_back(
    process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    port = free_port()
    node = process(peer=[peer("SINK", port)], forward=[forward("SINK")])
    node.start()
    sent = [image(seed=n) for n in range(3)]
    _store(node, sent)
    until(lambda: _listed(node) and _listed(node)[0]["attempts"] > 0, "one try failed")
    node.kill()
    (row,) = _listed(node)
    assert (row["destination"], row["rule"], row["objects"]) == ("SINK", "on", 3)
    assert "does not answer" in row["fault"]
    with Sink() as sink:
        node.write_config(peer=[peer("SINK", sink.port)])
        node.start()
        node.kill(1)  # SIGHUP would be tried at once; here only its due counts
