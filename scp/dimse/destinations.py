"""Associations that zscp opens: where C-MOVE sends to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from pynetdicom import AE, build_context
from pynetdicom.association import Association

from scp import syntaxes
from scp.config import LimitSettings, Peer
from scp.dimse.association import PausedReactor, context_id, store_over
from scp.errors import DestinationUnreachable
from scp.model import Instance
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.syntaxes import BY_UID

# PS3.8 9.3.2.2: context ids are the odd numbers of one byte.
MOST_CONTEXTS = 128


class Destination:
    """An association to a peer, and what it accepted."""

    def __init__(self, association: Association) -> None:
        self._association = association
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
        with PausedReactor(self._association):
            return store_over(self._association, context, uids, dataset, message_id, originator)

    @property
    def open(self) -> bool:
        """Whether more can be sent."""
        return bool(self._association.is_established)


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
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION
    ae.connection_timeout = limits.connect_seconds
    ae.acse_timeout = limits.acse_seconds
    ae.dimse_timeout = limits.dimse_seconds
    ae.network_timeout = limits.idle_seconds
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
        ae_title=peer.aet,
        max_pdu=limits.pdu_bytes,
    )
    if not association.is_established:
        why = "refused the association" if association.is_rejected else "does not answer"
        raise DestinationUnreachable(f"{peer.aet} at {peer.host}:{peer.port} {why}")
    try:
        yield Destination(association)
    finally:
        if association.is_established:
            association.release()
