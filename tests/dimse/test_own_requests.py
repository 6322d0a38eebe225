"""Requests of this side on an association that the peer opened: each finds its response, or its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scp.dimse.own_requests import OwnRequests
from scp.dimse.wire.messages import N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP, Message
from scp.dimse.wire.upper_layer import Ended

pytestmark = pytest.mark.quick

_REQUEST = {"CommandField": N_EVENT_REPORT_RQ}


class Layer:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.changed = threading.Condition()
        self.fault: Exception | None = None

    def send(self, context_id: int, command: dict[str, Any], dataset: Any) -> None:
        if self.fault is not None:
            raise self.fault
        with self.changed:
            self.sent.append(command["MessageID"])
            self.changed.notify_all()

    def number(self, place: int) -> int:
        """The Message ID of a request, once it was sent."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.sent) > place, 20)
        return self.sent[place]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def response(number: int, status: int = 0, field: int = N_EVENT_REPORT_RSP) -> Message:
    return Message(1, {"CommandField": field, "MessageIDBeingRespondedTo": number, "Status": status})


def test_responses_find_their_requests_in_any_order(pool: ThreadPoolExecutor) -> None:
    own, layer = OwnRequests(), Layer()
    first = pool.submit(own.send, layer, 1, _REQUEST, (b"",), 20)
    layer.number(0)
    second = pool.submit(own.send, layer, 1, _REQUEST, (b"",), 20)
    assert layer.number(1) != layer.number(0)
    own.take(response(layer.number(1), 2))
    own.take(response(layer.number(0), 1))
    assert [one.result(20).number("Status") for one in (first, second)] == [1, 2]


def test_what_answers_nothing_means_nothing(pool: ThreadPoolExecutor) -> None:
    own, layer = OwnRequests(), Layer()
    own.take(response(1))
    waiting = pool.submit(own.send, layer, 1, _REQUEST, (b"",), 20)
    number = layer.number(0)
    own.take(response(number + 1, 1))
    own.take(response(number, 1, field=N_EVENT_REPORT_RQ))  # no response
    own.take(response(number, 7))
    assert waiting.result(20).number("Status") == 7


def test_the_end_of_the_association_ends_the_waiting(pool: ThreadPoolExecutor) -> None:
    own, layer = OwnRequests(), Layer()
    waiting = pool.submit(own.send, layer, 1, _REQUEST, (b"",), 20)
    layer.number(0)
    assert not own.over
    own.end()
    with pytest.raises(Ended):
        waiting.result(20)
    assert own.over
    assert own.wait_for_end(20)
    with pytest.raises(Ended):
        own.send(layer, 1, _REQUEST, (b"",), 20)  # type: ignore[arg-type]
    assert len(layer.sent) == 1


def test_no_response_in_time() -> None:
    own = OwnRequests()
    with pytest.raises(Ended) as caught:
        own.send(Layer(), 1, _REQUEST, (b"",), 0.01)  # type: ignore[arg-type]
    assert caught.value.how == "idle"


def test_what_cannot_be_sent_is_not_waited_for() -> None:
    own, layer = OwnRequests(), Layer()
    layer.fault = Ended("lost")
    with pytest.raises(Ended) as caught:
        own.send(layer, 1, _REQUEST, (b"",), 20)  # type: ignore[arg-type]
    assert caught.value is layer.fault
