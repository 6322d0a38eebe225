"""The listener and its limits, with an archive that nobody asks."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from waiting import until

from bench import window
from scp.config.settings import Settings
from scp.dimse import server as server_module
from scp.dimse.associations import Associations
from scp.dimse.negotiation.listener import bound
from scp.dimse.negotiation.ports import Port
from scp.dimse.negotiation.window import Window, granted
from scp.dimse.seats import Holder, OwnSeats, SeatLimit, SeatLimits, Seats
from scp.dimse.server import DimseServer
from scp.metrics import counting
from scp.metrics.contacts import Contacts
from scp.node.seats import SharedSeats

pytestmark = pytest.mark.quick

CONTEXTS = [("1.2.840.10008.1.1", window.IMPLICIT)]
ECHO = {"CommandField": 0x0030, "MessageID": 1, "AffectedSOPClassUID": "1.2.840.10008.1.1"}


def settings(**limits: Any) -> Settings:
    tables = {"node": {"host": "127.0.0.1", "port": 0}, "limits": limits}
    return Settings.model_validate(tables, by_alias=True, by_name=False)


@pytest.fixture
def servers() -> Iterator[list[DimseServer]]:
    started: list[DimseServer] = []
    yield started
    for server in started:
        server.stop()
        assert server.associations.all() == []


def echo(address: tuple[str, int]) -> int:
    with window.Scu(address, CONTEXTS, seconds=10) as scu:
        scu.socket.sendall(window.message(1, dict(ECHO)))
        status = scu.response()["Status"]
        scu.release()
    assert isinstance(status, int)
    return status


class Full:
    """Seats that are all taken."""

    free = 0
    back = 0

    def take(self, holder: Holder) -> SeatLimit | None:
        assert holder.address == "127.0.0.1"
        self.free -= 1
        return None if self.free >= 0 else "associations"

    def give_back(self, _: Holder) -> None:
        self.back += 1


def test_an_inherited_socket(servers: list[DimseServer]) -> None:
    """Two servers, as two processes would, on one listening socket: each connection is served once."""
    first = bound("127.0.0.1", 0)
    second = socket.socket(fileno=os.dup(first.fileno()))
    chosen = settings()
    addresses = []
    for listening in (first, second):
        servers.append(DimseServer(None, lambda: chosen))  # type: ignore[arg-type]
        addresses.append(servers[-1].start([Port(listening, secure=False)]))
    assert addresses[0] == addresses[1]
    assert [echo(addresses[0]) for _ in range(20)] == [0] * 20
    servers[0].stop()
    assert [echo(addresses[0]) for _ in range(5)] == [0] * 5


def test_seats_of_another(servers: list[DimseServer]) -> None:
    """Taken before an association is accepted, and given back once for each that was."""
    seats = Full()
    servers.append(DimseServer(None, settings, seats))  # type: ignore[arg-type]
    address = servers[0].start()
    with pytest.raises(ConnectionError, match="type 3: 00020302"):
        echo(address)
    assert seats.back == 0
    seats.free = 2
    assert [echo(address), echo(address)] == [0, 0]
    until(lambda: seats.back == 2)


def test_who_came_and_who_was_refused_is_counted_by_ae_title(
    servers: list[DimseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts = Contacts()
    monkeypatch.setattr(counting, "_contacts", contacts)
    chosen = settings()
    servers.append(DimseServer(None, lambda: chosen))  # type: ignore[arg-type]
    address = servers[0].start()
    assert echo(address) == 0
    with pytest.raises(ConnectionError):
        window.Scu(address, CONTEXTS, calling="MISTAKEN", called="ANOTHER")
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(100)
    until(lambda: {"MISTAKEN", ""} <= {one.aet for one in contacts.all()})
    found = {one.aet: one for one in contacts.all()}
    assert (found["MISTAKEN"].refused, found["MISTAKEN"].address) == (1, "127.0.0.1")
    assert found["MISTAKEN"].reason == "ANOTHER is neither node.aet nor one of node.aliases"
    assert found[""].reason == "an HTTP request: this port speaks DICOM"
    (came,) = (one for one in found.values() if one.aet not in ("", "MISTAKEN"))
    assert (came.associations, came.requests, came.refused) == (1, 1, 0)


def test_own_seats_follow_the_limit() -> None:
    limits = SeatLimits(1, 9, 9)
    seats, one = OwnSeats(lambda: limits), Holder("ONE", "10.0.0.1")
    assert [seats.take(one), seats.take(one)] == [None, "associations"]
    limits = SeatLimits(2, 9, 9)
    assert [seats.take(one), seats.take(one)] == [None, "associations"]
    seats.give_back(one)
    assert seats.take(one) is None


@pytest.mark.parametrize("make", [lambda limits: OwnSeats(lambda: limits), SharedSeats])
def test_one_peer_leaves_room_for_others(make: Callable[[SeatLimits], Seats]) -> None:
    """By its AE title from anywhere, and by its address under any AE title."""
    seats = make(SeatLimits(10, 2, 3))
    one, other = Holder("ONE", "10.0.0.1"), Holder("OTHER", "10.0.0.1")
    assert [seats.take(one) for _ in range(3)] == [None, None, "associations_by_aet"]
    assert [seats.take(other) for _ in range(2)] == [None, "associations_by_address"]
    assert seats.take(one._replace(address="10.0.0.2")) == "associations_by_aet"
    assert seats.take(Holder("THIRD", "10.0.0.3")) is None
    seats.give_back(one)
    assert [seats.take(other), seats.take(one)] == [None, "associations_by_address"]


def test_a_peer_that_takes_all_its_places(
    servers: list[DimseServer], reached: Callable[[str], float]
) -> None:
    """Others associate all the while; its rejection names the key, and is counted."""
    chosen = settings(associations=8, associations_by_aet=2)
    servers.append(DimseServer(None, lambda: chosen))  # type: ignore[arg-type]
    address = servers[0].start()
    held = [window.Scu(address, CONTEXTS, calling="GREEDY") for _ in range(2)]
    with structlog.testing.capture_logs() as events:
        for _ in range(3):
            with pytest.raises(ConnectionError, match="type 3: 00020302"):
                window.Scu(address, CONTEXTS, calling="GREEDY")
            assert echo(address) == 0
        until(lambda: len(servers[0].associations.all()) == 2)
    told = [event for event in events if event["event"] == "association rejected"]
    assert {(one["limit"], one["calling_aet"]) for one in told} == {("limits.associations_by_aet", "GREEDY")}
    assert reached("limits.associations_by_aet") == 3
    for one in held:
        one.socket.close()


def test_the_silent_take_no_seat(servers: list[DimseServer]) -> None:
    servers.append(DimseServer(None, lambda: settings(associations=1, acse_seconds=0.5)))  # type: ignore[arg-type]
    address = servers[0].start()
    silent = [socket.create_connection(address) for _ in range(20)]
    assert echo(address) == 0
    until(lambda: not servers[0].associations.all())
    assert all(one.recv(1) == b"" for one in silent)


def test_too_many_that_do_not_associate(servers: list[DimseServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """They have their number and their time; then there is room again."""
    monkeypatch.setattr(server_module, "MOST_UNASSOCIATED", 3)
    chosen = settings(acse_seconds=1.0)
    servers.append(DimseServer(None, lambda: chosen))  # type: ignore[arg-type]
    address = servers[0].start()
    silent = [socket.create_connection(address) for _ in range(3)]
    until(lambda: servers[0].associations.unseated("127.0.0.1") == (3, 3))
    refused = socket.create_connection(address)
    assert refused.recv(1) == b""
    until(lambda: not servers[0].associations.all())
    assert echo(address) == 0
    for one in silent:
        one.close()


def test_one_address_leaves_room_for_others(
    servers: list[DimseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with TLS handshakes that stall."""
    monkeypatch.setattr(server_module, "MOST_OF_ONE_ADDRESS", 3)
    chosen = settings(acse_seconds=20.0, associations_by_address=1)
    servers.append(DimseServer(None, lambda: chosen))  # type: ignore[arg-type]
    address = servers[0].start()
    silent = [socket.create_connection(address, source_address=("127.0.0.2", 0)) for _ in range(3)]
    until(lambda: servers[0].associations.unseated("127.0.0.2") == (3, 3))
    with socket.create_connection(address, 5, source_address=("127.0.0.2", 0)) as refused:
        assert refused.recv(1) == b""
    assert echo(address) == 0
    for one in silent:
        one.close()


