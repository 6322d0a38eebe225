"""How a file is kept: as it is, or in a zstd frame, with a dictionary or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from scp.objects import part10
from scp.objects.dictionaries import Dictionary
from scp.spool import IN_MEMORY, Buffer, Spool

Wrap = Literal["auto", "zstd", "none"]

# The level of the zstd form: 174 MB/s on CT, within 4 % of the size of level 19.
_LEVEL = 3
# A frame around a codestream has to save this part of the file ("auto").
_WORTHWHILE = 0.01
# If the header is at least this share of the file, it is compressed more thoroughly (part10.wrap).
_MOSTLY_HEADER = 0.1
# The most that thorough compression saves of a frame of the usual level (docs/decisions/0005). If a
# dictionary saves more, a try without one costs four times as much and cannot win.
_MOST_OF_THOROUGH = 0.05


class Written(NamedTuple):
    """A file, and its digest if that was computed during writing: for a small file it costs nothing later."""

    data: Buffer
    sha256: str


@dataclass(frozen=True, slots=True)
class Framing:
    """Which frame is asked for.

    ``wrap`` says when there is a frame: ``auto`` where it saves enough. ``pixels`` is how many bytes of the
    file are pixel data. ``level`` None is the usual level, or more for a header in front of a codestream.
    ``dictionary`` gives the dictionary to try, if there is one. ``dense`` is how many bytes at the end of the
    file zstd makes no smaller.
    """

    wrap: Wrap
    pixels: int = 0
    level: int | None = None
    dictionary: Callable[[], Dictionary | None] = lambda: None
    dense: int = 0


def framed(file: Buffer, asked: Framing) -> Written | None:
    """A Part 10 file in a frame; None if it is kept without one."""
    if asked.wrap == "none" or (asked.wrap == "auto" and _header_share(file, asked) < _WORTHWHILE):
        return None
    found = in_frame(file, asked)
    gains = len(found.data) <= len(file) * (1 - _WORTHWHILE)
    return found if gains or asked.wrap == "zstd" else None


def _header_share(file: Buffer, asked: Framing) -> float:
    return 1 - asked.pixels / len(file)


def in_frame(file: Buffer, asked: Framing) -> Written:
    """A Part 10 file in the smallest frame, whatever that saves."""
    level = _level(file, asked)
    thorough = level is None
    small = with_dictionary(file, asked)
    if small is not None and thorough:
        usual = part10.wrap(file, _LEVEL)
        if len(small.data) < len(usual) * (1 - _MOST_OF_THOROUGH):
            return small
    spool = Spool(hashing=len(file) > IN_MEMORY)
    dense_from = len(file) - asked.dense if asked.dense else 0
    found = Written(part10.wrap(file, level, spool, dense_from=dense_from), spool.sha256)
    return found if small is None or len(found.data) <= len(small.data) else small


def with_dictionary(file: Buffer, asked: Framing) -> Written | None:
    """A Part 10 file in a frame with the dictionary; None where there is none, or the file is large."""
    dictionary = asked.dictionary() if len(file) <= IN_MEMORY else None
    if dictionary is None:
        return None
    return Written(part10.wrap(file, _level(file, asked), dictionary=dictionary), "")


def _level(file: Buffer, asked: Framing) -> int | None:
    """The level to compress with; None for a thorough frame around a codestream with much header."""
    codestream_with_header = 0 < asked.pixels < len(file) * (1 - _MOSTLY_HEADER)
    return None if codestream_with_header and asked.level is None else asked.level or _LEVEL
