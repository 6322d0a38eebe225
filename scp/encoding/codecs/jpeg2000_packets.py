"""The packets of a JPEG 2000 or HTJ2K codestream, walked from header to header (ISO/IEC 15444-1 annex B).

A packet's header says how long it is, and COD how many there are: where data is missing, or is other than
what an encoder wrote, they do not end where their tile does. OpenJPEG reads missing ones as empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from operator import itemgetter

from scp.encoding.codecs.jpeg2000_structure import HT, MIXED, Codestream, Coding, Tile, can_be_walked
from scp.errors import DamagedCodestream, PixelsBeyondBounds

_LAZY, _TERMINATED = 1, 4  # code-block style (table A.19)
# The arithmetic coder's bytes are as good as random. Bits that are coded raw may be zeros for long, where
# samples have none but their high ones.
_ZEROS, _MAY_HOLD_ZEROS = bytes(32), _LAZY | HT | MIXED
# Of a tile. Each block takes some 200 bytes here and in OpenJPEG, a precinct 1 KB. With blocks of 32 x 32 and
# precincts of 256 x 256, a frame of 1 GB has half a million and 16 thousand of them.
_MOST_BLOCKS, _MOST_PRECINCTS = 1 << 20, 1 << 17
_MOST_PACKETS = 1 << 19  # 2 s here: of a frame of 1 GB, 30 layers
_MOST_PLANES = 74  # B.10.5: more zero bit-planes than any sample has bits
_ALL_PASSES, _MOST_LENGTH_BITS = 164, 32

Area = tuple[int, int, int, int]  # left, top, right, bottom

# Component, resolution, y, x and number of a precinct, in the orders of table A.16. Layers go around the
# first (LRCP), within the resolutions of the second (RLCP), and within the precincts of RPCL, PCRL and CPRL.
_ORDERS = (
    itemgetter(1, 0, 4),
    itemgetter(1, 0, 4),
    itemgetter(1, 2, 3, 0, 4),
    itemgetter(2, 3, 0, 1, 4),
    itemgetter(0, 2, 3, 1, 4),
)


def check_packets(data: bytes, codestream: Codestream) -> None:
    """Raises DamagedCodestream where a tile's packets do not end where its data does.

    PixelsBeyondBounds, where there are more of them than any encoder writes.
    """
    for index, tile in codestream.tiles.items():
        if can_be_walked(tile):
            body = b"".join(data[begin:end] for begin, end in tile.spans)
            try:
                at = _walked(body, tile, codestream.tile_area(index))
            except IndexError:
                raise DamagedCodestream(f"a packet of tile {index} goes beyond its data") from None
            if at != len(body):
                raise DamagedCodestream(
                    f"{len(body) - at} bytes are left over after the packets of tile {index}"
                )


def _walked(body: bytes, tile: Tile, area: Area) -> int:
    at = 0
    for precinct, begin, at in packets(body, tile, area):
        if not precinct.coding.style & _MAY_HOLD_ZEROS and body.find(_ZEROS, begin, at) >= 0:
            raise DamagedCodestream("zeros where arithmetic-coded data should be")
    return at


def packets(body: bytes, tile: Tile, area: Area) -> Iterator[tuple[Precinct, int, int]]:
    """A tile's packets: precinct, begin and end of its data. Raises IndexError where one ends too late."""
    at = 0
    for precinct in _in_order(tile, area, len(body)):
        if tile.style.sop and body[at : at + 2] == b"\xff\x91":
            at += 6
        begin, at = precinct.read(body, at, tile.style.eph)
        if at > len(body):
            raise IndexError
        yield precinct, begin, at


# -- which packets, and in which order ----------------------------------------------------------------


def _in_order(tile: Tile, area: Area, size: int) -> Iterator[Precinct]:
    """The precinct of each packet, layer by layer (B.12)."""
    grids = {
        (component, resolution): _grid(coding, resolution, area)
        for component, coding in enumerate(tile.codings)
        for resolution in range(coding.levels + 1)
    }
    precincts = sum(across * down for _, _, across, down in grids.values())
    if precincts * tile.style.layers > size:
        raise DamagedCodestream("there are fewer bytes than packets")
    if precincts > _MOST_PRECINCTS or precincts * tile.style.layers > _MOST_PACKETS:
        raise PixelsBeyondBounds(f"{precincts} precincts in {tile.style.layers} layers of a JPEG 2000 tile")
    blocks = sum(_blocks(coding, area) for coding in tile.codings)
    if blocks > _MOST_BLOCKS:
        raise PixelsBeyondBounds(f"{blocks} code-blocks in a JPEG 2000 tile")
    found = [
        (component, resolution, *_origin(tile.codings[component], resolution, area, left + x, top + y), at)
        for (component, resolution), (left, top, across, down) in grids.items()
        for at, (y, x) in enumerate(product(range(down), range(across)))
    ]
    ordered = [
        Precinct(tile.codings[each[0]], each[1], area, grids[each[0], each[1]], each[4])
        for each in sorted(found, key=_ORDERS[tile.style.order])
    ]
    if tile.style.order == 0:
        return (precinct for _ in range(tile.style.layers) for precinct in ordered)
    if tile.style.order == 1:
        return _by_resolution(ordered, tile.style.layers)
    return (precinct for precinct in ordered for _ in range(tile.style.layers))


