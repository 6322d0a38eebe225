"""A zstd frame cut into pieces, each of which unpacks to a bounded size."""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from scp.spool import Buffer, slices

# A block takes 4 bytes at least, and decompresses to 128 KB at most (RFC 8878 3.1.1.2.4): the content of a
# frame of so many bytes fits into memory, and larger frames are read some blocks at a time.
_SMALL_FRAME = 1 << 10
_BLOCKS = 16


def pieces_of_frame(data: Buffer) -> Iterator[Buffer]:
    """A zstd frame, cut between blocks: each piece decompresses to 2 MB at most, however short it is."""
    if len(data) <= _SMALL_FRAME:
        yield data
        return
    begun, at, blocks = 0, zstandard.frame_header_size(data), 0
    while at + 3 <= len(data):
        header = int.from_bytes(data[at : at + 3], "little")  # RFC 8878 3.1.1.2
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        blocks += 1
        if header & 1:  # the last one
            break
        if blocks % _BLOCKS == 0:
            yield memoryview(data)[begun:at]
            begun = at
    yield from slices(memoryview(data)[begun:])
