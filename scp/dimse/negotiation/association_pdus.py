"""A-ASSOCIATE PDUs of peers, read tolerantly before pynetdicom decodes them (PS3.8 9.3, PS3.7 Annex D.3).

pynetdicom raises errors over much that the standard says to ignore, and over what real peers send: AE titles
padded with NUL, unknown items, long version names. Such parts are repaired or left out here, as bytes. Where
the standard defines an answer, that is given: a rejection with its reason, a presentation context refused.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from pynetdicom.pdu_items import PDU_ITEM_TYPES

from scp.dimse.wire.pdus import ASSOCIATE_AC, ASSOCIATE_RJ, HEADER
from scp.errors import MalformedAssociation
from scp.syntaxes import IMPLICIT

ITEM = struct.Struct(">BxH")
# Version, AE titles and what is reserved (PS3.8 9.3.2, 9.3.3); then items.
FIXED = 68
_CALLED, _CALLING = slice(4, 20), slice(20, 36)
_TITLES = slice(4, FIXED)
APPLICATION_CONTEXT, REQUESTED_CONTEXT, ANSWERED_CONTEXT, USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT, _TRANSFER = 0x30, 0x40
_MAXIMUM_LENGTH, ROLE, _VERSION_NAME, _IDENTITY, _IDENTITY_ANSWER = 0x51, 0x54, 0x55, 0x58, 0x59
# Sub-items that have a place in a request, and in its answer (PS3.7 D.3.3).
_ASKED = frozenset(range(_MAXIMUM_LENGTH, _IDENTITY + 1))
_ACCEPTED = frozenset(range(_MAXIMUM_LENGTH, 0x57)) | {_IDENTITY_ANSWER}
_DICOM = b"1.2.840.10008.3.1.1.1"  # the only application context (PS3.7 A.2.1)
_LONGEST_UID, _LONGEST_NAME = 64, 16
# PS3.8 9.3.5: a PDV is 4 bytes of length, context, message control header, and an even number of bytes.
SHORTEST_PDU = 8
# Results of a presentation context (PS3.8 9.3.3.2).
_NO_REASON, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 2, 3, 4


class Rejection(NamedTuple):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4), and why in words."""

    result: int
    source: int
    reason: int
    why: str

    @property
    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ."""
        return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, self.result, self.source, self.reason))


@dataclass(slots=True)
class AssociationRequest:
    """An A-ASSOCIATE-RQ: ``body`` is what pynetdicom can decode of it.

    ``contexts`` are the context IDs; ``refused`` has the results of those that pynetdicom does not see;
    ``titles`` is what the answer has to repeat; ``ignored`` says what was left out.
    """

    body: bytes
    titles: bytes
    contexts: set[int] = field(default_factory=set)
    refused: dict[int, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def complete(self, accept: bytes) -> bytes:
        """An encoded A-ASSOCIATE-AC, with the parts of the request that pynetdicom did not see."""
        body = accept[HEADER.size :]
        parts = [body[: _TITLES.start], self.titles]
        for kind, one in items(body, FIXED):
            if kind == USER_INFORMATION:
                parts += [_refusal(number, result) for number, result in self.refused.items()]
            parts.append(one)
        whole = b"".join(parts)
        return HEADER.pack(ASSOCIATE_AC, len(whole)) + whole


def read_request(body: bytes) -> AssociationRequest | Rejection:
    """The body of an A-ASSOCIATE-RQ. Raises MalformedAssociation where it cannot be followed."""
    _check_fixed(body)
    version, called, calling = struct.unpack(">H", body[:2])[0], body[_CALLED], body[_CALLING]
    if not version & 1:
        return Rejection(1, 2, 2, f"protocol version {version:04X}H, without bit 0")
    request = AssociationRequest(b"", body[_TITLES])
    context, kept = b"", [b""]
    for kind, one in _followed(body, FIXED):
        if kind == APPLICATION_CONTEXT:
            context = one[ITEM.size :].rstrip(b"\0 ")
            kept.append(item(kind, context))
        elif kind == REQUESTED_CONTEXT:
            kept.append(_context(one, request))
        elif kind == USER_INFORMATION:
            kept.append(_user_information(one, _ASKED, request.ignored))
        else:
            request.ignored.append(f"item {kind:02X}H")
    if context != _DICOM:
        return Rejection(1, 1, 2, f"application context {_shown(context)}")
    if not (calling_title := _title(calling)):
        return Rejection(1, 1, 3, f"calling AE title {_shown(calling)}")
    if not (called_title := _title(called)):
        return Rejection(1, 1, 7, f"called AE title {_shown(called)}")
    kept[0] = body[:4] + called_title + calling_title + body[_CALLING.stop : FIXED]
    request.body = b"".join(kept)
    return request


def read_accept(body: bytes) -> bytes:
    """The body of an A-ASSOCIATE-AC, as pynetdicom can decode it. Raises MalformedAssociation.

    Its AE titles have no meaning (PS3.8 9.3.3). A context accepted without a transfer syntax is refused.
    """
    _check_fixed(body)
    parts = [body[: _TITLES.start], b"ACCEPTOR".ljust(16), b"REQUESTOR".ljust(16), bytes(32)]
    for kind, one in _followed(body, FIXED):
        if kind == APPLICATION_CONTEXT:
            parts.append(item(kind, _DICOM))
        elif kind == ANSWERED_CONTEXT:
            parts.append(_answered(one))
        elif kind == USER_INFORMATION:
            parts.append(_user_information(one, _ACCEPTED, []))
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


def _check_fixed(body: bytes) -> None:
    if len(body) < FIXED:
        raise MalformedAssociation(f"an association PDU of {len(body)} bytes, {FIXED} is the least")


def _followed(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    try:
        yield from items(data, at)
    except struct.error as error:
        raise MalformedAssociation(f"an association PDU cannot be followed: {error}") from None


def _title(value: bytes) -> bytes:
    """An AE title of 16 bytes; empty where it is invalid. A NUL, and what follows it, is ignored."""
    text = value.partition(b"\0")[0].strip(b" ")
    sound = text and all(0x20 <= byte < 0x7F and byte != 0x5C for byte in text)
    return text.ljust(16) if sound else b""


def _shown(value: bytes) -> str:
    return repr(value[:_LONGEST_UID].rstrip(b"\0 ").decode("ascii", "backslashreplace"))


def _uid(value: bytes) -> bytes:
    """A UID without its padding; empty where it is invalid. Letters are accepted, as pynetdicom does."""
    text = value.rstrip(b"\0 ")
    return text if len(text) <= _LONGEST_UID and text.isascii() and b"\0" not in text else b""


def _context(one: bytes, request: AssociationRequest) -> bytes:
    """A proposed presentation context; empty where it cannot be accepted, and then its answer is noted."""
    number, result, kept = (_judged if len(one) > _SHORT else _remembered)(one)
    if number in request.contexts:
        request.ignored.append(f"another presentation context {number}")
        return b""
    request.contexts.add(number)
    if result:
        request.refused[number] = result
    return kept


def _judged(one: bytes) -> tuple[int, int, bytes]:
    """Context ID, result (0: not refused here), and the item for pynetdicom, of a presentation context."""
    number, abstract, transfer = _proposed(one)
    if not number % 2:
        return number, _NO_REASON, b""
    if not abstract:
        return number, _NO_ABSTRACT_SYNTAX, b""
    if not transfer:
        return number, _NO_TRANSFER_SYNTAX, b""
    names = item(_ABSTRACT, abstract) + b"".join(item(_TRANSFER, uid) for uid in transfer)
    return number, 0, item(REQUESTED_CONTEXT, bytes((number, 0, 0, 0)) + names)


# Peers propose the same again: this halves the time for 121 contexts. Long ones would fill the memory.
_SHORT = 512
_remembered = lru_cache(2048)(_judged)


def _proposed(one: bytes) -> tuple[int, bytes, list[bytes]]:
    """Context ID, abstract and transfer syntaxes of a presentation context."""
    value = one[ITEM.size :]
    if len(value) < 4:
        raise MalformedAssociation("a presentation context ends within its header")
    abstract, transfer = b"", []
    for kind, sub in _followed(value, 4):
        if not (uid := _uid(sub[ITEM.size :])):
            continue
        if kind == _ABSTRACT:
            abstract = uid
        elif kind == _TRANSFER:
            transfer.append(uid)
    return value[0], abstract, transfer


def _refusal(number: int, result: int) -> bytes:
    # A transfer syntax is there all the same, and has no meaning (PS3.8 9.3.3.2).
    value = bytes((number, 0, result, 0)) + item(_TRANSFER, IMPLICIT.encode())
    return item(ANSWERED_CONTEXT, value)


def _answered(one: bytes) -> bytes:
    """An answered presentation context."""
    value = one[ITEM.size :]
    if len(value) < 4:
        raise MalformedAssociation("a presentation context ends within its header")
    transfer = [uid for kind, sub in _followed(value, 4) if kind == _TRANSFER and (uid := _uid(sub[4:]))]
    if value[2] or not transfer:
        return _refusal(value[0], value[2] or _NO_TRANSFER_SYNTAX)
    return item(ANSWERED_CONTEXT, value[:4] + item(_TRANSFER, transfer[0]))


def _user_information(one: bytes, known: Collection[int], ignored: list[str]) -> bytes:
    kept = []
    for kind, sub in _followed(one, ITEM.size):
        if kind == _VERSION_NAME:
            kept.append(_version_name(sub))
            continue
        if kind == _MAXIMUM_LENGTH:
            _check_maximum(sub)
        if kind in known and (_is_role(sub) if kind == ROLE else _decodes(kind, sub)):
            kept.append(sub)
        else:
            ignored.append(f"sub-item {kind:02X}H")
    return item(USER_INFORMATION, b"".join(kept))


def _version_name(sub: bytes) -> bytes:
    """An Implementation Version Name of up to 16 ASCII characters (PS3.7 D.3.3.2), or nothing."""
    name = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in sub[ITEM.size :].rstrip(b"\0 "))
    return item(_VERSION_NAME, name[:_LONGEST_NAME]) if name else b""


def _check_maximum(sub: bytes) -> None:
    if len(sub) != ITEM.size + 4:
        raise MalformedAssociation(f"a maximum length of {len(sub) - ITEM.size} bytes instead of 4")
    longest = struct.unpack_from(">L", sub, ITEM.size)[0]
    if 0 < longest < SHORTEST_PDU:
        raise MalformedAssociation(f"a maximum length of {longest}, in which no presentation data value fits")


def _is_role(sub: bytes) -> bool:
    """As :func:`_decodes`, for the one kind of sub-item that may come a hundred times."""
    return ITEM.size + 4 <= len(sub) <= ITEM.size + 5 + _LONGEST_UID and _is_short_role(sub)


@lru_cache(2048)
def _is_short_role(sub: bytes) -> bool:
    uid, roles = sub[ITEM.size + 2 : -2], sub[-2:]
    sound = struct.unpack_from(">H", sub, ITEM.size)[0] == len(uid) and max(roles) <= 1  # PS3.7 D.3.3.4
    return sound and bool(_uid(uid))


def _decodes(kind: int, sub: bytes) -> bool:
    """Whether pynetdicom can decode a sub-item: one that it cannot is left out, like an unknown one."""
    decoded: Any = PDU_ITEM_TYPES[kind]()
    try:
        decoded.decode(sub)
        decoded.to_primitive()
    except Exception:  # noqa: BLE001 - pynetdicom raises whatever a malformed item makes it raise
        return False
    return True
