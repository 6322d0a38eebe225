"""Retrieve service: C-MOVE and C-GET in Patient Root and Study Root (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from dataclasses import replace

import structlog

from scp.archive.archive import Archive
from scp.archive.deliver import Outgoing, identified
from scp.archive.records import shared_studies
from scp.config.settings import QuerySettings, Settings
from scp.dimse.exchange import Exchange, cancellable
from scp.dimse.identifier import read_identifier
from scp.dimse.negotiation.contexts import GET, MOVE
from scp.dimse.patience import Pauses
from scp.dimse.scu.associate import batches
from scp.dimse.scu.carrier import Carrier, SameAssociation
from scp.dimse.scu.fetch_ahead import Work
from scp.dimse.scu.traffic import sent_counter
from scp.dimse.services.move import Move
from scp.dimse.services.naming import named
from scp.dimse.services.suboperations import FetchFor, Suboperations
from scp.errors import DestinationUnknown
from scp.index.watch import Watch
from scp.model import Instance, SyntaxPreference
from scp.policy.preference import preference_of, proposed
from scp.resources.pressure import pressure
from scp.telemetry import RequestEvent


def _asked_for(
    exchange: Exchange, event: RequestEvent, archive: Archive, settings: QuerySettings
) -> list[Instance]:
    """The instances that a retrieve's identifier names, and that the peer sees.

    Raises QueryError; and OutOfResources, Cancelled and Ended as the search of a C-FIND does.
    """
    pressure().check()
    identifier = read_identifier(exchange.request.dataset, exchange.transfer_syntax)
    root, seen = (MOVE | GET)[exchange.abstract_syntax], exchange.association.rights.seen
    watch = Watch(settings.seconds, exchange.check)
    query = named(
        identifier,
        root,
        lambda asked: archive.find(replace(asked, seen=seen), watch),
        strict=settings.hierarchy == "strict",
        relational=exchange.association.extended(exchange.abstract_syntax).relational,
    )
    instances = archive.instances(replace(query, seen=seen), watch)
    event.add(root=query.root, query_level=query.level, instances=len(instances))
    if not any(key.keyword == "PatientID" and key.value for key in query.keys):
        for study in shared_studies(instances):  # PS3.4 C.4 does not say what to do: all of it is sent
            structlog.get_logger("zscp").warning("study of several patients retrieved", study=study)
    return instances


def _fetching(archive: Archive, preference: SyntaxPreference) -> FetchFor:
    def fetch(instance: Instance, carrier: Carrier) -> Outgoing:
        return identified(archive.fetch(instance, carrier.accepted(instance.sop_class_uid), preference))

    return fetch


def serve_get(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-GET: sub-operations go over the requester's own association."""
    with cancellable(exchange, event):
        instances = _asked_for(exchange, event, archive, settings.query)
        taken = sent_counter("c-get", exchange.calling_aet, archive, instances)
        operations = Suboperations(exchange, event, instances, taken)
        carrier = SameAssociation(exchange.association)
        preference = preference_of(settings.peer_named(exchange.calling_aet))
        with exchange.association.audit.sending(instances, operations.unsent):
            operations.carry(Work(instances), carrier, _fetching(archive, preference))
            if carrier.ended is not None:  # there is nobody left to answer
                raise carrier.ended
            operations.finish()
        archive.record_access(instances)


def serve_move(
    exchange: Exchange,
    event: RequestEvent,
    archive: Archive,
    settings: Settings,
    pauses: Pauses,
) -> None:
    """Answer a C-MOVE: sub-operations go over associations to the destination."""
    destination = exchange.request.text("MoveDestination")
    event.add(destination=destination)
    exchange.association.rights.check_destination(destination)
    peer = settings.peer_named(destination)
    if peer is None:
        raise DestinationUnknown(f"move destination {destination} is no [[peer]] of this node")
    with cancellable(exchange, event):
        instances = _asked_for(exchange, event, archive, settings.query)
        operations = Suboperations(
            exchange, event, instances, sent_counter("c-move", peer.aet, archive, instances)
        )
        preference = preference_of(peer)
        origin = (exchange.calling_aet, exchange.message_id)
        move = Move(operations, peer, settings, origin, _fetching(archive, preference), pauses)
        with exchange.association.audit.sending(instances, operations.unsent, (peer.aet, peer.host)):
            for batch, contexts in batches(instances, proposed(preference)):
                move.send(batch, contexts)
                if operations.stopped:
                    break
            operations.finish()
        archive.record_access(instances)
