"""C-CANCEL and A-ABORT in the middle of requests: they end soon, and the node goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE

from scp.model import Instance

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    PENDING,
    SECONDS,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Sink,
    identifier,
    image,
    until,
)

_ROWS = 5_000
_OBJECTS = 30
_EVERYTHING = identifier("IMAGE", SOPInstanceUID="", StudyInstanceUID="9.8.7", SeriesInstanceUID="9.8.7.1")
_STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> Iterator[RunningNode]:
    """A few objects, and the rows of many more."""
    node = start_shared()
    node.keep(*(image(instance=f"1.2.3.1.{n}", seed=n, InstanceNumber=n) for n in range(1, _OBJECTS + 1)))
    rows = (_row(f"9.8.7.1.{n}") for n in range(_ROWS))
    node.archive.index.record_many((row, {"PatientID": "MANY"}) for row in rows)
    yield node
    until(lambda: not _served(node), "all associations are gone")


def _row(uid: str) -> Instance:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    names = (MR_IMAGE, uid, "9.8.7", "9.8.7.1", f"none/{uid}", "zstd", EXPLICIT)
    return Instance(*names, 1, "0", EXPLICIT, 1, "0", when, "TESTER", "")


def _served(node: RunningNode) -> list[Any]:
    return node.node.server.associations.all()


def test_cancel_a_find(node: RunningNode) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as scu:
        answers = scu.find(STUDY_FIND, _EVERYTHING, cancel_after=5)
        assert answers[-1].status == 0xFE00
        assert len(answers) < _ROWS // 5
        assert scu.echo() == 0


def test_cancel_a_get(node: RunningNode) -> None:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, _STUDY, cancel_after=4)
        assert done.final.status == 0xFE00
        remaining, completed, failed, warning = done.final.counts
        assert (failed, warning) == (0, 0)
        assert completed == len(done.objects) < _OBJECTS
        assert remaining == _OBJECTS - len(done.objects)
        assert len(scu.get(STUDY_GET, _STUDY).objects) == _OBJECTS


def test_cancel_a_move(node: RunningNode) -> None:
    with Sink() as sink, node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
        node.peer("SINK", sink.port)
        done = scu.move(STUDY_MOVE, _STUDY, "SINK", cancel_after=1)
        assert done.final.status == 0xFE00
        remaining, completed, _, _ = done.final.counts
        assert completed == len(sink.arrived) < _OBJECTS
        assert remaining == _OBJECTS - len(sink.arrived)


def test_a_late_cancel_does_not_hit_the_next_request(node: RunningNode) -> None:
    """Many requesters give every request the same message id: a cancel is of the one before it only."""
    query = identifier("STUDY", StudyInstanceUID="1.2.3")
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        for _ in range(3):
            assert [one.status for one in scu.find(STUDY_FIND, query)] == [0xFF00, 0]
            scu.cancel(scu.context(STUDY_FIND))
            scu.message_id = 0


def test_a_cancel_of_another_message_is_ignored(node: RunningNode) -> None:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        scu.cancel(scu.context(STUDY_GET), message_id=77)
        assert scu.get(STUDY_GET, _STUDY).final.status == 0


def test_abort_a_find(node: RunningNode) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        scu.begin(C_FIND(), STUDY_FIND, _EVERYTHING)
        assert scu.message()[1].Status in PENDING
        scu.association.abort()
    _goes_on(node)


def test_abort_a_get(node: RunningNode) -> None:
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        scu.get(STUDY_GET, _STUDY, abort_after=3)
    _goes_on(node)


def test_abort_a_move(node: RunningNode) -> None:
    """Nobody is left to tell: the destination gets no more than what was under way."""
    with Sink() as sink:
        node.peer("SINK", sink.port)
        sink.gate.clear()
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            request = C_MOVE()
            request.MoveDestination = "SINK"
            scu.begin(request, STUDY_MOVE, _STUDY)
            until(lambda: sink.arrived, "the first object arrives")
            scu.association.abort()
        sink.gate.set()
        _goes_on(node)
        assert len(sink.arrived) < _OBJECTS


def test_connection_lost_in_a_get(node: RunningNode) -> None:
    """No A-ABORT, just gone, with an object on its way."""
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        scu.begin(C_GET(), STUDY_GET, _STUDY)
        scu.association.dul.socket.close()
    _goes_on(node)


def test_a_peer_that_does_not_read(start: Starter) -> None:
    """Its answers are not piled up in memory, and it does not hold its association for ever."""
    node = start(limits={"idle_seconds": 1, "dimse_seconds": 1})
    long = {"ImageComments": "X" * 10_000}  # more than the sockets' buffers take
    node.archive.index.record_many((_row(f"9.8.7.1.{n}"), long) for n in range(2000))
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        query = identifier(
            "IMAGE", **{k: _EVERYTHING[k].value for k in ("StudyInstanceUID", "SeriesInstanceUID")}
        )
        query.SOPInstanceUID = query.ImageComments = ""
        scu.association.dul._is_transport_event = lambda: False  # type: ignore[method-assign]
        scu.begin(C_FIND(), STUDY_FIND, query)
        until(lambda: _served(node), "the request is served")
        served = _served(node)[0]
        until(lambda: served not in _served(node), "it is given up", SECONDS)
        scu.association.dul.socket.close()
    _goes_on(node)


def _goes_on(node: RunningNode) -> None:
    node.answers_echo()
    until(lambda: not _served(node), "its association is gone", 10)
