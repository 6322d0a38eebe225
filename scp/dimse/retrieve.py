"""Retrieve service: C-MOVE and C-GET in Patient Root and Study Root (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import structlog
from pydicom.dataset import Dataset

from scp.archive import Archive
from scp.config import Peer, QuerySettings, Settings
from scp.dimse.association import Counts, Exchange, context_id
from scp.dimse.contexts import GET, MOVE
from scp.dimse.destinations import Destination, associated, batches
from scp.dimse.identifier import check_retrieve, query_of, read_identifier, write_identifier
from scp.dimse.status import (
    CANCELLED,
    PENDING,
    SUCCESS,
    UNABLE_SUBOPERATIONS,
    WARNING_SUBOPERATIONS,
    comment_of,
    is_warning,
)
from scp.errors import DestinationUnknown, DestinationUnreachable, ZscpError
from scp.model import Instance, Wishes
from scp.syntaxes import DEFLATED, EXPLICIT, HTJ2K, IMPLICIT, JPEG2000, JPEGLS, JPEGXL, RLE
from scp.telemetry import RequestEvent

# Smallest first, by the design's table; what a thin line gets when its peer states no preference.
_SMALLEST_FIRST = (JPEGXL, JPEG2000, JPEGLS, HTJ2K, RLE, DEFLATED, EXPLICIT, IMPLICIT)

# Sends one object over one association: accepted syntaxes of its SOP class → status, None if gone.
Send = Callable[[Instance], int | None]


class Suboperations:
    """The sub-operations of one C-MOVE or C-GET: their counts, responses and end."""

    def __init__(self, exchange: Exchange, event: RequestEvent, instances: list[Instance]) -> None:
        self._exchange, self._event = exchange, event
        self.remaining = len(instances)
        self.completed = self.warning = self.bytes_sent = 0
        self.failed: list[str] = []
        self.reason = ""
        self._message_ids = count(1)

    def message_id(self) -> int:
        """The next sub-operation's; never one that waits for its response."""
        return next(self._message_ids) % 65536

    def run(self, instances: list[Instance], send: Send) -> bool:
        """Send objects one by one; False when the request was cancelled or the association is gone."""
        for position, instance in enumerate(instances):
            if self._exchange.cancelled:
                return False
            status = self._attempt(instance, send)
            if status is None:
                self.fail_all(instances[position:])
                return False
            self._count(instance, status)
        return True

    def fail_all(self, instances: list[Instance], reason: str = "the association ended") -> None:
        """Count objects as failed that were not sent at all."""
        self.reason = reason
        self.failed += [instance.sop_instance_uid for instance in instances]
        self.remaining -= len(instances)

    def _attempt(self, instance: Instance, send: Send) -> int | None:
        """One sub-operation; what cannot be read or sent fails alone, and is logged."""
        try:
            return send(instance)
        except ZscpError as error:
            structlog.get_logger("zscp").warning(
                "sub-operation failed",
                sop_instance=instance.sop_instance_uid,
                outcome=type(error).__name__,
                reason=str(error),
            )
            self.reason = str(error)
            return UNABLE_SUBOPERATIONS

    def _count(self, instance: Instance, status: int) -> None:
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif is_warning(status):
            self.warning += 1
        else:
            self.failed.append(instance.sop_instance_uid)
        if self.remaining:
            self._exchange.respond(PENDING, counts=self._counts(self.remaining))

    def finish(self, cancelled: bool) -> None:
        """The final response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        status = self._final_status(cancelled)
        failed = None
        if self.failed and status != SUCCESS:
            identifier = Dataset()
            identifier.FailedSOPInstanceUIDList = self.failed
            failed = write_identifier(identifier, self._exchange.transfer_syntax)
        counts = self._counts(self.remaining if cancelled else None)
        comment = comment_of(self.reason) if self.failed and self.reason else ""
        self._exchange.respond(status, dataset=failed, counts=counts, comment=comment)
        self._event.add(
            status=status,
            completed=self.completed,
            failed=len(self.failed),
            warning=self.warning,
            bytes_sent=self.bytes_sent,
        )

    def _final_status(self, cancelled: bool) -> int:
        if cancelled:
            return CANCELLED
        if not self.failed:
            return SUCCESS if not self.warning else WARNING_SUBOPERATIONS
        return WARNING_SUBOPERATIONS if self.completed or self.warning else UNABLE_SUBOPERATIONS

    def _counts(self, remaining: int | None) -> Counts:
        return Counts(remaining, self.completed, len(self.failed), self.warning)


def wishes_of(peer: Peer | None) -> Wishes:
    """What a configured peer would rather have; on a thin line, above all little of it."""
    if peer is None:
        return Wishes()
    thin = peer.link_mbps is not None
    return Wishes(peer.prefer or (_SMALLEST_FIRST if thin else ()), before_stored=thin)


def _asked_for(
    exchange: Exchange, event: RequestEvent, archive: Archive, settings: QuerySettings
) -> list[Instance]:
    """The instances that a retrieve's identifier names. Raises QueryError."""
    identifier = read_identifier(exchange.request.dataset, exchange.transfer_syntax)
    root = (MOVE | GET)[exchange.abstract_syntax]
    query = query_of(
        identifier,
        root,
        strict=settings.hierarchy == "strict",
        relational=exchange.association.extended(exchange.abstract_syntax).relational,
    )
    check_retrieve(query)
    instances = archive.instances(query)
    event.add(root=query.root, query_level=query.level, instances=len(instances))
    return instances


