"""Storage commitment with pynetdicom as SCU: what is promised, and that it is said whatever happens.

DCMTK has no SCU for it: none of its tools sends an N-ACTION of this class, or takes its N-EVENT-REPORT.
Orthanc, which is built on DCMTK, is asked in test_orthanc.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
import structlog
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION

from scp.background.doorbell import Doorbell
from scp.background.loop import Loops
from scp.dimse.identifier import write_identifier
from scp.dimse.scu import report
from scp.dimse.scu.report import Reporter
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.encoder import Encoder
from scp.model import Commitment, Reference

from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    SECONDS,
    VERIFICATION,
    Scu,
    Sent,
    free_port,
    image,
    until,
)

pytestmark = pytest.mark.slow

PUSH_MODEL, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
NO_SUCH_INSTANCE, CONFLICT, NO_SUCH_CLASS, FAILURE, DUPLICATE = 0x0112, 0x0119, 0x0122, 0x0110, 0x0131
SOON = {"wait_seconds": 0.2, "retry_seconds": 0.2}

Events = Callable[[str], list[dict[str, Any]]]
References = Iterable[tuple[str, str]]


def named(*objects: Sent) -> list[tuple[str, str]]:
    return [(sent.sop_class, sent.instance) for sent in objects]


def request(references: References, transaction: str = "") -> Dataset:
    """The Action Information of a request."""
    asked = Dataset()
    asked.TransactionUID = transaction or generate_uid()
    asked.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        asked.ReferencedSOPSequence.append(item)
    return asked


class Report:
    """An N-EVENT-REPORT that came."""

    def __init__(self, event: evt.Event) -> None:
        told = event.event_information
        self.type = event.event_type
        self.sop = (event.request.AffectedSOPClassUID, event.request.AffectedSOPInstanceUID)
        self.transaction = told.TransactionUID
        self.committed = [
            (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
            for item in told.get("ReferencedSOPSequence", ())
        ]
        self.failed = {
            item.ReferencedSOPInstanceUID: item.FailureReason for item in told.get("FailedSOPSequence", ())
        }
        self.retrieve_from = told.get("RetrieveAETitle", "")
        self.from_aet = event.assoc.requestor.ae_title if event.assoc.is_acceptor else ""
        self.has_failed_sequence = "FailedSOPSequence" in told


class _Checkpoint(threading.Event):
    """Where pynetdicom's reactor pauses while a request of ours has its answer to come.

    The reactor says that it is paused a moment before it is, and may be on its way from the pause before:
    a quick answer then came to it, and not to the request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._open, self._held = True, False

    def is_set(self) -> bool:
        return self._open

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            while not self._open:
                self._held = True
                self._changed.notify_all()
                if not self._changed.wait(timeout):
                    return False
        return True

    def set(self) -> None:
        with self._changed:
            self._open, self._held = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: self._held, 5.0)  # not for ever: the reactor may have ended


