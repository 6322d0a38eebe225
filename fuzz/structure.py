"""Codestreams changed by their structure, so that a decoder is reached that looks at more than a marker.

Bytes that are flipped anywhere mostly end in the first check. Here marker segments (JPEG, JPEG-LS, JPEG 2000)
and boxes (JPEG XL) are changed within, exchanged, doubled, left out, lengthened with their length field, and
the numbers of rows and columns are changed in header and codestream alike.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fuzz.codecs import HEAD

_J2K = b"\xff\x4f"
_JPEG = b"\xff\xd8"
_START_OF_DATA = (0xDA, 0x93)  # SOS, SOD: what follows is entropy-coded, and mutated as bytes
_WITHOUT_LENGTH = (0x4F, 0xD8, 0x93, 0xD9)
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
_SIZ = 0x51
_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 64, 127, 128, 255, 256, 1023, 4096, 32767, 32768, 65535)
Segments = list[bytes]


def changed(data: bytes, draw: random.Random) -> bytes:
    """An input of :mod:`fuzz.codecs`, changed in one to three ways; as it is where it has no structure."""
    head, stream = data[: HEAD.size], data[HEAD.size :]
    segments, rest = segments_of(stream)
    if len(head) < HEAD.size:
        return data
    for _ in range(draw.choice((1, 1, 1, 2, 3)) if segments else 0):
        head, segments, rest = draw.choice(_WAYS)(draw, head, segments, rest)
    return head + b"".join(segments) + rest


def segments_of(stream: bytes) -> tuple[Segments, bytes]:
    """Marker segments, or boxes, and what follows them."""
    if stream[:2] in (_J2K, _JPEG):
        return _marker_segments(stream)
    if stream[4:8] == b"JXL ":
        return _boxes(stream)
    if len(stream) > 64 and 0 < stream[0] < 16 and not any(stream[1:4]):  # RLE: number and offsets
        return [stream[at : at + 4] for at in range(0, 64, 4)], stream[64:]
    return [], stream


def _marker_segments(stream: bytes) -> tuple[Segments, bytes]:
    found, at = [], 0
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        size = 2 if marker in _WITHOUT_LENGTH else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        found.append(stream[at : at + size])
        at += size
        if marker in _START_OF_DATA:
            break
    return found, stream[at:]


def _boxes(stream: bytes) -> tuple[Segments, bytes]:
    found, at = [], 0
    while at + 8 <= len(stream):
        size = int.from_bytes(stream[at : at + 4], "big")
        end = at + size if size >= 8 else len(stream)
        found.append(stream[at:end])
        at = end
    return found, b""


# Each takes head, segments and rest, and gives them back changed.


def _flip(draw: random.Random, head: bytes, segments: Segments, rest: bytes) -> tuple[bytes, Segments, bytes]:
    """Some bytes within one segment."""
    chosen = draw.randrange(len(segments))
    changed = bytearray(segments[chosen])
    for _ in range(draw.randint(1, 4)):
        if len(changed) > 4:
            at = draw.randrange(4, len(changed))
            changed[at] = draw.choice((changed[at] ^ 1 << draw.randrange(8), draw.randrange(256), 0, 255))
    return head, [*segments[:chosen], bytes(changed), *segments[chosen + 1 :]], rest


def _number(
    draw: random.Random, head: bytes, segments: Segments, rest: bytes
) -> tuple[bytes, Segments, bytes]:
    """Two or four bytes within one segment become a number from the edge of something."""
    chosen, size = draw.randrange(len(segments)), draw.choice((2, 4))
    segment = segments[chosen]
    if len(segment) < 4 + size:
        return head, segments, rest
    at = draw.randrange(4, len(segment) - size + 1)
    number = draw.choice(_NUMBERS).to_bytes(size, "big")
    return head, _with(segments, chosen, segment[:at] + number + segment[at + size :]), rest


def _swap(draw: random.Random, head: bytes, segments: Segments, rest: bytes) -> tuple[bytes, Segments, bytes]:
    one, other = draw.randrange(len(segments)), draw.randrange(len(segments))
    changed = list(segments)
    changed[one], changed[other] = changed[other], changed[one]
    return head, changed, rest


def _double(
    draw: random.Random, head: bytes, segments: Segments, rest: bytes
) -> tuple[bytes, Segments, bytes]:
    chosen, at = draw.choice(segments), draw.randrange(len(segments) + 1)
    return head, [*segments[:at], chosen, *segments[at:]], rest


def _leave_out(
    draw: random.Random, head: bytes, segments: Segments, rest: bytes
) -> tuple[bytes, Segments, bytes]:
    at = draw.randrange(len(segments))
    return head, [*segments[:at], *segments[at + 1 :]] or segments, rest


def _resize(
    draw: random.Random, head: bytes, segments: Segments, rest: bytes
) -> tuple[bytes, Segments, bytes]:
    """One segment is longer or shorter, and says so."""
    chosen = draw.randrange(len(segments))
    segment = segments[chosen]
    if len(segment) < 5 or segment[0] != 0xFF:
        return head, segments, rest
    at, more = draw.randrange(4, len(segment)), draw.randint(1, 8)
    longer = segment[:at] + draw.randbytes(more) + segment[at:]
    shorter = segment[:at] + segment[at + more :]
    changed = draw.choice((longer, shorter))
    length = (len(changed) - 2).to_bytes(2, "big")
    return head, _with(segments, chosen, changed[:2] + length + changed[4:]), rest


def _sizes(
    draw: random.Random, head: bytes, segments: Segments, rest: bytes
) -> tuple[bytes, Segments, bytes]:
    """Rows and columns are other ones, in the header and in the codestream."""
    number, flags, _, _, *bits = HEAD.unpack(head)
    rows, columns = (draw.choice((1, 2, 7, 8, 9, 16, 33, 64, 65, 104, 200, 511)) for _ in range(2))
    changed = [_with_size(segment, rows, columns) for segment in segments]
    return HEAD.pack(number, flags, rows, columns, *bits), changed, rest


def _with_size(segment: bytes, rows: int, columns: int) -> bytes:
    if segment[:1] != b"\xff" or len(segment) < 12:
        return segment
    if segment[1] in _FRAMES:
        return segment[:5] + struct.pack(">HH", rows, columns) + segment[9:]
    if segment[1] == _SIZ and len(segment) >= 40:
        size = struct.pack(">LLLL", columns, rows, 0, 0)
        return segment[:6] + size + struct.pack(">LLLL", columns, rows, 0, 0) + segment[38:]
    return segment


def _data(draw: random.Random, head: bytes, segments: Segments, rest: bytes) -> tuple[bytes, Segments, bytes]:
    """Some bytes of what follows, cut off or changed."""
    if not rest:
        return head, segments, rest
    if draw.random() < 0.2:
        return head, segments, rest[: draw.randrange(len(rest))]
    changed = bytearray(rest)
    for _ in range(draw.choice((1, 2, 4, 16))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return head, segments, bytes(changed)


def _with(segments: Segments, at: int, segment: bytes) -> Segments:
    return [*segments[:at], segment, *segments[at + 1 :]]


_Way = Callable[[random.Random, bytes, Segments, bytes], tuple[bytes, Segments, bytes]]
_WAYS: tuple[_Way, ...] = (_flip, _flip, _number, _swap, _double, _leave_out, _resize, _sizes, _data, _data)
