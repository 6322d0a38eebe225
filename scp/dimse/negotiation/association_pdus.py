"""A-ASSOCIATE PDUs of peers, read tolerantly before pynetdicom decodes them (PS3.8 9.3, PS3.7 Annex D.3).

pynetdicom raises errors over much that the standard says to ignore, and over what real peers send: AE titles
padded with NUL, unknown items, long version names. Such parts are repaired or left out here, as bytes. Where
the standard defines an answer, that is given: a rejection with its reason, a presentation context refused.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pynetdicom.pdu_items import PDU_ITEM_TYPES

from scp.dimse.wire.pdus import ASSOCIATE_RJ, HEADER
from scp.errors import AssociationBeyondLimit, MalformedAssociation
from scp.syntaxes import IMPLICIT

ITEM = struct.Struct(">BxH")
# Version, AE titles and what is reserved (PS3.8 9.3.2, 9.3.3); then items.
FIXED = 68
CALLED, CALLING = slice(4, 20), slice(20, 36)
TITLES = slice(4, FIXED)
APPLICATION_CONTEXT, REQUESTED_CONTEXT, ANSWERED_CONTEXT, USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
ABSTRACT, TRANSFER = 0x30, 0x40
_MAXIMUM_LENGTH, ROLE, _VERSION_NAME, _IDENTITY, _IDENTITY_ANSWER = 0x51, 0x54, 0x55, 0x58, 0x59
# Sub-items that have a place in a request, and in its answer (PS3.7 D.3.3).
# SOP Class Common Extended Negotiation, 57H, has no answer and no use here, and costs much to decode.
ASKED = frozenset(range(_MAXIMUM_LENGTH, _IDENTITY + 1)) - {0x57}
_ACCEPTED = frozenset(range(_MAXIMUM_LENGTH, 0x57)) | {_IDENTITY_ANSWER}
DICOM = b"1.2.840.10008.3.1.1.1"  # the only application context (PS3.7 A.2.1)
_LONGEST_UID, _LONGEST_NAME = 64, 16
# The longest association PDU: 128 contexts of all 43 known transfer syntaxes, and their roles, take 160 KB.
LONGEST = 1 << 18
# So many items of each level are looked at: 128 roles and 128 extended negotiations leave room. However short
# they are, each takes some microseconds, and 256 KB could hold 65,000.
_MOST_ITEMS, MOST_SYNTAXES = 300, 128
# The least maximum length that is served. CPU to send 10 MB on loopback, by the maximum length: 2.5 ms for
# 128 KB, 7 ms for 4 KB, 25 ms for 1 KB, 51 ms for 512 bytes, 426 ms for 64, 10 s for 8. No known product has
# less than 4 KB.
LEAST_MAXIMUM = 1024
# A destination is the admin's own choice: whatever carries anything is sent to it. PS3.8 9.3.5: a PDV is
# 4 bytes of length, context, message control header, and an even number of bytes.
_LEAST_ANSWERED = 8
# Results of a presentation context (PS3.8 9.3.3.2).
NO_REASON, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 2, 3, 4


class Rejection(NamedTuple):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4), why in words, and the limit that bit."""

    result: int
    source: int
    reason: int
    why: str
    limit: str = ""

    @property
    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ."""
        return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, self.result, self.source, self.reason))


def read_accept(body: bytes) -> bytes:
    """The body of an A-ASSOCIATE-AC, as pynetdicom can decode it. Raises MalformedAssociation.

    Its AE titles have no meaning (PS3.8 9.3.3). A context accepted without a transfer syntax is refused.
    """
    check_fixed(body)
    parts = [body[: TITLES.start], b"ACCEPTOR".ljust(16), b"REQUESTOR".ljust(16), bytes(32)]
    for kind, one in followed(body, FIXED):
        if kind == APPLICATION_CONTEXT:
            parts.append(item(kind, DICOM))
        elif kind == ANSWERED_CONTEXT:
            parts.append(_answered(one))
        elif kind == USER_INFORMATION:
            parts.append(user_information(one, _ACCEPTED, [], _LEAST_ANSWERED))
    return b"".join(parts)


def items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Items from ``at`` to the end, each with its header. Raises struct.error where they do not fit."""
    while at < len(data):
        kind, length = ITEM.unpack_from(data, at)
        end = at + ITEM.size + length
        if end > len(data):
            raise struct.error("an item is longer than what it lies in")
        yield kind, data[at:end]
        at = end


def item(kind: int, value: bytes) -> bytes:
    """An item or sub-item with its header."""
    return ITEM.pack(kind, len(value)) + value


def check_fixed(body: bytes) -> None:
    """Raises MalformedAssociation where an association PDU ends within its first 68 bytes."""
    if len(body) < FIXED:
        raise MalformedAssociation(f"an association PDU of {len(body)} bytes, {FIXED} is the least")


