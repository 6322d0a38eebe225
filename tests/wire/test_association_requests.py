"""Association requests that are odd, or wrong, or not what they should be: each has the standard's answer.

All bytes are put together here: no library would send them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC

from bench import window
from bench.window import item
from scp.dimse.negotiation.association_pdus import Rejection, read_accept
from scp.dimse.negotiation.association_request import read_request
from scp.errors import MalformedAssociation

from .conftest import RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, MR_IMAGE, VERIFICATION, as_file, dcmtk, image, until

pytestmark = pytest.mark.peer

CONTEXT = b"1.2.840.10008.3.1.1.1"
NO_TITLE = b"".ljust(16)


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    return start_shared(access={"check_called_aet": True})


@pytest.fixture(autouse=True)
def _goes_on(node: RunningNode) -> Iterator[None]:
    yield
    node.answers_echo()


def context(
    number: int, abstract: bytes = VERIFICATION.encode(), *transfer: bytes, more: bytes = b""
) -> bytes:
    names = item(0x30, abstract) + b"".join(item(0x40, uid) for uid in transfer)
    return item(0x20, bytes((number, 0, 0, 0)) + names + more)


ECHO = context(1, VERIFICATION.encode(), IMPLICIT.encode())


def request(
    *,
    called: bytes = b"ZSCP".ljust(16),
    calling: bytes = b"RAW".ljust(16),
    version: int = 1,
    application: bytes | None = CONTEXT,
    contexts: bytes = ECHO,
    more: bytes = b"",
    longest: bytes = struct.pack(">L", 16_384),
    user: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    body = struct.pack(">Hxx", version) + called + calling + bytes(32)
    body += b"" if application is None else item(0x10, application)
    body += contexts + more
    body += item(0x50, item(0x51, longest) + item(0x52, b"1.2.3.4") + user)
    return struct.pack(">BxL", 1, len(body)) + body


def answered(node: RunningNode, pdu: bytes) -> tuple[int, bytes]:
    """Type and body of the PDU that answers; nothing may follow a rejection or an abort."""
    with socket.create_connection(node.address, 10) as sock, sock.makefile("rb") as read:
        sock.sendall(pdu)
        kind, length = struct.unpack(">BxL", read.read(6))
        body = read.read(length)
        if kind == 2:
            sock.sendall(window.RELEASE_RQ)
            assert read.read(10) == struct.pack(">BxLL", 6, 4, 0)
        assert read.read() == b""
        return kind, body


@contextmanager
def logged(node: RunningNode, name: str) -> Iterator[dict[str, Any]]:
    """The one event of a name that is logged, until no association is left; there after the block."""
    found: dict[str, Any] = {}
    until(lambda: not node.node.server.associations.all(), "those of the test before are over")
    with structlog.testing.capture_logs() as events:
        yield found
        until(lambda: not node.node.server.associations.all(), "it is over")
    (event,) = [event for event in events if event["event"] == name]
    found.update(event)


def accepted(node: RunningNode, pdu: bytes) -> A_ASSOCIATE_AC:
    """The answer to a request, decoded by pynetdicom; its first context answers a C-ECHO."""
    kind, body = answered(node, pdu)
    assert kind == 2, (kind, body.hex())
    decoded = A_ASSOCIATE_AC()
    decoded.decode(struct.pack(">BxL", kind, len(body)) + body)
    return decoded


def results(decoded: A_ASSOCIATE_AC) -> dict[int, int]:
    return {one.context_id: one.result for one in decoded.presentation_context}


# -- AE titles, version, application context ------------------------------------------------------------


@pytest.mark.parametrize(
    ("called", "calling"),
    [
        (b"ZSCP".ljust(16, b"\0"), b"RAW".ljust(16, b"\0")),
        (b"ZSCP  ".ljust(16, b"\0"), b"  RAW".ljust(16, b"\0")),
        (b"ZSCP\0left\0over..", b"RAW\0\xff\xff\xff".ljust(16, b" ")),
        (b"  ZSCP".ljust(16), b"SIXTEEN-LETTERS!"),
    ],
)
def test_padded_ae_titles(node: RunningNode, called: bytes, calling: bytes) -> None:
    """What comes behind a NUL is left of a longer text. They are sent back as they came (PS3.8 9.3.3)."""
    with logged(node, "association") as event:
        kind, body = answered(node, request(called=called, calling=calling))
    assert (kind, body[4:36]) == (2, called + calling)
    assert event["called_aet"] == "ZSCP"
    assert event["calling_aet"] == calling.partition(b"\0")[0].strip().decode()


@pytest.mark.parametrize(
    "blank", [NO_TITLE, bytes(16), b"\0" + b"A" * 15, b"   \0".ljust(16), b"A\\B".ljust(16)]
)
@pytest.mark.parametrize(("which", "reason"), [("calling", 3), ("called", 7)])
def test_blank_ae_titles(node: RunningNode, which: str, reason: int, blank: bytes) -> None:
    with logged(node, "association rejected") as event:
        assert answered(node, request(**{which: blank})) == (3, bytes((0, 1, 1, reason)))
    assert f"{which} AE title" in event["reason"]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"version": 0}, (1, 2, 2)),
        ({"version": 2}, (1, 2, 2)),
        ({"application": b"1.2.3"}, (1, 1, 2)),
        ({"application": None}, (1, 1, 2)),
        ({"application": b""}, (1, 1, 2)),
    ],
)
def test_what_is_rejected(node: RunningNode, odd: dict[str, object], expected: tuple[int, int, int]) -> None:
    with logged(node, "association rejected") as event:
        assert answered(node, request(**odd)) == (3, bytes((0, *expected)))  # type: ignore[arg-type]
    assert event["log_level"] == "warning"


@pytest.mark.parametrize("odd", [{"version": 3}, {"version": 0xFFFF}, {"application": CONTEXT + b"\0"}])
def test_what_is_accepted_all_the_same(node: RunningNode, odd: dict[str, object]) -> None:
    """Of the versions only bit 0 is looked at (PS3.8 9.3.2)."""
    assert results(accepted(node, request(**odd))) == {1: 0}  # type: ignore[arg-type]


# -- items ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {"more": item(0x60, b"anything")},
        {"more": item(0x21, bytes((1, 0, 0, 0)))},
        {"more": item(0x00, b"")},
        {"user": item(0x5B, b"\0\1\2") + item(0xFE, b"")},
        {"user": item(0x59, b"\0\0")},  # an answer's
        {"user": item(0x55, b"SEVENTEEN_LETTERS")},
        {"user": item(0x55, b"V\xe9rsion \xff")},
        {"user": item(0x55, b"TAB\tNUL\0\0")},
        {"user": item(0x55, b"")},
        {"user": item(0x53, b"\0")},
        {"user": item(0x54, b"\0\x40" + b"1.2.3")},
        {"user": item(0x54, b"\0\0\1\1")},
        {"user": item(0x54, b"")},
        {"user": item(0x56, b"\0\x50" + b"1" * 80)},
        {"user": item(0x57, b"\1")},
        {"user": item(0x58, b"\x09\1\0\1a\0\0")},
        {"contexts": context(1, VERIFICATION.encode(), IMPLICIT.encode(), more=item(0x99, b"?"))},
        {"contexts": context(1, VERIFICATION.encode() + b"\0", IMPLICIT.encode() + b"\0")},
        {"contexts": context(1, VERIFICATION.encode() + b"\0\0 ", IMPLICIT.encode() + b" \0")},
        {"contexts": context(1, VERIFICATION.encode(), b"", b"\xff", b"1" * 65, IMPLICIT.encode())},
    ],
)
def test_what_is_ignored(node: RunningNode, odd: dict[str, bytes]) -> None:
    """PS3.8 D.2: unknown items are ignored; so is what cannot be read of known ones. The log names them."""
    with logged(node, "association") as event:
        assert results(accepted(node, request(**odd))) == {1: 0}  # type: ignore[arg-type]
    item_left_out = "more" in odd or ("user" in odd and odd["user"][0] != 0x55)
    assert bool(event.get("ignored")) == item_left_out


@pytest.mark.parametrize(
    ("odd", "result"),
    [
        (context(3), 4),
        (context(3, VERIFICATION.encode(), b""), 4),
        (context(3, VERIFICATION.encode(), b"1" * 65), 4),
        (item(0x20, bytes((3, 0, 0, 0))), 3),
        (context(3, b"", IMPLICIT.encode()), 3),
        (context(3, b"2" * 65, IMPLICIT.encode()), 3),
        (context(2, VERIFICATION.encode(), IMPLICIT.encode()), 2),
        (context(0, VERIFICATION.encode(), IMPLICIT.encode()), 2),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_contexts_that_are_refused(node: RunningNode, odd: bytes, result: int, alone: bool) -> None:
    """Also where the rest of the request is answered from memory."""
    expected = {odd[4]: result} | ({} if alone else {1: 0})
    for _ in range(2):
        assert results(accepted(node, request(contexts=odd if alone else ECHO + odd))) == expected


def test_a_context_id_twice(node: RunningNode) -> None:
    """The first one counts: an ID names one context."""
    twice = ECHO + context(1, MR_IMAGE.encode(), EXPLICIT.encode())
    answers = accepted(node, request(contexts=twice)).presentation_context
    assert [(one.context_id, one.result, one.transfer_syntax) for one in answers] == [(1, 0, IMPLICIT)]


def test_too_many_transfer_syntaxes(node: RunningNode) -> None:
    """The context is refused, others are not; a request of more than any needs is rejected."""
    many = [f"1.2.3.{number}".encode() for number in range(200)]
    odd = context(3, MR_IMAGE.encode(), *many, EXPLICIT.encode())
    assert results(accepted(node, request(contexts=ECHO + odd))) == {1: 0, 3: 4}
    longest = [f"1.2.3.{number}".encode() for number in range(4000)]
    whole = request(contexts=b"".join(context(2 * n + 1, MR_IMAGE.encode(), *longest) for n in range(18)))
    for pdu in (whole, request(contexts=context(1) * 400), request(user=item(0x53, b"\0\1\0\1") * 400)):
        with logged(node, "association rejected") as event:
            assert answered(node, pdu) == (3, bytes((0, 1, 3, 2)))
        assert (event["calling_aet"], event["limit"]) == ("RAW", "association request")


def test_no_context_at_all(node: RunningNode) -> None:
    assert results(accepted(node, request(contexts=b""))) == {}


# -- what cannot be followed, and other PDUs -----------------------------------------------------------------


def _cut(body: bytes) -> bytes:
    return struct.pack(">BxL", 1, len(body)) + body


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (_cut(b""), 6),
        (_cut(bytes(67)), 6),
        (_cut(request()[6:-3]), 6),
        (request(contexts=item(0x20, b"\1\0")), 6),
        (request(contexts=ECHO[:-1]), 6),
        (request(longest=b"\0\0"), 6),
        (struct.pack(">BxL", 1, 0xFFFFFFF0), 6),
        (struct.pack(">BxL", 2, 4) + bytes(4), 2),
        (struct.pack(">BxL", 3, 4) + bytes(4), 2),
        (struct.pack(">BxL", 4, 10) + bytes(10), 2),
        (window.RELEASE_RQ, 2),
        (struct.pack(">BxLL", 6, 4, 0), 2),
        (struct.pack(">BxL", 9, 4) + bytes(4), 1),
        (struct.pack(">BxL", 0xFF, 0xFFFFFFFF), 1),
        (b"GET / HTTP/1.1\r\n\r\n", 1),
    ],
)
def test_what_is_no_request(node: RunningNode, pdu: bytes, reason: int) -> None:
    with logged(node, "association protocol") as event:
        assert answered(node, pdu) == (7, bytes((0, 0, 2, reason)))
    assert event["log_level"] == "warning"
    assert event["reason"]


def test_an_abort_is_not_answered(node: RunningNode) -> None:
    with socket.create_connection(node.address, 10) as sock:
        sock.sendall(window.ABORT)
        assert sock.recv(10) == b""


@given(st.binary(max_size=300))
@examples(300)
def test_noise_in_place_of_items(noise: bytes) -> None:
    """Whatever is there, it is read, rejected, or called malformed: never anything else."""
    head = struct.pack(">Hxx", 1) + b"ZSCP".ljust(16) + b"RAW".ljust(16) + bytes(32)
    for read in (read_request, read_accept):
        for body in (noise, head + noise, head + item(0x10, CONTEXT) + noise, head + item(0x50, noise)):
            try:
                found = read(body)
            except MalformedAssociation:
                continue
            assert isinstance(found, Rejection) or found


@given(st.integers(0, 400), st.integers(0, 255))
@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_byte_may_be_another(node: RunningNode, place: int, byte: int) -> None:
    """An answer of the standard's comes, and the connection ends."""
    pdu = bytearray(request(user=item(0x55, b"NAME") + item(0x53, b"\0\1\0\1")))
    place = 6 + place % (len(pdu) - 6)
    pdu[place] = byte
    assert answered(node, bytes(pdu))[0] in (2, 3, 7)