def serve_get(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-GET: sub-operations go over the requester's own association."""
    instances = _asked_for(exchange, event, archive, settings.query)
    wishes = wishes_of(settings.peer_named(exchange.calling_aet))
    operations = Suboperations(exchange, event, instances)
    accepted: dict[str, dict[str, int]] = {}
    for context in exchange.association.accepted_contexts:
        if context.as_scu:  # the requester takes the SCP role for it (PS3.4 C.5.3)
            syntaxes = accepted.setdefault(str(context.abstract_syntax), {})
            syntaxes.setdefault(str(context.transfer_syntax[0]), context_id(context))

    def send(instance: Instance) -> int | None:
        contexts = accepted.get(instance.sop_class_uid, {})
        outgoing = archive.fetch(instance, contexts, wishes)
        uids = (instance.sop_class_uid, instance.sop_instance_uid)
        # Message ids are counted by who invokes (PS3.7 9.1): ours and the requester's do not meet.
        message_id, context = operations.message_id(), contexts[outgoing.transfer_syntax]
        dataset = b"".join(outgoing.chunks)
        status = exchange.association.store(context, uids, dataset, message_id)
        operations.bytes_sent += len(dataset)
        return status

    done = operations.run(instances, send)
    operations.finish(cancelled=not done and exchange.cancelled)


def serve_move(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-MOVE: sub-operations go over associations to the destination."""
    destination = exchange.request.text("MoveDestination")
    event.add(destination=destination)
    peer = settings.peer_named(destination)
    if peer is None:
        raise DestinationUnknown(f"move destination {destination} is no [[peer]] of this node")
    instances = _asked_for(exchange, event, archive, settings.query)
    operations = Suboperations(exchange, event, instances)
    originator = (exchange.calling_aet, exchange.message_id)
    cancelled = False
    for batch, contexts in batches(instances, wishes_of(peer).preferred):
        try:
            with associated(peer, contexts, settings.node.aet, settings.limits) as target:
                send = _sender(archive, target, peer, originator, operations)
                cancelled = not operations.run(batch, send) and exchange.cancelled
        except DestinationUnreachable as error:
            event.add(reason=str(error))
            operations.fail_all(batch, str(error))
        if cancelled:
            break
    operations.finish(cancelled)


def _sender(
    archive: Archive, target: Destination, peer: Peer, originator: tuple[str, int], operations: Suboperations
) -> Send:
    def send(instance: Instance) -> int | None:
        contexts = target.accepted(instance.sop_class_uid)
        outgoing = archive.fetch(instance, contexts, wishes_of(peer))
        uids = (instance.sop_class_uid, instance.sop_instance_uid)
        dataset = b"".join(outgoing.chunks)
        status = target.store(contexts[outgoing.transfer_syntax], uids, dataset, originator)
        operations.bytes_sent += len(dataset)
        return status

    return send
