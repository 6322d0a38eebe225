"""No association request costs much, whatever is in it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial

import pytest
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.presentation import negotiate_as_acceptor

from bench.window import IMPLICIT, item
from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.association_request import read_request
from scp.dimse.negotiation.contexts import chosen, storage_classes, supported
from scp.syntaxes import TABLE

CLASSES = [uid.encode() for uid in storage_classes()]
KNOWN = [row.uid.encode() for row in TABLE]
ODD = [f"1.2.826.0.1.3680043.{number}".encode() for number in range(4000)]
ROLES = b"".join(item(0x54, struct.pack(">H", len(uid)) + uid + b"\0\1") for uid in CLASSES)
CHOOSE = partial(chosen, unknown_too=True)
# 25 to 38 ms are measured for the costliest, and 10 ms is the least that is counted.
TIMES, MOST_SECONDS = 4, 0.15


def context(number: int, abstract: bytes, transfer: list[bytes]) -> bytes:
    names = item(0x30, abstract) + b"".join(item(0x40, uid) for uid in transfer)
    return item(0x20, bytes((number % 256, 0, 0, 0)) + names)


def request(contexts: bytes, user: bytes = b"") -> bytes:
    fixed = struct.pack(">Hxx", 1) + b"ZSCP".ljust(16) + b"RAW".ljust(16) + bytes(32)
    user = item(0x51, struct.pack(">L", 16_384)) + item(0x52, b"1.2.3.4") + user
    return fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, user)


def contexts(count: int, transfer: list[bytes]) -> bytes:
    return b"".join(context(2 * number + 1, CLASSES[number], transfer) for number in range(count))


def negotiated(body: bytes) -> dict[int, tuple[int, str]] | Rejection:
    """What a node does with a request; context ID → result and transfer syntax."""
    found = read_request(body, CHOOSE)
    if isinstance(found, Rejection):
        return found
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(struct.pack(">BxL", 1, len(found.body)) + found.body)
    proposed = pdu.to_primitive().presentation_context_definition_list
    results, _ = negotiate_as_acceptor(proposed, supported(proposed, True), {})
    return {one.context_id or 0: (one.result or 0, str(one.transfer_syntax[0])) for one in results}


REQUESTS: dict[str, Callable[[], bytes]] = {
    "18 contexts of 4000": lambda: request(contexts(18, [uid[-12:] for uid in ODD])),
    "128 contexts of all": lambda: request(contexts(128, KNOWN), ROLES),
    "128 contexts of 50 private ones": lambda: request(contexts(128, ODD[:50])),
    "128 contexts of 128 of the shortest": lambda: request(contexts(128, [b"%d" % n for n in range(128)])),
    "300 items": lambda: request(b"".join(context(n, CLASSES[n % 128], ODD[:20]) for n in range(298))),
    "300 extended": lambda: request(
        contexts(1, KNOWN), b"".join(item(0x56, struct.pack(">H", len(u)) + u + b"\1") for u in ODD[:297])
    ),
    "60000 items": lambda: request(item(0x77, b"") * 60_000),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_any_request_is_cheap(name: str) -> None:
    body = REQUESTS[name]()
    before = os.times()
    for _ in range(TIMES):
        negotiated(body)
    after = os.times()
    assert after.user + after.system - before.user - before.system < TIMES * MOST_SECONDS


def test_the_best_syntax_of_all_is_accepted() -> None:
    """The same as where pynetdicom compares each with each."""
    found = negotiated(REQUESTS["128 contexts of all"]())
    assert isinstance(found, dict)
    body = read_request(request(contexts(3, KNOWN)))
    assert not isinstance(body, Rejection)
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(struct.pack(">BxL", 1, len(body.body)) + body.body)
    proposed = pdu.to_primitive().presentation_context_definition_list
    assert all(len(one.transfer_syntax) == len(KNOWN) for one in proposed)
    results, _ = negotiate_as_acceptor(proposed, supported(proposed, True), {})
    assert [found[2 * n + 1] for n in range(3)] == [(0, str(one.transfer_syntax[0])) for one in results]


@pytest.mark.parametrize(
    ("abstract", "offered", "unknown_too", "expected"),
    [
        ("1.2.840.10008.1.1", [ODD[0].decode(), IMPLICIT], True, IMPLICIT),
        (CLASSES[0].decode(), ["1.2.9", "1.2.3"], True, "1.2.3"),
        (CLASSES[0].decode(), ["1.2.9", "1.2.3"], False, "1.2.9"),
        ("1.2.840.10008.5.1.1.9", ["1.2.9", "1.2.3"], True, "1.2.9"),
        (CLASSES[0].decode(), ["1.2.3", IMPLICIT], True, IMPLICIT),
    ],
)
def test_which_is_chosen(abstract: str, offered: list[str], unknown_too: bool, expected: str) -> None:
    assert chosen(abstract, offered, unknown_too) == expected
