"""What was proposed before is answered as it was, and under the settings of now."""

from __future__ import annotations

import socket
import struct

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from scp.dimse import server
from scp.dimse.negotiation.contexts import supported
from scp.dimse.negotiation.direct import DirectAssociation
from scp.dimse.negotiation.remembered_answers import Answers, RememberedAnswer, apart, together

from .conftest import RunningNode, Starter

CT, FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"


def proposal(
    calling: str, *contexts: tuple[str, list[str]], roles: tuple[str, ...] = (), more: tuple = ()
) -> bytes:
    """An A-ASSOCIATE-RQ as pynetdicom's own requestor sends it."""
    ours, peer = socket.socketpair()
    association = DirectAssociation(AE(calling), "requestor", ours)
    association.acceptor.ae_title, association.requestor.ae_title = "ZSCP", calling
    association.requestor.maximum_length = 16382
    proposed = []
    for number, (sop_class, syntaxes) in enumerate(contexts):
        context = PresentationContext()
        context.context_id, context.abstract_syntax = 2 * number + 1, sop_class
        context.transfer_syntax = syntaxes
        proposed.append(context)
    association.requestor.requested_contexts = proposed
    for item in (*(build_role(uid, scu_role=True, scp_role=True) for uid in roles), *more):
        association.requestor.add_negotiation_item(item)
    association.acse.send_request()
    ours.close()
    return peer.recv(1 << 20)


def answered(node: RunningNode, request: bytes) -> bytes:
    """The PDU that a request is answered by; the connection is released."""
    with socket.create_connection(node.address, 10) as sock, sock.makefile("rb") as read:
        sock.sendall(request)
        header = read.read(6)
        body = read.read(struct.unpack(">BxL", header)[1])
        sock.sendall(b"\5\0\0\0\0\4\0\0\0\0")
        assert read.read(10) == b"\6\0\0\0\0\4\0\0\0\0"
        return header + body


def contexts_of(pdu: bytes) -> dict[int, tuple[int, str]]:
    """Context ID → result and transfer syntax."""
    decoded = A_ASSOCIATE_AC()
    decoded.decode(pdu)
    return {
        item.context_id: (item.result, str(item.transfer_syntax)) for item in decoded.presentation_context
    }


def window() -> AsynchronousOperationsWindowNegotiation:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = 4, 3
    return item


def extended() -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = FIND, b"\1\1\1"
    return item


def identity() -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = 1, b"somebody"
    return item


PROPOSALS = {
    "one": ((CT, [ExplicitVRLittleEndian]),),
    "same class often": tuple((CT, [one]) for one in (ImplicitVRLittleEndian, JPEGBaseline8Bit, "1.2.3.4")),
    "refused": (("1.2.840.10008.5.1.1.9", [ImplicitVRLittleEndian]), (CT, [ExplicitVRLittleEndian])),
    "all refused": (("1.2.840.10008.5.1.1.9", [ImplicitVRLittleEndian]),),
    "many": tuple((f"1.2.840.10008.5.1.4.1.1.{n}", [ImplicitVRLittleEndian]) for n in range(1, 121)),
}


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("roles", [(), (CT,)], ids=["no roles", "roles"])
@pytest.mark.parametrize("more", [(), (window, extended, identity)], ids=["plain", "negotiated"])
def test_the_same_answer(node: RunningNode, name: str, roles: tuple, more: tuple) -> None:
    request = proposal("AGAIN", *PROPOSALS[name], roles=roles, more=tuple(make() for make in more))
    first = answered(node, request)
    assert first[0] == 2
    for _ in range(3):
        again = answered(node, request)
        assert items(again) == items(first)
        assert len(again) == len(first)


def items(pdu: bytes) -> tuple[bytes, list[bytes]]:
    """What stands before the user information, and its items in some order: that is nobody's concern."""
    decoded = A_ASSOCIATE_AC()
    decoded.decode(pdu)
    before, _, _ = pdu[6:].partition(decoded.user_information.encode())
    return before, sorted(item.encode() for item in decoded.user_information.user_data)