class Modality:
    """An SCU that asks for storage commitment, and takes reports on its own associations and, where it
    listens, on those that come.

    ``status`` answers each report; ``role`` is what it says to who proposes the SCP role: None nothing.
    """

    def __init__(self, aet: str = "CTROOM1", port: int = 0) -> None:
        self.aet, self.port = aet, port
        self.ae = AE(aet)
        self.ae.acse_timeout = self.ae.dimse_timeout = self.ae.network_timeout = 60
        self.reports: list[Report] = []
        self.proposed: list[dict[str, tuple[bool, bool]]] = []  # roles, of associations that came
        self.status = 0x0000
        self.gate = threading.Event()  # a report is answered only while it is set
        self.gate.set()
        self.associations: list[Association] = []
        self._server: Any = None

    def listen(self, role: bool | None = True) -> int:
        """Take associations of others, with the roles of PS3.4 J.3; returns the port."""
        self.ae.add_supported_context(PUSH_MODEL, [EXPLICIT, IMPLICIT], scu_role=not role, scp_role=role)
        if role is None:
            self.ae.supported_contexts[0].scu_role = self.ae.supported_contexts[0].scp_role = None
        self._server = self.ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=self._handlers()
        )
        self.port = int(self._server.server_address[1])
        return self.port

    def _handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self._report), (evt.EVT_REQUESTED, self._requested)]

    def _requested(self, event: evt.Event) -> None:
        items = event.assoc.requestor.role_selection
        self.proposed.append({uid: (item.scu_role, item.scp_role) for uid, item in items.items()})

    def _report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(Report(event))
        self.gate.wait(SECONDS)
        return self.status, None

    def associate(self, node: Any, syntax: str = EXPLICIT, contexts: Iterable[str] = ()) -> Association:
        self.ae.requested_contexts = []
        self.ae.add_requested_context(PUSH_MODEL, syntax)
        for sop_class in contexts:
            self.ae.add_requested_context(sop_class, EXPLICIT)
        association = self.ae.associate(*node.address, ae_title="ZSCP", evt_handlers=self._handlers())
        assert association.is_established
        association._reactor_checkpoint = _Checkpoint()
        self.associations.append(association)
        return association

    def ask(self, association: Association, references: References, transaction: str = "") -> int:
        """The status of an N-ACTION's response."""
        answer, _ = association.send_n_action(request(references, transaction), 1, PUSH_MODEL, PUSH_INSTANCE)
        return int(answer.Status)

    def ask_and_go(self, node: Any, references: References, transaction: str = "") -> None:
        """Ask, and release at once."""
        association = self.associate(node)
        assert self.ask(association, references, transaction) == 0
        association.release()

    def report(self, number: int = 0, seconds: float = SECONDS) -> Report:
        until(lambda: len(self.reports) > number, "a report comes", seconds)
        return self.reports[number]

    def close(self) -> None:
        for association in self.associations:
            if association.is_established:
                association.abort()  # its reactor may be about to answer: that does not go with a release
        if self._server is not None:
            self._server.shutdown()


@pytest.fixture
def modality() -> Iterator[Modality]:
    one = Modality()
    yield one
    one.close()


@pytest.fixture
def node(start: Starter) -> RunningNode:
    return start(commitment=SOON)


@pytest.fixture
def events(_quiet: None) -> Iterator[Events]:
    """What was logged, by event."""
    with structlog.testing.capture_logs() as captured:
        yield lambda name: [one for one in captured if one["event"] == name]


def as_dataset(sent: Sent) -> Dataset:
    """As pynetdicom sends it."""
    dataset = sent.dataset
    dataset.file_meta.MediaStorageSOPClassUID = sent.sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = sent.instance
    return dataset


def spoil(node: RunningNode, sent: Sent) -> None:
    """Change a byte of an object that has landed, and is not encoded yet."""
    for segment in (node.root / "objects" / ".landing").rglob("*"):
        if segment.is_file() and sent.data in (content := segment.read_bytes()):
            place = content.index(sent.data) + len(sent.data) - 1
            with segment.open("r+b") as file:
                file.seek(place)
                file.write(bytes([content[place] ^ 1]))
            return
    raise AssertionError("it has not landed")


def outstanding(node: RunningNode) -> list[Any]:
    return node.archive.index.commitments.all()


# -- on the same association ---------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_is_held_is_committed_on_the_same_association(
    node: RunningNode, modality: Modality, syntax: str
) -> None:
    objects = [image(seed=n) for n in range(3)]
    node.keep(*objects)
    association = modality.associate(node, syntax)
    assert modality.ask(association, named(*objects), "1.2.3.4") == 0
    report = modality.report()
    assert (report.type, report.sop) == (1, (PUSH_MODEL, PUSH_INSTANCE))
    assert report.transaction == "1.2.3.4"
    assert report.committed == named(*objects)
    assert not report.has_failed_sequence
    assert report.retrieve_from == "ZSCP"
    assert report.from_aet == ""  # it came on the modality's own association
    until(lambda: not outstanding(node), "the request is done with")
    association.release()
    assert len(modality.reports) == 1


def test_failures_have_their_reasons(node: RunningNode, modality: Modality) -> None:
    good, damaged, gone = image(seed=1), image(seed=2), image(seed=3)
    node.keep(good, damaged, gone)
    path = node.path(damaged)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    node.path(gone).unlink()
    asked = [
        *named(good, damaged, gone),
        (CT_IMAGE, good.instance),
        (MR_IMAGE, "1.2.3.404"),
        ("1.2.840.10008.1.1", "1.2.3.405"),
    ]
    modality.ask(modality.associate(node), asked)
    report = modality.report()
    assert report.type == 2
    assert report.committed == named(good)
    assert report.failed == {
        damaged.instance: FAILURE,
        gone.instance: FAILURE,
        good.instance: CONFLICT,
        "1.2.3.404": NO_SUCH_INSTANCE,
        "1.2.3.405": NO_SUCH_CLASS,
    }


