"""The marker segments of a JPEG or JPEG-LS codestream, and where its data lies (ITU-T T.81 B, T.87 C).

Decoders accept much that is wrong here, and make up the missing pixels. This reads the structure
alone, and says where it does not hold.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from scp.encoding.codecs.markers import marker_within
from scp.errors import DamagedCodestream, PixelsBeyondBounds

LOSSLESS, PROGRESSIVE, JPEG_LS = 0xC3, 0xC2, 0xF7  # SOF3, SOF2 (table B.1), SOF55 (T.87 C.1.1)
_FRAMES = (0xC0, 0xC1, PROGRESSIVE, LOSSLESS, JPEG_LS)  # Huffman coded, not hierarchical
_DHT, _SOI, _EOI, _SOS, _DQT, _DRI, _LSE = 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xF8
_SKIPPED = (0xFE, *range(0xE0, 0xF0))  # COM, APPn
# Behind FF: 00 is a byte of data, FF is fill, RSTm does not end a scan (B.1.1.5). Of JPEG-LS, FF and a bit
# of 0 is data (T.87 A.1).
_OF_DATA = frozenset((0, 0xFF, *range(0xD0, 0xD8)))
_OF_JPEG_LS_DATA = frozenset((*range(0x80), *_OF_DATA))
# What makes a decoder, or this, take long for a small picture. Encoders write ten scans, twenty segments and
# a restart interval for a row of blocks; an ICC profile takes 255 segments at most.
_MOST_SCANS, _MOST_SEGMENTS, _MOST_TABLES, _MOST_INTERVALS = 100, 4096, 8, 1 << 20
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")


@dataclass(frozen=True, slots=True)
class Component:
    """A component of the frame: its identifier and sampling factors (B.2.2)."""

    identifier: int
    across: int
    down: int


@dataclass(frozen=True, slots=True)
class JpegScan:
    """A scan (B.2.3): its components, their tables, and ``intervals``, where its data begins and ends.

    There are as many intervals as the restart interval asks for, one without. ``tables`` maps each
    component's identifier to its DC table: the lengths of its codes in bits, by symbol.
    """

    components: tuple[Component, ...]
    tables: dict[int, dict[int, int]]
    first: int  # Ss: spectral selection, or the predictor of a lossless scan
    last: int  # Se
    high: int  # Ah
    low: int  # Al: successive approximation, or the point transform
    restart: int  # MCUs of an interval; 0: all
    intervals: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Structure:
    """What the marker segments say: the frame header, and the scans in their order.

    ``huffman`` is where the content of each DHT segment begins and ends, ``presets`` what LSE segments hold.
    """

    frame: int = 0  # the SOF marker's second byte
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: tuple[Component, ...] = ()
    scans: list[JpegScan] = field(default_factory=list)
    huffman: list[tuple[int, int]] = field(default_factory=list)
    presets: list[bytes] = field(default_factory=list)

    def unit(self, components: tuple[Component, ...]) -> tuple[int, int]:
        """Rows and columns of pixels that an MCU covers in a scan of these components (A.2)."""
        size = 1 if self.frame in (LOSSLESS, JPEG_LS) else 8
        down, across = (
            max(each.down for each in self.components),
            max(each.across for each in self.components),
        )
        if len(components) == 1:  # one data unit
            return size * down // components[0].down, size * across // components[0].across
        return size * down, size * across

    def grid(self, components: tuple[Component, ...]) -> tuple[int, int]:
        """Rows and columns of MCUs in a scan of these components."""
        down, across = self.unit(components)
        return -(-self.rows // down), -(-self.columns // across)


def structure_of(codestream: bytes) -> Structure:
    """Follow a codestream from SOI to EOI. What follows EOI is not looked at.

    Raises DamagedCodestream where the marker segments do not hold together, where data, restart markers or
    a component's scan are missing, and where there is no EOI; PixelsBeyondBounds where there is more of them
    than any encoder writes.
    """
    if codestream[:2] != bytes((0xFF, _SOI)):
        raise DamagedCodestream("the codestream does not begin with SOI")
    walk, at = _Walk(codestream), 2
    for number in count():
        _check_count(number, _MOST_SEGMENTS, "marker segments")
        marker, at = _marker(codestream, at)
        if marker == _EOI:
            break
        content = _content(codestream, at)
        try:
            at = walk.segment(marker, at, content)
        except (struct.error, IndexError, KeyError, ValueError):
            told = f"the segment of marker FF{marker:02X} at byte {at - 2} is broken"
            raise DamagedCodestream(told) from None
    _check_complete(walk.found)
    return walk.found


class _Walk:
    """What was read so far, and what of it counts for the scans to come."""

    def __init__(self, codestream: bytes) -> None:
        self.found = Structure()
        self._codestream = codestream
        self._tables: dict[int, dict[int, int]] = {}
        self._restart = 0

    def segment(self, marker: int, at: int, content: bytes) -> int:
        """Read a marker segment; where the next marker is."""
        end = at + 2 + len(content)
        if marker in _FRAMES and not self.found.frame:
            _read_frame(self.found, marker, content)
        elif marker == _DHT:
            self._tables |= {table.where: table.lengths for table in huffman_tables(content)}
            self.found.huffman.append((at + 2, end))
        elif marker == _DQT:
            _check_quantization(content)
        elif marker == _LSE:
            self.found.presets.append(content)
        elif marker == _DRI:
            (self._restart,) = struct.unpack(">H", content)
        elif marker == _SOS and self.found.frame:
            return self._scan(content, end)
        elif marker not in _SKIPPED:
            raise DamagedCodestream(f"marker FF{marker:02X} at byte {at - 2} where none may stand")
        return end

    def _scan(self, content: bytes, begin: int) -> int:
        """Read the scan whose data begins at ``begin``; where the marker is that ends it."""
        found, among = self.found, content[0]
        known = {each.identifier: each for each in found.components}
        selected = {content[at]: content[at + 1] >> 4 for at in range(1, 1 + 2 * among, 2)}
        components = tuple(known[identifier] for identifier in selected)
        first, last, approximation = content[1 + 2 * among : 4 + 2 * among]
        if not components or len(selected) != among:
            raise DamagedCodestream("a scan header's components do not follow T.81 B.2.3")
        end = _data_end(self._codestream, begin, _OF_JPEG_LS_DATA if found.frame == JPEG_LS else _OF_DATA)
        restart = 0 if found.frame == JPEG_LS else self._restart  # CharLS looks after its markers
        intervals: tuple[tuple[int, int], ...] = ((begin, end),)
        _check_count(len(found.scans) + 1, _MOST_SCANS, "scans")
        if found.frame != JPEG_LS:
            _check_data(found, components, (first, last, approximation), end - begin)
            rows, columns = found.grid(components)
            units = -(-rows * columns // restart) if restart else 1
            intervals = _intervals(self._codestream, begin, end, units)
        tables = {component: self._tables.get(table, {}) for component, table in selected.items()}
        high, low = approximation >> 4, approximation & 15
        found.scans.append(JpegScan(components, tables, first, last, high, low, restart, intervals))
        return end


def _marker(codestream: bytes, at: int) -> tuple[int, int]:
    """The marker at ``at``, and where it ends; FF before it is fill (B.1.1.2)."""
    begun = at
    while codestream[at : at + 1] == b"\xff":
        at += 1
    if at == len(codestream):
        raise DamagedCodestream("the codestream ends before EOI")
    if at == begun:
        raise DamagedCodestream(f"no marker at byte {at}")
    return codestream[at], at + 1


def _content(codestream: bytes, at: int) -> bytes:
    size = int.from_bytes(codestream[at : at + 2], "big")
    if size < 2 or at + size > len(codestream):
        raise DamagedCodestream(f"a marker segment of {size} bytes at byte {at} goes beyond the codestream")
    return codestream[at + 2 : at + size]


def _read_frame(found: Structure, marker: int, content: bytes) -> None:
    found.precision, found.rows, found.columns, among = struct.unpack_from(">BHHB", content)
    found.components = tuple(
        Component(content[at], content[at + 1] >> 4, content[at + 1] & 15)
        for at in range(6, 6 + 3 * among, 3)
    )
    if not among or not all(1 <= each.across <= 4 and 1 <= each.down <= 4 for each in found.components):
        raise DamagedCodestream("the frame header's components do not follow T.81 B.2.2")
    if not found.rows or not found.columns:
        raise DamagedCodestream("the frame header does not describe an image")
    found.frame = marker


@dataclass(frozen=True, slots=True)
class HuffmanTable:
    """A table of a DHT segment (B.2.4.2): class and destination, codes of each length, and their symbols."""

    where: int
    counts: bytes
    symbols: bytes

    @property
    def lengths(self) -> dict[int, int]:
        """Bits of each symbol's code."""
        lengths = (length for length, codes in enumerate(self.counts, 1) for _ in range(codes))
        return dict(zip(self.symbols, lengths, strict=True))


