"""One request being served: what was asked, and how to answer. All that a service knows of the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

from pynetdicom.presentation import PresentationContext

from scp import telemetry
from scp.archive.behind import Unrecorded
from scp.dimse.auditing import AssociationAudit
from scp.dimse.identifier import IDENTIFIER
from scp.dimse.own_requests import OwnRequests
from scp.dimse.rights import Rights
from scp.dimse.status import CANCELLED, OF_N_SERVICES, OF_RETRIEVES, comment_of, status_of
from scp.dimse.wire import messages
from scp.dimse.wire.messages import Message, Value
from scp.dimse.wire.upper_layer import UpperLayer
from scp.errors import (
    IdentifierTooLarge,
    NotAuthorized,
    OutOfResources,
    UnrecognizedOperation,
    ZscpError,
    public,
)
from scp.metrics.board import ShownAssociation

# The numbers of sub-operations are US (PS3.7 table E.1-1): a larger number is sent as the largest US.
_MOST_COUNTED = 0xFFFF
# What a peer is told whose request came, or was not done yet, when the node was told to stop.
STOPPING = "the node is stopping"
# Requests that ask the index for nothing.
_BESIDE_THE_INDEX = (messages.C_STORE_RQ, messages.C_ECHO_RQ)
# What a response repeats of its request, and in which field (PS3.7 9.3, 10.3).
_ECHOED = {
    "AffectedSOPClassUID": "AffectedSOPClassUID",
    "AffectedSOPInstanceUID": "AffectedSOPInstanceUID",
    "RequestedSOPClassUID": "AffectedSOPClassUID",
    "RequestedSOPInstanceUID": "AffectedSOPInstanceUID",
    "ActionTypeID": "ActionTypeID",
}


@dataclass(frozen=True, slots=True)
class SuboperationCounts:
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


class Cancelled(Exception):
    """The request that is served was cancelled."""


class Requester(Protocol):
    """The association that a request came on, as far as services use it.

    ``suboperations`` is how many C-STORE requests the peer takes before it answers the first; ``own`` sends
    requests of this side to the peer. ``audit`` takes what the audit trail tells of it, ``shown`` what the
    node's page shows, ``unrecorded`` what was acknowledged and the index may not have yet.
    """

    name: str
    audit: AssociationAudit
    shown: ShownAssociation
    suboperations: int
    own: OwnRequests
    unrecorded: Unrecorded

    @property
    def rights(self) -> Rights:
        """What the peer may do."""

    @property
    def calling_aet(self) -> str:
        """AE title of the peer."""

    @property
    def called_aet(self) -> str:
        """AE title that the peer called."""

    @property
    def accepted_contexts(self) -> list[PresentationContext]:
        """The presentation contexts that were accepted."""

    @property
    def stopping(self) -> bool:
        """Whether the node is stopping: what is under way may finish, nothing new is begun."""

    @property
    def upper_layer(self) -> UpperLayer:
        """The established association's upper layer. Raises Ended when there is none."""

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the peer's last request; 0 while there is one."""

    def extended(self, sop_class: str) -> Extended:
        """What was agreed on for a SOP class."""

    def has_cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL for a request has come in. Raises Ended."""

    def responses(self, wait: bool) -> list[Message]:
        """What the peer answered to this side's C-STOREs; at least one where ``wait``. Raises Ended."""


class Exchange:
    """One request being served: what was asked, under which context, and how to answer."""

    def __init__(self, association: Requester, request: Message, context: PresentationContext) -> None:
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
        """The request's Message ID."""
        return self.request.number("MessageID")

    @property
    def cancelled(self) -> bool:
        """Whether a C-CANCEL for this request has come in. Raises Ended when the peer is gone."""
        return self.association.has_cancelled(self.message_id)

    def check_request(self) -> None:
        """Check that the request may be served, once the index has what the peer stored before it.

        Raises IdentifierTooLarge, or OutOfResources, if its dataset was not kept; OutOfResources where the
        node stops (PS3.4 B.2.3: the peer may come again), or the index does not answer; and NotAuthorized.
        """
        if self.request.too_long:
            raise IdentifierTooLarge(self.request.fault, limit=IDENTIFIER)
        if self.request.fault:
            raise OutOfResources(self.request.fault)
        if self.stopping:
            raise OutOfResources(STOPPING)
        field = self.request.number("CommandField")
        self.association.rights.check(field)
        if field not in _BESIDE_THE_INDEX:
            self.association.unrecorded.check()

    def check(self) -> None:
        """Raise Cancelled if that was asked for, OutOfResources if the node stops, Ended without a peer.

        For a service that works for long without sending anything.
        """
        if self.cancelled:
            raise Cancelled
        if self.stopping:
            raise OutOfResources(STOPPING)

    @property
    def stopping(self) -> bool:
        """Whether the node is stopping, so that the request should be answered soon."""
        return self.association.stopping

    @property
    def is_read(self) -> bool:
        """Whether the peer reads, so that another short response could be sent without waiting."""
        return self.association.upper_layer.takes_more()

    def respond(
        self,
        status: int,
        *,
        dataset: bytes | None = None,
        comment: str = "",
        counts: SuboperationCounts | None = None,
    ) -> None:
        """Send a response; ``dataset`` is the identifier, encoded. Raises Ended."""
        asked = self.request.command
        command: dict[str, Value] = {
            "CommandField": self.request.number("CommandField") | messages.RESPONSE,
            "MessageIDBeingRespondedTo": self.message_id,
            "Status": status,
        }
        for keyword, answered in _ECHOED.items():
            if keyword in asked:
                command[answered] = asked[keyword]
        if comment:
            command["ErrorComment"] = comment
        if counts is not None:
            for name, number in asdict(counts).items():
                if number is not None:
                    command[f"NumberOf{name.title()}Suboperations"] = min(number, _MOST_COUNTED)
        chunks = None if dataset is None else (dataset,)
        self.association.upper_layer.send(self.request.context_id, command, chunks)

    def fail(self, error: Exception) -> int:
        """Answer with the status of an error; returns it. Raises Ended."""
        status, field = status_of(error), self.request.number("CommandField")
        if isinstance(error, NotAuthorized):
            self.association.audit.denied(str(error))
        if field & messages.N_SERVICE:
            status = OF_N_SERVICES.get(status, status)
        elif field in (messages.C_MOVE_RQ, messages.C_GET_RQ):
            status = OF_RETRIEVES.get(status, status)
        self.respond(status, comment=comment_of(_comment(error)))
        return status


def _comment(error: Exception) -> str:
    """What the peer is told: its own value where zscp quotes it, nobody's where it is a fault of the node."""
    return (str(error) if isinstance(error, ZscpError) else public(error)) or type(error).__name__


@contextmanager
def cancellable(exchange: Exchange, event: telemetry.RequestEvent) -> Iterator[None]:
    """Answer a request that :meth:`Exchange.check` finds cancelled."""
    try:
        yield
    except Cancelled:
        exchange.respond(CANCELLED)
        event.add(status=CANCELLED)


Service = Callable[[Exchange, telemetry.RequestEvent], None]


def _unrecognized(exchange: Exchange, _: telemetry.RequestEvent) -> None:
    field = exchange.request.number("CommandField")
    raise UnrecognizedOperation(f"{field:04X}H is no operation of SOP class {exchange.abstract_syntax}")


# Name in the log, and service, of an operation that the SOP class does not have (PS3.7 Annex C.5: 0211H).
UNRECOGNIZED: tuple[str, Service] = ("unrecognized operation", _unrecognized)