@pytest.mark.usefixtures("any_uid")
def test_odd_objects_are_committed_by_the_uids_that_they_came_under(
    node: RunningNode, modality: Modality
) -> None:
    """What is no UID by the book, lacks its study, or cannot be read, is kept as it came."""
    uids = ("LOCALIZER2.16.6003", "sha-1:0abc/def", "1.2." + "3" * 80, "01.02 *")
    odd = [image(instance=uid) for uid in uids]
    no_study = image(instance="1.2.9", StudyInstanceUID=None)
    noise = Sent(MR_IMAGE, "1.2.10", EXPLICIT, bytes(range(255, 5, -1)) * 20)
    assert [one.status for one in node.store(*odd, no_study, noise)] == [0] * 4 + [0xB000, 0xB007]
    asked = named(*odd, no_study, noise)
    assert modality.ask(modality.associate(node), [*asked, (MR_IMAGE, "not/held")]) == 0
    report = modality.report()
    assert report.committed == asked
    assert report.failed == {"not/held": NO_SUCH_INSTANCE}


def test_what_was_refused_is_not_committed(start: Starter, modality: Modality) -> None:
    node = start(commitment=SOON, storage={"incomplete": "reject", "unreadable": "reject"})
    no_study = image(instance="1.2.9", StudyInstanceUID=None)
    noise = Sent(MR_IMAGE, "1.2.10", EXPLICIT, bytes(range(255, 5, -1)) * 20)
    assert [one.status for one in node.store(no_study, noise)] == [0xA900, 0xC002]
    modality.ask(modality.associate(node), named(no_study, noise))
    assert modality.report().failed == {"1.2.9": NO_SUCH_INSTANCE, "1.2.10": NO_SUCH_INSTANCE}


def test_nothing_is_committed_of_what_is_not_there(node: RunningNode, modality: Modality) -> None:
    modality.ask(modality.associate(node), [(MR_IMAGE, "1.2.3.404")])
    report = modality.report()
    assert (report.type, report.committed, report.failed) == (2, [], {"1.2.3.404": NO_SUCH_INSTANCE})
    assert report.retrieve_from == ""


# -- on another association ----------------------------------------------------------------------------


@pytest.mark.parametrize("role", [True, None])
def test_who_has_gone_is_told_on_another_association(
    node: RunningNode, modality: Modality, role: bool | None
) -> None:
    node.peer(modality.aet, modality.listen(role))
    sent = image()
    node.keep(sent)
    modality.ask_and_go(node, named(sent), "1.2.3.4")
    report = modality.report()
    assert (report.type, report.transaction, report.committed) == (1, "1.2.3.4", named(sent))
    assert report.from_aet == "ZSCP"
    until(lambda: not outstanding(node), "the request is done with")
    assert len(modality.reports) == 1


def test_the_scp_role_is_proposed(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen())
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")])
    modality.report()
    roles = modality.proposed[-1]
    assert roles == {PUSH_MODEL: (False, True)}


def test_who_refuses_the_role_is_not_told(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen(role=False))
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")])
    (kept,) = until(lambda: [one for one in outstanding(node) if one.attempts], "it was tried")
    assert "accepts nothing" in kept.fault
    assert not modality.reports


def test_a_peer_that_is_down_at_first(node: RunningNode, modality: Modality) -> None:
    modality.port = free_port()
    node.peer(modality.aet, modality.port)
    sent = image()
    node.keep(sent)
    for transaction in ("1.1", "1.2", "1.3"):
        modality.ask_and_go(node, named(sent), transaction)
    until(lambda: [one.attempts > 1 for one in outstanding(node)] == [True] * 3, "all were tried twice")
    assert {one.fault.partition(" does")[0] for one in outstanding(node)} == {
        f"CTROOM1 at 127.0.0.1:{modality.port}"
    }
    modality.listen()
    modality.report(2)
    assert sorted(report.transaction for report in modality.reports) == ["1.1", "1.2", "1.3"]
    until(lambda: not outstanding(node), "all are done with")


def test_a_peer_that_answers_with_a_failure_is_told_again(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen())
    modality.status = 0x0110
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")])
    modality.report(1)
    assert outstanding(node)[0].fault == "CTROOM1 answered with status 0110H"
    modality.status = 0
    until(lambda: not outstanding(node), "it is done with")


