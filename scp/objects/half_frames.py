"""A zstd frame of which only the beginning is compressed: a header in front of a codestream.

zstd finds nothing in the codestream of an image codec, and takes 0.35 ms to find that out for a CT slice
(docs/decisions/0229). What RFC 8878 calls raw blocks hold it as it is.
"""

from __future__ import annotations

import struct

import zstandard
from xxhash import xxh64_intdigest

from scp.spool import Buffer, Spool

_MAGIC = 0xFD2FB528
# Frame_Header_Descriptor (RFC 8878 3.1.1.1.1): a content size of 4 bytes, a window of just that (so that no
# window is named), and a checksum; no dictionary.
_DESCRIPTOR = 0b10 << 6 | 1 << 5 | 1 << 2
_HEADER = struct.Struct("<LBL")
_MOST_OF_BLOCK = 128 << 10  # bytes that a block gives (3.1.1.2.4)
_LAST, _RLE = 1, 1


def half_frame(data: Buffer, begin: int, compressor: zstandard.ZstdCompressor, spool: Spool) -> Buffer:
    """``data`` in one frame with its size and a checksum; from ``begin`` on it is not compressed.

    ``data`` has 4 GB at most, and neither part is empty. The ``compressor`` has no dictionary.
    """
    view = memoryview(data)
    spool.write(_HEADER.pack(_MAGIC, _DESCRIPTOR, len(view)))
    spool.write(_blocks_of(compressor.compress(view[:begin])))
    size = min(_MOST_OF_BLOCK, len(view))
    for at in range(begin, len(view), size):
        block = view[at : at + size]
        spool.write((len(block) << 3 | (at + size >= len(view))).to_bytes(3, "little"))
        spool.write(block)
    spool.write(struct.pack("<L", xxh64_intdigest(view) & 0xFFFFFFFF))
    return spool.view()


def _blocks_of(frame: bytes) -> bytearray:
    """The blocks of a frame, of which none says that it is the last."""
    blocks = bytearray(memoryview(frame)[zstandard.frame_header_size(frame) :])
    at = 0
    while True:
        header = int.from_bytes(blocks[at : at + 3], "little")
        if header & _LAST:
            blocks[at] &= ~_LAST
            break
        at += 3 + (1 if header >> 1 & 3 == _RLE else header >> 3)
    end = at + 3 + (1 if header >> 1 & 3 == _RLE else header >> 3)
    del blocks[end:]  # its checksum
    return blocks
