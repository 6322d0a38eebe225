"""The size that a codestream declares, read before a decoder gets it.

A few changed bytes make a codestream of 65535 x 65535 pixels, which decoders take seconds and
gigabytes for, or never come back from. Nothing is decoded that is not of the described size.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scp.encoding.pixels import PixelFormat
from scp.errors import CannotDecode, PixelsBeyondBounds

START_OF_J2K = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO/IEC 15444-1 A.4.1, A.5.1)
_MOST_TILES = 65535  # A.4.2: Isot has 16 bits
# OpenJPEG takes 10 to 20 KB for each tile, whatever is in it. One of 64 x 64 bytes has 4 KB.
_ANY_TILES, _LEAST_OF_TILE = 1024, 4096
JPEG_LOSSLESS_FRAME = 0xC3  # SOF3 (ITU-T T.81 B.1.1.3)
_JPEG_LS_FRAME = 0xF7  # SOF55 (ITU-T T.87 C.1.1)
_MOST_MARKERS = 1 << 16  # before the frame header, fill included; there are some ten
_STEP = 1 << 16
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC stand among the SOF markers (ITU-T T.81 B.1.1.3)


def check_jpeg(codestream: bytes, form: PixelFormat) -> int:
    """The SOF marker of a JPEG or JPEG-LS codestream of the described size.

    Raises CannotDecode for any other.
    """
    at = _frame_header(codestream)
    rows, columns, samples = struct.unpack_from(">HHB", codestream, at + 5)
    check_shape(rows, columns, samples, form)
    return codestream[at + 1]


def _frame_header(codestream: bytes) -> int:
    """Where the SOF marker is."""
    at = 2
    for _ in range(_MOST_MARKERS):
        if at + 10 > len(codestream) or codestream[at] != 0xFF:
            break
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill (T.81 B.1.1.2)
            at += 1
        elif marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES):
            return at
        else:
            at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    raise CannotDecode("the codestream has no frame header")


def marker_within(data: bytes, begin: int, end: int, of_data: frozenset[int]) -> int:
    """Where the first FF is from ``begin`` to ``end`` that another byte follows than those of data; -1.

    In steps, as most data is short: a byte of a megabyte of FF FF FF takes 5 ns.
    """
    allowed = _allowed(of_data)
    octets = np.frombuffer(data, np.uint8, max(end - begin, 0), begin)
    for at in range(0, len(octets) - 1, _STEP):
        part = octets[at : at + _STEP + 1]
        marks = np.flatnonzero(part[:-1] == 0xFF)
        found = marks[~allowed[part[marks + 1]]]
        if len(found):
            return begin + at + int(found[0])
    return -1


@cache
def _allowed(of_data: frozenset[int]) -> NDArray[np.bool_]:
    allowed = np.zeros(256, bool)
    allowed[list(of_data)] = True
    return allowed


def jpeg_precision(codestream: bytes) -> int:
    """Bits of a sample, from the frame header (T.81 B.2.2). Raises CannotDecode where there is none."""
    return codestream[_frame_header(codestream) + 4]


def check_jpeg2000(codestream: bytes, form: PixelFormat) -> None:
    """Raises CannotDecode for a JPEG 2000 or HTJ2K codestream that is not of the described size.

    Neither may its tiles be other than ISO/IEC 15444-1 B.3 allows: OpenJPH never returns from some.
    """
    at = codestream.find(START_OF_J2K)
    if at < 0 or at + 42 > len(codestream):
        raise CannotDecode("the codestream has no image size")
    right, bottom, left, top, *tiles = struct.unpack_from(">8L", codestream, at + 8)
    samples = struct.unpack_from(">H", codestream, at + 40)[0]
    check_shape(bottom - top, right - left, samples, form)
    across = _tiles(left, right, start=tiles[2], size=tiles[0])
    count = across * _tiles(top, bottom, start=tiles[3], size=tiles[1])
    if not 0 < count <= _MOST_TILES:
        raise CannotDecode("the codestream's tiles do not cover its image")
    if count > max(_ANY_TILES, form.array_size // _LEAST_OF_TILE):
        raise PixelsBeyondBounds(f"{count} JPEG 2000 tiles of a frame of {form.array_size} bytes")
    spacings = [codestream[at + 43 + 3 * each : at + 45 + 3 * each] for each in range(samples)]
    if set(spacings) != {b"\1\1"}:
        raise CannotDecode("the codestream's components are subsampled")


def _tiles(low: int, high: int, start: int, size: int) -> int:
    """How many tiles lie over a side of the image; 0 where the first is not in its place."""
    return -(-(high - start) // size) if start <= low < start + size else 0


def check_shape(rows: int, columns: int, samples: int, form: PixelFormat) -> None:
    """Raises CannotDecode where a codestream's size is not the described one."""
    if (rows, columns, samples) != (form.rows, form.columns, form.samples):
        raise CannotDecode(
            f"the codestream holds {rows} x {columns} x {samples}, "
            f"the header describes {form.rows} x {form.columns} x {form.samples}"
        )
