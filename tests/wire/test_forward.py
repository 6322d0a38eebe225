"""Sending on and sending ahead, to DCMTK's storescp and to another zscp."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scp.archive import deliver
from scp.background.back_off import BackOff
from scp.dimse.patience import PAUSES
from scp.model import Instance

from .conftest import NodeProcess, Starter
from .destination import Destination
from .peers import (
    EXPLICIT,
    PATIENT_FIND,
    Scu,
    Sent,
    Sink,
    files_in,
    free_port,
    identifier,
    image,
    storescp,
    until,
)

pytestmark = pytest.mark.peer

HTJ2K = "1.2.840.10008.1.2.4.201"


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return {"pauses": replace(PAUSES, send=BackOff(0.2, 3600))}


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
        until(lambda: not node.archive.index.send_queue.outstanding(), "all is sent")
        assert list(files_in(tmp_path / "in")) == [wanted.instance]
        assert files_in(tmp_path / "in")[wanted.instance].data == wanted.data


def test_another_zscp_gets_it_and_sends_nothing_back(start: Starter) -> None:
    there = start(node={"aet": "THERE"})
    here = start(peer=[peer("THERE", there.address[1])], forward=[forward("THERE")])
    there.reload(peer=[peer("ZSCP", here.address[1])], forward=[forward("ZSCP")])
    sent = [image(seed=n) for n in range(5)]
    here.keep(*sent)
    until(lambda: not here.archive.index.send_queue.outstanding(), "all is sent")
    assert [there.held(one).calling_aet for one in sent] == ["ZSCP"] * 5
    assert there.archive.index.send_queue.all() == []


def test_a_duplicate_is_not_sent_again(start: Starter) -> None:
    with Sink() as sink:
        node = start(peer=[peer("SINK", sink.port)], forward=[forward("SINK")])
        one = image()
        node.keep(one)
        until(lambda: not node.archive.index.send_queue.outstanding(), "it is sent")
        node.keep(one)
        assert node.archive.index.send_queue.all() == []
        assert len(sink.arrived) == 1


def test_what_is_refused_is_tried_again_and_holds_up_no_other(start: Starter) -> None:
    bad, good = image(seed=1), image(seed=2)
    refused: list[str] = []

    def status(sent: object) -> int:
        if sent.instance == bad.instance and len(refused) < 2:  # type: ignore[attr-defined]
            refused.append(bad.instance)
            return 0xA700
        return 0

    with Sink(status=status) as sink:
        node = start(peer=[peer("SINK", sink.port)], forward=[forward("SINK")])
        node.keep(bad, good)
        until(lambda: not node.archive.index.send_queue.outstanding(), "both are sent")
        instances = [one.sent.instance for one in sink.arrived]
    assert instances.count(good.instance) == 1
    assert instances[-1] == bad.instance


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("bad", [0, 2])
def test_one_that_the_peer_breaks_off_at_holds_up_no_other(start: Starter, most: int, bad: int) -> None:
    """Also not those that were in flight with it: from then on it comes last, and alone."""
    sent = [image(seed=n) for n in range(12)]
    breaks = sent[bad].instance
    with Destination(lambda uid, _: "abort" if uid == breaks else 0, most=most) as there:
        node = start(limits={"operations": most}, peer=[peer("DEST", there.port)], forward=[forward("DEST")])
        node.keep(*sent)
        outstanding = node.archive.index.send_queue
        until(lambda: there.taken == {one.instance for one in sent} - {breaks}, "all others arrive")
        until(lambda: [one.attempts > 1 for one in outstanding.all()] == [True], "it alone is tried again")
        (left,) = outstanding.all()
        assert (left.sop_instance_uid, left.state) == (breaks, "waiting")
        assert "ended the association" in left.fault


def test_given_up_is_told_and_tried_again_after_a_reload(start: Starter) -> None:
    port = free_port()
    node = start(peer=[peer("DEST", port)], forward=[forward("DEST", give_up="0s")])
    node.keep(image())
    outstanding = node.archive.index.send_queue
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
    until(lambda: (rows := _listed(node)) and rows[0]["attempts"], "one try failed")
    node.kill()
    (row,) = _listed(node)
    assert (row["destination"], row["rule"], row["objects"]) == ("SINK", "on", 3)
    assert "does not answer" in row["fault"]
    with Sink() as sink:
        node.write_config(peer=[peer("SINK", sink.port)])
        node.start()
        node.process.send_signal(signal.SIGHUP)
        until(lambda: not _listed(node), "all is sent")
        assert sorted(one.sent.instance for one in sink.arrived) == sorted(one.instance for one in sent)


def _store(node: NodeProcess, sent: list[Sent]) -> None:
    with Scu(node.address, [(sent[0].sop_class, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in sent] == [0] * len(sent)


def _listed(node: NodeProcess) -> list[dict[str, Any]]:
    return json.loads(node.run("ls", "--send-queue", "--json").stdout)


PRIORS = {"name": "priors", "to": "SINK", "modality": ["CT"], "within": "5y", "count": 2}


def _history() -> dict[str, Sent]:
    """Studies of one patient, and one of another; study → object."""
    studies = {
        "1.1": {"StudyDate": "20230105", "Modality": "CT"},
        "1.2": {"StudyDate": "20220105", "Modality": "CT"},
        "1.3": {"StudyDate": "20210105", "Modality": "CT"},  # the third of two
        "1.4": {"StudyDate": "20230601", "Modality": "US"},
        "1.5": {"StudyDate": "20100105", "Modality": "CT"},  # too old
        "1.6": {"StudyDate": "20230105", "Modality": "CT", "PatientID": "OTHER"},
    }
    return {study: image(study=study, **more) for study, more in studies.items()}


def test_priors_go_ahead_when_a_study_arrives(start: Starter) -> None:
    with Sink() as sink:
        held = _history()
        node = start(peer=[peer("SINK", sink.port)])
        node.keep(*held.values())
        node.reload(prefetch=[PRIORS])
        node.keep(*(image(study="1.9", StudyDate="20240101", Modality="CT", seed=n) for n in range(3)))
        until(lambda: len(sink.arrived) == 2, "both priors are sent")
        until(lambda: not node.archive.index.send_queue.outstanding(), "nothing is left")
        assert set(sink.objects) == {held["1.1"].instance, held["1.2"].instance}


def test_a_study_without_a_uid_is_no_prior_of_itself(start: Starter) -> None:
    with Sink() as sink:
        held = _history()
        node = start(peer=[peer("SINK", sink.port)])
        node.keep(*held.values())
        node.reload(prefetch=[PRIORS])
        for day in ("20240101", "20240102"):  # two studies, and each of them an occasion
            came = image(StudyInstanceUID=None, StudyDate=day, Modality="CT")
            assert [one.status for one in node.store(came)] == [0xB000]
        until(lambda: len(sink.arrived) == 3, "the second study has the first one for its prior")
        until(lambda: not node.archive.index.send_queue.outstanding(), "nothing is left")
        assert came.instance not in sink.objects
        assert held["1.1"].instance in sink.objects


def test_priors_go_ahead_when_a_patient_is_asked_for(start: Starter) -> None:
    with Sink() as sink:
        held = _history()
        node = start(
            peer=[peer("SINK", sink.port)],
            prefetch=[{**PRIORS, "on": ["query"], "count": 1, "match": {"calling_aet": "READER"}}],
        )
        node.keep(*held.values())
        for calling in ("ELSE", "READER"):
            with node.scu((PATIENT_FIND, [EXPLICIT]), calling=calling) as scu:
                asked = identifier("STUDY", PatientID="WIRE1", StudyDate="20240101", StudyInstanceUID="")
                scu.find(PATIENT_FIND, asked)
        until(lambda: not node.archive.index.send_queue.outstanding() and sink.arrived, "it is sent")
        assert list(sink.objects) == [held["1.1"].instance]


@pytest.mark.parametrize("ahead", [False, True])
def test_one_whose_handling_raises_holds_up_no_other(
    start: Starter, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    study = {"study": "1.1", "StudyDate": "20230105", "Modality": "CT"}
    bad, *good = [image(seed=n, **study) for n in range(8)]
    tried: list[str] = []
    given_out = deliver._exact

    def raises(instance: Instance, *given: Any) -> Any:
        if instance.sop_instance_uid == bad.instance:
            tried.append(bad.instance)
            raise RuntimeError("a bug")
        return given_out(instance, *given)

    monkeypatch.setattr(deliver, "_exact", raises)
    with Sink(accepts=lambda _, syntax: syntax == EXPLICIT) as sink:
        rules = {"prefetch": [PRIORS]} if ahead else {"forward": [forward("SINK")]}
        node = start(
            peer=[peer("SINK", sink.port)], policy=[{"name": "all", "stages": [{"form": "htj2k"}]}], **rules
        )
        node.keep(bad, *good)
        if ahead:
            node.keep(image(study="1.9", StudyDate="20240101", Modality="MR"))
        until(lambda: set(sink.objects) >= {one.instance for one in good}, "the others are sent")
        until(lambda: node.held(bad).refused, "it is refused")
        left = node.archive.index.send_queue
        until(lambda: left.all() and "a bug" in left.all()[0].fault, "its fault is known")
        times = left.all()[0].attempts
        until(lambda: left.all()[0].attempts > times, "it is its turn again")
        assert len(tried) == 2
        assert bad.instance not in sink.objects


@pytest.mark.parametrize("status", [0xB000, 0xB007])
def test_a_peer_that_warns_has_taken_it(start: Starter, status: int) -> None:
    """Nothing is sent again, nor said to be outstanding; what lacks its study goes out with it."""
    sent = image(instance="1.2.3.99", StudyInstanceUID=None)
    with Sink(status=lambda _: status) as sink:
        node = start(peer=[peer("SINK", sink.port)], forward=[forward("SINK")])
        assert [one.status for one in node.store(sent)] == [0xB000]
        until(lambda: sink.arrived and not node.archive.index.send_queue.outstanding(), "it is sent")
        (arrived,) = sink.arrived
        assert arrived.sent.dataset.StudyInstanceUID == node.held(sent).study_instance_uid
