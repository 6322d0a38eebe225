"""Messages as P-DATA-TF PDUs: cut to the peer's length, gathered for few system calls, never joined.

(PS3.8 9.3.5, Annex E)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from scp.spool import Buffer, slices

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
# Source and reasons of an A-ABORT (PS3.8 9.3.8).
USER, PROVIDER = 0, 2
UNRECOGNIZED, UNEXPECTED, INVALID_VALUE = 1, 2, 6
COMMAND, LAST = 1, 2  # bits of a PDV's message control header (PS3.8 E.2)
HEADER = struct.Struct(">BxL")
PDV = struct.Struct(">LBB")
# Header of a PDU with one PDV: type, length, item length, context, message control header.
_WHOLE = struct.Struct(">BxLLBB")
# A larger mapped file is read in slices, whose pages are freed afterwards.
_LARGE = 32 << 20
# So many bytes go into one system call. CPU of sending a MB in 16 KB PDUs on loopback: 0.39 ms with a call
# for each PDU, 0.30 ms with 64 KB to 256 KB, 0.21 ms with 1 MB.
GATHERED = 1 << 20
_GATHERED_BUFFERS = 256


def whole(context_id: int, kind: int, value: bytes, longest: int) -> bytes | None:
    """A P-DATA-TF PDU that has all of a short message's command or dataset; None where it is too long."""
    size = len(value)
    if size > longest - PDV.size:
        return None
    return _WHOLE.pack(P_DATA, size + 6, size + 2, context_id, kind | LAST) + value


def pdus(context_id: int, kind: int, chunks: Iterable[Buffer], longest: int) -> Iterator[list[Buffer]]:
    """P-DATA-TF PDUs of at most ``longest`` bytes after their header, one PDV each, as header and slices.

    A PDU is yielded only when it is known whether it is the last: where it is full and another byte
    comes, or at the end. What it holds has an even length (PS3.8 E.1), also where ``longest`` is odd.
    """
    size = max(longest - PDV.size & ~1, 2)
    parts: list[Buffer] = []
    held = 0
    for view in _views(chunks):
        at, end = 0, len(view)
        while at < end:
            if held == size:
                yield [_WHOLE.pack(P_DATA, held + 6, held + 2, context_id, kind), *parts]
                parts, held = [], 0
            take = min(size - held, end - at)
            parts.append(view[at : at + take])
            held += take
            at += take
    yield [_WHOLE.pack(P_DATA, held + 6, held + 2, context_id, kind | LAST), *parts]


def _views(chunks: Iterable[Buffer]) -> Iterator[memoryview]:
    for chunk in chunks:
        view = memoryview(chunk)
        if view.ndim != 1 or view.itemsize != 1:
            view = view.cast("B")
        if len(view) > _LARGE:
            yield from slices(view)
        else:
            yield view


def gathered(several: Iterable[list[Buffer]]) -> Iterator[list[Buffer]]:
    """PDUs gathered into lists of buffers, each for one system call."""
    buffers: list[Buffer] = []
    size = 0
    for pdu in several:
        buffers += pdu
        size += sum(map(len, pdu))
        if size >= GATHERED or len(buffers) >= _GATHERED_BUFFERS:
            yield buffers
            buffers, size = [], 0
    if buffers:
        yield buffers


def abort_pdu(source: int, reason: int) -> bytes:
    """An A-ABORT; a reason means something where the source is the provider."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


def misplaced(kind: int) -> tuple[int, str]:
    """Reason of the A-ABORT that answers a PDU which has no place where it came, and why in words."""
    if ASSOCIATE_RQ <= kind <= ABORT:
        return UNEXPECTED, f"a PDU of type {kind} has no place here"
    return UNRECOGNIZED, f"there is no PDU of type {kind}"
