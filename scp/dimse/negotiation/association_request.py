"""A-ASSOCIATE-RQs of peers, bounded before they are read (PS3.8 9.3.2).

AE titles are read first, so that a peer that may not associate costs nothing more. Of each presentation
context, pynetdicom is given the one transfer syntax that is going to be accepted: it compares each with each,
which took 0.2 s for 128 contexts of 43, and 7 s for 18 of 4000.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from scp.dimse.negotiation.association_pdus import (
    ABSTRACT,
    APPLICATION_CONTEXT,
    ASKED,
    CALLED,
    CALLING,
    DICOM,
    FIXED,
    ITEM,
    LEAST_MAXIMUM,
    MOST_SYNTAXES,
    NO_ABSTRACT_SYNTAX,
    NO_REASON,
    NO_TRANSFER_SYNTAX,
    REQUESTED_CONTEXT,
    TITLES,
    TRANSFER,
    USER_INFORMATION,
    Rejection,
    check_fixed,
    followed,
    item,
    items,
    refusal,
    shown,
    title,
    uid_of,
    user_information,
)
from scp.dimse.wire.pdus import ASSOCIATE_AC, HEADER
from scp.errors import AssociationBeyondLimit, MalformedAssociation

_MOST_NAMED = 8
# Given the abstract syntax and the transfer syntaxes of a context, the one that pynetdicom is to see.
Choose = Callable[[str, Sequence[str]], str]


class Titles(NamedTuple):
    """The AE titles of a request, without their padding."""

    called: str
    calling: str


@dataclass(slots=True)
class AssociationRequest:
    """An A-ASSOCIATE-RQ: ``body`` is what pynetdicom can decode of it.

    ``contexts`` are the context IDs; ``refused`` has the results of those that pynetdicom does not see;
    ``titles`` is what the answer has to repeat; ``ignored`` says what was left out, and ``beyond`` how many
    contexts have more transfer syntaxes than are looked at.
    """

    body: bytes
    titles: bytes
    contexts: set[int] = field(default_factory=set)
    refused: dict[int, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    beyond: int = 0

    @property
    def named(self) -> list[str]:
        """What was left out, for the log: the first of them where they are many."""
        more = len(self.ignored) - _MOST_NAMED
        return self.ignored[:_MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])

    def complete(self, accept: bytes) -> bytes:
        """An encoded A-ASSOCIATE-AC, with the parts of the request that pynetdicom did not see."""
        body = accept[HEADER.size :]
        parts = [body[: TITLES.start], self.titles]
        for kind, one in items(body, FIXED):
            if kind == USER_INFORMATION:
                parts += [refusal(number, result) for number, result in self.refused.items()]
            parts.append(one)
        whole = b"".join(parts)
        return HEADER.pack(ASSOCIATE_AC, len(whole)) + whole


def read_titles(body: bytes) -> Titles | Rejection:
    """The AE titles of an A-ASSOCIATE-RQ, of which the first 68 bytes are enough.

    Raises MalformedAssociation where there are fewer.
    """
    check_fixed(body)
    version, called, calling = struct.unpack(">H", body[:2])[0], body[CALLED], body[CALLING]
    if not version & 1:
        return Rejection(1, 2, 2, f"protocol version {version:04X}H, without bit 0")
    if not (calling_title := title(calling)):
        return Rejection(1, 1, 3, f"calling AE title {shown(calling)}")
    if not (called_title := title(called)):
        return Rejection(1, 1, 7, f"called AE title {shown(called)}")
    return Titles(called_title.decode().strip(), calling_title.decode().strip())


def beyond_limit(why: str) -> Rejection:
    """The answer to a request that is beyond a fixed limit: permanent, local limit exceeded (PS3.8 9.3.4)."""
    return Rejection(1, 3, 2, why, "association request")


def read_request(body: bytes, choose: Choose | None = None) -> AssociationRequest | Rejection:
    """The body of an A-ASSOCIATE-RQ. Raises MalformedAssociation where it cannot be followed.

    Without ``choose``, pynetdicom sees all transfer syntaxes.
    """
    titles = read_titles(body)
    if isinstance(titles, Rejection):
        return titles
    request = AssociationRequest(b"", body[TITLES])
    padded = (name.encode().ljust(16) for name in titles)
    try:
        context, kept = _parts(body, request, choose)
    except AssociationBeyondLimit as error:
        return beyond_limit(str(error))
    if context != DICOM:
        return Rejection(1, 1, 2, f"application context {shown(context)}")
    request.body = b"".join((body[: TITLES.start], *padded, body[CALLING.stop : FIXED], *kept))
    return request


def _parts(body: bytes, request: AssociationRequest, choose: Choose | None) -> tuple[bytes, list[bytes]]:
    """The application context's name, and the items for pynetdicom."""
    context, informed, kept = b"", False, []
    for kind, one in followed(body, FIXED):
        if kind == APPLICATION_CONTEXT:
            context = one[ITEM.size :].rstrip(b"\0 ")
            kept.append(item(kind, context))
        elif kind == REQUESTED_CONTEXT:
            kept.append(_context(one, request, choose))
        elif kind == USER_INFORMATION and not informed:
            informed = True
            kept.append(user_information(one, ASKED, request.ignored, LEAST_MAXIMUM))
        else:
            request.ignored.append(f"item {kind:02X}H")
    return context, kept