# -- maximum lengths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [1, 6, 8, 1023])
def test_a_length_that_carries_little(node: RunningNode, longest: int) -> None:
    """Each object would cost many times what it costs for others: permanent, local limit exceeded."""
    with logged(node, "association rejected") as event:
        assert answered(node, request(longest=struct.pack(">L", longest))) == (3, bytes((0, 1, 3, 2)))
    assert f"maximum length of {longest}" in event["reason"]
    assert event["limit"] == "association request"


@pytest.mark.parametrize("longest", [1024, 1025, 0])
def test_small_lengths_work(node: RunningNode, longest: int) -> None:
    with window.Scu(node.address, [(VERIFICATION, IMPLICIT)], pdu_bytes=longest) as scu:
        scu.socket.sendall(window.message(1, {"CommandField": 0x30, "MessageID": 7}))
        command = b""
        last = False
        while not last:
            kind, body = scu.pdu()
            assert kind == 4
            assert len(body) <= (longest or 1 << 20)
            command += body[6:]
            last = bool(body[5] & 2)
        assert window.read_command(command)["Status"] == 0  # type: ignore[attr-defined]
        scu.release()


@pytest.mark.parametrize("longest", [1024, 1025])
def test_objects_in_small_pieces(node: RunningNode, longest: int) -> None:
    sent = image(instance="1.2.3.77", study="1.2.77")
    node.keep(sent)
    contexts = [(GET, EXPLICIT), (MR_IMAGE, EXPLICIT)]
    query = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\x06\x001.2.77"
    asked = {"CommandField": 0x10, "MessageID": 7, "AffectedSOPClassUID": GET, "Priority": 0}
    data = b""
    with window.Scu(node.address, contexts, roles=[MR_IMAGE], pdu_bytes=longest) as scu:
        scu.socket.sendall(window.message(1, asked, query))
        last = False
        while not last:
            _, body = scu.pdu()
            assert len(body) <= longest
            if body[4] == 3 and not body[5] & 1:
                data += body[6:]
                last = bool(body[5] & 2)
    assert data == sent.data