def _blocks(coding: Coding, area: Area) -> int:
    """Code-blocks of a component, about: sub-bands and precincts cut some of them."""
    left, top, right, bottom = area
    wide, high = (min(coding.blocks[each], coding.precincts[-1][each]) for each in (0, 1))
    return (-(right - left) >> wide) * (-(bottom - top) >> high)


def _by_resolution(ordered: list[Precinct], layers: int) -> Iterator[Precinct]:
    """RLCP: all layers of a resolution, then the next."""
    for resolution in sorted({precinct.resolution for precinct in ordered}):
        group = [precinct for precinct in ordered if precinct.resolution == resolution]
        for _ in range(layers):
            yield from group


def _grid(coding: Coding, resolution: int, area: Area) -> tuple[int, int, int, int]:
    """The first precinct's numbers from left and top, and how many there are across and down (B.6)."""
    left, top, right, bottom = _ceiled(area, coding.levels - resolution)
    if right <= left or bottom <= top:
        return 0, 0, 0, 0
    across, down = coding.precincts[resolution]
    first, upper = left >> across, top >> down
    return first, upper, -(-right >> across) - first, -(-bottom >> down) - upper


def _ceiled(area: Area, exponent: int) -> Area:
    half = (1 << exponent) - 1
    left, top, right, bottom = ((side + half) >> exponent for side in area)
    return left, top, right, bottom


def _origin(coding: Coding, resolution: int, area: Area, column: int, row: int) -> tuple[int, int]:
    """Where a precinct comes in an order by position (B.12.1.3): y and x on the reference grid."""
    scale = coding.levels - resolution
    left, top, _, _ = _ceiled(area, scale)
    across, down = coding.precincts[resolution]
    x, y = column << across, row << down
    return (y << scale if y >= top else area[1]), (x << scale if x >= left else area[0])


# -- a packet -----------------------------------------------------------------------------------------


class Precinct:
    """The code-blocks of a precinct, and what its packets so far said of them."""

    def __init__(
        self, coding: Coding, resolution: int, area: Area, grid: tuple[int, int, int, int], at: int
    ) -> None:
        self.coding, self.resolution = coding, resolution
        row, column = divmod(at, grid[2])
        self._where = (area, grid[0] + column, grid[1] + row)
        self._bands: list[_Band] | None = None

    def read(self, body: bytes, at: int, eph: bool) -> tuple[int, int]:
        """Where the data of the packet at ``at`` begins and ends. Raises IndexError beyond ``body``."""
        if self._bands is None:
            self._bands = [_Band(*size) for size in self._sizes()]
        bits = _PacketBits(body, at)
        length = 0
        if bits.read():
            length = sum(band.read(bits, self.coding.style) for band in self._bands)
        at = bits.end()
        if eph and body[at : at + 2] == b"\xff\x92":
            at += 2
        return at, at + length

    def _sizes(self) -> Iterator[tuple[int, int]]:
        """Code-blocks across and down, of each of its sub-bands (B.7)."""
        area, column, row = self._where
        coding, half = self.coding, int(self.resolution > 0)
        across, down = (size - half for size in coding.precincts[self.resolution])
        wide, high = min(coding.blocks[0], across), min(coding.blocks[1], down)
        exponent = coding.levels - self.resolution + half
        for right, lower in ((1, 0), (0, 1), (1, 1)) if half else ((0, 0),):
            offset = 1 << exponent - 1 if half else 0
            moved = (
                area[0] - offset * right,
                area[1] - offset * lower,
                area[2] - offset * right,
                area[3] - offset * lower,
            )
            band = _ceiled(moved, exponent)
            x0, x1 = max(band[0], column << across), min(band[2], (column + 1) << across)
            y0, y1 = max(band[1], row << down), min(band[3], (row + 1) << down)
            if x0 < x1 and y0 < y1:
                yield -(-x1 >> wide) - (x0 >> wide), -(-y1 >> high) - (y0 >> high)


