"""The DICOM upper layer of an established association, on a blocking socket (PS3.8 9).

Nothing here sleeps or polls: a read blocks until the peer has sent something, or its time is up. What
is received goes into one reused buffer, and from there into the message that it belongs to; what is
sent goes to the socket as one gathered write a PDU.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections import deque

from scp.dimse.messages import NO_DATASET, Message, Value, read_command, write_command
from scp.errors import UnreadableDataset

P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 4, 5, 6, 7
_COMMAND, _LAST = 1, 2  # bits of a PDV's message control header (PS3.8 E.2)
_HEADER = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")
_RELEASE_RP = _HEADER.pack(RELEASE_RP, 4) + bytes(4)
_RELEASE_RQ = _HEADER.pack(RELEASE_RQ, 4) + bytes(4)
# Other PDUs are 4 bytes long once an association is established; 64 KB leaves room for odd peers.
_LONGEST_OTHER = 65_536
_SMALLEST_BUFFER = 1 << 18
_LINGER_SECONDS = 1.0
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class Ended(Exception):
    """The association is over; ``how`` is released, aborted, lost, idle, or protocol."""

    def __init__(self, how: str, detail: str = "") -> None:
        super().__init__(detail or how)
        self.how = how


class UpperLayer:
    """Messages in and out of one association.

    ``longest_received`` is the maximum length that this side announced, ``longest_sent`` the peer's
    (0: no limit). ``idle_seconds`` bounds the wait for a peer's next byte, for a whole PDU once it has
    begun, and for a peer that does not take what is sent.
    """

    def __init__(
        self, sock: socket.socket, longest_received: int, longest_sent: int, idle_seconds: float
    ) -> None:
        self._socket = sock
        self._longest_received = longest_received
        self._chunk = (longest_sent or 1 << 20) - 6
        self._idle = idle_seconds
        self._buffer = bytearray(max(_SMALLEST_BUFFER, 2 * longest_received + 64))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._command: bytearray | None = None
        self._fields: dict[str, Value] = {}
        self._dataset: bytearray | None = None
        self._context = 0
        self._ready: deque[Message] = deque()
        # poll, not select: that one knows no descriptor above 1023.
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        sock.settimeout(idle_seconds)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self, seconds: float | None = None) -> Message:
        """The next message. Raises Ended."""
        while not self._ready:
            self._take_pdu(self._idle if seconds is None else seconds)
        return self._ready.popleft()

    def poll(self) -> list[Message]:
        """Messages that are there already, without waiting for one. Raises Ended."""
        while self._buffered_pdu() or self._readable():
            self._take_pdu(self._idle)
        messages, self._ready = list(self._ready), deque()
        return messages

    def send(self, context_id: int, command: dict[str, Value], dataset: bytes | None = None) -> None:
        """Send a message. Raises Ended when the peer is gone or does not take it."""
        command = {**command, "CommandDataSetType": NO_DATASET if dataset is None else 0}
        self._send_part(context_id, write_command(command), _COMMAND)
        if dataset is not None:
            self._send_part(context_id, dataset, 0)
        self._quickack()

    def release(self, seconds: float) -> None:
        """Ask for release, and wait for it, but not for ever; then the connection is closed."""
        with contextlib.suppress(Ended):
            self._write([_RELEASE_RQ])
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                self._take_pdu(left)
        self.close()

    def abort(self, source: int = 0, reason: int = 0, linger: bool = True) -> None:
        """Send A-ABORT (PS3.8 9.3.8) and close; without ``linger`` at once, as from another thread."""
        with contextlib.suppress(Ended, OSError):
            self._write([_HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))])
            if linger:
                self._linger()
        self.close()

    def _linger(self) -> None:
        """Wait a little for the peer to close: closed over unread data, TCP would take back the A-ABORT."""
        self._socket.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER_SECONDS
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            if not self._socket.recv_into(self._buffer):
                return

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send_part(self, context_id: int, data: bytes, kind: int) -> None:
        view, size = memoryview(data), self._chunk
        for at in range(0, max(len(data), 1), size):
            part = view[at : at + size]
            ends = _LAST if at + size >= len(data) else 0
            header = _HEADER.pack(P_DATA, len(part) + 6) + _PDV.pack(len(part) + 2, context_id, kind | ends)
            self._write([header, part])

    def _write(self, buffers: list[bytes | memoryview]) -> None:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.sendall(b"".join(buffers))
                return
            sent = self._socket.sendmsg(buffers)
            if sent < sum(map(len, buffers)):
                self._socket.sendall(b"".join(buffers)[sent:])
        except TimeoutError:
            raise Ended("idle", f"the peer took nothing for {self._idle} s") from None
        except OSError as error:
            raise Ended("lost", str(error)) from error

    def _take_pdu(self, seconds: float) -> None:
        """Read one PDU and act on it."""
        until = time.monotonic() + seconds
        self._fill(6, until)
        kind, length = _HEADER.unpack_from(self._buffer, self._start)
        if length > (self._longest_received if kind == P_DATA else _LONGEST_OTHER):
            self._fail(f"a PDU of {length} bytes, longer than was announced")
        self._fill(6 + length, until)
        body = self._view[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        if kind == P_DATA:
            self._take_values(body)
        elif kind == RELEASE_RQ:
            with contextlib.suppress(Ended):
                self._write([_RELEASE_RP])
            raise Ended("released")
        elif kind == RELEASE_RP:
            raise Ended("released")
        elif kind == ABORT:
            raise Ended("aborted", f"by the peer, source {body[2]} reason {body[3]}" if length >= 4 else "")
        else:
            self._fail(f"a PDU of type {kind} has no place here")

    def _fail(self, detail: str) -> None:
        self.abort(source=2, reason=6)
        raise Ended("protocol", detail)

    def _take_values(self, body: memoryview) -> None:
        """The presentation data values of one P-DATA-TF (PS3.8 9.3.5.1)."""
        at = 0
        while at < len(body):
            if at + 6 > len(body):
                self._fail("a presentation data value ends within its header")
            length, context, control = _PDV.unpack_from(body, at)
            if length < 2 or at + 4 + length > len(body):
                self._fail(f"a presentation data value of {length} bytes does not fit its PDU")
            self._take_value(context, control, body[at + 6 : at + 4 + length])
            at += 4 + length

    def _take_value(self, context: int, control: int, data: memoryview) -> None:
        if control & _COMMAND:
            self._command = self._command if self._command is not None else bytearray()
            self._command += data
            self._context = context
            if control & _LAST:
                self._command_complete()
        elif self._dataset is None or context != self._context:
            self._fail("a dataset without its command")
        else:
            self._dataset += data
            if control & _LAST:
                self._message_complete(bytes(self._dataset))

    def _command_complete(self) -> None:
        if self._dataset is not None:
            self._fail("a command within another's dataset")
        try:
            self._fields = read_command(bytes(self._command or b""))
        except UnreadableDataset as error:
            self._fail(str(error))
        self._command = None
        if self._fields.get("CommandDataSetType", NO_DATASET) == NO_DATASET:
            self._message_complete(None)
        else:
            self._dataset = bytearray()
        self._quickack()

    def _message_complete(self, dataset: bytes | None) -> None:
        self._ready.append(Message(self._context, self._fields, dataset))
        self._dataset = None

    def _buffered_pdu(self) -> bool:
        """Whether a whole PDU is in the buffer."""
        held = self._end - self._start
        return held >= 6 and held >= 6 + _HEADER.unpack_from(self._buffer, self._start)[1]

    def _readable(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(self._poll.poll(0))

    def _fill(self, size: int, until: float) -> None:
        """Have ``size`` bytes in the buffer from its start on."""
        if self._start + size > len(self._buffer):
            held = self._end - self._start
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
        while self._end - self._start < size:
            self._read(until)

    def _read(self, until: float) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        left = until - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            count = self._socket.recv_into(self._view[self._end :])
        except TimeoutError:
            raise Ended("idle", f"nothing came for {self._idle} s") from None
        except OSError as error:
            raise Ended("lost", str(error)) from error
        if count == 0:
            raise Ended("lost", "the peer closed the connection without a release")
        self._end += count

    def _quickack(self) -> None:
        """Ask again for acknowledgements at once: a sender with Nagle on waits 40 ms for each otherwise."""
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
