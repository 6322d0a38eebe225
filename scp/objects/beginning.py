"""The beginning of a stored file, as long as it is asked for: a header is read without the pixels behind it.

What is read so was compared with no digest of the file: that is known only of the whole file. An encrypted
file is the exception, as its chunks are authenticated one by one. docs/decisions/0196 says who may use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast

import zstandard

from scp.errors import ObjectDamaged
from scp.objects import part10
from scp.objects.part10 import Lookup, Part10
from scp.spool import Buffer

_FIRST = 64 << 10  # bytes of the file, unpacked; most headers have fewer
_READ = 64 << 10  # bytes of a frame that are given to zstd at once
MOST = 4 << 20


@dataclass(frozen=True, slots=True)
class Beginning:
    """A stored file of whose dataset only the beginning was read; ``size`` is that of the whole dataset.

    ``file.dataset`` has the bytes that were read, or all of them.
    """

    file: Part10
    size: int

    @property
    def unread(self) -> int:
        """How many bytes of the dataset were not read."""
        return self.size - len(self.file.dataset)


def beginnings(pieces: Iterator[Buffer], size: int, lookup: Lookup) -> Iterator[Beginning]:
    """Beginnings of a stored file of ``size`` bytes, in ``pieces``; each is about twice as long as the last.

    Of a zstd frame only the blocks are unpacked that they are in. There are none of a frame that does not say
    how much it holds. None has more than :data:`MOST` bytes, or half of the file: who needs more reads all of
    it. Raises ObjectDamaged, DictionaryMissing.
    """
    fetched = _Fetched(pieces)
    source: _Source = fetched
    if part10.is_framed(fetched.ahead()):
        frame = part10.frame_of(fetched.ahead())
        if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            return
        size, source = frame.content_size, _unpacked(fetched, frame, lookup)
    held, wanted = bytearray(), _FIRST
    while wanted <= min(size // 2, MOST):
        while len(held) < wanted:
            held += _more(source, wanted - len(held))
        if (file := _file(bytes(held))) is not None:
            yield Beginning(file, size - len(held) + len(file.dataset))
        wanted *= 2


def _unpacked(fetched: _Fetched, frame: zstandard.FrameParameters, lookup: Lookup) -> _Source:
    """What a frame holds. The decompressor is its own, as it may never reach the end of the frame."""
    dictionary = part10.dictionary_of(frame, lookup)
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary.decompressing if dictionary else None)
    return decompressor.stream_reader(cast("IO[bytes]", fetched), read_size=_READ)


def _file(held: bytes) -> Part10 | None:
    """None where not all of the File Meta Information is held, and of a file that zscp did not write."""
    try:
        file = part10.taken_apart(held)
    except ObjectDamaged:
        return None
    return file if file.provenance is not None else None


def _more(source: _Source, most: int) -> bytes:
    """The next bytes, ``most`` at most. Raises ObjectDamaged where there are none."""
    try:
        found = source.read(most)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"its zstd frame does not decompress: {error}") from None
    if not found:
        raise ObjectDamaged("it ends before the size that it should have")
    return found


class _Source(Protocol):
    def read(self, size: int, /) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""


class _Fetched:
    """Pieces, as a file that is read from its beginning on."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._ahead = memoryview(b"")

    def ahead(self) -> memoryview:
        """What was fetched and not read yet; empty only at the end."""
        while not self._ahead and (piece := next(self._pieces, None)) is not None:
            self._ahead = memoryview(piece)
        return self._ahead

    def read(self, size: int, /) -> bytes:
        """See _Source."""
        found = bytes(self.ahead()[:size])
        self._ahead = self._ahead[len(found) :]
        return found
