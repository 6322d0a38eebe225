"""Association negotiation: pynetdicom's, without its threads.

This is the module that relies on pynetdicom's internals: version 3.0's ``Association`` builds an ``ACSE``
that talks to ``Association.dul`` by ``send_pdu`` and ``receive_pdu``. Here that is an object which writes
and reads the socket at once, so that no thread polls. tests/test_negotiation.py fails when they change.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pynetdicom.pdu import (
    A_ABORT_RQ,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
)
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.presentation import PresentationContext

from scp.dimse.proposals import Answer, Answers, Apart, apart, proposal_of, together

_REQUEST = 1
_KINDS: dict[int, type[Any]] = {
    _REQUEST: A_ASSOCIATE_RQ,
    2: A_ASSOCIATE_AC,
    3: A_ASSOCIATE_RJ,
    5: A_RELEASE_RQ,
    6: A_RELEASE_RP,
    7: A_ABORT_RQ,
}
# 128 contexts of 43 transfer syntaxes each are 400 KB.
_LONGEST = 1 << 20


class Negotiator:
    """Stands where pynetdicom has its DULServiceProvider, while an association is negotiated.

    ``seconds`` bounds the wait for a whole PDU (the ARTIM timer of PS3.8 9.1.5). Where a request proposes
    what is in ``answers``, ``answer`` is that, and pynetdicom sees neither contexts nor roles of it.
    """

    def __init__(self, sock: socket.socket, seconds: float, answers: Answers | None = None) -> None:
        self.connection = sock
        self.socket = _Connected(sock)
        self._seconds = seconds
        self._answers = answers
        self._proposal = b""
        self._sent: Apart | None = None
        self.answer: Answer | None = None
        # Where pynetdicom's time-out setters put their values; nothing runs by them here.
        self.artim_timer = self._idle_timer = SimpleNamespace(timeout=seconds)

    def send_pdu(self, primitive: Any) -> None:
        """Encode and send an association primitive; a peer that is gone shows when it is read."""
        pdu = _pdu_for(primitive)
        pdu.from_primitive(primitive)
        encoded = pdu.encode()
        if isinstance(pdu, A_ASSOCIATE_AC) and self.answer is not None:
            encoded = together(encoded, self.answer)
        elif isinstance(pdu, A_ASSOCIATE_AC) and self._proposal:
            self._sent = apart(encoded[6:])
        with contextlib.suppress(OSError):
            self.connection.settimeout(self._seconds)
            self.connection.sendall(encoded)

    def learn(
        self, accepted: Mapping[int, PresentationContext], refused: Sequence[PresentationContext]
    ) -> None:
        """Remember what a proposal was answered, which was sent."""
        if self._answers is not None and self._sent is not None:
            answer = Answer(dict(accepted), tuple(refused), self._sent.contexts, self._sent.roles)
            self._answers.remember(self._proposal, answer)

    def receive_pdu(self, wait: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002
        """The next PDU as a primitive, or None when none comes in time, or the peer is gone."""
        until = time.monotonic() + (self._seconds if timeout is None else timeout)
        try:
            header = self._exactly(6, until)
            kind, length = struct.unpack(">BxL", header)
            if kind not in _KINDS or length > _LONGEST:
                return self._refused()
            pdu = _KINDS[kind]()
            body = self._exactly(length, until)
            pdu.decode(self._shortened(body) if kind == _REQUEST else header + body)
            return pdu.to_primitive()
        except (OSError, EOFError):
            return None
        except Exception:  # noqa: BLE001 - pynetdicom raises whatever a malformed PDU makes it raise
            return self._refused()

    def _shortened(self, body: bytes) -> bytes:
        """A request, without what was answered before."""
        if self._answers is not None and (found := apart(body)) is not None:
            self._proposal = proposal_of(body, found)
            self.answer = self._answers.find(self._proposal)
            if self.answer is not None:
                body = found.rest
        return struct.pack(">BxL", _REQUEST, len(body)) + body

    def _refused(self) -> None:
        """A PDU that is none ends the connection with A-ABORT (PS3.8 table 9-10, Evt19)."""
        abort = A_ABORT_RQ()
        abort.source, abort.reason_diagnostic = 2, 1
        with contextlib.suppress(OSError):
            self.connection.sendall(abort.encode())

    def _exactly(self, size: int, until: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            part = self.connection.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def is_alive(self) -> bool:
        """There is no thread."""
        return False

    def kill_dul(self) -> None:
        """There is no thread."""

    def stop_dul(self) -> bool:
        """There is no thread."""
        return True

    def peek_next_pdu(self) -> None:
        """Nothing is read ahead."""


class _Connected:
    """What pynetdicom's requestor looks at: the transport is there already."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._ready = threading.Event()
        self._ready.set()
        self._is_connected = True

    def _shutdown_socket(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _pdu_for(primitive: Any) -> Any:
    if isinstance(primitive, A_ASSOCIATE):
        if primitive.result is None:
            return A_ASSOCIATE_RQ()
        return A_ASSOCIATE_AC() if primitive.result == 0 else A_ASSOCIATE_RJ()
    if isinstance(primitive, A_RELEASE):
        return A_RELEASE_RQ() if primitive.result is None else A_RELEASE_RP()
    if isinstance(primitive, (A_ABORT, A_P_ABORT)):
        return A_ABORT_RQ()
    raise TypeError(f"{type(primitive).__name__} has no place in a negotiation")
