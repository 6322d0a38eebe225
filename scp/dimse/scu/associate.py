"""Associations that zscp opens: for C-MOVE, for forwarding, and for reports of storage commitment."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.transport import AddressInformation

from scp import syntaxes
from scp.config.peers import Peer
from scp.config.settings import LimitSettings, Settings
from scp.dimse.negotiation.contexts import STORAGE_COMMITMENT
from scp.dimse.negotiation.direct import DirectAssociation, context_id
from scp.dimse.negotiation.window import SYNCHRONOUS, granted, window_item
from scp.dimse.scu.carrier import Carrier, by_sop_class
from scp.dimse.scu.secured import secured
from scp.dimse.wire.messages import C_STORE_RSP, Message
from scp.dimse.wire.upper_layer import UpperLayer
from scp.errors import DestinationUnreachable, NothingAccepted
from scp.model import Instance
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.syntaxes import BY_UID

# SOP class and transfer syntaxes of each presentation context.
Contexts = Sequence[tuple[str, str | Sequence[str]]]
Negotiated = AsynchronousOperationsWindowNegotiation | SCP_SCU_RoleSelectionNegotiation
# PS3.8 9.3.2.2: context ids are the odd numbers of one byte.
MOST_CONTEXTS = 128


class Destination(Carrier):
    """An association to a peer, and what it accepted."""

    def __init__(
        self,
        association: DirectAssociation,
        layer: UpperLayer,
        limits: LimitSettings,
        origin: tuple[str, int] | None,
    ) -> None:
        window = granted(association.acceptor.asynchronous_operations[0], limits.operations)
        super().__init__(by_sop_class(association.accepted_contexts), window, origin)
        self.layer = layer
        self._limits = limits

    def responses(self, wait: bool) -> list[Message]:
        """What the peer answered; at least one message where ``wait``. Raises Ended."""
        found = self.layer.poll()
        while wait and not found:
            found.append(self.layer.receive(self._limits.dimse_seconds))
        return [message for message in found if message.number("CommandField") == C_STORE_RSP]

    def close(self) -> None:
        """Release the association; where it broke, or something is still to be answered, abort it."""
        if self.ended is None and not self.flying:
            self.layer.release(self._limits.acse_seconds)
        else:
            self.layer.break_off()
            self.layer.close()


def contexts_for(instance: Instance, preferred: tuple[str, ...]) -> list[tuple[str, str]]:
    """What to propose for an object, as (SOP class, transfer syntax), each in a context of its own.

    ``preferred`` are the transfer syntaxes that the peer prefers.

    With one transfer syntax in each context, the peer accepts all that it can take; with several, it would
    accept the one that it happened to choose.
    """
    wanted = [instance.transfer_syntax, instance.received_transfer_syntax, *preferred]
    order = dict.fromkeys([*wanted, syntaxes.EXPLICIT, syntaxes.IMPLICIT])
    return [(instance.sop_class_uid, syntax) for syntax in order if syntax in BY_UID or syntax in wanted]


def batches(
    instances: list[Instance], preferred: tuple[str, ...]
) -> Iterator[tuple[list[Instance], list[tuple[str, str]]]]:
    """Objects in the order given, cut where one association's contexts are used up."""
    batch: list[Instance] = []
    contexts: dict[tuple[str, str], None] = {}
    for instance in instances:
        wanted = dict.fromkeys(contexts_for(instance, preferred))
        if batch and len(contexts | wanted) > MOST_CONTEXTS:
            yield batch, list(contexts)
            batch, contexts = [], {}
        batch.append(instance)
        contexts |= wanted
    if batch:
        yield batch, list(contexts)


def associated(
    peer: Peer, contexts: list[tuple[str, str]], settings: Settings, origin: tuple[str, int] | None = None
) -> Destination:
    """A new association to ``peer``. Raises DestinationUnreachable.

    ``origin`` are AE title and Message ID of the C-MOVE that it is opened for, if there is one.
    """
    limits = settings.limits
    window = [window_item(limits.operations, SYNCHRONOUS)] if limits.operations > SYNCHRONOUS else []
    association = _associated(peer, contexts, settings, window)
    return Destination(association, association.upper_layer, limits, origin)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """An association over which results of storage commitment are sent, in one presentation context."""

    layer: UpperLayer
    context_id: int
    transfer_syntax: str


