"""Whether a codestream meets HTJ2K Lossless RPCL (PS3.5 10.18), by its marker segments.

A reader fetches the main header, finds in its TLM segments where each resolution ends, and reads no
further than it needs. A codestream that lacks this would still decode, but under a wrong label.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from scp.errors import CannotDecode

_SOC, _SIZ, _COD, _TLM, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF55, 0xFF90, 0xFFD9  # 15444-1 table A.2
_RPCL = 2  # table A.16
_LARGEST_BASE = 64  # pixels: PS3.5 10.18
_USUAL_LEVELS = 5
_SOT_SIZE = 12


@dataclass(frozen=True, slots=True)
class Progression:
    """What a main header says: ``order`` and ``levels`` of COD, the image's size, ``lengths`` of TLM.

    ``lengths`` are those of the tile-parts, in bytes, in the order of the codestream; ``begin`` is where
    the first one begins.
    """

    order: int
    levels: int
    rows: int
    columns: int
    lengths: tuple[int, ...]
    begin: int


def levels_for(rows: int, columns: int) -> int:
    """Decompositions after which neither side of the image is longer than 64; 5, the usual, at least."""
    levels = _USUAL_LEVELS
    while -(-max(rows, columns) // (1 << levels)) > _LARGEST_BASE:
        levels += 1
    return levels


def progression_of(codestream: bytes) -> Progression:
    """Read the main header (ISO/IEC 15444-1 A.4 to A.7). Raises CannotDecode."""
    order = levels = rows = columns = -1
    parts: dict[int, tuple[int, ...]] = {}
    begin = 0
    try:
        for marker, at, content in _segments(codestream):
            if marker == _SIZ:
                right, bottom, left, top = struct.unpack_from(">4L", content, 2)
                rows, columns = bottom - top, right - left
            elif marker == _COD:
                order, levels = content[1], content[5]
            elif marker == _TLM:
                parts[content[0]] = _lengths(content)
            begin = at
    except (struct.error, IndexError):
        raise CannotDecode("a marker segment of the main header is too short") from None
    lengths = tuple(length for each in sorted(parts) for length in parts[each])
    return Progression(order, levels, rows, columns, lengths, begin)


def is_reversible(codestream: bytes) -> bool:
    """Whether the wavelet is the reversible 5-3 (COD, table A.20). Raises CannotDecode."""
    try:
        return any(content[9] == 1 for marker, _, content in _segments(codestream) if marker == _COD)
    except (struct.error, IndexError):
        raise CannotDecode("a marker segment of the main header is too short") from None


def _segments(codestream: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each marker segment of the main header: marker, position, content; the last is the first SOT."""
    if codestream[:2] != _SOC.to_bytes(2, "big"):
        raise CannotDecode("the codestream does not begin with SOC")
    at, marker = 2, 0
    while marker != _SOT:
        marker, length = struct.unpack_from(">HH", codestream, at)
        if marker < 0xFF00 or length < 2:
            raise CannotDecode(f"no marker segment at byte {at}")
        yield marker, at, codestream[at + 4 : at + 2 + length]
        at += 2 + length


def _lengths(content: bytes) -> tuple[int, ...]:
    """Ptlm of one TLM segment (A.7.1): ST says how long Ttlm is, SP whether Ptlm has 4 bytes or 2."""
    index_size, length_size = content[1] >> 4 & 3, 4 if content[1] & 0x40 else 2
    step, data = index_size + length_size, content[2:]
    if len(data) % step:
        raise CannotDecode("a TLM segment does not hold whole entries")
    return tuple(int.from_bytes(data[at + index_size : at + step], "big") for at in range(0, len(data), step))


def part_lengths(codestream: bytes, begin: int) -> tuple[int, ...]:
    """Psot of each tile-part from ``begin`` up to EOC (A.4.2). Raises CannotDecode."""
    lengths, at = [], begin
    while codestream[at : at + 2] != _EOC.to_bytes(2, "big"):
        if len(codestream) < at + _SOT_SIZE or codestream[at : at + 2] != _SOT.to_bytes(2, "big"):
            raise CannotDecode(f"neither a tile-part nor the end of the codestream at byte {at}")
        length = struct.unpack_from(">L", codestream, at + 6)[0] or len(codestream) - 2 - at
        if length < _SOT_SIZE:
            raise CannotDecode(f"a tile-part of {length} bytes at byte {at}")
        lengths.append(length)
        at += length
    return tuple(lengths)


def why_not_progressive(codestream: bytes) -> str:
    """Why a codestream must not be called HTJ2K Lossless RPCL; empty where it may.

    The order is RPCL, the smallest resolution is no larger than 64 either way, TLM is there and true, and
    a tile-part ends where a resolution does. Raises CannotDecode.
    """
    found = progression_of(codestream)
    if found.order != _RPCL:
        return f"its progression order is {found.order}, not RPCL"
    if found.levels < levels_for(found.rows, found.columns):
        return f"{found.levels} decompositions of {found.rows} x {found.columns} leave more than 64 pixels"
    if not found.lengths:
        return "it has no TLM marker segment"
    if found.lengths != part_lengths(codestream, found.begin):
        return "its TLM marker segment does not tell the lengths of its tile-parts"
    if len(found.lengths) <= found.levels:
        return f"{len(found.lengths)} tile-parts for {found.levels + 1} resolutions"
    return ""
