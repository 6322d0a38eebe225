"""Associations that zscp opens: where C-MOVE sends to."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.transport import AddressInformation

from scp import syntaxes
from scp.config import LimitSettings, Peer, Settings
from scp.dimse.carrier import Carrier, by_sop_class
from scp.dimse.direct import DirectAssociation
from scp.dimse.messages import C_STORE_RSP, Message
from scp.dimse.upper_layer import UpperLayer
from scp.dimse.window import SYNCHRONOUS, granted, window_item
from scp.errors import DestinationUnreachable
from scp.model import Instance
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.syntaxes import BY_UID
from scp.tls import client_context

# PS3.8 9.3.2.2: context ids are the odd numbers of one byte.
MOST_CONTEXTS = 128


class Destination(Carrier):
    """An association to a peer, and what it accepted."""

    def __init__(
        self,
        association: DirectAssociation,
        layer: UpperLayer,
        limits: LimitSettings,
        origin: tuple[str, int],
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
    """What to propose for an object, as (SOP class, transfer syntax), a context of its own each.

    ``preferred`` are the transfer syntaxes that the peer would rather have.

    With one syntax a context, what the peer accepts is what it can take; with several it would be what
    it happened to choose.
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
    peer: Peer, contexts: list[tuple[str, str]], settings: Settings, origin: tuple[str, int]
) -> Destination:
    """A new association to ``peer``. Raises DestinationUnreachable.

    ``origin`` are AE title and Message ID of the C-MOVE that it is opened for.
    """
    limits = settings.limits
    ae = AE(settings.node.aet)
    ae.acse_timeout, ae.network_timeout = limits.acse_seconds, limits.idle_seconds
    where = f"{peer.aet} at {peer.host}:{peer.port}"
    sock = _connected(peer, settings, where)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        association = _requested(ae, sock, peer, contexts, limits)
        association.acse.negotiate_association()
        if not association.is_established:
            why = "refused the association" if association.is_rejected else "does not answer"
            raise DestinationUnreachable(f"{where} {why}")
        layer = association.establish(association.acceptor.maximum_length)
        undo.pop_all()
        return Destination(association, layer, limits, origin)


def _connected(peer: Peer, settings: Settings, where: str) -> socket.socket:
    try:
        sock = socket.create_connection((peer.host, peer.port), settings.limits.connect_seconds)
    except OSError as error:
        raise DestinationUnreachable(f"{where} does not answer: {error.strerror or error}") from error
    if not peer.tls:
        return sock
    try:
        tls = client_context(settings.tls.certificate, settings.tls.key, settings.tls.ca)
        return tls.wrap_socket(sock)  # within the connection's time-out
    except (OSError, ValueError) as error:
        sock.close()
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error
        raise DestinationUnreachable(f"{where} does not agree on TLS: {reason}") from error


def _requested(
    ae: AE, sock: socket.socket, peer: Peer, contexts: list[tuple[str, str]], limits: LimitSettings
) -> DirectAssociation:
    """As pynetdicom's ``AE.associate`` makes one, but for its class."""
    association = DirectAssociation(ae, "requestor", sock)
    association.acceptor.ae_title = peer.aet
    requestor = association.requestor
    requestor.ae_title = ae.ae_title
    requestor.maximum_length = limits.pdu_bytes
    requestor.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    requestor.implementation_version_name = IMPLEMENTATION_VERSION
    requestor.address_info = AddressInformation.from_tuple(sock.getsockname())
    association.acceptor.address_info = AddressInformation.from_tuple(sock.getpeername())
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    requestor.requested_contexts = proposed
    if limits.operations > SYNCHRONOUS:
        requestor.add_negotiation_item(window_item(limits.operations, SYNCHRONOUS))
    return association
