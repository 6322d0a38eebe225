"""Trains a zstd dictionary from the files of one kind of objects (docs/decisions/0055).

It learns from what a zstd frame compresses: the Part 10 file as its image codec made it, up to a little after
the start of its pixel data. The rest of the pixel data has nothing in common with other objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from scp.encoding.dataset import encoding_of
from scp.encoding.scan import scan
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.spool import Buffer
from scp.syntaxes import lookup

# Where 300 small MR objects and 19 with headers of 89 KB are one class, those shrink to 40.6 % with 64 KB,
# 39.7 % with 128, 38.7 % with 256, 38.0 % with 512, 37.7 % with 1024, in 1.9, 2.3, 2.5, 3.1, 4.0 ms each.
SIZE = 512 << 10
# A dictionary of fewer objects fits only these, and no others.
FEWEST = 8
# Bytes of pixel data to learn from: the main header of a codestream, and a little of what follows it.
# Small MR 20.4 % with none, 20.1 % with 512, 19.9 % with 4096; all of it is no better, and takes longer.
OF_PIXELS = 4096
_MOST_OF_A_FILE = 256 << 10
# A dictionary consists of segments of this size, which most samples have in common (zstd's COVER algorithm).
# Segments of 500 bytes lose half a point on small MR.
_SEGMENT, _MATCH = 2000, 8
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Material:
    """A Part 10 file, its beginning, from which the dictionary learns, and bytes ahead of its pixel data."""

    data: Buffer
    beginning: bytes
    header: int


def material_of(file: Part10) -> Material:
    """The training material of a file."""
    data = bytes(part10.pack(file))
    at = len(data) - len(file.dataset) + pixels_at(file)
    return Material(data, data[: min(at + OF_PIXELS, _MOST_OF_A_FILE)], at)


def pixels_at(file: Part10) -> int:
    """Where pixel data begins in a dataset; the end if there is none, or the dataset cannot be parsed."""
    syntax = lookup(file.transfer_syntax)
    if syntax.deflated:
        return len(file.dataset)
    pixel = scan(memoryview(file.dataset), encoding_of(syntax), nested=False).pixel
    return len(file.dataset) if pixel is None else pixel.value


def trained(beginnings: Sequence[Buffer], size: int = SIZE) -> bytes:
    """A dictionary; empty if zstd finds too little in common. The same samples give the same dictionary."""
    size = min(size, sum(map(len, beginnings)) // 2)
    segment = min(_SEGMENT, size // 8)
    if segment <= _MATCH:
        return b""
    try:
        made = zstandard.train_dictionary(
            size, list(beginnings), k=segment, d=_MATCH, f=20, accel=1, split_point=1.0, level=_LEVEL
        )
    except zstandard.ZstdError:
        return b""
    return bytes(made.as_bytes())