@pytest.mark.parametrize("how", ["aborted", "not written"])
def test_one_report_that_fails_holds_up_no_other(
    node: RunningNode, modality: Modality, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A peer breaks off at it each time, or it cannot even be encoded."""
    taken = modality._report

    def leave(event: evt.Event) -> tuple[int, None]:
        if how == "aborted" and event.event_information.TransactionUID == "1.1":
            threading.current_thread().abort()  # type: ignore[attr-defined]  # pynetdicom's association
            return 0, None
        return taken(event)

    def write(information: Dataset, *arguments: Any) -> bytes:
        if how == "not written" and information.TransactionUID == "1.1":
            raise ValueError("a value that no VR has room for")
        return write_identifier(information, *arguments)

    monkeypatch.setattr(modality, "_report", leave)
    monkeypatch.setattr(report, "write_identifier", write)
    modality.port = free_port()
    node.peer(modality.aet, modality.port)
    for transaction in ("1.1", "1.2", "1.3"):
        modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], transaction)
    modality.listen()
    until(lambda: len(modality.reports) == 2, "the others are told")
    assert {report.transaction for report in modality.reports} == {"1.2", "1.3"}
    (left,) = until(lambda: [one for one in outstanding(node) if one.attempts > 1], "it is tried again")
    assert left.transaction_uid == "1.1"


def test_who_does_not_answer_on_the_same_association(node: RunningNode, modality: Modality) -> None:
    """A peer that refuses the report on its own association gets it on another."""
    node.peer(modality.aet, modality.listen())
    modality.status = 0x0110
    association = modality.associate(node)
    modality.ask(association, [(MR_IMAGE, "1.2.3")])
    assert modality.report(0).from_aet == ""
    assert modality.report(1).from_aet == "ZSCP"
    assert association.is_established


def test_a_peer_that_does_not_answer_is_told_again(start: Starter, modality: Modality) -> None:
    node = start(commitment=SOON, limits={"dimse_seconds": 0.3})
    node.peer(modality.aet, modality.listen())
    modality.gate.clear()
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")])
    (kept,) = until(lambda: [one for one in outstanding(node) if one.attempts], "it was tried")
    assert kept.fault.startswith("CTROOM1 ended the association")
    modality.gate.set()
    until(lambda: not outstanding(node), "it is done with")


def test_several_reporters_share_what_is_due(node: RunningNode, modality: Modality) -> None:
    modality.port = free_port()
    node.peer(modality.aet, modality.port)
    wanted = [f"1.2.3.{number}" for number in range(40)]
    for transaction in wanted:
        modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], transaction)
    others = Loops(Reporter(node.archive, lambda: node.node.settings, Doorbell()) for _ in range(2))
    others.start()
    modality.listen()
    until(lambda: not outstanding(node), "all are done with", 60)
    others.stop()
    assert sorted(report.transaction for report in modality.reports) == sorted(wanted)


def test_damaged_meanwhile_is_not_committed(node: RunningNode, modality: Modality) -> None:
    """What is promised is what is true when it is said, not when it was asked."""
    modality.port = free_port()
    node.peer(modality.aet, modality.port)
    sent = image()
    node.keep(sent)
    modality.ask_and_go(node, named(sent))
    until(lambda: outstanding(node)[0].attempts > 0, "it was tried")
    path = node.path(sent)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    modality.listen()
    report = modality.report()
    assert (report.type, report.committed, report.failed) == (2, [], {sent.instance: FAILURE})


def test_an_unknown_ae_that_has_gone(node: RunningNode, modality: Modality, events: Events) -> None:
    """Nobody knows where it is: it is kept, and said, until a [[peer]] says so, or it is asked again."""
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], "1.2.3.4")
    (kept,) = until(lambda: [one for one in outstanding(node) if one.attempts], "it was tried")
    assert "[[peer]]" in kept.fault
    told = events("commitment not reported")[0]
    assert (told["calling_aet"], told["transaction"], told["log_level"]) == ("CTROOM1", "1.2.3.4", "warning")
    node.peer(modality.aet, modality.listen())
    assert modality.report().transaction == "1.2.3.4"


def test_an_unknown_ae_that_asks_again(node: RunningNode, modality: Modality) -> None:
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], "1.2.3.4")
    until(lambda: [one for one in outstanding(node) if one.attempts], "it was tried")
    association = modality.associate(node)
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")], "1.2.3.4") == 0
    assert modality.report().transaction == "1.2.3.4"
    until(lambda: not outstanding(node), "it is done with")


def test_given_up(start: Starter, modality: Modality, events: Events) -> None:
    node = start(commitment={**SOON, "give_up": "0s"})
    modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], "1.2.3.4")
    until(lambda: events("commitment given up"), "it is given up")
    until(lambda: not outstanding(node), "it is done with")
    assert events("commitment given up")[0]["transaction"] == "1.2.3.4"


def test_aborted_meanwhile(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen())
    association = modality.associate(node)
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")]) == 0
    association.abort()
    assert modality.report().from_aet == "ZSCP"


# -- one at a time -------------------------------------------------------------------------------------


def test_the_report_waits_until_the_association_is_quiet(start: Starter, modality: Modality) -> None:
    """Objects that come behind the request are served as ever, and committed where they came in time."""
    node = start(commitment={**SOON, "wait_seconds": 1.0})
    objects = [image(seed=n) for n in range(30)]
    association = modality.associate(node, contexts=[MR_IMAGE])
    assert modality.ask(association, named(*objects)) == 0  # before they are there
    for sent in objects:
        assert association.send_c_store(as_dataset(sent)).Status == 0
    assert modality.report().committed == named(*objects)


def test_the_same_request_twice_has_one_report(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen())
    association = modality.associate(node)
    for _ in range(2):
        assert modality.ask(association, [(MR_IMAGE, "1.2.3")], "1.2.3.4") == 0
    modality.report()
    until(lambda: not outstanding(node), "it is done with")
    assert len(modality.reports) == 1


def test_another_request_of_the_same_transaction(start: Starter, modality: Modality) -> None:
    """PS3.3 C.14.1.1, 0131H; of the transaction that was there first, the result comes all the same."""
    node = start(commitment={**SOON, "wait_seconds": 1.0})  # until both requests are there
    sent, other = image(seed=1), image(seed=2)
    node.keep(sent, other)
    association = modality.associate(node)
    for one in (sent, other):
        assert modality.ask(association, named(one), "1.2.3.4") == 0
    modality.report(1)
    first, second = sorted(modality.reports, key=lambda report: report.type)
    assert (first.transaction, first.committed) == ("1.2.3.4", named(sent))
    assert (second.transaction, second.failed) == ("1.2.3.4", {other.instance: DUPLICATE})


def test_thousands_of_instances(node: RunningNode, modality: Modality) -> None:
    sent = image()
    node.keep(sent)
    asked = named(sent) + [(MR_IMAGE, f"1.2.3.{number}") for number in range(5000)]
    association = modality.associate(node)
    assert modality.ask(association, asked) == 0
    report = modality.report(seconds=60)
    assert report.committed == named(sent)
    assert len(report.failed) == 5000
    assert set(report.failed.values()) == {NO_SUCH_INSTANCE}


def test_more_requests_than_threads(node: RunningNode, modality: Modality) -> None:
    node.peer(modality.aet, modality.listen())
    association = modality.associate(node)
    wanted = [f"1.2.3.{number}" for number in range(40)]
    for transaction in wanted:
        assert modality.ask(association, [(MR_IMAGE, "1.2.3")], transaction) == 0
    modality.report(len(wanted) - 1)
    until(lambda: not outstanding(node), "all are done with")
    assert sorted(report.transaction for report in modality.reports) == sorted(wanted)


def test_what_waits_to_be_encoded_is_committed(start: Starter, modality: Modality) -> None:
    """Durable in the landing log, and read there."""
    node = start(commitment=SOON, storage={"backlog": 10**9})
    (encoder,) = (loop for loop in node.node.loops if isinstance(loop.task, Encoder))
    encoder.stop()  # so that it stays there
    encoder.join(10)
    good, damaged = image(seed=1), image(seed=2)
    node.keep(good, damaged)
    assert node.held(good).pending
    spoil(node, damaged)
    modality.ask(modality.associate(node), named(good, damaged))
    report = modality.report()
    assert report.committed == named(good)
    assert report.failed == {damaged.instance: FAILURE}


# -- malformed -----------------------------------------------------------------------------------------


def _without(keyword: str) -> Dataset:
    asked = request([(MR_IMAGE, "1.2.3")])
    delattr(asked, keyword)
    return asked


def _otherwise(keyword: str, vr: str, value: object) -> Dataset:
    asked = request([(MR_IMAGE, "1.2.3")])
    delattr(asked, keyword)
    asked.add_new(keyword, vr, value)
    return asked


def _item_without(keyword: str) -> Dataset:
    asked = request([(MR_IMAGE, "1.2.3"), (MR_IMAGE, "1.2.4")])
    delattr(asked.ReferencedSOPSequence[1], keyword)
    return asked


@pytest.mark.parametrize(
    ("asked", "action", "instance", "status"),
    [
        (request([(MR_IMAGE, "1.2.3")]), 2, PUSH_INSTANCE, 0x0123),
        (request([(MR_IMAGE, "1.2.3")]), 1, "1.2.840.10008.1.20.1.2", 0x0112),
        (_without("TransactionUID"), 1, PUSH_INSTANCE, 0x0115),
        (_without("ReferencedSOPSequence"), 1, PUSH_INSTANCE, 0x0115),
        (request([]), 1, PUSH_INSTANCE, 0x0115),
        (_item_without("ReferencedSOPInstanceUID"), 1, PUSH_INSTANCE, 0x0115),
        (_item_without("ReferencedSOPClassUID"), 1, PUSH_INSTANCE, 0x0115),
        (_otherwise("ReferencedSOPSequence", "LO", "1.2.3"), 1, PUSH_INSTANCE, 0x0115),
        (_otherwise("TransactionUID", "SQ", [Dataset()]), 1, PUSH_INSTANCE, 0x0115),
        (_otherwise("TransactionUID", "UI", ["1.2", "1.3"]), 1, PUSH_INSTANCE, 0x0115),
        (_otherwise("TransactionUID", "LO", "1" * 65), 1, PUSH_INSTANCE, 0x0115),
        (None, 1, PUSH_INSTANCE, 0x0115),
    ],
)
def test_malformed_requests(
    node: RunningNode, modality: Modality, asked: Dataset | None, action: int, instance: str, status: int
) -> None:
    association = modality.associate(node)
    answer, _ = association.send_n_action(asked, action, PUSH_MODEL, instance)
    assert answer.Status == status
    assert answer.get("ErrorComment")
    assert outstanding(node) == []
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")]) == 0  # the association goes on


def test_a_request_that_cannot_be_recorded(
    node: RunningNode, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Success, and no claim to it."""

    def full(_: Commitment) -> None:
        raise OutOfResources("the index does not answer: database or disk is full")

    association = modality.associate(node)
    with monkeypatch.context() as patch:
        patch.setattr(node.archive.index.commitments, "add", full)
        assert modality.ask(association, [(MR_IMAGE, "1.2.3")]) == 0x0213
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")]) == 0


def test_information_that_is_no_dataset(node: RunningNode) -> None:
    with node.scu((PUSH_MODEL, [EXPLICIT])) as scu:
        for data in (b"\x08\x00\x95\x11UI\xff\xff1.2", b"\0" * 7, b"\xff" * 100):
            action = N_ACTION()
            action.MessageID, action.ActionTypeID = 7, 1
            action.RequestedSOPClassUID, action.RequestedSOPInstanceUID = PUSH_MODEL, PUSH_INSTANCE
            action.ActionInformation = BytesIO(data)
            scu.send(action, scu.context(PUSH_MODEL))
            _, answer = scu.message()
            assert isinstance(answer, N_ACTION)
            assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0x0115, 7)
    node.answers_echo()
    assert outstanding(node) == []


