"""The DICOM upper layer of an established association, on a blocking connection (PS3.8 9).

Nothing here sleeps or polls: a read blocks until the peer has sent something, or its time is up. What
is received goes into one reused buffer, and from there into the message that it belongs to
(:mod:`scp.dimse.wire.assembly`). What is sent goes to the socket as gathered writes of several PDUs
(:mod:`scp.dimse.wire.pdus`).

One thread reads; any may send, a message at a time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal, NoReturn

from scp.dimse.wire.assembly import Assembly, TooSmallPieces
from scp.dimse.wire.messages import NO_DATASET, Message, Value, write_command
from scp.dimse.wire.pdus import (
    ABORT,
    COMMAND,
    HEADER,
    INVALID_VALUE,
    P_DATA,
    PROVIDER,
    RELEASE_RP,
    RELEASE_RQ,
    USER,
    abort_pdu,
    gathered,
    misplaced,
    pdus,
    whole,
)
from scp.dimse.wire.transport import transport_over
from scp.errors import UnreadableDataset, ZscpError
from scp.spool import Buffer

_RELEASE_RP = HEADER.pack(RELEASE_RP, 4) + bytes(4)
_RELEASE_RQ = HEADER.pack(RELEASE_RQ, 4) + bytes(4)
# What has a place in an established association (PS3.8 table 9-10, Sta6), besides an awaited A-RELEASE-RP.
_EXPECTED = frozenset((P_DATA, RELEASE_RQ, ABORT))
# Other PDUs are 4 bytes long once an association is established; 64 KB leaves room for odd peers.
_LONGEST_OTHER = 65_536
# From 128 KB to 1 MB made no difference beyond noise (1.1 to 2.5 ms CPU a MB with hashing), 4 MB took longer.
_SMALLEST_BUFFER = 1 << 18
_UNLIMITED = 1 << 20  # the PDUs for a peer that states no maximum (PS3.8 D.1)
_LINGER_SECONDS = 1.0
# A peer that sends fewer bytes of a message than this within its time, and does not end it, drips: in 60 s
# that is 273 bytes a second. Headers do not count.
_LEAST = 16_384
# At most so many messages are taken at once: a peer that floods must not hold up the request being served.
_MOST_POLLED = 64


# How an association ends, "failed" by our fault; and what the log and the metrics call it (the catalogue).
End = Literal["released", "aborted", "lost", "idle", "stalled", "protocol", "failed", "no request", "no TLS"]
Outcome = Literal[End, "rejected", "ended"]


class Ended(ZscpError):
    """The association is over; ``limit`` is the limit that ended it."""

    def __init__(self, how: End, detail: str = "", limit: str = "") -> None:
        super().__init__(detail or how)
        self.how: End = how
        self.limit = limit


class UpperLayer:
    """Messages in and out of one association.

    ``longest_received`` is the maximum length that this side announced, ``longest_sent`` the peer's
    (0: no limit). ``idle_seconds`` bounds the wait for a peer's next message, and for a peer that does not
    take what is sent; ``stall_seconds`` the wait for some progress within a message that has begun.
    """

    def __init__(
        self,
        sock: socket.socket,
        longest_received: int,
        longest_sent: int,
        idle_seconds: float,
        stall_seconds: float | None = None,
    ) -> None:
        self._transport = transport_over(sock, idle_seconds)
        self._longest_received = longest_received
        self._longest_sent = longest_sent or _UNLIMITED
        self._idle = idle_seconds
        self._stall = idle_seconds if stall_seconds is None else stall_seconds
        self._buffer = bytearray(max(_SMALLEST_BUFFER, 2 * longest_received + 64))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._ready: deque[Message] = deque()
        self._assembly = Assembly(self._ready.append)
        self._sending = threading.Lock()
        self._release_asked = self._releasing = False
        self._over: Ended | None = None

    def receive(self, seconds: float | None = None) -> Message:
        """The next message. Raises Ended."""
        seconds = self._idle if seconds is None else seconds
        self._raise_if_over()
        mark, had, begun = time.monotonic(), self._assembly.payload, self._assembly.begun
        while not self._ready:
            within = min(seconds, self._stall) if begun else seconds
            self._take_pdu(within)
            now, came = time.monotonic(), self._assembly.payload - had
            if now - mark > within and came < _LEAST and not self._ready:
                if begun:
                    raise self._stalled(f"{came} bytes", within)
                raise Ended("idle", f"nothing in {within} s")
            if now - mark > within or begun != self._assembly.begun:
                mark, had, begun = now, self._assembly.payload, self._assembly.begun
        return self._ready.popleft()

    def _stalled(self, came: str, seconds: float) -> Ended:
        limit = "limits.stall_seconds" if seconds >= self._stall else ""
        detail = f"{came} of a message in {seconds} s, {_LEAST} are the least (limits.stall_seconds)"
        return Ended("stalled", detail, limit)

    def poll(self) -> list[Message]:
        """Messages that are there already, without waiting for one.

        Raises Ended, after what came before the end was returned.
        """
        self._raise_if_over()
        try:
            while len(self._ready) < _MOST_POLLED and (self._has_pdu() or self._read_now()):
                if self._has_pdu():
                    self._take_pdu(self._idle)
        except Ended as ended:
            self._over = ended
            self._raise_if_over()
        found = list(self._ready)
        self._ready.clear()
        return found

    def _raise_if_over(self) -> None:
        if self._over is not None and not self._ready:
            raise self._over

    def more_waits(self) -> bool:
        """Whether something of another message has come already. Raises Ended."""
        return bool(self._ready) or self._end > self._start or self._read_now()

    def send(
        self, context_id: int, command: dict[str, Value], dataset: Iterable[Buffer] | None = None
    ) -> None:
        """Send a message; ``dataset`` is gone through while it is sent, piece by piece.

        Raises Ended when the peer is gone or does not take it. What ``dataset`` raises is raised on where
        nothing of the message has been sent yet; later there is no way to take it back (PS3.8 E.1), so the
        association is aborted, and Ended("failed") raised from it.
        """
        encoded = write_command({**command, "CommandDataSetType": NO_DATASET if dataset is None else 0})
        if dataset is None and (pdu := whole(context_id, COMMAND, encoded, self._longest_sent)) is not None:
            with self._sending:  # nearly every response: no generators, and one buffer
                self._write([pdu])
            self._transport.quickack()
            return
        parts: Iterator[list[Buffer]] = pdus(context_id, COMMAND, (encoded,), self._longest_sent)
        if dataset is not None:
            parts = chain(parts, pdus(context_id, 0, dataset, self._longest_sent))
        with self._sending:
            begun = False
            try:
                for buffers in gathered(parts):
                    begun = True
                    self._write(buffers)
            except Ended:
                raise
            except Exception as error:
                if not begun:
                    raise
                self._break_off()
                raise Ended("failed", f"{type(error).__name__}: {error}") from error
        self._transport.quickack()

    @property
    def begun(self) -> bool:
        """Whether a part of a message has come, and its rest has not; also from another thread."""
        return self._end > self._start or self._assembly.begun

    def takes_more(self) -> bool:
        """Whether the peer reads what it is sent: a short message would not have to wait."""
        return self._transport.takes_more()

    def release(self, seconds: float) -> None:
        """Ask for release, wait at most so long for it, and close the connection."""
        self._releasing = True
        with contextlib.suppress(Ended):
            with self._sending:
                self._write([_RELEASE_RQ])
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                self._take_pdu(left)
        self.close()

    def abort(self, source: int = USER, reason: int = 0) -> None:
        """Send A-ABORT (PS3.8 9.3.8), wait a little for the peer to have it, and close."""
        # A thread that is blocked in sending to a peer that does not read has the lock for long.
        if self._sending.acquire(timeout=_LINGER_SECONDS):
            with contextlib.suppress(Ended, OSError):
                self._write([abort_pdu(source, reason)])
                self._linger()
            self._sending.release()
        self.close()

    def break_off(self) -> None:
        """End the association at once, from any thread: a thread that is blocked in it returns.

        A-ABORT is sent where no message is half sent, and where it can be taken at once.
        """
        if self._sending.acquire(timeout=0.2):
            try:
                self._break_off()
            finally:
                self._sending.release()
        self._transport.shutdown()

    def _break_off(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.write_now(abort_pdu(USER, 0))
        self._transport.shutdown()

    def _linger(self) -> None:
        """Wait for the peer to close, a little: closed with data unread, TCP would lose the A-ABORT."""
        self._transport.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER_SECONDS
        while self._transport.read_into(self._view, until):
            pass

    def close(self) -> None:
        """Close the connection; a release that was asked for is answered before."""
        if self._release_asked:
            self._release_asked = False
            with contextlib.suppress(Ended), self._sending:
                self._write([_RELEASE_RP])
        self._transport.close()

    def _write(self, buffers: list[Buffer]) -> None:
        try:
            self._transport.write(buffers)
        except TimeoutError:
            raise Ended("idle", f"the peer took nothing for {self._idle} s") from None
        except OSError as error:
            raise Ended("lost", str(error)) from error

    def _take_pdu(self, seconds: float) -> None:
        """Read one PDU and act on it. A PDU that has begun gets the time once more, or that of a message."""
        self._fill(6, seconds)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if kind not in _EXPECTED and not (kind == RELEASE_RP and self._releasing):
            self.fail(*misplaced(kind))
        if length > (self._longest_received if kind == P_DATA else _LONGEST_OTHER):
            self.fail(INVALID_VALUE, f"a PDU of {length} bytes, longer than was announced")
        self._fill(6 + length, min(seconds, self._stall))
        body = self._view[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        if kind == P_DATA:
            try:
                if self._assembly.take(body):
                    self._transport.quickack()
            except TooSmallPieces as error:
                self.fail(INVALID_VALUE, str(error), "message pieces")
            except UnreadableDataset as error:
                self.fail(INVALID_VALUE, str(error))
        elif kind == RELEASE_RQ:
            self._release_asked = True
            raise Ended("released")
        elif kind == RELEASE_RP:
            raise Ended("released")
        else:
            raise Ended("aborted", f"by the peer, source {body[2]} reason {body[3]}" if length >= 4 else "")

    def fail(self, reason: int, detail: str, limit: str = "") -> NoReturn:
        """End the association over what the peer sent, with a reason of PS3.8 9.3.8. Raises Ended."""
        self.abort(PROVIDER, reason)
        raise Ended("protocol", detail, limit)

    def _has_pdu(self) -> bool:
        """Whether a whole PDU is in the buffer, or the beginning of one that will be refused."""
        held = self._end - self._start
        if held < 6:
            return False
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        longest = self._longest_received if kind == P_DATA else _LONGEST_OTHER
        return bool(held >= 6 + length or length > longest or kind not in _EXPECTED)

    def _fill(self, size: int, seconds: float) -> None:
        """Have ``size`` bytes in the buffer from its start on; the time begins again with each 16 KB."""
        if self._end - self._start >= size:
            return
        self._make_room(size)
        until, enough = time.monotonic() + seconds, self._end + _LEAST
        while self._end - self._start < size:
            try:
                count = self._transport.read_into(self._view[self._end :], until)
            except TimeoutError:
                if size > HEADER.size or self._assembly.begun:
                    raise self._stalled("too little", seconds) from None
                raise Ended("idle", f"nothing came for {seconds} s") from None
            except OSError as error:
                raise Ended("lost", str(error)) from error
            self._took(count)
            if self._end >= enough:
                until, enough = time.monotonic() + seconds, self._end + _LEAST

    def _read_now(self) -> bool:
        """Take what has come, without waiting; returns whether anything has."""
        self._make_room(len(self._buffer) // 2)
        try:
            count = self._transport.read_now(self._view[self._end :])
        except OSError as error:
            raise Ended("lost", str(error)) from error
        if count is None:
            return False
        self._took(count)
        return True

    def _took(self, count: int) -> None:
        if count == 0:
            raise Ended("lost", "the peer closed the connection without a release")
        self._end += count

    def _make_room(self, size: int) -> None:
        """Let ``size`` bytes fit behind the buffer's start; what is held is moved where they do not."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + size > len(self._buffer):
            held = self._end - self._start
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
