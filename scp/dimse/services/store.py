"""Storage service, as SCP (PS3.4 Annex B)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from scp.archive.archive import Archive
from scp.archive.behind import Acknowledged
from scp.archive.described import count_limit, describe
from scp.dimse.auditing import AssociationAudit
from scp.dimse.exchange import Exchange
from scp.dimse.status import of_kept
from scp.errors import public
from scp.model import Kept, Received
from scp.resources.pressure import pressure
from scp.telemetry import RequestEvent


def serve(exchange: Exchange, event: RequestEvent, archive: Archive) -> None:
    """Store an object; answer Success, or a warning, only when it is durable (invariant 1).

    The index may have it some 20 ms later; then log and audit trail are told what became of it.
    Refused where the node has no memory left (A700): what it has received is dropped.
    """
    received = _received(exchange)
    event.add(
        sop_class=received.sop_class_uid,
        sop_instance=received.sop_instance_uid,
        transfer_syntax=received.transfer_syntax,
        bytes_received=len(received.dataset),
    )
    audit = exchange.association.audit
    follows: list[Acknowledged] = []
    try:
        pressure().check()
        kept = archive.ingest(received, follow=follows.append)
    except Exception as error:
        audit.not_stored(public(error))
        raise
    describe(kept, event)
    count_limit(kept, event)
    for one in follows:
        exchange.association.unrecorded.add(one)
        one.then(partial(_recorded, event, audit))
        event.emit_by(one.then)
    if not follows:
        audit.stored(kept)
    status, comment = of_kept(kept)
    exchange.respond(status, comment=comment)
    event.add(status=status)


def _recorded(event: RequestEvent, audit: AssociationAudit, kept: Kept) -> None:
    """What became of an object that was acknowledged before."""
    audit.stored(kept)
    if kept.outcome != "kept":
        describe(kept, event)


def _received(exchange: Exchange) -> Received:
    request = exchange.request
    return Received(
        sop_class_uid=request.text("AffectedSOPClassUID") or exchange.abstract_syntax,
        sop_instance_uid=request.text("AffectedSOPInstanceUID"),
        transfer_syntax=exchange.transfer_syntax,
        dataset=request.dataset or b"",
        calling_aet=exchange.calling_aet,
        called_aet=exchange.called_aet,
        received_at=datetime.now(UTC),
        sha256=request.sha256,
    )
