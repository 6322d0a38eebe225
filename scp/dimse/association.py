"""An established association, event-driven, and a request that came over it."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from scp import telemetry
from scp.dimse import messages
from scp.dimse.messages import Message, Value
from scp.dimse.negotiation import Negotiator
from scp.dimse.status import comment_of, status_of
from scp.dimse.upper_layer import Ended, UpperLayer

_MEDIUM = 0x0000  # priority of sub-operations (PS3.7 9.3.1.1)
# Requests that a peer may send before the one under way is answered, though it may send none.
_MOST_WAITING = 16
# Where the configuration sets no time-out: pynetdicom's None.
_NO_TIMEOUT = 86_400.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 to 9).

    ``remaining`` is None where the response is final, which has no such number.
    """

    remaining: int | None
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class Extended:
    """What SOP Class Extended Negotiation of a query or retrieve class agreed on (PS3.4 C.5.1.1)."""

    relational: bool = False
    combined_datetime: bool = False


def context_id(context: PresentationContext) -> int:
    """The number of a negotiated presentation context."""
    if context.context_id is None:
        raise ValueError("the presentation context was not negotiated")
    return context.context_id


class Exchange:
    """One request being served: what was asked, under which context, and how to answer."""

    def __init__(
        self, association: ServedAssociation, request: Message, context: PresentationContext
    ) -> None:
        self.association = association
        self.request = request
        self.abstract_syntax = str(context.abstract_syntax)
        self.transfer_syntax = str(context.transfer_syntax[0])

    @property
    def calling_aet(self) -> str:
        """AE title of the peer."""
        return self.association.calling_aet

    @property
    def called_aet(self) -> str:
        """AE title that the peer called."""
        return self.association.called_aet

    @property
    def message_id(self) -> int:
        """The request's."""
        return self.request.number("MessageID")

    @property
    def cancelled(self) -> bool:
        """Whether a C-CANCEL for this request has come in. Raises Ended when the peer is gone."""
        return self.association.has_cancelled(self.message_id)

    def respond(
        self,
        status: int,
        *,
        dataset: bytes | None = None,
        comment: str = "",
        counts: Counts | None = None,
    ) -> None:
        """Send a response; ``dataset`` is the identifier, encoded. Raises Ended."""
        asked = self.request.command
        command: dict[str, Value] = {
            "CommandField": self.request.number("CommandField") | messages.RESPONSE,
            "MessageIDBeingRespondedTo": self.message_id,
            "Status": status,
        }
        for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
            if keyword in asked:
                command[keyword] = asked[keyword]
        if comment:
            command["ErrorComment"] = comment
        if counts is not None:
            for name, number in asdict(counts).items():
                if number is not None:
                    command[f"NumberOf{name.title()}Suboperations"] = number
        self.association.upper_layer.send(self.request.context_id, command, dataset)

    def fail(self, error: Exception) -> int:
        """Answer with the status of an error; returns it. Raises Ended."""
        status = status_of(error)
        self.respond(status, comment=comment_of(str(error) or type(error).__name__))
        return status


Service = Callable[[Exchange, telemetry.RequestEvent], None]


class DirectAssociation(Association):
    """pynetdicom's association up to its negotiation; then messages go straight to and from the socket.

    ``layer`` is None until it is established.
    """

    def __init__(self, ae: ApplicationEntity, mode: str, sock: socket.socket) -> None:
        super().__init__(ae, mode)
        self.dul = Negotiator(sock, ae.acse_timeout or _NO_TIMEOUT)  # type: ignore[assignment]
        self.layer: UpperLayer | None = None
        self._socket = sock

    def establish(self, longest_sent: int | None) -> UpperLayer:
        """Put the upper layer where the negotiation was; ``longest_sent`` is what the peer announced."""
        own = self.acceptor if self.is_acceptor else self.requestor
        idle = self.network_timeout or _NO_TIMEOUT
        self.layer = UpperLayer(self._socket, own.maximum_length or 0, longest_sent or 0, idle)
        return self.layer

    @property
    def upper_layer(self) -> UpperLayer:
        """The established association's. Raises Ended when there is none."""
        if self.layer is None:
            raise Ended("lost", "the association is not established")
        return self.layer

    def _abort_blocking(self, block: bool = True) -> None:  # noqa: ARG002 - pynetdicom's signature
        """End the association at once, from whichever thread; pynetdicom calls it ``abort``."""
        self.is_established, self.is_aborted = False, True
        if self.layer is not None:
            self.layer.abort(linger=False)
        else:
            self.acse.send_abort(0)

    def _abort_nonblocking(self, block: bool = False) -> None:
        self._abort_blocking(block)


