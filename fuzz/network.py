"""What comes over a connection, beside datasets: association PDUs, messages, identifiers of queries."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import SimpleNamespace

from pynetdicom.pdu import A_ASSOCIATE_RQ

from scp.dimse.identifier import check_retrieve, query_of, read_identifier
from scp.dimse.negotiation.association_pdus import Rejection, read_accept
from scp.dimse.negotiation.association_request import read_request
from scp.dimse.negotiation.contexts import STORAGE_COMMITMENT
from scp.dimse.services.commitment import requested
from scp.dimse.services.references import plain_request
from scp.dimse.verdict import PUSH_INSTANCE
from scp.dimse.wire.assembly import Assembly
from scp.dimse.wire.messages import N_ACTION_RQ, Message, read_command, write_command
from scp.dimse.wire.pdus import ASSOCIATE_RQ, HEADER
from scp.dimse.wire.upper_layer import Ended, UpperLayer
from scp.encoding.elements import Encoding
from scp.encoding.uids import is_usable
from scp.errors import ActionRefused, MalformedAssociation, QueryError, UnreadableDataset
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, lookup

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
_SECONDS = 2.0  # what a connection may wait; what the fuzzer sends is all there, and then ends


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


def connection(data: bytes) -> None:
    """All that comes on an established association, to its end: messages, and then the one way it ended."""
    ours, peer = socket.socketpair()
    layer = UpperLayer(ours, 16_384, 0, _SECONDS)
    try:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while True:
            _look_at(layer.receive())
    except Ended as ended:
        if ended.how in ("idle", "stalled", "failed"):
            raise AssertionError(f"a connection that was closed ended as {ended.how}: {ended}") from ended
    finally:
        layer.close()
        peer.close()


def command(data: bytes) -> None:
    """A command set: what is read of it is written, and read again, as it is; texts but UIDs are ASCII."""
    with suppress(UnreadableDataset):
        fields = read_command(data)
        again = read_command(write_command(fields))
        if read_command(write_command(again)) != again:
            raise AssertionError(f"{again} is read as something else once written")
        for keyword, value in fields.items():
            exact = isinstance(value, int) or (value and (keyword.endswith("UID") or value.isascii()))
            if exact and again.get(keyword) != value:
                raise AssertionError(f"{keyword} {value!r} became {again.get(keyword)!r}")


def action(data: bytes) -> None:
    """A request for storage commitment; the first byte picks its encoding. Both readers say the same."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES) if data else 0]
    dataset = data[1:]
    fields = {"CommandField": N_ACTION_RQ, "ActionTypeID": 1, "RequestedSOPInstanceUID": PUSH_INSTANCE}
    request = Message(1, fields, dataset)
    exchange = SimpleNamespace(request=request, abstract_syntax=STORAGE_COMMITMENT, transfer_syntax=syntax)
    with suppress(ActionRefused, QueryError):
        requested(exchange)
    found = lookup(syntax)
    plain = (
        None if found.deflated else plain_request(dataset, Encoding(found.explicit_vr, found.little_endian))
    )
    if plain is None or not all(is_usable(uid) for pair in plain[1] for uid in pair):
        return  # pydicom is asked instead
    with suppress(QueryError):
        read = read_identifier(dataset, syntax)
        references = [
            (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
            for one in read.ReferencedSOPSequence
        ]
        if (str(read.TransactionUID).strip(" \0"), references) != plain:
            raise AssertionError(f"{plain} as bytes, {references} of {read.TransactionUID} by pydicom")


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
