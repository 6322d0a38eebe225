"""The messages between a node's process and its codec process: one packet each way.

A request is JSON: its reader trusts its writer. An answer is not trusted: it is a fixed header and a
text, each field is compared with what it may be, and nothing of it is ever unpickled. Samples and codestreams
are in memory that both share.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache

from scp.encoding.pixels import PixelFormat
from scp.errors import (
    BeyondBitsStored,
    CannotDecode,
    CannotEncode,
    CodecError,
    DamagedCodestream,
    PixelsBeyondBounds,
)
from scp.resources.bounds import Bounds

MOST_BYTES = 4096  # of a packet
_MOST_TEXT = 2000  # bytes
_ALIGNED = 4096
_REMEMBERED = 128
_SIZE = struct.Struct("<Q")
_ANSWER = struct.Struct("<BBBBQQ")  # outcome, kind, two numbers, size, nanoseconds
_DONE, _FAILED = 1, 2

# The kinds of errors; the last four have a meaning of their own.
_KINDS: tuple[type[CodecError], ...] = (
    CannotEncode,
    CannotDecode,
    DamagedCodestream,
    PixelsBeyondBounds,
)
_BITS, _LIBRARY, _MEMORY, _ROOM = 100, 101, 102, 103


class LibraryError(Exception):
    """What the library of a codec raised, by its own ``kind`` and words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class NoMemory(Exception):
    """A codec asked for more than it may have; ``served_others``: in a process that had done other work."""

    served_others = False


class NoRoom(Exception):
    """The result needs ``size`` bytes of shared memory."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class Garbage(Exception):
    """An answer that no codec process of ours gives."""


@dataclass(frozen=True, slots=True, eq=False)  # it is remembered by what it is, and not by 25 numbers
class CodecRequest:
    """A kind of work, and its limits: what is the same for all frames of a series, and read once.

    The input is at the beginning of the shared memory; the result goes behind it, ``room`` bytes at most.
    ``form`` describes the frame; ``setting`` is the effort or the quality. ``memory`` is in bytes,
    ``seconds`` are those of a processor; ``bounds`` are what codestreams are checked against.
    """

    job: str
    form: PixelFormat
    setting: float
    room: int
    memory: int
    seconds: float
    bounds: Bounds

    def packed(self, size: int) -> bytes:
        """As it is sent, for an input of ``size`` bytes."""
        return _SIZE.pack(size) + _packed(self)

    @staticmethod
    def unpacked(packet: bytes) -> tuple[CodecRequest, int]:
        """As it was sent."""
        return _request(packet[_SIZE.size :]), _SIZE.unpack_from(packet)[0]

    def shared(self, size: int) -> int:
        """Bytes of shared memory that it needs for an input of ``size`` bytes."""
        return result_at(size) + self.room


@lru_cache(_REMEMBERED)
def _packed(request: CodecRequest) -> bytes:
    limits = (request.room, request.memory, request.seconds, astuple(request.bounds))
    return json.dumps([request.job, astuple(request.form), request.setting, *limits]).encode()


@lru_cache(_REMEMBERED)
def _request(packet: bytes) -> CodecRequest:
    job, form, setting, room, memory, seconds, most = json.loads(packet)
    return CodecRequest(job, PixelFormat(*form), setting, room, memory, seconds, Bounds(*most))


def result_at(size: int) -> int:
    """Where in the shared memory the result goes, for an input of ``size`` bytes."""
    return -(-size // _ALIGNED) * _ALIGNED


def done(size: int, nanoseconds: int) -> bytes:
    """The answer that ``size`` bytes are the result."""
    return _ANSWER.pack(_DONE, 0, 0, 0, size, nanoseconds)


def failed(error: BaseException, nanoseconds: int) -> bytes:
    """The answer that there is none."""
    kind, numbers, size, text = _LIBRARY, (0, 0), 0, f"{type(error).__name__}\0{error}"
    if isinstance(error, BeyondBitsStored):
        kind, numbers, text = _BITS, (error.stored, error.bits), ""
    elif isinstance(error, MemoryError):
        kind, text = _MEMORY, ""
    elif isinstance(error, NoRoom):
        kind, size, text = _ROOM, error.size, ""
    elif type(error) in _KINDS:
        kind, text = _KINDS.index(type(error)), str(error.args[0]) if error.args else ""
    elif isinstance(error, CannotDecode):
        kind, text = _KINDS.index(CannotDecode), str(error)
    header = _ANSWER.pack(_FAILED, kind, *numbers, size, nanoseconds)
    return header + text.encode("utf-8", "replace")[:_MOST_TEXT]


@dataclass(frozen=True, slots=True)
class CodecAnswer:
    """What came of a request: ``size`` bytes of result, or an ``error``; ``seconds`` of a processor."""

    size: int
    seconds: float
    error: Exception | None = None

    @staticmethod
    def unpacked(packet: bytes, request: CodecRequest) -> CodecAnswer:
        """Raises Garbage for anything that is no answer to the request."""
        if len(packet) < _ANSWER.size or len(packet) > _ANSWER.size + _MOST_TEXT:
            raise Garbage(f"{len(packet)} bytes")
        outcome, kind, stored, bits, size, nanoseconds = _ANSWER.unpack_from(packet)
        seconds = min(nanoseconds / 1e9, request.seconds)
        text = packet[_ANSWER.size :].decode("utf-8", "replace")
        if outcome == _DONE and not kind and size <= request.room and not text:
            return CodecAnswer(size, seconds)
        if outcome != _FAILED:
            raise Garbage(f"outcome {outcome}, {size} bytes")
        return CodecAnswer(0, seconds, _error(kind, (stored, bits), size, _printable(text)))


def _error(kind: int, numbers: tuple[int, int], size: int, text: str) -> Exception:
    made: dict[int, Callable[[], Exception]] = {
        _BITS: lambda: BeyondBitsStored(*numbers),
        _LIBRARY: lambda: LibraryError(*text.split("\0", 1)) if "\0" in text else LibraryError("", text),
        _MEMORY: NoMemory,
        _ROOM: lambda: NoRoom(size),
    }
    if kind < len(_KINDS):
        return _KINDS[kind](text)
    if kind not in made or max(numbers) > 64:
        raise Garbage(f"kind {kind} of error")
    return made[kind]()


def _printable(text: str) -> str:
    """What goes into a log and a database: no control character, but the one that parts a library's kind."""
    return "".join(each if each.isprintable() or each == "\0" else " " for each in text)
