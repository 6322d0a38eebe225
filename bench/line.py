"""A line with a delay: what goes in at one end comes out at the other some milliseconds later, in both ways.

Loopback has no way to go, where a hospital's line to another has 2 to 20 ms: what waits for answers shows on
that only.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench.processes import LOOPBACK

_Due = tuple[float, bytes]


@contextmanager
def line_to(port: int, seconds: float) -> Iterator[int]:
    """A port that leads to ``port``, with ``seconds`` each way; its connections end with the block."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        ends: list[socket.socket] = []
        threading.Thread(target=_accept, args=(listening, port, seconds, ends), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for end in ends:
                end.close()


def _accept(listening: socket.socket, port: int, seconds: float, ends: list[socket.socket]) -> None:
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            far = socket.create_connection((LOOPBACK, port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ends += [near, far]
            _join(near, far, seconds)
            _join(far, near, seconds)


def _join(source: socket.socket, target: socket.socket, seconds: float) -> None:
    """Carry bytes one way; the end of the stream is carried as all else is."""
    underway: queue.SimpleQueue[_Due] = queue.SimpleQueue()

    def read() -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 18)
            except OSError:
                data = b""
            underway.put((time.monotonic() + seconds, data))

    def write() -> None:
        with suppress(OSError):
            while True:
                due, data = underway.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()