def test_who_comes_as_it_stops_is_not_served(servers: list[DimseServer], monkeypatch: Any) -> None:
    """Its store would meet an archive that is closed, and be answered as if the object were at fault."""
    server = DimseServer(None, settings)  # type: ignore[arg-type]  # nobody asks it
    servers.append(server)
    address = server.start()
    make, accepted, stopped = server._association, threading.Event(), threading.Event()

    def making(*given: Any) -> Any:
        accepted.set()
        assert stopped.wait(10)
        return make(*given)

    monkeypatch.setattr(server, "_association", making)
    with socket.create_connection(address, timeout=10) as peer:
        assert accepted.wait(10)
        server.stop()
        stopped.set()
        assert peer.recv(1) == b""


def test_nobody_wakes_up_but_for_a_sign_of_life(servers: list[DimseServer], monkeypatch: Any) -> None:
    waits: list[Any] = []
    original = select.poll

    class Poll:
        def __init__(self) -> None:
            self._poll = original()

        def register(self, *what: Any) -> None:
            self._poll.register(*what)

        def poll(self, *time_out: Any) -> Any:
            waits.append(time_out)
            return self._poll.poll(*time_out)

    monkeypatch.setattr(select, "poll", Poll)
    servers.append(DimseServer(None, settings))  # type: ignore[arg-type]
    servers[0].start()
    threading.Event().wait(0.3)
    assert waits == [(1000,)], "the sign of life"
    servers[0].stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "listener"]


