"""Peers behind a load balancer, which says by the PROXY protocol for whom it connects."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from certificates import Authority, client
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bench import window
from scp.dimse.negotiation.proxied import announced_peer
from scp.errors import MalformedAssociation

from .conftest import RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, VERIFICATION, Scu, until

PROXY = ("127.0.0.1", 4711)
BINARY = b"\r\n\r\n\0\r\nQUIT\n"


def binary(command: int, family: int, rest: bytes) -> bytes:
    return BINARY + struct.pack(">BBH", command, family, len(rest)) + rest


def tcp4(source: str, port: int = 104, more: bytes = b"") -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", port, 11112)
    return binary(0x21, 0x11, addresses + more)


V6 = socket.inet_pton(socket.AF_INET6, "fd00::7") + bytes(16) + struct.pack(">HH", 104, 11112)
HEADERS = {
    tcp4("10.9.9.9"): ("10.9.9.9", 104),
    tcp4("10.9.9.9", more=b"\x03\0\4abcd"): ("10.9.9.9", 104),
    binary(0x21, 0x21, V6): ("fd00::7", 104),
    binary(0x20, 0x00, b""): PROXY,
    b"PROXY TCP4 10.9.9.9 10.0.0.1 104 11112\r\n": ("10.9.9.9", 104),
    b"PROXY TCP6 fd00::7 fd00::1 65535 11112\r\n": ("fd00::7", 65535),
    b"PROXY UNKNOWN\r\n": PROXY,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": PROXY,
}
WRONG = {
    b"\1\0\0\0\0\x44\0\1\0\0ZSCP".ljust(74): "no PROXY header from 127.0.0.1",
    binary(0x21, 0x12, bytes(12)): "something else than TCP",
    binary(0x31, 0x11, bytes(12)): "something else than TCP",
    binary(0x21, 0x11, bytes(11)): "something else than TCP",
    tcp4("10.9.9.9")[:20]: "not whole",
    b"PROXY TCP4 10.9.9.9 10.0.0.1 104\r\n": "cannot be read",
    b"PROXY TCP4 ward 10.0.0.1 104 11112\r\n": "cannot be read",
    b"PROXY TCP4 fd00::7 fd00::1 104 11112\r\n": "contradicts itself",
    b"PROXY TCP4 10.9.9.9 10.0.0.1 65536 11112\r\n": "contradicts itself",
    b"PROXY TCP4 " + b"1" * 200: "does not end",
}


def announced(data: bytes, seconds: float = 20) -> tuple[tuple[str, int], bytes]:
    """What is read from a connection with ``data``, and what is left there."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return announced_peer(ours, PROXY, seconds), ours.recv(1000)


@pytest.mark.parametrize("header", HEADERS)
def test_headers_are_read_and_nothing_behind_them(header: bytes) -> None:
    assert announced(header + b"\1\0rest") == (HEADERS[header], b"\1\0rest")


@pytest.mark.parametrize("header", WRONG)
def test_what_is_no_header_is_refused(header: bytes) -> None:
    with pytest.raises(MalformedAssociation, match=WRONG[header]):
        announced(header)


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda rest: BINARY + rest)))
def test_any_bytes_are_an_address_or_refused(data: bytes) -> None:
    try:
        (host, port), _ = announced(data)
    except (MalformedAssociation, ConnectionAbortedError):
        return
    assert host
    assert 0 <= port <= 65535


def test_a_header_that_does_not_come() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        theirs.sendall(BINARY)
        with pytest.raises(MalformedAssociation, match="does not come"):
            announced_peer(ours, PROXY, 0.05)


class LoadBalancer:
    """Passes bytes on to a node, behind a header."""

    def __init__(self, node: tuple[str, int]) -> None:
        self.header = b""
        self._node = node
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._node)
            far.sendall(self.header)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def behind() -> Iterator[Callable[[RunningNode], LoadBalancer]]:
    made: list[LoadBalancer] = []

    def make(node: RunningNode) -> LoadBalancer:
        made.append(LoadBalancer(node.address))
        return made[-1]

    yield make
    for one in made:
        one.close()


def echoes(address: tuple[str, int], calling: str = "CT") -> bool:
    try:
        with Scu(address, [(VERIFICATION, [EXPLICIT])], calling=calling) as scu:
            return scu.echo() == 0
    except AssertionError:
        return False


def test_rights_and_limits_are_those_of_the_address_behind(
    start: Starter, behind: Callable[[RunningNode], LoadBalancer]
) -> None:
    node = start(
        node={"proxies": ["127.0.0.1"]},
        access={"allow": "known"},
        peer=[{"aet": "CT", "host": "10.9.9.9", "port": 104, "addresses": ["10.9.9.0/24"]}],
        limits={"associations_by_address": 1},
    )
    balancer = behind(node)
    balancer.header = tcp4("10.9.9.9")
    with capture_logs() as logged, Scu(balancer.address, [(VERIFICATION, [EXPLICIT])], calling="CT") as scu:
        assert scu.echo() == 0
        assert not echoes(balancer.address), "one address has one association"
        balancer.header = tcp4("10.9.9.10")
        assert echoes(balancer.address)
        balancer.header = tcp4("10.8.0.1")
        assert not echoes(balancer.address), "none of its addresses"
        assert not echoes(node.address), "a load balancer that sends no header"
        until(lambda: [one for one in logged if one["event"] == "connection refused"], "it is logged")
    refused = [one for one in logged if one["event"] == "connection refused"]
    assert [one["peer"] for one in refused] == ["127.0.0.1"]
    assert "send-proxy-v2" in refused[0]["reason"]
    until(lambda: [one for one in logged if one.get("peer") == "10.9.9.9"], "the log names the peer")


def test_others_cannot_say_who_they_are(
    start: Starter, behind: Callable[[RunningNode], LoadBalancer]
) -> None:
    """The header of whoever is not listed is no A-ASSOCIATE-RQ."""
    balancer = behind(start(node={"proxies": ["10.0.0.5"]}))
    balancer.header = tcp4("10.9.9.9")
    assert not echoes(balancer.address)
    balancer.header = b""
    assert echoes(balancer.address)


def test_a_header_before_tls(
    start: Starter, authority: Authority, behind: Callable[[RunningNode], LoadBalancer]
) -> None:
    peer = {"aet": "WINDOW", "host": "10.9.9.9", "port": 104, "addresses": ["10.9.9.9"]}
    node = start(
        node={"proxies": ["127.0.0.0/8"]},
        tls=authority.table(ca=authority.ca),
        peer=[peer],
        access={"allow": "known"},
    )
    balancer = behind(node)
    balancer.header = tcp4("10.9.9.9")
    tls: ssl.SSLContext = client(authority, authority.peer)
    with window.Scu(balancer.address, [(VERIFICATION, IMPLICIT)], window=1, tls=tls, calling="WINDOW") as scu:
        scu.release()
