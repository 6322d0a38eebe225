"""Retrieve service: C-MOVE and C-GET in Patient Root and Study Root (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack

import structlog

from scp.archive import Archive
from scp.config import Peer, QuerySettings, Settings
from scp.dimse.ahead import Work
from scp.dimse.carrier import Carrier, SameAssociation
from scp.dimse.contexts import GET, MOVE
from scp.dimse.destinations import Destination, associated, batches
from scp.dimse.exchange import Exchange
from scp.dimse.identifier import check_retrieve, query_of, read_identifier
from scp.dimse.suboperations import FetchFor, Suboperations
from scp.errors import DestinationUnknown, DestinationUnreachable
from scp.model import Instance, LossyRule, Wishes
from scp.outgoing import Outgoing, identified
from scp.syntaxes import DEFLATED, EXPLICIT, HTJ2K, IMPLICIT, JPEG2000, JPEGLS, JPEGXL, LOSSY, RLE
from scp.telemetry import RequestEvent

# Smallest first, by the design's table; what a thin line gets when its peer states no preference.
_SMALLEST_FIRST = (JPEGXL, JPEG2000, JPEGLS, HTJ2K, RLE, DEFLATED, EXPLICIT, IMPLICIT)


def wishes_of(peer: Peer | None) -> Wishes:
    """What a configured peer would rather have; on a thin line, above all little of it."""
    if peer is None:
        return Wishes()
    thin = peer.link_mbps is not None
    rule = LossyRule(peer.quality, peer.max_error) if peer.lossy else None
    return Wishes(peer.prefer or (_SMALLEST_FIRST if thin else ()), before_stored=thin, lossy=rule)


def proposed(wishes: Wishes) -> tuple[str, ...]:
    """What to propose to a C-MOVE destination besides what is stored and what anybody takes."""
    if wishes.lossy is None or not set(LOSSY).isdisjoint(wishes.preferred):
        return wishes.preferred
    return (*wishes.preferred, *LOSSY)


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


def _fetching(archive: Archive, wishes: Wishes) -> FetchFor:
    def fetch(instance: Instance, carrier: Carrier) -> Outgoing:
        return identified(archive.fetch(instance, carrier.accepted(instance.sop_class_uid), wishes))

    return fetch


def serve_get(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-GET: sub-operations go over the requester's own association."""
    instances = _asked_for(exchange, event, archive, settings.query)
    operations = Suboperations(exchange, event, instances)
    carrier = SameAssociation(exchange.association)
    wishes = wishes_of(settings.peer_named(exchange.calling_aet))
    operations.carry(Work(instances), carrier, _fetching(archive, wishes))
    if carrier.ended is not None:  # there is nobody left to answer
        raise carrier.ended
    operations.finish()
    archive.accessed(instances)


def serve_move(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-MOVE: sub-operations go over associations to the destination."""
    destination = exchange.request.text("MoveDestination")
    event.add(destination=destination)
    peer = settings.peer_named(destination)
    if peer is None:
        raise DestinationUnknown(f"move destination {destination} is no [[peer]] of this node")
    instances = _asked_for(exchange, event, archive, settings.query)
    operations = Suboperations(exchange, event, instances)
    origin = (exchange.calling_aet, exchange.message_id)
    wishes = wishes_of(peer)
    for batch, contexts in batches(instances, proposed(wishes)):
        try:
            with ExitStack() as ends:
                carriers = _associations(peer, contexts, settings, origin, len(batch))
                for carrier in carriers:
                    ends.callback(carrier.close)
                _carry_all(operations, batch, carriers, _fetching(archive, wishes))
        except DestinationUnreachable as error:
            event.add(reason=str(error))
            operations.fail_all(batch, str(error))
        if operations.stopped:
            break
    operations.finish()
    archive.accessed(instances)


def _associations(
    peer: Peer, contexts: list[tuple[str, str]], settings: Settings, origin: tuple[str, int], objects: int
) -> list[Destination]:
    """As many to the destination as it may have. Raises DestinationUnreachable when there is not one."""
    carriers = [associated(peer, contexts, settings, origin)]
    try:
        while len(carriers) < min(peer.associations, objects):
            carriers.append(associated(peer, contexts, settings, origin))
    except DestinationUnreachable as error:
        # It takes fewer at a time than it may have: those that there are do the work.
        log = structlog.get_logger("zscp")
        log.warning("fewer associations", destination=peer.aet, associations=len(carriers), reason=str(error))
    return carriers


def _carry_all(
    operations: Suboperations, instances: list[Instance], carriers: Sequence[Carrier], fetch: FetchFor
) -> None:
    """Spread objects over associations; what one leaves when it breaks, the others take."""
    work = Work(instances)
    while (left := work.left()) and not operations.stopped:
        able = [carrier for carrier in carriers if carrier.ended is None]
        if not able:
            operations.fail_all(left)
            return
        threads = [
            threading.Thread(target=operations.carry, args=(work, carrier, fetch, len(able)), daemon=True)
            for carrier in able[1:]
        ]
        for thread in threads:
            thread.start()
        operations.carry(work, able[0], fetch, len(able))
        for thread in threads:
            thread.join()