def report_line(peer: Peer, settings: Settings) -> ReportLine:
    """A new association to ``peer``, on which this node is the SCP (PS3.4 J.3.3).

    Raises DestinationUnreachable. A peer that does not answer the proposed roles leaves the SCU role to the
    side that opened the association (PS3.7 D.3.3.4). Many peers that take reports do so, and are sent them
    all the same; a peer that refuses the role accepts no context.
    """
    wanted = [(STORAGE_COMMITMENT, (syntaxes.EXPLICIT, syntaxes.IMPLICIT))]
    association = _associated(peer, wanted, settings, [build_role(STORAGE_COMMITMENT, scp_role=True)])
    context = association.accepted_contexts[0]
    return ReportLine(association.upper_layer, context_id(context), str(context.transfer_syntax[0]))


def _where(peer: Peer) -> str:
    return f"{peer.aet} at {peer.host}:{peer.port}"


def _associated(
    peer: Peer, contexts: Contexts, settings: Settings, items: Sequence[Negotiated]
) -> DirectAssociation:
    """An established association. Raises DestinationUnreachable."""
    limits = settings.limits
    ae = AE(settings.node.aet)
    ae.acse_timeout, ae.network_timeout = limits.acse_seconds, limits.idle_seconds
    where = _where(peer)
    sock = _connected(peer, settings, where)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        association = _requested(ae, sock, peer, contexts, limits)
        for item in items:
            association.requestor.add_negotiation_item(item)
        association.acse.negotiate_association()
        if not association.is_established:
            raise _refusal(association, where)
        association.establish(association.acceptor.maximum_length)
        undo.pop_all()
        return association


def _refusal(association: DirectAssociation, where: str) -> DestinationUnreachable:
    """Why an association was not established."""
    if association.negotiator.no_tls:
        return DestinationUnreachable(f"{where} does not agree on TLS: {association.negotiator.no_tls}")
    if association.negotiator.fault:
        return DestinationUnreachable(f"{where} is not understood: {association.negotiator.fault}")
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = f": {answer.reason_str}" if answer is not None else ""
        return DestinationUnreachable(f"{where} refused the association{reason}")
    if association.rejected_contexts:
        return NothingAccepted(f"{where} accepts nothing of what was proposed")
    return DestinationUnreachable(f"{where} does not answer")


def _connected(peer: Peer, settings: Settings, where: str) -> socket.socket:
    try:
        sock = socket.create_connection((peer.host, peer.port), settings.limits.connect_seconds)
    except OSError as error:
        raise DestinationUnreachable(f"{where} does not answer: {error.strerror or error}") from error
    return secured(sock, peer, settings.tls, where) if peer.tls else sock


def _requested(
    ae: AE, sock: socket.socket, peer: Peer, contexts: Contexts, limits: LimitSettings
) -> DirectAssociation:
    """Make an association as pynetdicom's ``AE.associate`` does, but of another class."""
    association = DirectAssociation(ae, "requestor", sock)
    association.acceptor.ae_title = peer.aet
    requestor = association.requestor
    requestor.ae_title = ae.ae_title
    requestor.maximum_length = limits.pdu_bytes
    requestor.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    requestor.implementation_version_name = IMPLEMENTATION_VERSION
    requestor.address_info = AddressInformation.from_tuple(sock.getsockname())
    association.acceptor.address_info = AddressInformation.from_tuple(_other_end(sock, peer))
    proposed = [build_context(sop_class, _listed(syntax)) for sop_class, syntax in contexts]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    requestor.requested_contexts = proposed
    return association


def _other_end(sock: socket.socket, peer: Peer) -> tuple[str, int]:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # it has closed the connection; reading says why
        return peer.host, peer.port
    return host, port


def _listed(syntax: str | Sequence[str]) -> list[str]:
    return [syntax] if isinstance(syntax, str) else list(syntax)
