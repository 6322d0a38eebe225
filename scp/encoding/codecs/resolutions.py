"""Where the resolutions of a JPEG 2000 or HTJ2K codestream end: how much of it gives a smaller image.

Where the packets come resolution by resolution, the beginning of a codestream is the image at half the size,
a quarter, and so on. The headers of the packets tell where each ends. Those of the last resolution, which has
three quarters of all code-blocks, are not needed: of a mammogram the others take some ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scp.encoding.codecs.jpeg2000_packets import packets
from scp.encoding.codecs.jpeg2000_structure import Codestream, Tile, can_be_walked, codestream_of
from scp.errors import CodecError

_LRCP, _RLCP, _RPCL = 0, 1, 2  # ISO/IEC 15444-1 table A.16
# Of what anybody may have sent no more is followed than takes a second or so.
_MOST_PACKETS, _MOST_PIXELS, _LEAST_BLOCK = 4096, 1 << 28, 10


@dataclass(frozen=True, slots=True)
class Resolution:
    """An image of ``rows`` by ``columns`` pixels, for which the first ``size`` bytes are enough."""

    rows: int
    columns: int
    size: int


def resolutions_of(codestream: bytes) -> tuple[Resolution, ...]:
    """The resolutions, the smallest first; the last is the whole image.

    Empty where no beginning of it is a smaller image, and where it cannot be followed.
    """
    try:
        followed = codestream_of(codestream)
        tile = followed.tiles[0]
        if not _begins_small(followed, tile):
            return ()
        body = b"".join(codestream[begin:end] for begin, end in tile.spans)
        ends = list(_ends_within(body, tile, followed.tile_area(0)))
    except (CodecError, IndexError):
        return ()
    levels, (_, _, columns, rows) = tile.codings[0].levels, followed.area
    if len(ends) != levels:
        return ()
    sizes = [*(_place(tile, end) for end in ends), len(codestream)]
    # A side of an image that begins at 0 (B.5).
    return tuple(
        Resolution(-(-rows >> levels - each), -(-columns >> levels - each), size)
        for each, size in enumerate(sizes)
    )


def _begins_small(followed: Codestream, tile: Tile) -> bool:
    """Whether the packets of each resolution come before those of the next, in one tile that begins at 0."""
    one = followed.across * followed.down == 1 and followed.area[:2] == (0, 0)
    ordered = tile.style.order in (_RLCP, _RPCL) or (tile.style.order == _LRCP and tile.style.layers == 1)
    alike = len(set(tile.codings)) == 1 and sum(tile.codings[0].blocks) >= _LEAST_BLOCK
    few = followed.area[2] * followed.area[3] * len(tile.codings) <= _MOST_PIXELS
    return one and ordered and alike and few and can_be_walked(tile)


def _ends_within(body: bytes, tile: Tile, area: tuple[int, int, int, int]) -> Iterator[int]:
    """Where each resolution but the last ends in a tile's data."""
    resolution, before = 0, 0
    for count, (precinct, _, end) in enumerate(packets(body, tile, area)):
        while resolution < precinct.resolution:
            yield before
            resolution += 1
        if resolution == precinct.coding.levels or count > _MOST_PACKETS:
            return
        before = end


def _place(tile: Tile, at: int) -> int:
    """A place in a tile's data as one in the codestream: the end of a tile-part, not the next header."""
    for begin, end in tile.spans:
        if at <= end - begin:
            return begin + at
        at -= end - begin
    raise IndexError(at)
