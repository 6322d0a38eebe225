"""What comes over a connection, beside datasets: association PDUs, messages, identifiers of queries."""

from __future__ import annotations

from contextlib import suppress

from pynetdicom.pdu import A_ASSOCIATE_RQ

from scp.dimse.identifier import check_retrieve, query_of, read_identifier
from scp.dimse.negotiation.association_pdus import Rejection, read_accept
from scp.dimse.negotiation.association_request import read_request
from scp.dimse.wire.assembly import Assembly
from scp.dimse.wire.messages import Message, read_command, write_command
from scp.dimse.wire.pdus import ASSOCIATE_RQ, HEADER
from scp.errors import MalformedAssociation, QueryError, UnreadableDataset
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)


def association(data: bytes) -> None:
    """The body of an A-ASSOCIATE-RQ, and of an -AC; what is let through, pynetdicom can read."""
    with suppress(MalformedAssociation):
        read_accept(data)
    with suppress(MalformedAssociation):
        request = read_request(data)
        if isinstance(request, Rejection):
            if len(request.pdu) != 10:
                raise AssertionError("an A-ASSOCIATE-RJ has 10 bytes")
            return
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(HEADER.pack(ASSOCIATE_RQ, len(request.body)) + request.body)


def messages(data: bytes) -> None:
    """P-DATA-TF bodies, one after another, each behind two bytes of length."""
    with suppress(UnreadableDataset):
        fields = read_command(data)
        read_command(write_command(fields))
    assembly = Assembly(_look_at)
    at = 0
    with suppress(UnreadableDataset):
        while at < len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            assembly.take(memoryview(data)[at + 2 : at + 2 + size])
            at += 2 + size


def _look_at(message: Message) -> None:
    message.number("MessageID")
    message.text("AffectedSOPInstanceUID")


def identifier(data: bytes) -> None:
    """The identifier of a C-FIND, C-MOVE or C-GET; the first byte picks its encoding and root."""
    kind = data[0] if data else 0
    with suppress(QueryError):
        found = read_identifier(data[1:], SYNTAXES[kind % len(SYNTAXES)])
        root = "PATIENT" if kind & 4 else "STUDY"
        check_retrieve(query_of(found, root, strict=bool(kind & 8), relational=bool(kind & 16)))
