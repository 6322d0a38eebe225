"""Storage Commitment Push Model, as SCP: the request (PS3.4 J.3.2).

A request is recorded, durably, before it is answered with Success. Its result follows as an N-EVENT-REPORT
(:mod:`scp.dimse.services.commitment_report`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp.dimse.exchange import Exchange
from scp.dimse.identifier import bounded, read_identifier
from scp.dimse.negotiation.contexts import STORAGE_COMMITMENT
from scp.dimse.services.commitment_report import AssociationReporter
from scp.dimse.services.references import plain_request
from scp.dimse.status import SUCCESS
from scp.dimse.verdict import PUSH_INSTANCE
from scp.dimse.wire.assembly import LONGEST_ACTION
from scp.encoding.elements import Encoding
from scp.encoding.uids import is_usable
from scp.errors import (
    IdentifierTooLarge,
    InvalidArgument,
    NoSuchAction,
    NoSuchInstance,
    QueryError,
    UnreadableDataset,
)
from scp.index.queue import Commitments, Lease
from scp.model import Commitment, Reference
from scp.resources.bounds import Bounds
from scp.syntaxes import lookup
from scp.telemetry import RequestEvent

_REQUEST_COMMITMENT = 1  # the only Action Type (PS3.4 table J.3-1)
# 100 000 references, at their longest 13 MB.
_LIMITS = Bounds(elements=300_000, items=110_000, fragments=0, depth=4, inflated_bytes=LONGEST_ACTION)
# A transaction UID; for references, all UIDs are allowed that an object may be held under.
_UID = re.compile(r"[\w.-]{1,64}", re.ASCII)


def serve(
    exchange: Exchange, event: RequestEvent, outstanding: Commitments, reporter: AssociationReporter
) -> None:
    """Take a request; its result is reported later.

    Raises ActionRefused where it cannot be processed, OutOfResources where it cannot be recorded.
    """
    transaction, references = requested(exchange)
    event.add(transaction=transaction, instances=len(references))
    lease = Lease.begin()
    holder = lease.holder if reporter.has_room() else ""
    wanted = Commitment(transaction, exchange.calling_aet, references, lease.now, lease.until, holder)
    recorded = outstanding.add(wanted)
    reporter.sync()
    exchange.respond(SUCCESS)
    event.add(status=SUCCESS)
    if recorded is None:
        event.add(outcome="under way")  # the same request once more: it has one result
    elif holder:
        reporter.begin(exchange, recorded)
    else:
        reporter.leave(recorded)


def requested(exchange: Exchange) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and references of a request. Raises ActionRefused."""
    request = exchange.request
    if (
        exchange.abstract_syntax != STORAGE_COMMITMENT
        or request.number("ActionTypeID") != _REQUEST_COMMITMENT
    ):
        raise NoSuchAction(f"action {request.number('ActionTypeID')} of {exchange.abstract_syntax}")
    if request.text("RequestedSOPInstanceUID") != PUSH_INSTANCE:
        raise NoSuchInstance(f"{request.text('RequestedSOPInstanceUID')} is not {PUSH_INSTANCE}")
    if plain := _plain(exchange):
        return plain
    try:
        information = read_identifier(request.dataset, exchange.transfer_syntax, _LIMITS)
    except IdentifierTooLarge:
        raise
    except QueryError as error:
        raise InvalidArgument(str(error)) from error
    named = information.get("ReferencedSOPSequence", None)
    references = tuple(map(_reference, named)) if isinstance(named, Sequence) else ()
    if not references:
        raise InvalidArgument("Referenced SOP Sequence names no instance")
    return _uid(information, "TransactionUID", _UID.fullmatch), references


def _plain(exchange: Exchange) -> tuple[str, tuple[Reference, ...]] | None:
    """A request without anything odd, which most are; None for others. Raises IdentifierTooLarge."""
    syntax, data = lookup(exchange.transfer_syntax), exchange.request.dataset
    if data is None:
        return None
    try:
        data = bounded(data, syntax, _LIMITS)
    except UnreadableDataset:
        return None
    read = plain_request(data, Encoding(syntax.explicit_vr, syntax.little_endian))
    if read is None or not read[1] or not _UID.fullmatch(read[0]):
        return None
    if not all(is_usable(uid) for reference in read[1] for uid in reference):
        return None
    return read[0], tuple(Reference(*reference) for reference in read[1])


def _reference(item: Dataset) -> Reference:
    return Reference(
        _uid(item, "ReferencedSOPClassUID", is_usable), _uid(item, "ReferencedSOPInstanceUID", is_usable)
    )


def _uid(dataset: Dataset, keyword: str, allowed: Callable[[str], object]) -> str:
    """A UID that has to be there, and can be repeated in the report. Raises InvalidArgument."""
    value = dataset.get(keyword, None)
    text = value.strip(" \0") if isinstance(value, str) else ""
    if not allowed(text):
        told = repr(str(value)[:80])
        raise InvalidArgument(f"{keyword} {told} is no UID", quoted=told)
    return text
