"""Streams of bytes in pieces: put together, hashed, swapped, deflated, without ever being whole in memory."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from scp.errors import UnreadableDataset
from scp.resources.bounds import bounds
from scp.spool import IN_MEMORY, Buffer, Spool, let_go, slices

STEP = 1 << 20  # bytes of a piece
LET_GO = 8 << 20
# So much may come of anything: pixels of zeros, as of an empty segmentation, deflate to a thousandth.
_OF_ANYTHING = 256 << 20
_WITHOUT_BOUND = 1 << 62
_BEGINNING = 16 << 20  # of a dataset that is not read to its end: what identifies it stands there


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chunks:
    """``size`` bytes that come piece by piece, such as frames while they are decoded, and only once.

    Going through them may raise CodecError. If they are ``late``, frames are yet to be decoded.
    """

    size: int
    pieces: Iterator[Buffer]
    late: bool = False

    def __len__(self) -> int:
        return self.size


class Draft:
    """A stream while it is written, whose lengths are filled in when they are known.

    A large one lies in a file. With ``keeps`` false nothing is kept of it: it only says how long it
    would be.
    """

    def __init__(self, keeps: bool = True) -> None:
        self._spool = Spool()
        self._keeps = keeps
        self._begun = 0  # where what is held begins
        self._held = bytearray()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._begun + len(self._held)

    def write(self, data: Buffer) -> None:
        """Append ``data``."""
        if len(data) < STEP:
            self._held += data
            if len(self._held) >= STEP:
                self._flush()
            return
        self._flush()
        for part in slices(data) if self._keeps else ():
            self._put(part)
        self._begun += 0 if self._keeps else len(data)

    def rewrite(self, at: int, data: Buffer) -> None:
        """Put ``data`` over what was written at ``at``."""
        split = max(self._begun - at, 0)
        if self._keeps and split:
            self._spool.rewrite(at, data[:split])
        if split < len(data):
            start = at + split - self._begun
            self._held[start : start + len(data) - split] = data[split:]

    def cut(self, size: int) -> None:
        """Take back what was written behind the first ``size`` bytes."""
        del self._held[max(size - self._begun, 0) :]
        self._begun = min(self._begun, size)

    def view(self) -> Buffer:
        """All that was written; nothing may be written after it."""
        if not self._spool.size:
            return bytes(self._held)
        self._flush()
        view = self._spool.view()[: self._begun]
        return view if len(view) > IN_MEMORY else bytes(view)

    def _flush(self) -> None:
        if self._keeps:
            self._put(self._held)
        else:
            self._begun += len(self._held)
        self._held.clear()

    def _put(self, data: Buffer) -> None:
        """Into the spool, over what was taken back."""
        over = min(self._spool.size - self._begun, len(data))
        if over > 0:
            self._spool.rewrite(self._begun, data[:over])
        if over < len(data):
            self._spool.write(memoryview(data)[max(over, 0) :])
        self._begun += len(data)


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
        if done >= LET_GO:
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


class Inflated(NamedTuple):
    """What a deflated stream inflates to, as far as it goes, and why it does not go to the end; or nothing.

    ``beyond``: that is a limit, and ``stream`` is no more than a beginning.
    """

    stream: Buffer
    fault: str = ""
    beyond: bool = False


def inflated(stream: Buffer, bounded: bool = True) -> Inflated:
    """The reverse of :func:`deflated`, within ``[limits]`` where it is ``bounded``.

    Raises OSError where there is no room for it.
    """
    if not bounded:
        spool, fault = _inflated(stream, _WITHOUT_BOUND)
        return Inflated(spool.view(), fault)
    limits = bounds()
    most = min(limits.inflated_bytes, max(limits.inflated_ratio * len(stream), _OF_ANYTHING))
    spool, fault = _inflated(stream, most)
    if spool.size <= most:
        return Inflated(spool.view(), fault)
    del spool  # its file goes at once: of what is too large, only a beginning is asked for
    beginning, _ = _inflated(stream, min(_BEGINNING, most))
    if most < limits.inflated_bytes:
        fault = f"it inflates to over {limits.inflated_ratio} times its size (limits.inflated_ratio)"
    else:
        fault = f"it inflates to over {most} bytes (limits.inflated_bytes)"
    return Inflated(beginning.view()[:most], fault, beyond=True)


def inflated_within(stream: Buffer, most: int) -> Buffer | None:
    """What a deflated stream inflates to; None where that is more than ``most`` bytes.

    Raises UnreadableDataset where it does not inflate.
    """
    spool, fault = _inflated(stream, most)
    if spool.size > most:
        return None
    if fault:
        raise UnreadableDataset(fault)
    return spool.view()


def _inflated(stream: Buffer, most: int) -> tuple[Spool, str]:
    """What a stream inflates to, if that is more than ``most`` bytes no more than a step beyond them."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    spool = Spool()
    try:
        for part in slices(stream):
            rest: Buffer = part
            while rest and not inflater.eof:
                spool.write(inflater.decompress(rest, STEP))
                if spool.size > most:
                    return spool, ""
                rest = inflater.unconsumed_tail
        spool.write(inflater.flush())
    except zlib.error as error:
        return spool, f"the deflated dataset does not inflate: {error}"
    return spool, "" if inflater.eof else "the deflated dataset ends before its end marker"
