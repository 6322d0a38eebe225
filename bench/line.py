"""A line with a delay, and a width: what goes in at one end comes out at the other later, in both ways.

Loopback has no way to go, where a hospital's line to another has 2 to 20 ms, and one to a home 5 Mbit/s: what
waits for answers, or for bytes, shows on that only. When a byte is due is computed, not left to the machine.
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
_PIECE = 1 << 18
# What a line with a width takes at once, and how many seconds of it wait before more is taken from a sender.
_NARROW_PIECE, _WAITING = 4096, 0.05


class _Way:
    """One way of a line, which all connections share; without a width only the delay counts."""

    def __init__(self, seconds: float, bits_per_second: float | None) -> None:
        self._seconds, self._rate = seconds, bits_per_second
        self._free, self._lock = 0.0, threading.Lock()
        self.piece = _PIECE if bits_per_second is None else _NARROW_PIECE

    def due(self, size: int) -> float:
        """When so many bytes that are sent now are at the other end."""
        now = time.monotonic()
        if self._rate is None:
            return now + self._seconds
        with self._lock:
            self._free = max(self._free, now) + 8 * size / self._rate
            return self._free + self._seconds

    def wait(self) -> None:
        """Until the line takes more."""
        if self._rate is not None:
            time.sleep(max(0.0, self._free - time.monotonic() - _WAITING))


@contextmanager
def line_to(port: int, seconds: float, bits_per_second: float | None = None) -> Iterator[int]:
    """A port that leads to ``port``, with ``seconds`` each way; its connections end with the block."""
    ways = _Way(seconds, bits_per_second), _Way(seconds, bits_per_second)
    with socket.create_server((LOOPBACK, 0)) as listening:
        ends: list[socket.socket] = []
        threading.Thread(target=_accept, args=(listening, port, ways, ends), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for end in ends:
                end.close()


def _accept(listening: socket.socket, port: int, ways: tuple[_Way, _Way], ends: list[socket.socket]) -> None:
    there, back = ways
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            far = socket.create_connection((LOOPBACK, port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ends += [near, far]
            _join(near, far, there)
            _join(far, near, back)


def _join(source: socket.socket, target: socket.socket, way: _Way) -> None:
    """Carry bytes one way; the end of the stream is carried as all else is."""
    underway: queue.SimpleQueue[_Due] = queue.SimpleQueue()

    def read() -> None:
        data = b"-"
        while data:
            way.wait()
            try:
                data = source.recv(way.piece)
            except OSError:
                data = b""
            underway.put((way.due(len(data)), data))

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