# -- user identity -------------------------------------------------------------------------------------------


def identity(kind: int, response: int) -> bytes:
    second = b"secret" if kind == 2 else b""
    first = struct.pack(">BBH", kind, response, 4) + b"name"
    return item(0x58, first + struct.pack(">H", len(second)) + second)


@pytest.mark.parametrize("kind", range(1, 6))
@pytest.mark.parametrize("response", [0, 1])
def test_user_identity(node: RunningNode, kind: int, response: int) -> None:
    """Answered where that is asked for, also from memory."""
    for _ in range(2):
        asked = accepted(node, request(user=identity(kind, response)))
        answers = [one.server_response for one in asked.user_information.user_data if one.item_type == 0x59]
        assert answers == [b""] * response


@pytest.mark.parametrize(
    "how", [["-usr", "me"], ["-usr", "me", "-pwd", "it"], ["--jwt", "FILE"], ["--saml", "FILE"]]
)
def test_dcmtk_expects_a_response(node: RunningNode, tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "FILE").write_bytes(b"token")
    how = [str(tmp_path / "FILE") if one == "FILE" else one for one in how]
    sent = image()
    host, port = node.address
    file = as_file(sent, tmp_path / "one.dcm")
    dcmtk("storescu", "-aec", "ZSCP", "-xe", *how, "-rsp", host, port, file)
    assert node.archive.index.newest(sent.instance) is not None


