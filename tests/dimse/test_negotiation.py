"""What zscp relies on of pynetdicom while an association is negotiated, and what a peer may do then."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pynetdicom
import pytest
from pynetdicom import AE, build_context
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from scp.dimse.negotiation.direct import DirectAssociation
from scp.dimse.negotiation.negotiation import Negotiator


def _request() -> bytes:
    """An A-ASSOCIATE-RQ as pynetdicom's own requestor sends it."""
    ours, peer = socket.socketpair()
    association = DirectAssociation(AE("SCU"), "requestor", ours)
    association.acceptor.ae_title, association.requestor.ae_title = "ZSCP", "SCU"
    association.requestor.maximum_length = 16382
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    association.requestor.requested_contexts = [context]
    association.acse.send_request()
    ours.close()
    return peer.recv(100_000)


def test_the_version_whose_internals_are_known() -> None:
    """Look at negotiation and direct in scp.dimse.negotiation anew before another one is allowed."""
    assert pynetdicom.__version__.startswith("3.0.")
    for name in ("_accepted_cx", "_rejected_cx"):
        assert hasattr(Association(AE(), "acceptor"), name)
    for name in ("_negotiate_as_acceptor", "_negotiate_as_requestor", "send_request", "send_reject"):
        assert hasattr(ACSE, name)


def test_a_request_cut_anywhere_is_put_together() -> None:
    request = _request()
    for cut in range(0, len(request), 7):
        ours, peer = socket.socketpair()
        peer.sendall(request[:cut])
        threading.Timer(0.001, peer.sendall, [request[cut:]]).start()
        primitive = Negotiator(ours, 5.0).receive_pdu()
        assert isinstance(primitive, A_ASSOCIATE)
        assert primitive.called_ae_title == "ZSCP"
        ours.close()
        peer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BxL", 1, 0xFFFFFFFF),
        struct.pack(">BxLHxx", 1, 100, 1) + b"A" * 96,
        struct.pack(">BxL", 9, 4) + bytes(4),
    ],
)
def test_what_is_no_request_is_answered_with_an_abort(sent: bytes) -> None:
    ours, peer = socket.socketpair()
    peer.sendall(sent)
    assert Negotiator(ours, 5.0).receive_pdu() is None
    abort = A_ABORT_RQ()
    abort.decode(peer.recv(100))
    assert abort.source == 2
    ours.close()
    peer.close()


def test_a_peer_that_drips_gets_no_more_time() -> None:
    ours, peer = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        for byte in _request():
            if stop.wait(0.05):
                return
            peer.send(bytes([byte]))

    threading.Thread(target=drip).start()
    started = time.monotonic()
    assert Negotiator(ours, 0.3).receive_pdu() is None
    assert time.monotonic() - started < 5
    stop.set()
    ours.close()


def test_a_request_says_what_was_asked() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(_request())
    primitive = pdu.to_primitive()
    assert primitive.calling_ae_title == "SCU"
    (context,) = primitive.presentation_context_definition_list
    assert context.abstract_syntax == "1.2.840.10008.1.1"