def test_what_else_is_asked_is_answered_anew(node: RunningNode) -> None:
    """Names, window and extended negotiation are no part of what is remembered."""
    asked = PROPOSALS["same class often"]
    plain = answered(node, proposal("AGAIN", *asked))
    windowed = answered(node, proposal("AGAIN", *asked, more=(window(), extended())))
    decoded = A_ASSOCIATE_AC()
    decoded.decode(windowed)
    assert len(decoded.user_information.user_data) == 5
    assert contexts_of(windowed) == contexts_of(plain)
    assert answered(node, proposal("AGAIN", *asked)) == plain
    assert b"OTHER" in answered(node, proposal("OTHER", *asked))


def test_roles_belong_to_the_proposal(node: RunningNode) -> None:
    asked = PROPOSALS["one"]
    without, with_role = (answered(node, proposal("AGAIN", *asked, roles=roles)) for roles in ((), (CT,)))
    assert without != with_role
    assert answered(node, proposal("AGAIN", *asked)) == without


def test_other_settings_give_other_answers(start: Starter) -> None:
    node = start(access={"unknown_sop_classes": False})
    request = proposal("AGAIN", (PRIVATE, [ExplicitVRLittleEndian]))
    assert [contexts_of(answered(node, request))[1][0] for _ in range(2)] == [3, 3]
    node.reload(access={"unknown_sop_classes": True})
    assert [contexts_of(answered(node, request))[1][0] for _ in range(2)] == [0, 0]
    node.reload(access={"unknown_sop_classes": True, "allow": "known"})
    with pytest.raises(AssertionError, match="rejected"):
        assert answered_or_rejected(node, request)


def answered_or_rejected(node: RunningNode, request: bytes) -> bool:
    with socket.create_connection(node.address, 10) as sock:
        sock.sendall(request)
        assert sock.recv(1) != b"\3", "rejected"
        return True


def test_what_peers_prefer_counts(start: Starter) -> None:
    node = start(peer=[{"aet": "HOME", "host": "127.0.0.1", "port": 104, "prefer": ["HTJ2KLossless"]}])
    both = (CT, [ExplicitVRLittleEndian, "1.2.840.10008.1.2.4.201"])
    for _ in range(2):
        assert contexts_of(answered(node, proposal("HOME", both)))[1] == (0, "1.2.840.10008.1.2.4.201")
        assert contexts_of(answered(node, proposal("ELSE", both)))[1] == (0, ExplicitVRLittleEndian)


def test_apart_and_together_again() -> None:
    request = proposal("AGAIN", *PROPOSALS["many"], roles=(CT,), more=(window(),))
    found = apart(request[6:])
    assert found is not None
    assert len(found.rest) + len(found.contexts) + len(found.roles) == len(request) - 6
    header = struct.pack(">BxL", 1, len(found.rest))
    whole = together(header + found.rest, RememberedAnswer({}, (), found.contexts, found.roles))
    decoded, original = A_ASSOCIATE_RQ(), A_ASSOCIATE_RQ()
    decoded.decode(whole)
    original.decode(request)
    assert decoded.presentation_context == original.presentation_context
    assert len(whole) == len(request)


def test_what_cannot_be_followed_is_left_to_pynetdicom() -> None:
    body = proposal("AGAIN", *PROPOSALS["one"])[6:]
    for cut in range(69, len(body)):
        found = apart(body[:cut])
        assert found is None or len(found.rest) + len(found.contexts) + len(found.roles) == cut


def test_as_many_as_are_kept() -> None:
    answers, answer = Answers(), RememberedAnswer({}, (), b"", b"")
    for number in range(100):
        answers.remember(b"%d" % number, answer)
    answers.remember(bytes(1 << 20), answer)
    assert sum(answers.find(b"%d" % number) is not None for number in range(100)) == 32
    assert answers.find(bytes(1 << 20)) is None


def test_nothing_is_decided_twice(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = []
    monkeypatch.setattr(server, "supported", lambda *given: decided.append(given) or supported(*given))
    request = proposal("AGAIN", *PROPOSALS["many"], roles=(CT,))
    for _ in range(3):
        answered(node, request)
    assert len(decided) == 1
