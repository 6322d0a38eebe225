"""Queries that would take a node's memory or time, and what they are answered."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO

import pytest
from pynetdicom.dimse_primitives import C_FIND, N_ACTION

from scp.dimse.verdict import PUSH_INSTANCE
from scp.dimse.wire.assembly import LONGEST_ACTION, LONGEST_IDENTIFIER
from scp.index import sqlite
from scp.model import Instance

from .conftest import RunningNode, Starter
from .peers import DEFLATED, EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, identifier, image, until, written

pytestmark = pytest.mark.peer

_PUSH_MODEL = "1.2.840.10008.1.20.1"


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    node = start_shared()
    node.keep(image(study="1.2.3", PatientID="P1"))
    return node


@pytest.mark.parametrize("model", [STUDY_FIND, STUDY_GET])
@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_too_long_an_identifier_is_refused_and_the_association_goes_on(
    node: RunningNode, model: str, syntax: str
) -> None:
    asked = identifier("STUDY", StudyInstanceUID="1.2.3", PatientComments="A" * (LONGEST_IDENTIFIER + 2))
    with node.scu((model, [syntax])) as scu:
        ask = scu.find if model == STUDY_FIND else lambda *asked: [scu.get(*asked).final]
        (refused,) = ask(model, asked)
        assert refused.status == 0xA900  # PS3.4 table C.4-1
        plain = identifier("STUDY", StudyInstanceUID="1.2.4")
        assert ask(model, plain)[-1].status == 0


@pytest.mark.parametrize("size", [LONGEST_ACTION + 2, 2 << 30], ids=["plain", "deflated"])
def test_too_long_a_request_for_commitment_is_refused(node: RunningNode, size: int) -> None:
    syntax = EXPLICIT if size < 1 << 30 else DEFLATED
    with node.scu((_PUSH_MODEL, [syntax])) as scu:
        for _ in range(2):
            request = N_ACTION()
            request.MessageID, request.ActionTypeID = 1, 1
            request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = _PUSH_MODEL, PUSH_INSTANCE
            request.ActionInformation = BytesIO(bytes(size) if syntax == EXPLICIT else _bomb())
            scu.send(request, scu.context(_PUSH_MODEL))
            assert scu.message()[1].Status == 0x0213  # PS3.7 C.5.9 resource limitation


def _bomb() -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
    data = b"".join([*(deflater.compress(bytes(1 << 20)) for _ in range(100)), deflater.flush()])
    return data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientName": "*A" * 300},
        {"PatientName": "^" * 60_000},
        {"StudyDate": "-" * 100},
        {"StudyDescription": "\\".join("ABC") * 60},
    ],
)
def test_a_key_beyond_bounds_is_refused_by_name(node: RunningNode, keys: dict[str, str]) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        (refused,) = scu.find(STUDY_FIND, written(identifier("STUDY", **keys), EXPLICIT))
        assert refused.status == 0xA900


# -- time ----------------------------------------------------------------------------------------------


@pytest.fixture
def slow(start: Starter, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], RunningNode]:
    """Starts a node whose database would take 20 s for the query :data:`_SLOW`."""

    def started(seconds: float) -> RunningNode:
        node = start(query={"seconds": seconds})
        when = datetime(2026, 1, 1, tzinfo=UTC)
        node.archive.index.record_many(
            (
                Instance(*names, 1, "0", EXPLICIT, 1, "0", when, "TESTER", ""),
                {"ImageType": "ORIGINAL\\PRIMARY"},
            )
            for names in (
                (MR_IMAGE, f"1.2.{n}", "1.2", "1.2.3", f"none/{n}", "zstd", EXPLICIT) for n in range(2000)
            )
        )
        monkeypatch.setattr(sqlite, "matcher_of_like", lambda _: lambda _: time.sleep(0.004))
        return node

    return started


_SLOW = identifier("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", ImageType="*PRIM*")


def test_a_query_that_takes_too_long_is_refused(slow: Callable[[float], RunningNode]) -> None:
    node = slow(0.2)
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        begun = time.monotonic()
        (refused,) = scu.find(STUDY_FIND, _SLOW)
        assert refused.status == 0xA700  # PS3.4 table C.4-1: out of resources
        assert time.monotonic() - begun < 5
        assert scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.3"))[-1].status == 0


def test_a_query_is_cancelled_while_the_database_works(slow: Callable[[float], RunningNode]) -> None:
    node = slow(60.0)
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        begun = time.monotonic()
        scu.cancel(scu.begin(C_FIND(), STUDY_FIND, _SLOW))
        assert scu.message()[1].Status == 0xFE00
        assert time.monotonic() - begun < 5


def test_a_query_ends_with_its_peer(slow: Callable[[float], RunningNode]) -> None:
    node = slow(60.0)
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        scu.begin(C_FIND(), STUDY_FIND, _SLOW)
        until(lambda: any(one.busy for one in node.node.server.associations.all()), "it is served")
        scu.association.dul.socket.close()
    until(lambda: not node.node.server.associations.all(), "it is gone", 5)


def test_a_query_does_not_hold_up_a_node_that_stops(slow: Callable[[float], RunningNode]) -> None:
    node = slow(60.0)
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        scu.begin(C_FIND(), STUDY_FIND, _SLOW)
        until(lambda: any(one.busy for one in node.node.server.associations.all()), "it is served")
        begun = time.monotonic()
        node.node.server.stop()
        assert time.monotonic() - begun < 5
        assert scu.message()[1].Status == 0xA700