# -- the threads of a window -------------------------------------------------------------------------------


@pytest.mark.parametrize(("proposed", "limit", "agreed"), [(0, 16, 16), (3, 16, 3), (99, 16, 16), (5, 1, 1)])
def test_granted(proposed: int, limit: int, agreed: int) -> None:
    assert granted(proposed, limit) == agreed


def test_threads_are_made_when_they_are_needed() -> None:
    window_ = Window(3, "test")
    done: list[int] = []
    for number in range(5):
        window_.wait_for_room()
        window_.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        window_.drain()
    assert done == [0, 1, 2, 3, 4]
    assert len(window_._threads) == 1
    gate = threading.Event()
    for _ in range(3):
        window_.submit(lambda: gate.wait(10) and None)
    assert window_.outstanding == 3
    waiting = threading.Thread(target=window_.wait_for_room)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    gate.set()
    waiting.join(10)
    window_.drain()
    window_.close()
    assert not any(thread.is_alive() for thread in window_._threads)


def test_what_was_not_begun_is_dropped() -> None:
    window_, gate, done = Window(1, "test"), threading.Event(), []
    window_.submit(lambda: gate.wait(10) and None)
    window_.submit(lambda: done.append(1))
    until(lambda: len(window_._jobs) == 1)
    threading.Timer(0.1, gate.set).start()
    window_.close()
    assert (done, window_.outstanding) == ([], 0)


def test_a_machine_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is served all the same, by the thread that read it."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    window_, done = Window(4, "test"), []
    for number in range(3):
        window_.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    window_.drain()
    window_.close()
    assert done == [0, 1, 2]


_V6, _V4 = (socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))


@pytest.mark.parametrize(
    ("found", "family"),
    [([_V6, _V4], socket.AF_INET), ([_V4, _V6], socket.AF_INET), ([_V6], socket.AF_INET6)],
)
def test_a_name_with_both_kinds_of_address_listens_on_ipv4(
    monkeypatch: pytest.MonkeyPatch, found: list[Any], family: int
) -> None:
    """IPv4 modalities are not refused because the name has an IPv6 address too."""
    answer = [(one, socket.SOCK_STREAM, 0, "", address) for one, address in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with bound("a-name", 0) as made:
        assert made.family == family


def test_a_network_of_ipv6_is_one_address_among_those_that_do_not_associate() -> None:
    """A machine there has as many addresses as it likes: each would have a quarter of all places."""
    held = Associations()
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "10.0.0.7", "::ffff:10.0.0.7"):
        connected = Mock(seated=False)
        connected.requestor.address_info.address = address
        held.add(connected)
    assert held.unseated("2001:db8::3") == (5, 2)
    assert held.unseated("10.0.0.7") == (5, 2)
    assert held.unseated("10.0.0.8") == (5, 0)