# -- out of place in an established association --------------------------------------------------------


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (request(), 2),
        (struct.pack(">BxL", 2, 4) + bytes(4), 2),
        (struct.pack(">BxL", 3, 4) + bytes(4), 2),
        (struct.pack(">BxLL", 6, 4, 0), 2),
        (struct.pack(">BxL", 9, 4) + bytes(4), 1),
        (struct.pack(">BxL", 0, 0), 1),
        (struct.pack(">BxL", 0xFF, 0xFFFFFFFF), 1),
        (struct.pack(">BxL", 5, 0xFFFFFFFF), 6),
        (struct.pack(">BxL", 4, 0xFFFFFFFF), 6),
        (struct.pack(">BxL", 4, 3) + bytes(3), 6),
        (window.message(3, {"CommandField": 0x30, "MessageID": 7}), 6),  # not a context that was proposed
        (window.message(1, {"CommandField": 0x30}), 6),  # nothing that an answer could name
    ],
)
@pytest.mark.parametrize("asked", [1, 4])
def test_pdus_out_of_place(node: RunningNode, pdu: bytes, reason: int, asked: int) -> None:
    proposed = [(VERIFICATION, IMPLICIT)]
    with (
        logged(node, "association protocol") as event,
        window.Scu(node.address, proposed, window=asked) as scu,
    ):
        scu.socket.sendall(pdu)
        assert scu.pdu() == (7, bytes((0, 0, 2, reason)))
        assert scu.socket.recv(1) == b""
    assert event["log_level"] == "warning"


FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
COMMITMENT = "1.2.840.10008.1.20.1"
FIELDS = {"store": 1, "get": 0x10, "find": 0x20, "move": 0x21, "event": 0x100, "action": 0x130}
OTHERS = {"N-GET": 0x110, "N-SET": 0x120, "N-CREATE": 0x140, "N-DELETE": 0x150, "none": 0x0042}


@pytest.mark.parametrize(
    ("abstract", "has"),
    [
        (VERIFICATION, ""),
        (MR_IMAGE, "store"),
        (FIND, "find"),
        (MOVE, "move"),
        (GET, "get"),
        (COMMITMENT, "action"),
    ],
)
def test_operations_that_a_class_has_not(node: RunningNode, abstract: str, has: str) -> None:
    """Unrecognized operation, 0211H (PS3.7 Annex C.5), and the association goes on."""
    with window.Scu(node.address, [(abstract, EXPLICIT)]) as scu:
        for number, (name, field) in enumerate((FIELDS | OTHERS).items(), 1):
            if name == has:
                continue
            asked = {"CommandField": field, "MessageID": number, "AffectedSOPClassUID": abstract}
            scu.socket.sendall(
                window.message(1, asked, b"\x08\0\x52\0CS\x06\0STUDY " if number % 2 else None)
            )
            response = scu.response()
            assert response["CommandField"] == field | 0x8000
            assert (response["Status"], response["MessageIDBeingRespondedTo"]) == (0x0211, number)
        scu.socket.sendall(window.message(1, {"CommandField": 0x30, "MessageID": 99}))
        assert scu.response()["Status"] == 0
        scu.release()


# -- answers of destinations ---------------------------------------------------------------------------------


def test_an_odd_answer_of_a_destination() -> None:
    """What a peer's A-ASSOCIATE-AC may be like, all the same pynetdicom can read it."""
    contexts = item(0x21, bytes((1, 0, 0, 0)) + item(0x40, EXPLICIT.encode() + b"\0\0"))
    contexts += item(0x21, bytes((3, 0, 0, 0)))  # accepted, without a transfer syntax
    contexts += item(0x21, bytes((5, 0, 3, 0)))
    contexts += item(0x21, bytes((7, 0, 0, 0)) + item(0x77, b"?") + item(0x40, IMPLICIT.encode()))
    user = item(0x51, struct.pack(">L", 16_384)) + item(0x52, b"1.2.3.4")
    user += item(0x55, b"A VERSION NAME OF TOO MANY \xff") + item(0x5B, b"?")
    body = struct.pack(">Hxx", 1) + bytes(64) + item(0x10, b"1.2.3") + item(0x60, b"?") + contexts
    found = read_accept(body + item(0x50, user))
    decoded = A_ASSOCIATE_AC()
    decoded.decode(struct.pack(">BxL", 2, len(found)) + found)
    primitive = decoded.to_primitive()
    answers = primitive.presentation_context_definition_results_list
    assert [(one.context_id, one.result) for one in answers] == [(1, 0), (3, 4), (5, 3), (7, 0)]
    assert answers[0].transfer_syntax == [EXPLICIT]
    assert len(primitive.user_information) == 3