def huffman_tables(content: bytes) -> Iterator[HuffmanTable]:
    """The tables of a DHT segment. Raises DamagedCodestream where one cannot have been made by an encoder."""
    at = 0
    for number in count(1):
        if at >= len(content):
            return
        _check_count(number, _MOST_TABLES, "Huffman tables in a segment")
        counts = content[at + 1 : at + 17]
        symbols = content[at + 17 : at + 17 + sum(counts)]
        used = sum(codes << 16 - length for length, codes in enumerate(counts, 1))
        whole = len(counts) == 16 and len(symbols) == sum(counts)
        if not whole or len(set(symbols)) < len(symbols) or used >= 1 << 16:
            raise DamagedCodestream("a Huffman table is invalid")
        yield HuffmanTable(content[at], counts, symbols)
        at += 17 + len(symbols)


def _check_quantization(content: bytes) -> None:
    """No step of a quantization table is zero (B.2.4.1)."""
    at = 0
    for number in count(1):
        if at >= len(content):
            return
        _check_count(number, _MOST_TABLES, "quantization tables in a segment")
        size = 128 if content[at] >> 4 else 64
        steps = content[at + 1 : at + 1 + size]
        if len(steps) < size or not all(map(any, zip(*[iter(steps)] * (size // 64), strict=True))):
            raise DamagedCodestream("a quantization table is invalid")
        at += 1 + size


def _check_count(there: int, most: int, what: str) -> None:
    if there > most:
        raise PixelsBeyondBounds(f"a JPEG codestream of more than {most} {what}")


def _check_data(
    found: Structure, components: tuple[Component, ...], spectrum: tuple[int, int, int], size: int
) -> None:
    """A scan has a bit at least for each sample of a lossless process, two for each block of a sequential one
    (its first coefficient and its end), and one for each that a progressive one begins (F.1.2, G.1.2, H.1.2).

    Raises DamagedCodestream where there are fewer than ``size`` bytes of them.
    """
    rows, columns = found.grid(components)
    units = rows * columns
    if len(components) > 1:
        units *= sum(each.across * each.down for each in components)
    if found.frame == PROGRESSIVE:
        bits = int(spectrum[0] == 0 and spectrum[2] >> 4 == 0)
    else:
        bits = 1 if found.frame == LOSSLESS else 2
    if 8 * size < units * bits:
        raise DamagedCodestream(f"{size} bytes of entropy-coded data for {units} blocks or samples")


def _data_end(codestream: bytes, begin: int, of_data: frozenset[int]) -> int:
    """Where the entropy-coded data ends, and the fill before the next marker begins."""
    at = marker_within(codestream, begin, len(codestream), of_data)
    if at < 0:
        raise DamagedCodestream("the codestream ends before EOI")
    return len(codestream[begin:at].rstrip(b"\xff")) + begin


def _intervals(codestream: bytes, begin: int, end: int, among: int) -> tuple[tuple[int, int], ...]:
    """The restart intervals: RST0 to RST7 in turn between them (B.2.1)."""
    if end - begin < among:
        raise DamagedCodestream("a scan without data")
    _check_count(among, _MOST_INTERVALS, "restart intervals in a scan")
    marks = list(islice(_RESTART.finditer(codestream, begin, end), among))
    if len(marks) != among - 1:
        more = " or more" if len(marks) == among else ""
        raise DamagedCodestream(f"{len(marks)}{more} restart markers in a scan that has {among - 1}")
    if any(mark[1][0] != 0xD0 + each % 8 for each, mark in enumerate(marks)):
        raise DamagedCodestream("restart markers are not in their order")
    begins = [begin, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), end]
    if not all(one < other for one, other in zip(begins, ends, strict=True)):
        raise DamagedCodestream("a restart interval without data")
    return tuple(zip(begins, ends, strict=True))


def _check_complete(found: Structure) -> None:
    """Every coefficient of every component came, to its last bit; of other processes, every component."""
    wanted = {
        each.identifier: set(range(64 if found.frame == PROGRESSIVE else 1)) for each in found.components
    }
    for scan in found.scans:
        for component in scan.components:
            if found.frame != PROGRESSIVE:
                wanted[component.identifier].clear()
            elif scan.low == 0:
                wanted[component.identifier] -= set(range(scan.first, scan.last + 1))
    if not found.frame or any(wanted.values()):
        raise DamagedCodestream("the codestream ends before the last of its scans")