class _Judged(NamedTuple):
    """A presentation context: its result is 0 where it is not refused here."""

    number: int
    result: int
    abstract: str = ""
    transfer: tuple[str, ...] = ()
    beyond: bool = False


def _context(one: bytes, request: AssociationRequest, choose: Choose | None) -> bytes:
    """A proposed presentation context; empty where it cannot be accepted, and then its answer is noted."""
    found = (_judged if len(one) > _SHORT else _remembered)(one)
    if found.number in request.contexts:
        request.ignored.append(f"another presentation context {found.number}")
        return b""
    request.contexts.add(found.number)
    request.beyond += found.beyond
    if found.result:
        request.refused[found.number] = found.result
        return b""
    seen = found.transfer if choose is None else (choose(found.abstract, found.transfer),)
    names = [item(ABSTRACT, found.abstract.encode()), *(item(TRANSFER, uid.encode()) for uid in seen)]
    return item(REQUESTED_CONTEXT, b"".join((bytes((found.number, 0, 0, 0)), *names)))


def _judged(one: bytes) -> _Judged:
    """What a presentation context proposes, or how it is refused. Raises MalformedAssociation."""
    if len(one) < ITEM.size + 4:
        raise MalformedAssociation("a presentation context ends within its header")
    number = one[ITEM.size]
    try:
        abstract, transfer = _proposed(one)
    except AssociationBeyondLimit:
        return _Judged(number, NO_TRANSFER_SYNTAX if number % 2 else NO_REASON, beyond=True)
    if not number % 2:
        return _Judged(number, NO_REASON)
    if not abstract:
        return _Judged(number, NO_ABSTRACT_SYNTAX)
    if not transfer:
        return _Judged(number, NO_TRANSFER_SYNTAX)
    return _Judged(number, 0, abstract, transfer)


# Peers propose the same again: this halves the time for 121 contexts. Long ones would fill the memory.
_SHORT = 512
_remembered = lru_cache(2048)(_judged)


def _proposed(one: bytes) -> tuple[str, tuple[str, ...]]:
    """Abstract and transfer syntaxes of a presentation context, each once."""
    abstract, transfer = b"", dict[bytes, None]()
    for kind, sub in followed(one, ITEM.size + 4, MOST_SYNTAXES + 1):
        if kind == TRANSFER:
            transfer[sub] = None
        elif kind == ABSTRACT:
            abstract = uid_of(sub[ITEM.size :]) or abstract
    uids = filter(None, (uid_of(sub[ITEM.size :]) for sub in transfer))
    return abstract.decode(), tuple(dict.fromkeys(uid.decode() for uid in uids))