# -- restarts ------------------------------------------------------------------------------------------


def peer_of(modality: Modality) -> list[dict[str, Any]]:
    return [{"aet": modality.aet, "host": "127.0.0.1", "port": modality.port}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restarted_between_request_and_report(
    process: Callable[..., NodeProcess], modality: Modality, number: int
) -> None:
    modality.port = free_port()
    slow = {**SOON, "retry_seconds": 0.5}
    node = process(commitment=slow, peer=peer_of(modality))
    node.start()
    sent = image()
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert scu.store(sent).status == 0
    modality.ask_and_go(node, named(sent), "1.2.3.4")
    node.kill(number)
    (kept,) = recorded(node)
    assert (kept.transaction_uid, kept.references) == ("1.2.3.4", (Reference(MR_IMAGE, sent.instance),))
    modality.listen()
    assert not modality.reports
    node.start()
    report = modality.report(seconds=60)
    assert (report.transaction, report.committed) == ("1.2.3.4", named(sent))
    until(lambda: recorded(node) == [], "the request is done with")
    assert len(modality.reports) == 1


def recorded(node: NodeProcess) -> list[Commitment]:
    """What is outstanding, whether the node runs or not."""
    index = SqlIndex.open(node.tables["index"]["url"])
    try:
        return index.commitments.all()
    finally:
        index.close()


def test_killed_while_the_association_is_open(
    process: Callable[..., NodeProcess], modality: Modality
) -> None:
    """Its worker has the claim: that ends with it."""
    modality.listen()
    node = process(commitment={"wait_seconds": 60.0, "retry_seconds": 0.5}, peer=peer_of(modality))
    node.start()
    association = modality.associate(node)
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")], "1.2.3.4") == 0
    assert [bool(one.holder) for one in recorded(node)] == [True]
    node.kill()
    node.start()
    report = modality.report(seconds=60)
    assert (report.transaction, report.from_aet) == ("1.2.3.4", "ZSCP")


def test_a_worker_that_dies_with_a_request(process: Callable[..., NodeProcess], modality: Modality) -> None:
    """The node goes on without it, and so does what it had begun."""
    modality.listen()
    node = process(
        node={"workers": 1}, commitment={"wait_seconds": 60.0, "retry_seconds": 0.5}, peer=peer_of(modality)
    )
    node.start()
    association = modality.associate(node)
    assert modality.ask(association, [(MR_IMAGE, "1.2.3")], "1.2.3.4") == 0
    with Scu(node.address, [(VERIFICATION, [IMPLICIT])]) as scu:
        assert scu.echo() == 0
    os.kill(_worker(node), signal.SIGKILL)
    assert modality.report(seconds=60).transaction == "1.2.3.4"


def _worker(node: NodeProcess) -> int:
    """The process that serves: associations are named after it."""
    (echo,) = [one for one in node.events() if one["event"] == "c-echo"]
    return int(echo["association"].partition("-")[0])


def test_killed_again_and_again(process: Callable[..., NodeProcess], modality: Modality) -> None:
    """Each request that was answered with Success has its report, whenever the node was killed."""
    modality.listen()
    quick = {"wait_seconds": 0.05, "retry_seconds": 0.1}
    node = process(node={"workers": 2}, commitment=quick, peer=peer_of(modality))
    rounds = random.Random(1126)
    taken: set[str] = set()
    for round_ in range(4):
        node.start()
        for number in range(rounds.randrange(1, 12)):
            modality.ask_and_go(node, [(MR_IMAGE, "1.2.3")], f"1.2.{round_}.{number}")
            taken.add(f"1.2.{round_}.{number}")
        node.kill()
    node.start()
    until(lambda: {report.transaction for report in modality.reports} >= taken, "all are reported", 60)
    until(lambda: recorded(node) == [], "nothing is left")
    assert {report.transaction for report in modality.reports} == taken


# -- what an administrator sees ------------------------------------------------------------------------


def test_what_is_outstanding_is_listed(process: Callable[..., NodeProcess]) -> None:
    node = process()
    at = datetime(2026, 7, 27, 12, 30, tzinfo=UTC)
    index = SqlIndex.open(node.tables["index"]["url"])
    for number in (1, 2):
        references = tuple(Reference(MR_IMAGE, f"1.2.{n}") for n in range(number))
        index.commitments.add(
            Commitment(f"1.2.3.{number}", "CTROOM1", references, at, at, f"holder {number}")
        )
    index.commitments.postpone(index.commitments.all()[1], at, "no [[peer]] is CTROOM1")
    index.close()
    listed = json.loads(node.run("ls", "--commitments", "--json").stdout)
    first = {
        "transaction_uid": "1.2.3.1",
        "calling_aet": "CTROOM1",
        "instances": 1,
        "attempts": 0,
        "fault": "",
    }
    assert listed[0] == {**first, "received_at": at.isoformat(), "next_attempt": None}
    assert (listed[1]["instances"], listed[1]["attempts"]) == (2, 1)
    assert (listed[1]["next_attempt"], listed[1]["fault"]) == (at.isoformat(), "no [[peer]] is CTROOM1")
    table = node.run("ls", "--commitments").stdout
    assert "under way" in table
    assert "no [[peer]] is CTROOM1" in table
    assert "2026-07-27 12:30:00 UTC" in table
    assert json.loads(node.run("stats", "--json").stdout)["commitments"] == 2
    assert "2 results of storage commitment are yet to be reported" in node.run("stats").stdout
