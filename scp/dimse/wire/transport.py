"""A connected socket, plain or TLS: blocking reads into a buffer, gathered writes, each with a time-out.

A plain socket blocks in the kernel with SO_RCVTIMEO and SO_SNDTIMEO: Python's own time-outs would put a
poll() before each recv() and an ioctl() before that, three system calls instead of one.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence

from scp.spool import Buffer

_TIMEVAL = struct.Struct("ll")
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# Linux takes 1024 buffers in one sendmsg() (IOV_MAX); POSIX promises 16, but no system takes fewer than this.
MOST_BUFFERS = 1000
# A time-out is not set again where it is at most a tenth longer than what is wanted. It may be shorter, down
# to a tenth: the read begins anew. So the waits for a message (300 s) and for its rest (60 s) share one.
_LONGER, _SHORTER = 1.1, 0.1


class Transport:
    """One connection. Raises TimeoutError where a peer sends or takes nothing in its time, else OSError.

    ``idle_seconds`` bounds a write: a peer that takes nothing, or too little of it, for so long.
    """

    def __init__(self, sock: socket.socket, idle_seconds: float) -> None:
        self._socket = sock
        self._idle = idle_seconds
        self._receives_within = 0.0
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._prepare()

    def _prepare(self) -> None:
        self._socket.settimeout(None)
        self._set_timeout(socket.SO_SNDTIMEO, self._idle)

    def _set_timeout(self, option: int, seconds: float) -> None:
        whole, part = divmod(max(seconds, 0.001), 1)  # 0 would be no time-out
        self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(whole), int(part * 1e6)))

    def read_into(self, view: memoryview, until: float) -> int:
        """Wait for bytes until the monotonic time ``until``; how many came, 0 at the end of the stream."""
        while (left := until - time.monotonic()) > 0:
            if not _SHORTER * left <= self._receives_within <= _LONGER * left:
                self._set_timeout(socket.SO_RCVTIMEO, left)
                self._receives_within = left
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                continue
        raise TimeoutError

    def read_now(self, view: memoryview) -> int | None:
        """What is there already: how many bytes, 0 at the end of the stream, None where nothing is."""
        try:
            return self._socket.recv_into(view, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Send all buffers in their order, without joining them."""
        until = time.monotonic() + self._idle
        rest = list(buffers)
        while rest:
            try:
                # Blocking: fewer bytes than asked for means that its time was up, or a signal came.
                sent = self._socket.sendmsg(rest[:MOST_BUFFERS])
            except BlockingIOError:
                raise TimeoutError from None
            rest = unsent(rest, sent)
            if rest and time.monotonic() > until:
                raise TimeoutError

    def write_now(self, data: bytes) -> None:
        """Send a few bytes if they can be taken at once; best effort."""
        self._socket.send(data, socket.MSG_DONTWAIT)

    def takes_more(self) -> bool:
        """Whether a short message could be sent without waiting for the peer to read."""
        poll = select.poll()  # not select: that one knows no descriptor above 1023
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(0))

    def quickack(self) -> None:
        """Ask again for acknowledgements at once: a sender with Nagle on waits 40 ms for each otherwise."""
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """End the stream; a thread that is blocked in a read or a write returns.

        The descriptor stays: closed by another thread, its number might be another connection's by then.
        """
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: it forgets TLS, and the reader would be given the encrypted bytes.
            socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        """End the stream and give the descriptor back; only by the thread that reads."""
        self.shutdown()
        self._socket.close()


class TlsTransport(Transport):
    """The same over TLS: a non-blocking socket, and one thread at a time in OpenSSL.

    A connection's state in OpenSSL must not be used by two threads at once, so a thread that waits for
    the peer waits outside of the lock, in poll().
    """

    _socket: ssl.SSLSocket

    def _prepare(self) -> None:
        self._socket.setblocking(False)
        self._turn = threading.Lock()

    def read_into(self, view: memoryview, until: float) -> int:
        """As :meth:`Transport.read_into`."""
        while True:
            waits_for = select.POLLIN
            try:
                with self._turn:
                    return self._socket.recv_into(view)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLWantWriteError:
                waits_for = select.POLLOUT
            self._wait(waits_for, until)

    def read_now(self, view: memoryview) -> int | None:
        """As :meth:`Transport.read_now`; half a record, or one of TLS itself, is nothing yet."""
        try:
            with self._turn:
                return self._socket.recv_into(view)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Send all buffers; joined, as each piece would become a record of its own (RFC 8446 5.1)."""
        until = time.monotonic() + self._idle
        rest = memoryview(b"".join(buffers))
        while rest:
            waits_for = select.POLLOUT
            try:
                with self._turn:
                    rest = rest[self._socket.send(rest) :]
                continue
            except ssl.SSLWantWriteError:
                pass
            except ssl.SSLWantReadError:
                waits_for = select.POLLIN
            self._wait(waits_for, until)

    def write_now(self, data: bytes) -> None:
        """As :meth:`Transport.write_now`."""
        with self._turn, contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._socket.send(data)

    def _wait(self, events: int, until: float) -> None:
        left = until - time.monotonic()
        poll = select.poll()
        poll.register(self._socket, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError

    def close(self) -> None:
        """As :meth:`Transport.close`, with the alert that says so (RFC 8446 6.1) where it can be sent."""
        with self._turn, contextlib.suppress(OSError, ValueError):
            self._socket.unwrap()
        super().close()


def transport_over(sock: socket.socket, idle_seconds: float) -> Transport:
    """The transport that a socket needs."""
    return (TlsTransport if isinstance(sock, ssl.SSLSocket) else Transport)(sock, idle_seconds)


def unsent(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """What is left of ``buffers`` after their first ``sent`` bytes."""
    for number, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[number + 1 :]]
        sent -= len(buffer)
    return []
