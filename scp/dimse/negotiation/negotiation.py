"""Association negotiation: pynetdicom's, without its threads.

This is the module that relies on pynetdicom's internals: version 3.0's ``Association`` builds an ``ACSE``
that talks to ``Association.dul`` by ``send_pdu`` and ``receive_pdu``. Here that is an object which reads and
writes the socket itself, so that no thread polls. tests/dimse/test_negotiation.py fails when they change.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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

from scp.dimse.negotiation.association_pdus import FIXED, LONGEST, Rejection, read_accept
from scp.dimse.negotiation.association_request import (
    AssociationRequest,
    Choose,
    Titles,
    beyond_limit,
    read_request,
    read_titles,
)
from scp.dimse.negotiation.remembered_answers import (
    Answers,
    Apart,
    RememberedAnswer,
    apart,
    proposal_of,
    together,
)
from scp.dimse.negotiation.strangers import handshake_fault, unexpected
from scp.dimse.wire.pdus import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    HEADER,
    INVALID_VALUE,
    PROVIDER,
    RELEASE_RP,
    RELEASE_RQ,
    abort_pdu,
)
from scp.errors import MalformedAssociation

_KINDS: dict[int, type[Any]] = {
    ASSOCIATE_RQ: A_ASSOCIATE_RQ,
    ASSOCIATE_AC: A_ASSOCIATE_AC,
    ASSOCIATE_RJ: A_ASSOCIATE_RJ,
    RELEASE_RQ: A_RELEASE_RQ,
    RELEASE_RP: A_RELEASE_RP,
    ABORT: A_ABORT_RQ,
}
# PDUs that are allowed before the association is established (PS3.8 table 9-10, Sta2 and Sta5).
_ASKED, _ANSWERED = frozenset((ASSOCIATE_RQ, ABORT)), frozenset((ASSOCIATE_AC, ASSOCIATE_RJ, ABORT))
# A length beyond this is no request's: such a connection is aborted, and nothing more of it read.
_SENSELESS = 1 << 20
_LINGER_SECONDS = 1.0
# Says by its AE titles whether a request is looked at: a rejection, or what chooses transfer syntaxes.
Admit = Callable[[Titles], Rejection | Choose]


class Negotiator:
    """Takes the place of pynetdicom's DULServiceProvider while an association is negotiated.

    ``seconds`` bounds the wait for a whole PDU (the ARTIM timer of PS3.8 9.1.5). Where ``answers`` has the
    answer to a proposal, it is ``answer``, and pynetdicom sees neither contexts nor roles of the request.
    ``admit`` is asked before a request's contexts are looked at; ``titles`` are its AE titles.
    ``fault`` says why a PDU was answered with A-ABORT, ``rejection`` how a request was rejected,
    ``no_tls`` why the peer ended TLS; then :meth:`receive_pdu` returned None.
    """

    def __init__(
        self, sock: socket.socket, seconds: float, answers: Answers | None = None, mode: str = "acceptor"
    ) -> None:
        self.connection = sock
        self.socket = _Connected(sock)
        self._seconds = seconds
        self._answers = answers
        self._expected = _ASKED if mode == "acceptor" else _ANSWERED
        self._proposal = b""
        self._sent: Apart | None = None
        self.admit: Admit | None = None
        self.titles = Titles("", "")
        self.request: AssociationRequest | None = None
        self.answer: RememberedAnswer | None = None
        self.rejection: Rejection | None = None
        self.fault = self.no_tls = ""
        # pynetdicom's time-out setters put their values here; nothing uses them.
        self.artim_timer = self._idle_timer = SimpleNamespace(timeout=seconds)

    def send_pdu(self, primitive: Any) -> None:
        """Encode and send an association primitive; that a peer is gone shows when it is read."""
        pdu = _pdu_for(primitive)
        pdu.from_primitive(primitive)
        encoded = pdu.encode()
        if isinstance(pdu, A_ASSOCIATE_AC):
            encoded = self._accepting(encoded)
        self._send(encoded)

    def _accepting(self, encoded: bytes) -> bytes:
        """An A-ASSOCIATE-AC, with the parts that pynetdicom did not see."""
        if self.answer is not None:
            encoded = together(encoded, self.answer)
        elif self._proposal:
            self._sent = apart(encoded[HEADER.size :])
        return encoded if self.request is None else self.request.complete(encoded)

    def _send(self, pdu: bytes) -> None:
        with contextlib.suppress(OSError):
            self.connection.settimeout(self._seconds)
            self.connection.sendall(pdu)

    def learn(
        self, accepted: Mapping[int, PresentationContext], refused: Sequence[PresentationContext]
    ) -> None:
        """Remember the answer that was sent to a proposal."""
        if self._answers is not None and self._sent is not None:
            answer = RememberedAnswer(dict(accepted), tuple(refused), self._sent.contexts, self._sent.roles)
            self._answers.remember(self._proposal, answer)

    def receive_pdu(self, wait: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002
        """The next PDU as a primitive; None when none comes in time, the peer is gone, or it was answered."""
        until = time.monotonic() + (self._seconds if timeout is None else timeout)
        try:
            header = self._exactly(HEADER.size, until)
            kind, length = HEADER.unpack(header)
            if kind not in self._expected:
                return self._abort(*unexpected(header))
            if length > LONGEST:
                return self._too_long(kind, length, until)
            return self._read(kind, self._exactly(length, until))
        except ssl.SSLError as error:  # in TLS 1.3 a client learns only now that it was refused
            self.no_tls = handshake_fault(error)
            return None
        except (OSError, EOFError):
            return None

    def _read(self, kind: int, body: bytes) -> Any:
        """A PDU as a primitive; None where it was answered with a rejection or an A-ABORT."""
        try:
            if kind == ASSOCIATE_RQ:
                request = self._admitted(body)
                if isinstance(request, Rejection):
                    return self._reject(request)
                self.request, body = request, self._shortened(request.body)
            elif kind == ASSOCIATE_AC:
                body = read_accept(body)
            pdu = _KINDS[kind]()
            pdu.decode(HEADER.pack(kind, len(body)) + body)
            return pdu.to_primitive()
        except MalformedAssociation as error:
            return self._abort(INVALID_VALUE, str(error))
        except Exception as error:  # noqa: BLE001 - pynetdicom raises whatever a malformed PDU makes it raise
            return self._abort(INVALID_VALUE, f"pynetdicom cannot read a PDU of type {kind}: {error}")

    def _too_long(self, kind: int, length: int, until: float) -> None:
        """Answer an association PDU that is longer than any has to be; a request's AE titles are read."""
        if kind != ASSOCIATE_RQ or length > _SENSELESS:
            return self._abort(INVALID_VALUE, f"an association PDU of {length} bytes")
        titles = read_titles(self._exactly(FIXED, until))
        if isinstance(titles, Rejection):
            return self._reject(titles)
        self.titles = titles
        return self._reject(beyond_limit(f"a request of {length} bytes; {LONGEST} are the most"))

    def _admitted(self, body: bytes) -> AssociationRequest | Rejection:
        """A request that may be answered. Raises MalformedAssociation."""
        titles = read_titles(body)
        if isinstance(titles, Rejection):
            return titles
        self.titles = titles
        if self.admit is None:
            return read_request(body)
        found = self.admit(titles)
        return found if isinstance(found, Rejection) else read_request(body, found)

    def _shortened(self, body: bytes) -> bytes:
        """A request without the contexts and roles that were answered before."""
        if self._answers is not None and (found := apart(body)) is not None:
            self._proposal = proposal_of(body, found)
            self.answer = self._answers.find(self._proposal)
            if self.answer is not None:
                return found.rest
        return body

    def _reject(self, rejection: Rejection) -> None:
        """Reject a request for a reason of the standard (PS3.8 9.3.4)."""
        self.rejection = rejection
        self._send(rejection.pdu)
        self._linger()

    def _abort(self, reason: int, fault: str) -> None:
        """End the connection with A-ABORT over a PDU that is not allowed here (PS3.8 table 9-10)."""
        self.fault = fault
        self._send(abort_pdu(PROVIDER, reason))
        self._linger()

    def _linger(self) -> None:
        """Wait for the peer to close: closed with data unread, TCP would reset, and lose the answer."""
        until = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            if not isinstance(self.connection, ssl.SSLSocket):
                self.connection.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(65_536):
                    return

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
    """What pynetdicom's requestor looks at: the transport is connected already."""

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
