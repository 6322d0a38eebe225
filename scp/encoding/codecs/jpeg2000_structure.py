"""The marker segments and tile-parts of a JPEG 2000 or HTJ2K codestream (ISO/IEC 15444-1 annex A).

OpenJPEG reads over packets that are not there, and OpenJPH over tile-parts that are cut off, and crashes on a
QCD that is too short. This follows the structure from SOC to EOC before a decoder is let loose.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from scp.encoding.codecs.markers import marker_within
from scp.errors import DamagedCodestream

_SOC, _SIZ, _COD, _COC, _QCD, _QCC, _POC = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5F  # table A.2
_PPM, _PPT, _SOT, _SOD, _EOC = 0xFF60, 0xFF61, 0xFF90, 0xFF93, 0xFFD9
_BESIDE = (0xFF55, 0xFF57, 0xFF64)  # TLM, PLM, COM: no pixel goes by them
_WITH_LENGTH = range(0xFF50, 0xFF80)  # markers of segments, those of ISO/IEC 15444-2 too
_SOT_SIZE = 12
HT, MIXED = 64, 128  # code-block style (15444-15 table A.4): of all blocks, or beside others
# Neither packet headers nor code-blocks have a byte above 8F behind FF (B.10.1, C.2.2, D.4.1): only SOP and
# EPH stand among them, where COD says so.
_OF_DATA = frozenset(range(0x90))
_OF_DATA_WITH_SOP = _OF_DATA | {0x91, 0x92}


@dataclass(frozen=True, slots=True)
class Coding:
    """What COD, or COC for a component, says (A.6.1): ``blocks`` and ``precincts`` are exponents of 2.

    ``precincts`` has a pair, across and down, for each resolution from the smallest on.
    """

    levels: int
    blocks: tuple[int, int]
    style: int
    precincts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Style:
    """What COD says for all components: progression order, layers, and whether SOP and EPH are used."""

    order: int = 0
    layers: int = 1
    sop: bool = False
    eph: bool = False


@dataclass(slots=True)
class Tile:
    """One tile: how it is coded, and where the data of its tile-parts begins and ends."""

    style: Style
    codings: list[Coding]
    spans: list[tuple[int, int]] = field(default_factory=list)
    walkable: bool = True  # its packets lie in one order, with their headers


@dataclass(slots=True)
class Codestream:
    """The image and its tiles. ``area`` and ``grid`` are left, top, right, bottom and the tiles' size."""

    area: tuple[int, int, int, int]
    grid: tuple[int, int, int, int]  # XTOsiz, YTOsiz, XTsiz, YTsiz
    tiles: dict[int, Tile] = field(default_factory=dict)

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-(self.area[2] - self.grid[0]) // self.grid[2])

    @property
    def down(self) -> int:
        """Tiles in a column."""
        return -(-(self.area[3] - self.grid[1]) // self.grid[3])

    def tile_area(self, index: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of a tile (B.3)."""
        row, column = divmod(index, self.across)
        left, top = self.grid[0] + column * self.grid[2], self.grid[1] + row * self.grid[3]
        return (
            max(left, self.area[0]),
            max(top, self.area[1]),
            min(left + self.grid[2], self.area[2]),
            min(top + self.grid[3], self.area[3]),
        )


def codestream_of(data: bytes, begin: int = 0) -> Codestream:
    """Follow a codestream from SOC at ``begin`` to EOC. What follows EOC is not looked at.

    Raises DamagedCodestream where marker segments or tile-parts do not hold together, where a tile is missing
    or has a byte that no encoder writes, and where there is no EOC.
    """
    try:
        return _followed(data, begin)
    except (struct.error, IndexError, KeyError):
        raise DamagedCodestream("a marker segment of the codestream is broken") from None


def can_be_walked(tile: Tile) -> bool:
    """Whether its packets can be followed: they lie in one order, with their headers.

    HT code-blocks beside others, or with passes in several layers, are not followed.
    """
    styles = [each.style for each in tile.codings]
    unknown = any(style & MIXED or (style & HT and tile.style.layers > 1) for style in styles)
    return tile.walkable and not unknown


def without_pointers(data: bytes) -> bytes:
    """A codestream whose main header has no pointers into it (TLM, PLM) and no comments.

    OpenJPEG 2.5.4 writes beyond its memory where a tile has more tile-parts than TLM lists: 153 bytes end the
    process (docs/codecs-upstream.md). Of a codestream that :func:`codestream_of` has followed.
    """
    kept, at = [], 0
    for marker, start, content in _segments(data, 2, _SOT):
        if marker in _BESIDE:
            kept.append(data[at:start])
            at = start + 4 + len(content)
    return b"".join((*kept, data[at:])) if at else data


def _followed(data: bytes, begin: int) -> Codestream:
    if data[begin : begin + 2] != _SOC.to_bytes(2, "big"):
        raise DamagedCodestream("the codestream does not begin with SOC")
    found, whole, at = None, Tile(Style(), []), begin + 2
    for marker, start, content in _segments(data, at, _SOT):
        at = start
        if marker == _SIZ:
            found, components = _sized(content)
            whole.codings = [Coding(0, (0, 0), 0, ())] * components
        elif found is not None:
            _apply(whole, marker, content)
    if found is None or not whole.codings[0].precincts:
        raise DamagedCodestream("the codestream has no SIZ or no COD")
    _read_parts(data, at, found, whole)
    return found


def _read_parts(data: bytes, at: int, found: Codestream, whole: Tile) -> None:
    """The tile-parts from the first SOT to EOC (A.4.2)."""
    parts: dict[int, tuple[int, int]] = {}  # by tile: how many came, and how many there are to be at least
    while data[at : at + 2] != _EOC.to_bytes(2, "big"):
        if at + _SOT_SIZE > len(data):
            raise DamagedCodestream("the codestream ends before EOC")
        marker, size, index, length, number, count = struct.unpack_from(">HHHLBB", data, at)
        end = at + length if length else _last_end(data, at)
        if marker != _SOT or size != _SOT_SIZE - 2 or not at + _SOT_SIZE < end <= len(data):
            raise DamagedCodestream(f"neither a complete tile-part nor EOC at byte {at}")
        came, least = parts.get(index, (0, 0))
        if index >= found.across * found.down or number != came:
            raise DamagedCodestream(f"tile-part {number} of tile {index} is not the next one")
        parts[index] = (came + 1, count or least)
        if not came:
            found.tiles[index] = replace(whole, codings=[*whole.codings], spans=[])
        _read_part(data, at, end, found.tiles[index])
        at = end
    # More than TNsot says there may be: pydicom's GDCMJ2K_TextGBR has six of five.
    if len(found.tiles) != found.across * found.down or any(came < least for came, least in parts.values()):
        raise DamagedCodestream("a tile or tile-part is missing")


def _segments(data: bytes, at: int, last: int) -> Iterator[tuple[int, int, bytes]]:
    """Marker segments up to the marker ``last``, which comes with no content: marker, position, content."""
    while (marker := struct.unpack_from(">H", data, at)[0]) != last:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker not in _WITH_LENGTH or length < 2 or at + 2 + length > len(data):
            raise DamagedCodestream(f"no valid marker segment at byte {at}")
        yield marker, at, data[at + 4 : at + 2 + length]
        at += 2 + length
    yield marker, at, b""


def _sized(content: bytes) -> tuple[Codestream, int]:
    right, bottom, left, top, width, height, from_left, from_top, components = struct.unpack_from(
        ">8LH", content, 2
    )
    if len(content) != 36 + 3 * components or not width or not height:
        raise DamagedCodestream("SIZ does not follow ISO/IEC 15444-1 A.5.1")
    return Codestream((left, top, right, bottom), (from_left, from_top, width, height)), components


def _apply(tile: Tile, marker: int, content: bytes) -> None:
    """What a marker segment of the main header, or of a tile's first one, changes."""
    if marker == _COD:
        order, layers = content[1], struct.unpack_from(">H", content, 2)[0]
        tile.style = Style(order, layers, bool(content[0] & 2), bool(content[0] & 4))
        tile.codings = [_coding(content[5:], content[0])] * len(tile.codings)
        if order > 4 or not layers:
            raise DamagedCodestream("COD does not follow ISO/IEC 15444-1 A.6.1")
    elif marker == _COC:
        wide = len(tile.codings) > 256
        component = struct.unpack_from(">H" if wide else ">B", content)[0]
        tile.codings[component] = _coding(content[2 + wide :], content[1 + wide])
    elif marker == _QCD:
        _check_steps(min(each.levels for each in tile.codings), content)
    elif marker == _QCC:
        wide = len(tile.codings) > 256
        component = struct.unpack_from(">H" if wide else ">B", content)[0]
        _check_steps(tile.codings[component].levels, content[1 + wide :])
    elif marker in (_POC, _PPM, _PPT):
        tile.walkable = False


def _check_steps(levels: int, content: bytes) -> None:
    """A step for each sub-band (A.6.4): OpenJPH 0.26.3 crashes where QCD has fewer."""
    size = {0: 1, 1: 0, 2: 2}[content[0] & 31]
    if len(content) - 1 < (size * (3 * levels + 1) or 2):
        raise DamagedCodestream("a quantization segment does not have a step for each sub-band")


def _coding(content: bytes, style: int) -> Coding:
    levels, across, down, blocks = content[0], content[1] + 2, content[2] + 2, content[3]
    sizes = content[5:] if style & 1 else bytes((0xFF,)) * (levels + 1)
    if levels > 32 or across > 10 or down > 10 or across + down > 12 or len(sizes) != levels + 1:
        raise DamagedCodestream("COD or COC does not follow ISO/IEC 15444-1 A.6.1")
    return Coding(levels, (across, down), blocks, tuple((size & 15, size >> 4) for size in sizes))


def _last_end(data: bytes, at: int) -> int:
    """Where a tile-part ends that says no length: at the EOC behind it (A.4.2)."""
    return data.rfind(_EOC.to_bytes(2, "big"), at)


def _read_part(data: bytes, at: int, end: int, tile: Tile) -> None:
    body = at + _SOT_SIZE
    for marker, start, content in _segments(data, body, _SOD):
        body = start + 2
        if marker != _SOD:
            _apply(tile, marker, content)
    if body > end:
        raise DamagedCodestream(f"the header of the tile-part at byte {at} is longer than the tile-part")
    expected = _OF_DATA_WITH_SOP if tile.style.sop or tile.style.eph else _OF_DATA
    if (at := marker_within(data, body, end, expected)) >= 0:
        raise DamagedCodestream(f"a marker inside the data, at byte {at}")
    tile.spans.append((body, end))
