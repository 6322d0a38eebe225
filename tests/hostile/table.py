"""Every object of the suite by its name, small enough for some dozens in one node.

What grows is scaled to :data:`LIMITS`, each of which it passes by half or by far.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damaged import CASES
from wire.peers import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEGLS,
    JPEGXL,
    JPEGXL_RECOMPRESSION,
    RLE,
    of_file,
)

from scp.dimse.status import SUCCESS, WARNING_MISMATCH

from . import codestreams as codes
from . import datasets
from .codestreams import Code
from .objects import Bad, encapsulated, native
from .trial import Makers

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
PROGRESSIVE = "1.2.840.10008.1.2.4.51"
_MB = 1 << 20
LIMITS: dict[str, Any] = {
    "elements": 40_000, "items": 20_000, "fragments": 20_000, "depth": 64, "header_bytes": "8MB",
    "inflated_bytes": "16MB", "frame_bytes": "64MB", "pixel_bytes": "128MB", "codec_bytes": "1GB",
    "codec_seconds": 3.0,
}  # fmt: skip


def _one(syntax: str, make: Callable[[], Code], **more: Any) -> Callable[[str], Bad]:
    return lambda name: encapsulated(name, syntax, make(), **more)


def _j2k(stream: str, **sizes: int) -> Callable[[], Code]:
    return lambda: codes.lying_j2k(stream, **sizes)


_SYNTAXES = {
    "jpeg-420": JPEG_BASELINE, "jpeg-progressive": PROGRESSIVE, "jpeg-lossless-12": JPEG_LOSSLESS,
    "jpegls": JPEGLS, "j2k": JPEG2000, "htj2k": HTJ2K, "jpegxl": JPEGXL,
    "jpegxl-recompression": JPEGXL_RECOMPRESSION, "rle": RLE, "deflated-frames": DEFLATED_FRAMES,
}  # fmt: skip
LOSSLESS = (JPEG_LOSSLESS, JPEGLS, JPEG2000, HTJ2K, JPEGXL, RLE, DEFLATED_FRAMES)
MUTANTS = 2


def _file(name: str) -> Callable[[str], Bad]:
    def make(_: str) -> Bad:
        sent = of_file(CASES / name)
        return Bad(Path(name).stem, sent.syntax, [sent.data], sop_class=sent.sop_class, of=sent.dataset)

    return make


CRASHES: Makers = {
    "htj2k that kills OpenJPH": _file("htj2k-crashes-openjph.dcm"),
    "jpegls without an end": _one(JPEGLS, codes.endless_jpegls),
    **{
        f"mutant {number} of {stream}": _one(syntax, lambda s=stream, n=number: codes.mutated(s, n))
        for stream, syntax in _SYNTAXES.items()
        for number in range(MUTANTS)
    },
}

BOMBS: Makers = {
    "jpeg of 4 GB in 141 bytes": _one(JPEG_BASELINE, codes.lying_jpeg),
    "jpeg of 100 MB in 390 KB": _one(JPEG_BASELINE, lambda: codes.grey_jpeg(10_000, 10_000)),
    "jpeg of 5,000 scans": _one(PROGRESSIVE, lambda: codes.progressive_jpeg(2048, 5_000)),
    "jpeg lossless of 8 GB in 842 bytes": _one(JPEG_LOSSLESS, codes.lying_jpeg_lossless),
    "jpegls of 8 GB in 902 bytes": _one(JPEGLS, codes.lying_jpegls),
    "jpegls of 100 MB": _one(JPEGLS, lambda: codes.black("jpegls", 10_000)),
    "jpeg 2000 of 8 GB": _one(JPEG2000, _j2k("j2k")),
    "jpeg 2000 of a tile for each pixel": _one(JPEG2000, _j2k("j2k", image=4096, tile=1)),
    "jpeg 2000 of 16,384 components": _one(JPEG2000, _j2k("j2k", image=1024, tile=1024, components=16_384)),
    "jpeg 2000 of a precinct for each pixel": _one(JPEG2000, lambda: codes.precincts_of_one("j2k", 4096)),
    "htj2k of 8 GB": _one(HTJ2K, _j2k("htj2k")),
    "htj2k of a tile for each pixel": _one(HTJ2K, _j2k("htj2k", image=4096, tile=1)),
    "htj2k of 16,384 components": _one(HTJ2K, _j2k("htj2k", image=1024, tile=1024, components=16_384)),
    "htj2k of a precinct for each pixel": _one(HTJ2K, lambda: codes.precincts_of_one("htj2k", 4096)),
    "jpeg xl of 500 MB in 23 bytes": _one(JPEGXL, codes.lying_jpegxl),
    "jpeg xl of 25 MB in 3 KB": _one(JPEGXL, lambda: codes.black_jpegxl(5_000)),
    "recompression of 12 GB": _one(JPEGXL_RECOMPRESSION, codes.lying_recompression),
    "recompression of a jpeg of 9 MB": _one(JPEGXL_RECOMPRESSION, lambda: codes.recompressed_bomb(3_000)),
    "rle of 4 GB in 334 bytes": _one(RLE, codes.lying_rle),
    "rle of 49 MB in 334 bytes": _one(RLE, lambda: codes.lying_rle(7_000)),
    "deflated frame of 2 GB": _one(DEFLATED_FRAMES, lambda: codes.deflated_bomb(45_000)),
    "deflated frame of 2 GB that says 4,096": _one(
        DEFLATED_FRAMES, lambda: Code(codes.zeros_deflated(2 << 30), 64, 64)
    ),
    "ten frames of 25 MB": _one(
        JPEGLS, lambda: codes.black("jpegls", 5_000), fragments=10, NumberOfFrames=10
    ),
    "icon of 4 GB in a jpeg": lambda name: datasets.with_icon(
        name, JPEG_BASELINE, codes.grey_jpeg(16, 16), codes.lying_jpeg()
    ),
    "icon of 8 GB in jpeg 2000": lambda name: datasets.with_icon(
        name, JPEG2000, codes.stream("j2k"), codes.lying_j2k()
    ),
    "20 icons of 1 MB in jpegls": lambda name: datasets.with_icon(
        name, JPEGLS, codes.stream("jpegls"), codes.black("jpegls", 1024), count=20
    ),
    "icon of 4 GB in rle": lambda name: datasets.with_icon(name, RLE, codes.stream("rle"), codes.lying_rle()),
}


def _frames(name: str, count: str, syntax: str = EXPLICIT) -> Bad:
    return native(name, syntax, bytes(256), NumberOfFrames=count)


def _offsets(*offsets: int, width: str = "L") -> bytes:
    return struct.pack(f"<{len(offsets)}{width}", *offsets)


def _three(name: str, offsets: bytes = b"", extended: bytes = b"", lengths: bytes = b"") -> Bad:
    """Three frames of RLE, and what their offset tables say."""
    more = {"ExtendedOffsetTable": extended, "ExtendedOffsetTableLengths": lengths} if extended else {}
    code = codes.stream("rle")
    return encapsulated(name, RLE, code, offsets=offsets, fragments=3, NumberOfFrames=3, **more)


def sound_of(name: str) -> Bad:
    """What an object of lying offset tables is without them."""
    return _three(name)


_LONG = 2**63 - 1
LIES: Makers = {
    "frames without number": lambda name: _frames(name, "2147483647"),
    "frames without number, in rle": _one(RLE, lambda: codes.stream("rle"), NumberOfFrames="2147483647"),
    "frames without number, in jpeg": _one(
        JPEG_BASELINE, lambda: codes.grey_jpeg(16, 16), NumberOfFrames="2147483647"
    ),
    **{
        f"65535 x 65535 in 1,000 bytes, {kind}": lambda name, s=syntax: native(
            name, s, bytes(1000), rows=65_535, columns=65_535, bits=16
        )
        for kind, syntax in {
            "explicit": EXPLICIT, "implicit": IMPLICIT, "big endian": BIG_ENDIAN, "deflated": DEFLATED,
        }.items()
    },
    "65535 x 65535 in 1,000 bytes, encapsulated uncompressed": _one(
        "1.2.840.10008.1.2.1.98", lambda: Code(bytes(1000), 65_535, 65_535, 16)
    ),
    "65535 x 65535 of 65535 samples": lambda name: native(
        name, EXPLICIT, bytes(1000), rows=65_535, columns=65_535, bits=16, SamplesPerPixel=65_535
    ),
    "65535 bits": lambda name: native(name, EXPLICIT, bytes(1000), BitsAllocated=65_528, BitsStored=65_528),
    "no rows": lambda name: native(name, EXPLICIT, bytes(1000), rows=0),
    **{
        f"number of frames {what}": lambda name, t=text: datasets.with_frames(name, t)
        for what, text in {
            "of 400 digits": "9" * 400, "-1": "-1", "0": "0", "empty": " ", "1 and 2": "1\\2", "1e9": "1e9",
            "1_000": "1_000", "NaN": "NaN", "+2": "+2", "0x10": "0x10", "in Arabic": "\u00d9\u00a3",
        }.items()
    },
    "basic offsets beyond the end": lambda name: _three(name, _offsets(0, 4_000_000_000, 4_294_967_295)),
    "basic offsets that descend": lambda name: _three(name, _offsets(4000, 2000, 0)),
    "basic offsets all the same": lambda name: _three(name, _offsets(0, 0, 0)),
    "basic offsets within fragments": lambda name: _three(name, _offsets(1, 3, 5)),
    "basic offsets of a million frames": lambda name: _three(name, bytes(4_000_000)),
    "basic offsets of one and a half": lambda name: _three(name, bytes(6)),
    "extended offsets beyond the end": lambda name: _three(
        name, b"", _offsets(0, _LONG, 2**62, width="Q"), _offsets(_LONG, _LONG, _LONG, width="Q")
    ),
    "extended offsets that descend": lambda name: _three(
        name, b"", _offsets(4000, 2000, 0, width="Q"), _offsets(1, 2, 3, width="Q")
    ),
    "extended offsets of other frames": lambda name: _three(
        name, b"", _offsets(*range(0, 80_000, 8), width="Q"), _offsets(*[1] * 10_000, width="Q")
    ),
    "extended offsets without lengths": lambda name: _three(name, b"", _offsets(0, 8, 16, width="Q"), b""),
}  # fmt: skip

MASSES: Makers = {
    "60,000 elements": lambda name: datasets.elements(name, 60_000),
    "60,000 elements at the top": lambda name: datasets.flat_elements(name, 60_000),
    "40,000 empty items": lambda name: datasets.items(name, 40_000),
    "40,000 empty items without lengths": lambda name: datasets.items(name, 40_000, defined=False),
    "40,000 empty fragments": lambda name: datasets.fragments(name, 40_000),
    "an element of 16 MB": lambda name: datasets.long_element(name, 16 * _MB),
    "an element that says 2 GB": lambda name: datasets.lying_length(name, 2**31),
    "an element that says 4 GB": lambda name: datasets.lying_length(name, 2**32 - 2),
    "sequences 1,000 deep": lambda name: datasets.deep(name, 1_000),
    "sequences 20,000 deep": lambda name: datasets.deep(name, 20_000),
    "sequences 20,000 deep with lengths": lambda name: datasets.deep_defined(name, 20_000),
    "deflated dataset of 64 MB": lambda name: datasets.deflated_dataset(name, 64 * _MB),
    "deflated dataset of 3 GB": lambda name: datasets.deflated_dataset(name, 3 << 30),
}

# One of each codec that is as it should be, and some that are encoded: what is loaded, or kept for the next
# one, is as large as any limit allows.
SOUND: Makers = {
    **{f"sound {name}": _one(syntax, lambda s=name: codes.stream(s)) for name, syntax in _SYNTAXES.items()},
    "sound": lambda name: native(name, EXPLICIT, bytes(range(256)) * 256, rows=256, columns=256),
    "sound of 8 MB": lambda name: native(
        name, EXPLICIT, bytes(range(256)) * (32 << 10), rows=2048, columns=2048, bits=16
    ),
    "sound of 20,000 elements": lambda name: datasets.elements(name, 20_000),
    "sound with an element of 3 MB": lambda name: datasets.long_element(name, 3 * _MB),
}
TABLE: Makers = {**CRASHES, **BOMBS, **LIES, **MASSES}
# What meets the same reader as others of the table, with other values: in ``make long``.
RARELY = {
    *(f"mutant 1 of {stream}" for stream in _SYNTAXES),
    *(f"number of frames {what}" for what in
      ("empty", "1 and 2", "1e9", "1_000", "NaN", "+2", "0x10", "in Arabic")),
    "65535 x 65535 in 1,000 bytes, implicit", "65535 x 65535 in 1,000 bytes, big endian",
    "basic offsets that descend", "basic offsets all the same", "basic offsets within fragments",
    "extended offsets that descend", "extended offsets without lengths",
    "40,000 empty items without lengths", "an element that says 2 GB", "sequences 1,000 deep",
    "icon of 8 GB in jpeg 2000", "icon of 4 GB in rle",
}  # fmt: skip
if RARELY - TABLE.keys():
    raise ValueError(f"not in the table: {sorted(RARELY - TABLE.keys())}")


@dataclass(frozen=True)
class Expected:
    """What a C-STORE is answered, and whether the object is given in other transfer syntaxes, or refused."""

    stored: int = SUCCESS
    given: bool = False


# Odd, and yet there is something to give: what is left of a codestream can be decoded, or nothing has to be.
_GIVEN = {
    "mutant 1 of jpeg-progressive", "mutant 0 of j2k", "mutant 1 of j2k", "mutant 0 of rle",
    "mutant 1 of rle", "jpeg xl of 25 MB in 3 KB", "recompression of a jpeg of 9 MB", "an element of 16 MB",
    *LIES.keys() - {
        "frames without number, in rle", "frames without number, in jpeg",
        "65535 x 65535 in 1,000 bytes, encapsulated uncompressed",
    },
}  # fmt: skip


def expected_of(name: str) -> Expected:
    """What has to become of an object of the table (docs/limits.md)."""
    if name in _GIVEN:
        return Expected(given=True)
    return Expected(WARNING_MISMATCH if name in MASSES else SUCCESS)
