"""Query service: C-FIND in Patient Root and Study Root (PS3.4 C.4.1)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from pydicom.dataset import Dataset

from scp.archive.archive import Archive
from scp.config.settings import Settings
from scp.dimse.exchange import Exchange, cancellable
from scp.dimse.identifier import query_of, read_identifier, write_identifier
from scp.dimse.negotiation.contexts import FIND
from scp.dimse.services.answers import answer
from scp.dimse.services.plain_answers import PlainAnswers
from scp.dimse.status import PENDING, PENDING_UNSUPPORTED_KEYS, SUCCESS
from scp.index.watch import Watch
from scp.model import Facts, Query, QueryKey
from scp.telemetry import RequestEvent

# Asked of the index with each query: a reader may know no other character set than that of its objects.
_CHARACTER_SET = QueryKey("SpecificCharacterSet", "CS", "")


def serve(exchange: Exchange, event: RequestEvent, archive: Archive, settings: Settings) -> None:
    """Answer a C-FIND: one pending response a match, as the index finds them.

    A query that works for longer than ``query.seconds`` is answered A700 (PS3.4 table C.4-1).
    """
    identifier = read_identifier(exchange.request.dataset, exchange.transfer_syntax)
    negotiated = exchange.association.extended(exchange.abstract_syntax)
    query = query_of(
        identifier,
        FIND[exchange.abstract_syntax],
        strict=settings.query.hierarchy == "strict",
        relational=negotiated.relational,
        combined_datetime=negotiated.combined_datetime,
    )
    event.add(root=query.root, query_level=query.level, keys=[key.keyword for key in query.keys if key.value])
    asked = {key.keyword: key.value for key in query.keys if key.value}
    archive.notice_query(Facts(asked, "", 0, exchange.calling_aet, exchange.called_aet))
    with cancellable(exchange, event):
        _answer(exchange, event, archive, settings, identifier, query)
        exchange.respond(SUCCESS)
        event.add(status=SUCCESS)


def _answer(
    exchange: Exchange,
    event: RequestEvent,
    archive: Archive,
    settings: Settings,
    identifier: Dataset,
    query: Query,
) -> None:
    """Send the pending responses. Raises Cancelled."""
    service = {"QueryRetrieveLevel": query.level, "RetrieveAETitle": settings.node.aet}
    watch = Watch(settings.query.seconds, exchange.check)
    plain = PlainAnswers(identifier, exchange.transfer_syntax)
    matches = 0
    asked = replace(query, keys=(*query.keys, _CHARACTER_SET), seen=exchange.association.rights.seen)
    with closing(archive.find(asked, watch)) as found:
        for match in found:
            exchange.check()
            if matches == settings.query.max_matches > 0:
                event.add(limited=True)
                break
            told = service | {"InstanceAvailability": match.get("InstanceAvailability", "ONLINE")}
            result = plain.write(match, told)
            if result is None:
                result = write_identifier(answer(identifier, match, told), exchange.transfer_syntax)
            held = all(key.keyword in match for key in query.keys)
            exchange.respond(PENDING if held else PENDING_UNSUPPORTED_KEYS, dataset=result)
            matches += 1
    event.add(matches=matches)
