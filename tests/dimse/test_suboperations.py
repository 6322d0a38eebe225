"""Counts and responses of a retrieve, with a carrier that carries nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread

from scp.archive.deliver import Outgoing
from scp.dimse.exchange import Exchange
from scp.dimse.scu.carrier import Carrier
from scp.dimse.scu.fetch_ahead import Work
from scp.dimse.services.suboperations import Suboperations
from scp.dimse.wire.messages import Message, read_command, write_command
from scp.dimse.wire.upper_layer import Ended
from scp.metrics.board import ShownAssociation
from scp.model import Instance
from scp.telemetry import RequestEvent

BETWEEN = "scp.dimse.services.suboperations._BETWEEN_SECONDS"


@pytest.fixture(autouse=True)
def _each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending responses have no time between them."""
    monkeypatch.setattr(BETWEEN, 0.0)


def instances(count: int) -> list[Instance]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Instance("1", str(n), "2", "3", f"key{n}", "zstd", "4", 1, "", "4", 1, "", when, "A", "")
        for n in range(count)
    ]


class Requester:
    """An exchange: keeps what it is told, while it reads."""

    transfer_syntax = "1.2.840.10008.1.2.1"

    def __init__(self, reads: int = 1000, stays: int = 1000) -> None:
        self.reads, self.stays = reads, stays
        self.told: list[tuple[int, Any]] = []
        self.cancelled = self.stopping = False
        self.association = SimpleNamespace(shown=ShownAssociation())

    @property
    def is_read(self) -> bool:
        self.reads -= 1
        return self.reads >= 0

    def respond(self, status: int, *, counts: Any = None, **_: Any) -> None:
        self.stays -= 1
        if self.stays < 0:
            raise Ended("lost")
        self.told.append((status, counts))


class Layer:
    """Takes every message."""

    def send(self, _context: int, _command: Any, chunks: Any) -> None:
        for _ in chunks:
            pass


class Taking(Carrier):
    """Answers whatever flies, the last one first."""

    def __init__(self, window: int) -> None:
        super().__init__({"1": {"4": 1}}, window)
        self.layer = Layer()  # type: ignore[assignment]
        self.most = 0

    def responses(self, wait: bool) -> list[Message]:
        self.most = max(self.most, len(self.flying))
        if not wait:
            return []
        answers = [{"MessageIDBeingRespondedTo": number, "Status": 0} for number in reversed(self.flying)]
        return [Message(1, answer) for answer in answers]


def _fetch(instance: Instance, _: Carrier) -> Outgoing:
    return Outgoing(instance, "4", iter([b"data"]))


def carried(requester: Requester, count: int, window: int = 1) -> tuple[Suboperations, Taking, Work]:
    operations = Suboperations(requester, RequestEvent(), instances(count))  # type: ignore[arg-type]
    carrier, work = Taking(window), Work(instances(count))
    operations.carry(work, carrier, _fetch)
    return operations, carrier, work


@pytest.mark.parametrize("window", [1, 4])
def test_a_requester_that_reads_hears_of_each(window: int) -> None:
    requester = Requester()
    operations, carrier, _ = carried(requester, 10, window)
    operations.finish()
    assert [status for status, _ in requester.told] == [0xFF00] * 9 + [0]
    assert [counts.remaining for _, counts in requester.told] == [*range(9, 0, -1), None]
    assert carrier.most == window
    assert operations.bytes_sent == 40


