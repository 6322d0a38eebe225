"""Streams of bytes in pieces: put together, hashed, swapped, deflated, without ever being whole in memory."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from scp.spool import Buffer, Spool, let_go, slices

_STEP = 1 << 20  # bytes of a piece
_LET_GO = 8 << 20


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chunks:
    """``size`` bytes that come piece by piece, such as frames while they are decoded, and only once.

    Going through them may raise CodecError.
    """

    size: int
    pieces: Iterator[Buffer]

    def __len__(self) -> int:
        return self.size


def gathered(pieces: Iterable[Buffer]) -> Buffer:
    """The pieces as one buffer; a large one lies in a file."""
    spool = Spool()
    for piece in pieces:
        for part in slices(piece):
            spool.write(part)
    return spool.view()


def digest(pieces: Iterable[Buffer]) -> str:
    """Hexadecimal SHA-256 of the pieces, one after another."""
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest()


def equal(pieces: Iterable[Buffer], whole: Buffer) -> bool:
    """Whether the pieces, one after another, are ``whole``: a seventh of the time of their SHA-256."""
    at = 0
    for piece in pieces:
        end = at + len(piece)
        if end > len(whole) or not np.array_equal(_octets(piece), _octets(memoryview(whole)[at:end])):
            return False
        at = end
    return at == len(whole)


def _octets(data: Buffer) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8)


def letting_go(made: Iterable[T], data: Buffer, size: int) -> Iterator[T]:
    """What is made of ``data``, ``size`` bytes at a time, which does not stay in memory for it."""
    done = 0
    for each in made:
        yield each
        done += size
        if done >= _LET_GO:
            let_go(data)
            done = 0
    let_go(data)


def swapped_words(pieces: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    """The stream with the bytes of each word of ``size`` reversed; what is left at its end stays."""
    if size == 1:
        yield from pieces
        return
    carried = b""
    for piece in pieces:
        data = carried + bytes(piece) if carried else piece
        whole = len(data) // size
        yield np.frombuffer(data, f"u{size}", whole).byteswap().tobytes()
        carried = bytes(data[whole * size :])
    yield carried


def deflated(pieces: Iterable[Buffer], level: int = 6) -> Iterator[Buffer]:
    """A dataset stream deflated (PS3.5 A.5: RFC 1951, no zlib header), padded to an even length."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        if part := deflater.compress(piece):
            size += len(part)
            yield part
    last = deflater.flush()
    yield last + b"\0" * ((size + len(last)) % 2)


def inflated(stream: Buffer) -> tuple[Buffer, str]:
    """The reverse of :func:`deflated`, as far as it goes, and why it does not go to the end; or nothing."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    spool, fault = Spool(), ""
    try:
        for part in slices(stream):
            rest: Buffer = part
            while rest and not inflater.eof:
                spool.write(inflater.decompress(rest, _STEP))
                rest = inflater.unconsumed_tail
        spool.write(inflater.flush())
    except zlib.error as error:
        fault = f"the deflated dataset does not inflate: {error}"
    if not fault and not inflater.eof:
        fault = "the deflated dataset ends before its end marker"
    return spool.view(), fault
