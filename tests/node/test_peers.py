"""The peers of a node as an admin looks at them: configured, seen, refused, waited for, asked by C-ECHO."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from scp.background.lookup import LookedUp
from scp.config.settings import Settings
from scp.dimse.server import DimseServer
from scp.errors import DestinationUnknown
from scp.index.index import SenderCount
from scp.index.queue import SendSum
from scp.metrics.contacts import Contact
from scp.node.peers import OTHERS, PeersDesk, peer_rows

pytestmark = pytest.mark.quick

WHEN = datetime(2026, 11, 29, tzinfo=UTC)
WAITING = SendSum("WS", "to the station", "waiting", 3, 300, WHEN, 1, WHEN, "no answer")


def settings(port: int = 104, **access: Any) -> Settings:
    peer = {"aet": "WS", "host": "127.0.0.1", "port": port, "may": ["find"]}
    return Settings.model_validate(
        {"node": {"host": "127.0.0.1", "port": 0}, "peer": [peer], "access": access}
    )


def test_a_peer_has_what_was_seen_of_it_and_what_waits_for_it() -> None:
    seen = Contact(
        "WS", "10.0.0.1", WHEN.timestamp(), 4, 5, 600, 70, 1, WHEN.timestamp(), "not among addresses"
    )
    station, others = peer_rows(settings(), [SenderCount("WS", 9, WHEN)], [WAITING], [seen])
    assert (station.aet, station.configured, station.may, station.objects) == ("WS", True, ("find",), 9)
    assert station.queue == (WAITING,)
    assert station.contact is not None
    assert (station.contact.last, station.contact.refused_at, station.contact.reason) == (
        WHEN,
        WHEN,
        "not among addresses",
    )
    assert (others.aet, others.contact, others.queue) == (OTHERS, None, ())


def test_who_is_no_peer_is_listed_where_it_was_seen_in_any_way() -> None:
    gone = SendSum("GONE", "rule", "waiting", 1, 1, WHEN, 0, WHEN, "")
    contacts = [Contact("", "10.0.0.9", 1.0, refused=7, reason="scans"), Contact("CALLED", "10.0.0.2", 1.0)]
    rows = peer_rows(settings(allow="known"), [SenderCount("STORED", 1, WHEN)], [gone], contacts)
    assert [row.aet for row in rows] == ["WS", OTHERS, "CALLED", "GONE", "STORED"]
    assert rows[1].contact is not None
    assert (rows[1].contact.refused, rows[1].may) == (7, ())
    assert [row.aet for row in peer_rows(settings(allow="known"), [])] == ["WS"]


@pytest.fixture
def listening() -> Iterator[int]:
    chosen = Settings.model_validate({"node": {"aet": "WS", "host": "127.0.0.1", "port": 0}})
    server = DimseServer(None, lambda: chosen)  # type: ignore[arg-type]
    yield server.start()[1]
    server.stop()


def desk(port: int) -> PeersDesk:
    chosen = settings(port)
    return PeersDesk(lambda: chosen, LookedUp, LookedUp, list)


def test_a_peer_that_answers_an_echo(listening: int) -> None:
    found = desk(listening).echo("WS")
    assert (found.answered, found.fault, found.aet) == (True, "", "WS")
    assert found.seconds > 0


def test_a_peer_that_does_not_is_said_to_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = desk(silent.getsockname()[1]).echo("WS", seconds=0.2)
    assert not found.answered
    assert "does not answer" in found.fault
    with pytest.raises(DestinationUnknown, match=r"no \[\[peer\]\]"):
        desk(104).echo("ELSE")