def test_pending_responses_are_some_time_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first comes at once: it shows a requester that its request is under way."""
    monkeypatch.setattr(BETWEEN, 3600.0)
    requester = Requester()
    operations, _, _ = carried(requester, 10)
    operations.finish()
    assert [(status, counts.remaining) for status, counts in requester.told] == [(0xFF00, 9), (0, None)]


def test_a_requester_that_does_not_read_holds_up_nothing() -> None:
    """Pending responses are left out (PS3.4 C.4.2.3.1); the final one is not."""
    requester = Requester(reads=3)
    operations, _, _ = carried(requester, 10)
    assert operations.completed == 10
    operations.finish()
    assert [status for status, _ in requester.told] == [0xFF00] * 3 + [0]


def test_a_requester_that_goes() -> None:
    requester = Requester(stays=2)
    operations, _, work = carried(requester, 100)
    assert operations.stopped
    assert operations.completed < 10
    assert len(work.left()) == 100 - operations.completed
    with pytest.raises(Ended):
        operations.finish()


def test_cancelled_before_anything_was_sent() -> None:
    requester = Requester()
    requester.cancelled = True
    operations, carrier, work = carried(requester, 5)
    operations.finish()
    assert (carrier.most, len(work.left())) == (0, 5)
    ((status, counts),) = requester.told
    assert (status, counts.remaining, counts.completed) == (0xFE00, 5, 0)


class Encoding(Requester):
    """Writes responses as they go over the wire, through the real exchange; it does not read all of them."""

    def __init__(self) -> None:
        super().__init__(stays=10**9)
        self.asked = 0
        self.encoded: list[dict[str, Any]] = []
        request = Message(1, {"CommandField": 0x0021, "MessageID": 7, "AffectedSOPClassUID": "1.2"})
        context = SimpleNamespace(abstract_syntax="1.2", transfer_syntax=["1.2.840.10008.1.2.1"])
        association = SimpleNamespace(upper_layer=SimpleNamespace(send=self._send))
        self._exchange = Exchange(association, request, context)  # type: ignore[arg-type]
        self.identifier = b""

    @property
    def is_read(self) -> bool:
        self.asked += 1
        return self.asked % 1000 == 0 or self.asked % 65_535 in (*range(70), 65_533, 65_534)

    def _send(self, _context: int, command: dict[str, Any], dataset: Any) -> None:
        self.encoded.append(read_command(write_command(command)))
        self.identifier = b"".join(dataset or ())

    def respond(self, status: int, **more: Any) -> None:
        self._exchange.respond(status, **more)


KINDS = ("Remaining", "Completed", "Failed", "Warning")


@pytest.mark.parametrize("status", [0, 0xB000, 0xA700])
def test_more_than_a_count_can_say(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Counts are US (PS3.7 table E.1-1): of what does not fit, the most that does is said."""
    count = 65_600
    requester, matches = Encoding(), instances(count)
    operations = Suboperations(requester, RequestEvent(), matches)  # type: ignore[arg-type]
    for instance in matches:
        operations._count(instance, status)
    operations.finish()
    numbers = [[one.get(f"NumberOf{kind}Suboperations") for kind in KINDS] for one in requester.encoded]
    kind = {0: 1, 0xB000: 3, 0xA700: 2}[status]
    first = [65_535, 0, 0, 0]
    first[kind] = 1
    assert numbers[0] == first
    assert numbers[-2][0] == 1
    assert {row[kind] for row in numbers[-10:]} == {65_535}
    assert all(0 <= number <= 65_535 for row in numbers[:-1] for number in row)
    assert numbers[-1][0] is None
    assert requester.encoded[-1]["Status"] == {0: 0, 0xB000: 0xB000, 0xA700: 0xA702}[status]
    if status == 0xA700:  # too long for a UI in explicit VR, and UN then (PS3.5 6.2.2)
        named = dcmread(BytesIO(requester.identifier), force=True).FailedSOPInstanceUIDList
        assert named.rstrip(b"\0").decode().split("\\") == [one.sop_instance_uid for one in matches]


def test_what_was_fetched_when_the_association_broke_is_left_for_another() -> None:
    """The first is in flight; the second and the third, in any order, were fetched meanwhile or not begun."""

    class Breaking(Taking):
        def responses(self, wait: bool) -> list[Message]:
            raise Ended("lost")

    of_all = instances(3)
    work, carrier = Work(of_all), Breaking(window=1)
    operations = Suboperations(Requester(), RequestEvent(), of_all)  # type: ignore[arg-type]
    broken = operations.carry(work, carrier, _fetch)
    assert broken == of_all[:1]
    assert sorted(work.left(), key=lambda one: one.sop_instance_uid) == of_all[1:]
    assert carrier.ended is not None
