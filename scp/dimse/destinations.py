"""Associations that zscp opens: where C-MOVE sends to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count

from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.transport import AddressInformation

from scp import syntaxes
from scp.config import LimitSettings, Peer
from scp.dimse.association import DirectAssociation, context_id, is_response_to, store_request
from scp.dimse.messages import C_STORE_RSP
from scp.dimse.upper_layer import Ended
from scp.errors import DestinationUnreachable
from scp.model import Instance
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.syntaxes import BY_UID

# PS3.8 9.3.2.2: context ids are the odd numbers of one byte.
MOST_CONTEXTS = 128


class Destination:
    """An association to a peer, and what it accepted."""

    def __init__(self, association: DirectAssociation, seconds: float) -> None:
        self._layer = association.establish(association.acceptor.maximum_length)
        self._seconds = seconds
        self._message_ids = count(1)
        self._accepted: dict[str, dict[str, int]] = {}
        for context in association.accepted_contexts:
            by_syntax = self._accepted.setdefault(str(context.abstract_syntax), {})
            by_syntax.setdefault(str(context.transfer_syntax[0]), context_id(context))

    def accepted(self, sop_class: str) -> dict[str, int]:
        """Transfer syntax → presentation context of those accepted for a SOP class."""
        return self._accepted.get(sop_class, {})

    def store(
        self, context: int, uids: tuple[str, str], dataset: bytes, originator: tuple[str, int]
    ) -> int | None:
        """Send one object; the status, or None when the association is gone."""
        message_id = next(self._message_ids) % 65536
        try:
            self._layer.send(context, store_request(uids, message_id, originator), dataset)
            while True:
                message = self._layer.receive(self._seconds)
                if is_response_to(message, C_STORE_RSP, message_id):
                    return message.number("Status")
        except Ended:
            return None


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


@contextmanager
def associated(
    peer: Peer, contexts: list[tuple[str, str]], own_aet: str, limits: LimitSettings
) -> Iterator[Destination]:
    """An association to ``peer`` for as long as the block runs. Raises DestinationUnreachable."""
    ae = AE(own_aet)
    ae.acse_timeout, ae.network_timeout = limits.acse_seconds, limits.idle_seconds
    where = f"{peer.aet} at {peer.host}:{peer.port}"
    try:
        sock = socket.create_connection((peer.host, peer.port), limits.connect_seconds)
    except OSError as error:
        raise DestinationUnreachable(f"{where} does not answer: {error.strerror or error}") from error
    with closing(sock):
        association = _requested(ae, sock, peer, contexts, limits.pdu_bytes)
        association.acse.negotiate_association()
        if not association.is_established:
            why = "refused the association" if association.is_rejected else "does not answer"
            raise DestinationUnreachable(f"{where} {why}")
        destination = Destination(association, limits.dimse_seconds)
        try:
            yield destination
        finally:
            association.upper_layer.release(limits.acse_seconds)


def _requested(
    ae: AE, sock: socket.socket, peer: Peer, contexts: list[tuple[str, str]], pdu_bytes: int
) -> DirectAssociation:
    """As pynetdicom's ``AE.associate`` makes one, but for its class."""
    association = DirectAssociation(ae, "requestor", sock)
    association.acceptor.ae_title = peer.aet
    requestor = association.requestor
    requestor.ae_title = ae.ae_title
    requestor.maximum_length = pdu_bytes
    requestor.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    requestor.implementation_version_name = IMPLEMENTATION_VERSION
    requestor.address_info = AddressInformation.from_tuple(sock.getsockname())
    association.acceptor.address_info = AddressInformation.from_tuple(sock.getpeername())
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    requestor.requested_contexts = proposed
    return association
