"""The parts of a multipart body, read while it arrives (RFC 2046 5.1); it knows no socket and no DICOM.

No more is held than the headers of one part and the beginning of what may be a delimiter. A delimiter counts
only as a whole line: the boundary in the midst of data, or as the beginning of a longer one, is data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Protocol

from scp.spool import Buffer

# Headers of a part have some 100 bytes; a part with more than these is refused, and the next one is read.
LONGEST_HEADERS = 16 << 10
# Text before the first part, and behind the last, is thrown away, but nobody sends much of it.
LONGEST_BESIDE = 64 << 10
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
# Behind a boundary: its end, with blanks that a transport may add (RFC 2046 5.1.1); or what may become that.
_END_OF_LINE = re.compile(rb"--|[ \t]{0,32}\r\n")
_BEGUN = re.compile(rb"-?|[ \t]{0,32}\r?")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*")
_NEXT_LINE = re.compile(r"\r\n(?![ \t])")


class MalformedBody(Exception):
    """A body that is no multipart body, or does not end as one; says why."""


class PartSink(Protocol):
    """What is told of the parts, one after the other."""

    def begin(self, headers: Mapping[str, str] | None) -> None:
        """A part begins; names of headers are in lower case. None where they are longer than is read."""

    def write(self, data: Buffer) -> None:
        """A piece of its content, good until this returns."""

    def end(self) -> None:
        """It is whole."""


class PartReader:
    """Reads one body; what is in it goes to ``sink``. Raises MalformedBody for a boundary that is none."""

    def __init__(self, boundary: str, sink: PartSink) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedBody("its boundary is missing, or not one of 1 to 70 characters (RFC 2046 5.1.1)")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._sink = sink
        self._held = bytearray(b"\r\n")  # the first delimiter may be at the beginning of the body
        self._in: Literal["preamble", "headers", "content", "epilogue"] = "preamble"
        self._beside = 0
        self._lead = 0  # bytes held that are of no content, unless a delimiter begins with them

    @property
    def is_over(self) -> bool:
        """Whether the last part has ended."""
        return self._in == "epilogue"

    def feed(self, data: Buffer) -> None:
        """Read on. Raises MalformedBody, and what the sink raises."""
        self._held += data
        while self._step():
            pass

    def close(self) -> None:
        """The body is over. Raises MalformedBody where its last part has no end: it may be cut off."""
        if self._in == "preamble":
            raise MalformedBody("there is no part in it")
        if self._in != "epilogue":
            raise MalformedBody("it ends within a part, which is not stored")

    def _step(self) -> bool:
        """Whether something was read that more may follow."""
        if self._in == "epilogue":
            self._pass_over(len(self._held))
            return False
        return self._headers() if self._in == "headers" else self._content()

    def _content(self) -> bool:
        """Read until the next delimiter: what is before it is content, or of no part."""
        at, end = self._delimiter_line()
        if at < 0:
            self._take(-at - 1)
            return False
        is_last = self._held[end - 2 : end] == b"--"
        self._take(at)
        if self._in == "content":
            self._sink.end()
        self._lead = 0
        self._in = "epilogue" if is_last else "headers"
        # The line break of the delimiter stays: one more after it means that there are no headers.
        del self._held[: end - at - (0 if is_last else 2)]
        return True

    def _delimiter_line(self) -> tuple[int, int]:
        """Where the next delimiter begins, and where its line ends.

        Where there is none, the first number is -1 less the count of bytes that are none for sure.
        """
        held, length = self._held, len(self._delimiter)
        at = held.find(self._delimiter)
        while at >= 0:
            found = _END_OF_LINE.match(held, at + length)
            if found is not None:
                return at, found.end()
            if _BEGUN.fullmatch(held, at + length):
                return -1 - at, 0
            at = held.find(self._delimiter, at + 1)
        begun = held.rfind(b"\r", max(0, len(held) - length + 1))
        while begun >= 0 and not self._delimiter.startswith(held[begun:]):
            begun = held.rfind(b"\r", max(0, len(held) - length + 1), begun)
        return -1 - (len(held) if begun < 0 else begun), 0

    def _take(self, size: int) -> None:
        """Let the first bytes go: to the sink, if they are of a part."""
        if self._in == "preamble":
            self._pass_over(size)
        elif size:
            lead, self._lead = self._lead, 0
            if size > lead:
                with memoryview(self._held) as whole, whole[lead:size] as part:
                    self._sink.write(part)
            try:
                del self._held[:size]
            except BufferError:  # the sink keeps a view, as the traceback of an error does that it keeps
                self._held = self._held[size:]

    def _pass_over(self, size: int) -> None:
        self._beside += size
        if self._beside > LONGEST_BESIDE:
            raise MalformedBody(f"it has more than {LONGEST_BESIDE} bytes that belong to no part")
        del self._held[:size]

    def _headers(self) -> bool:
        """Read the headers of a part, which begin with the line break of the delimiter before them."""
        end = self._held.find(b"\r\n\r\n", 0, LONGEST_HEADERS)
        following = self._held.find(self._delimiter, 0, LONGEST_HEADERS if end < 0 else end)
        if following >= 0:  # the part has no content, not even the empty line before it
            end = following
        elif end < 0 and len(self._held) < LONGEST_HEADERS:
            return False
        self._in = "content"
        if end < 0:
            self._sink.begin(None)
            return True
        self._sink.begin(parsed(bytes(self._held[2:end])))
        # One line break stays: it is that of the next delimiter where the content is empty.
        self._lead = 0 if following >= 0 else 2
        del self._held[: end + self._lead]
        return True


def parsed(text: bytes) -> Mapping[str, str]:
    """Headers by their names in lower case; of several the first. What is none is left out."""
    found: dict[str, str] = {}
    for line in _NEXT_LINE.split(text.decode("latin-1")):
        header = _HEADER.fullmatch(line.replace("\r\n", ""))
        if header is not None:
            found.setdefault(header[1].lower(), header[2])
    return found
