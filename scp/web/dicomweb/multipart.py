"""Bodies of several parts: multipart/related (RFC 2387, RFC 2046 5.1), written as they are read."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping

from scp.spool import Buffer, slices

# Random bytes of a boundary: that a part holds one of these, which nobody knew before, will not happen.
_RANDOM = 24
# Smaller pieces are joined, as each that is written costs as much as some KB.
_JOINED = 64 << 10


class Multipart:
    """Writes the parts of one body. A body without its last line is seen to be incomplete."""

    def __init__(self, media_type: str) -> None:
        self._media_type = media_type
        self.boundary = secrets.token_hex(_RANDOM)
        self._begun = False

    @property
    def content_type(self) -> str:
        """The Content-Type of the body."""
        return f'multipart/related; type="{self._media_type}"; boundary={self.boundary}'

    def head(self, headers: Mapping[str, str]) -> bytes:
        """What goes before the content of a part; ``headers`` must be ASCII, without line breaks.

        Raises ValueError for others.
        """
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of a part has a line break")
        before = "\r\n" if self._begun else ""
        self._begun = True
        return "\r\n".join((f"{before}--{self.boundary}", *lines, "", "")).encode("ascii")

    def end(self) -> bytes:
        """What goes behind the last part."""
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")


def joined(pieces: Iterator[Buffer], most: int = _JOINED) -> Generator[bytes, None, None]:
    """The same bytes, in pieces of about ``most`` bytes or, where they came larger, of 1 MB at most."""
    held = bytearray()
    for piece in pieces:
        if len(piece) > most:
            if held:
                yield bytes(held)
                held.clear()
            yield from map(bytes, slices(piece))
            continue
        held += piece
        if len(held) >= most:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
