"""The accept loops of processes that share a socket."""

from __future__ import annotations

import errno
import socket
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from waiting import until

from scp.dimse.negotiation import listener
from scp.dimse.negotiation.listener import Listener, bound

pytestmark = pytest.mark.quick


def test_the_process_with_fewer_associations_accepts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_HOLD_BACK_MS", 500)  # whatever else this machine does
    monkeypatch.setattr(listener, "_LONGEST_HOLD_BACK_MS", 2000)
    listening = bound("127.0.0.1", 0)
    listening.listen(8)
    taken: Counter[str] = Counter()
    served, open_sockets = threading.Lock(), []

    def of(name: str) -> Listener:
        def serve(sock: socket.socket, _: tuple[str, int]) -> None:
            with served:
                taken[name] += 1
                open_sockets.append(sock)

        return Listener(listening.dup(), serve, lambda: taken[name])

    both = [of("one"), of("other")]
    try:
        for number in range(4):
            open_sockets.append(socket.create_connection(listening.getsockname(), 10))
            until(lambda number=number: taken.total() == number + 1, "it is accepted")
        assert taken == {"one": 2, "other": 2}
    finally:
        for each in both:
            each.stop()
        for one in [*open_sockets, listening]:
            one.close()


class NoThread:
    """One for which the system has no room."""

    def __init__(self, **_: Any) -> None: ...

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_a_connection_without_a_thread_is_told_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer sees a connection that ends without an answer: the log has to say why."""
    listening = bound("127.0.0.1", 0)
    listening.listen(8)
    address = listening.getsockname()
    stopped = Listener(listening, lambda sock, _: sock.close())
    monkeypatch.setattr(listener, "threading", SimpleNamespace(Thread=NoThread))
    try:
        with structlog.testing.capture_logs() as logged, socket.create_connection(address, 10) as peer:
            assert peer.recv(1) == b""
    finally:
        stopped.stop()
    assert [(one["event"], one["peer"], one["reason"]) for one in logged] == [
        ("connection refused", "127.0.0.1", "can't start new thread")
    ]


class Exhausted(socket.socket):
    """A listening socket whose process has no descriptor left, for the first ``fails`` times."""

    fails = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_connections_that_wait_for_a_descriptor_are_told_once_and_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_RECOVER_MS", 10)
    listening = Exhausted(fileno=bound("127.0.0.1", 0).detach())
    listening.listen(8)
    address = listening.getsockname()
    stopped = Listener(listening, lambda sock, _: sock.close())
    try:
        with structlog.testing.capture_logs() as logged, socket.create_connection(address, 10) as peer:
            assert peer.recv(1) == b""
    finally:
        stopped.stop()
    assert listening.fails == 0
    assert [(one["event"], one["reason"]) for one in logged] == [
        ("connections wait", "[Errno 24] Too many open files")
    ]


def test_a_node_that_stops_tells_of_no_connections_that_wait() -> None:
    """It ends its listening sockets, of which each process has a copy (scp/node/service.py)."""
    listening = bound("127.0.0.1", 0)
    listening.listen(8)
    with structlog.testing.capture_logs() as logged, listening.dup() as another:
        stopped = Listener(listening, lambda sock, _: sock.close())
        another.shutdown(socket.SHUT_RDWR)
        stopped.turned.clear()
        until(stopped.turned.is_set)
        stopped.stop()
    assert logged == []