@dataclass(slots=True)
class _Block:
    """What is known of a code-block: Lblock (B.10.7), and the passes of its codeword segment so far."""

    bits: int = 3
    passes: int = 0
    most: int = 0


class _Band:
    """The code-blocks of a sub-band in a precinct."""

    def __init__(self, across: int, down: int) -> None:
        self._inclusion, self._planes = _TagTree(across, down), _TagTree(across, down)
        self._blocks: list[_Block | None] = [None] * (across * down)
        self._layer = 0

    def read(self, bits: _PacketBits, style: int) -> int:
        """The bytes that the code-blocks have in this packet (B.10.8)."""
        self._layer += 1
        length = 0
        for each in range(len(self._blocks)):
            block = self._included(bits, each)
            if block is None:
                continue
            passes = _passes(bits)
            while bits.read():
                block.bits += 1
                if block.bits > _MOST_LENGTH_BITS:
                    raise DamagedCodestream("a code-block has more bytes than there can be")
            length += _ht_length(bits, block, passes) if style & HT else _length(bits, block, passes, style)
        return length

    def _included(self, bits: _PacketBits, each: int) -> _Block | None:
        """The code-block, where this packet holds some of it (B.10.4)."""
        if (block := self._blocks[each]) is not None:
            return block if bits.read() else None
        if not self._inclusion.reaches(bits, each, self._layer):
            return None
        planes = 1
        while not self._planes.reaches(bits, each, planes):
            planes += 1
            if planes > _MOST_PLANES:
                raise DamagedCodestream("a code-block has more zero bit-planes than there can be")
        block = self._blocks[each] = _Block()
        return block


def _passes(bits: _PacketBits) -> int:
    """Coding passes (table B.4)."""
    if not bits.read():
        return 1
    if not bits.read():
        return 2
    if (more := bits.number(2)) < 3:
        return 3 + more
    if (more := bits.number(5)) < 31:
        return 6 + more
    return 37 + bits.number(7)


def _length(bits: _PacketBits, block: _Block, passes: int, style: int) -> int:
    """Bytes of a code-block's passes, of each of its codeword segments (B.10.7)."""
    length = 0
    while passes:
        if block.passes == block.most:
            block.passes, block.most = 0, _next_most(block.most, style)
        here = min(block.most - block.passes, passes)
        length += bits.number(block.bits + here.bit_length() - 1)
        block.passes += here
        passes -= here
    return length


def _next_most(before: int, style: int) -> int:
    """Passes of a codeword segment (table D.9)."""
    if style & _TERMINATED:
        return 1
    if style & _LAZY:
        return 10 if not before else 1 if before == 2 else 2
    return _ALL_PASSES


def _ht_length(bits: _PacketBits, block: _Block, passes: int) -> int:
    """Bytes of the cleanup segment, and of the refinement one (15444-15 B.2)."""
    placeholders = (passes - 1) // 3
    length = bits.number(block.bits + (3 * placeholders + 1).bit_length() - 1)
    left = passes - 3 * placeholders
    return length + (bits.number(block.bits + left // 3) if left > 1 else 0)


class _PacketBits:
    """The bits of a packet header: behind FF, a byte has seven (B.10.1)."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at, self._byte, self._left = data, at, 0, 0

    def read(self) -> int:
        if not self._left:
            self._left = 7 if self._byte == 0xFF else 8
            self._byte = self._data[self._at]
            self._at += 1
        self._left -= 1
        return self._byte >> self._left & 1

    def number(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self.read()
        return value

    def end(self) -> int:
        """Where the next byte is that does not belong to the header."""
        return self._at + (self._byte == 0xFF)


class _TagTree:
    """A tag tree (B.10.2), read as far as it is asked for."""

    def __init__(self, across: int, down: int) -> None:
        parents: list[int] = []
        base, count = 0, across * down
        while True:
            above = ((across + 1) // 2, (down + 1) // 2)
            parents += [
                base + count + (at // across // 2) * above[0] + at % across // 2 for at in range(count)
            ]
            base += count
            if count <= 1:
                break
            (across, down), count = above, above[0] * above[1]
        self._parents, self._root = parents, base - 1
        self._low, self._known = [0] * base, [False] * base

    def reaches(self, bits: _PacketBits, leaf: int, threshold: int) -> bool:
        """Whether the leaf's value is less than ``threshold``."""
        path = [leaf]
        while path[-1] != self._root:
            path.append(self._parents[path[-1]])
        low = 0
        for node in reversed(path):
            low = max(low, self._low[node])
            while low < threshold and not self._known[node]:
                if bits.read():
                    self._known[node] = True
                else:
                    low += 1
            self._low[node] = low
        return self._known[leaf] and self._low[leaf] < threshold
