"""The accept loops of processes that share a socket."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import pytest
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