def followed(data: bytes, at: int, most: int = _MOST_ITEMS) -> Iterator[tuple[int, bytes]]:
    """As :func:`items`. Raises MalformedAssociation; AssociationBeyondLimit for more than ``most``."""
    try:
        for number, found in enumerate(items(data, at), 1):
            if number > most:
                raise AssociationBeyondLimit(f"more than {most} items side by side")
            yield found
    except struct.error as error:
        raise MalformedAssociation(f"an association PDU cannot be followed: {error}") from None


def title(value: bytes) -> bytes:
    """An AE title of 16 bytes; empty where it is invalid. A NUL, and what follows it, is ignored."""
    text = value.partition(b"\0")[0].strip(b" ")
    sound = text and all(0x20 <= byte < 0x7F and byte != 0x5C for byte in text)
    return text.ljust(16) if sound else b""


def shown(value: bytes) -> str:
    """A text of a peer, for the log."""
    return repr(value[:_LONGEST_UID].rstrip(b"\0 ").decode("ascii", "backslashreplace"))


def uid_of(value: bytes) -> bytes:
    """A UID without its padding; empty where it is invalid. Letters are accepted, as pynetdicom does."""
    text = value.rstrip(b"\0 ")
    return text if len(text) <= _LONGEST_UID and text.isascii() and b"\0" not in text else b""


def refusal(number: int, result: int) -> bytes:
    """A presentation context of an answer that is not accepted."""
    # A transfer syntax is there all the same, and has no meaning (PS3.8 9.3.3.2).
    value = bytes((number, 0, result, 0)) + item(TRANSFER, IMPLICIT.encode())
    return item(ANSWERED_CONTEXT, value)


def _answered(one: bytes) -> bytes:
    """An answered presentation context."""
    value = one[ITEM.size :]
    if len(value) < 4:
        raise MalformedAssociation("a presentation context ends within its header")
    transfer = [uid for kind, sub in followed(value, 4) if kind == TRANSFER and (uid := uid_of(sub[4:]))]
    if value[2] or not transfer:
        return refusal(value[0], value[2] or NO_TRANSFER_SYNTAX)
    return item(ANSWERED_CONTEXT, value[:4] + item(TRANSFER, transfer[0]))


def user_information(one: bytes, known: Collection[int], ignored: list[str], least: int) -> bytes:
    """User information as pynetdicom can decode it; what is left out is noted in ``ignored``.

    ``least`` is the least Maximum Length that is served.
    """
    kept = []
    for kind, sub in followed(one, ITEM.size):
        if kind == _VERSION_NAME:
            kept.append(_version_name(sub))
            continue
        if kind == _MAXIMUM_LENGTH:
            _check_maximum(sub, least)
        if kind in known and (_is_role(sub) if kind == ROLE else _decodes(kind, sub)):
            kept.append(sub)
        else:
            ignored.append(f"sub-item {kind:02X}H")
    return item(USER_INFORMATION, b"".join(kept))


def _version_name(sub: bytes) -> bytes:
    """An Implementation Version Name of up to 16 ASCII characters (PS3.7 D.3.3.2), or nothing."""
    name = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in sub[ITEM.size :].rstrip(b"\0 "))
    return item(_VERSION_NAME, name[:_LONGEST_NAME]) if name else b""


def _check_maximum(sub: bytes, least: int) -> None:
    if len(sub) != ITEM.size + 4:
        raise MalformedAssociation(f"a maximum length of {len(sub) - ITEM.size} bytes instead of 4")
    longest = struct.unpack_from(">L", sub, ITEM.size)[0]
    if 0 < longest < least:
        raise AssociationBeyondLimit(f"a maximum length of {longest} bytes; {least} is the least")


def _is_role(sub: bytes) -> bool:
    """As :func:`_decodes`, for the one kind of sub-item that may come a hundred times."""
    return ITEM.size + 4 <= len(sub) <= ITEM.size + 5 + _LONGEST_UID and _is_short_role(sub)


@lru_cache(2048)
def _is_short_role(sub: bytes) -> bool:
    uid, roles = sub[ITEM.size + 2 : -2], sub[-2:]
    sound = struct.unpack_from(">H", sub, ITEM.size)[0] == len(uid) and max(roles) <= 1  # PS3.7 D.3.3.4
    return sound and bool(uid_of(uid))


def _decodes(kind: int, sub: bytes) -> bool:
    """Whether pynetdicom can decode a sub-item: one that it cannot is left out, like an unknown one."""
    decoded: Any = PDU_ITEM_TYPES[kind]()
    try:
        decoded.decode(sub)
        decoded.to_primitive()
    except Exception:  # noqa: BLE001 - pynetdicom raises whatever a malformed item makes it raise
        return False
    return True