class ServedAssociation(DirectAssociation):
    """An association whose requests go to zscp's services: Command Field → name in the log, service."""

    def __init__(
        self, ae: ApplicationEntity, sock: socket.socket, services: Mapping[int, tuple[str, Service]]
    ) -> None:
        super().__init__(ae, "acceptor", sock)
        self.services = services
        self.requests = 0
        self.busy = False
        self._cancelled: set[int] = set()
        self._waiting: deque[Message] = deque()

    def run_reactor(self) -> None:
        """Serve until the association ends, and log one event of how it went."""
        started, how = time.perf_counter(), "no request"
        try:
            how = self._negotiate()
            while self.is_established:
                self._serve(self._waiting.popleft() if self._waiting else self.upper_layer.receive())
        except Ended as ended:
            how = ended.how
            if how == "idle":
                self.abort()
            if how == "protocol":
                structlog.get_logger("zscp").warning("protocol error", **self._described(), reason=str(ended))
        except Exception as error:  # noqa: BLE001 - a bug ends one association, and is told
            how = "failed"
            structlog.get_logger("zscp").error("association failed", **self._described(), exc_info=error)
            self.abort()
        finally:
            self.is_established = False
            self._socket.close()
            took = round((time.perf_counter() - started) * 1000, 1)
            structlog.get_logger("zscp").info(
                "association", **self._described(), requests=self.requests, outcome=how, duration_ms=took
            )

    def _negotiate(self) -> str:
        """Answer the association request by pynetdicom's rules and this node's handlers (PS3.8 7.1)."""
        primitive = self.dul.receive_pdu(wait=True, timeout=self.acse_timeout)
        if not isinstance(primitive, A_ASSOCIATE):
            return "no request"
        self.requestor.primitive = primitive
        evt.trigger(self, evt.EVT_REQUESTED, {})
        self.acse.negotiate_association()
        if not self.is_established:
            return "rejected"
        self.establish(self.requestor.maximum_length)
        return "ended"

    def extended(self, sop_class: str) -> Extended:
        """What was agreed on for a SOP class."""
        agreed = self.acceptor.sop_class_extended.get(UID(sop_class), b"")
        return Extended(agreed[:1] == b"\1", agreed[1:2] == b"\1")

    @property
    def calling_aet(self) -> str:
        """AE title of the peer; empty before it asked for anything."""
        asked = self.requestor.primitive
        return str(asked.calling_ae_title or "").strip() if asked else ""

    @property
    def called_aet(self) -> str:
        """AE title that the peer called; empty before it asked for anything."""
        asked = self.requestor.primitive
        return str(asked.called_ae_title or "").strip() if asked else ""

    def has_cancelled(self, message_id: int) -> bool:
        """Look at what the peer sent meanwhile, without waiting for more. Raises Ended."""
        for message in self.upper_layer.poll():
            self._set_aside(message)
        return message_id in self._cancelled

    def store(self, context: int, uids: tuple[str, str], dataset: bytes, message_id: int) -> int:
        """Send a C-STORE sub-operation, and wait for its status. Raises Ended."""
        self.upper_layer.send(context, store_request(uids, message_id), dataset)
        while True:
            message = self.upper_layer.receive(self.dimse_timeout)
            if is_response_to(message, messages.C_STORE_RSP, message_id):
                return message.number("Status")
            self._set_aside(message)

    def _set_aside(self, message: Message) -> None:
        """A message that came while another one is served."""
        if message.number("CommandField") == messages.C_CANCEL_RQ:
            self._cancelled.add(message.number("MessageIDBeingRespondedTo"))
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(message)
        else:
            self.upper_layer.abort()
            raise Ended("protocol", "too many requests without a window to send them in")

    def _described(self) -> dict[str, Any]:
        address = self.requestor.address_info
        return {
            "association": self.name,
            "calling_aet": self.calling_aet,
            "called_aet": self.called_aet,
            "peer": address.address if address else "",
            "accepted": len(self._accepted_cx),
            "refused": len(self._rejected_cx),
        }

    def _serve(self, request: Message) -> None:
        """Hand a request to its service; one that no service can answer ends the association."""
        field = request.number("CommandField")
        if field & messages.RESPONSE or field == messages.C_CANCEL_RQ:
            return  # late: there is nothing left that it could be about
        context, served = self._accepted_cx.get(request.context_id), self.services.get(field)
        if context is None or served is None:
            self.upper_layer.abort()
            what = "no accepted presentation context" if context is None else f"no service for {field:04X}H"
            raise Ended("protocol", what)
        self.requests += 1
        self.busy = True
        try:
            self._run(*served, Exchange(self, request, context))
        finally:
            self.busy = False
            self._cancelled.clear()

    def _run(self, name: str, service: Service, exchange: Exchange) -> None:
        bound = {"association": self.name, "calling_aet": self.calling_aet}
        with telemetry.request(name, **bound) as event:
            try:
                service(exchange, event)
            except Ended:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the peer gets an answer
                event.fail(error)
                event.add(status=exchange.fail(error))


def store_request(
    uids: tuple[str, str], message_id: int, originator: tuple[str, int] | None = None
) -> dict[str, Value]:
    """A C-STORE-RQ (PS3.7 9.3.1.1) for (SOP Class UID, SOP Instance UID).

    ``originator`` are AE title and message id of the C-MOVE that it belongs to.
    """
    command: dict[str, Value] = {
        "CommandField": messages.C_STORE_RQ,
        "MessageID": message_id,
        "AffectedSOPClassUID": uids[0],
        "AffectedSOPInstanceUID": uids[1],
        "Priority": _MEDIUM,
    }
    if originator is not None:
        command["MoveOriginatorApplicationEntityTitle"], command["MoveOriginatorMessageID"] = originator
    return command


def is_response_to(message: Message, field: int, message_id: int) -> bool:
    """Whether a message answers ours."""
    return (
        message.number("CommandField") == field and message.number("MessageIDBeingRespondedTo") == message_id
    )
