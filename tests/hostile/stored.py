"""What a stored file may have become: a bomb, a piece, noise. Each is made from the file that was there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from wire.peers import JPEG_BASELINE

from . import codestreams as codes
from . import datasets
from .objects import encapsulated

_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 128 << 10


def zstd_bomb(size: int, told: int | None = None, prefix: bytes = b"") -> bytes:
    """A zstd frame (RFC 8878) of so many zeros, in four bytes for 128 KB; ``told`` is its content size."""
    head = _MAGIC + bytes([0xC0, 0x38]) + struct.pack("<Q", size if told is None else told)
    blocks = -(-size // _BLOCK)
    zeros = ((_BLOCK << 3) | 2).to_bytes(3, "little") + b"\0"
    last = ((_BLOCK << 3) | 3).to_bytes(3, "little") + b"\0"
    raw = (len(prefix) << 3).to_bytes(3, "little") + prefix if prefix else b""
    return head + raw + zeros * (blocks - 1) + last


def _window(log: int) -> bytes:
    """A frame that asks for a window of 2 ** log bytes, and holds a byte."""
    return _MAGIC + bytes([0x00, (log - 10) << 3]) + ((1 << 3) | 1).to_bytes(3, "little") + b"\0"


def _noise(whole: bytes) -> bytes:
    return Random(3).randbytes(len(whole))


def _flipped(whole: bytes) -> bytes:
    at = len(whole) // 2
    return whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]


def _part10(whole: bytes) -> bytes:
    """Preamble and a File Meta Information of one element, the transfer syntax of JPEG."""
    syntax = JPEG_BASELINE.encode() + b"\0"
    return bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax


def _with_dataset(parts: list[bytes]) -> bytes:
    return _part10(b"") + b"".join(parts)


_PREAMBLE = bytes(128) + b"DICM"
_GB = 1 << 30

ZSTD: dict[str, Callable[[bytes], bytes]] = {
    "a bomb of 4 GB": lambda _: zstd_bomb(4 * _GB),
    "a bomb of 4 GB that says 1 KB": lambda _: zstd_bomb(4 * _GB, told=1024),
    "a bomb of 4 GB that begins as an object": lambda _: zstd_bomb(4 * _GB, prefix=_part10(b"")),
    "a window of 2 GB": lambda _: _window(31),
    "a window of 2 TB": lambda _: _window(41),
    "the first half": lambda whole: whole[: len(whole) // 2],
    "all but a byte": lambda whole: whole[:-1],
    "nothing": lambda _: b"",
    "noise": _noise,
    "a bit that flipped": _flipped,
    "twice": lambda whole: whole + whole,
    "a dictionary that is not there": lambda whole: _MAGIC + bytes([0x23]) + b"\x39\x30\0\0\x01" + whole[6:],
    "a frame that is skipped": lambda whole: b"\x50\x2a\x4d\x18" + struct.pack("<L", 2**32 - 1) + whole,
}
PART10: dict[str, Callable[[bytes], bytes]] = {
    "the first half": lambda whole: whole[: len(whole) // 2],
    "nothing": lambda _: b"",
    "noise": _noise,
    "a bit that flipped": _flipped,
    "a bomb of 4 GB": lambda _: zstd_bomb(4 * _GB),
    "a group length of 4 GB": lambda _: _PREAMBLE
    + struct.pack("<HH2sHL", 2, 0, b"UL", 4, 2**32 - 1) + bytes(64),
    "a million elements of group 2": lambda _: _PREAMBLE
    + b"".join(struct.pack("<HH2sH", 2, n % 65_536, b"SH", 0) for n in range(1_000_000)),
    "a value of 4 GB in group 2": lambda _: _PREAMBLE
    + struct.pack("<HH2sxxL", 2, 0x102, b"OB", 2**32 - 2) + bytes(64),
    "a jpeg that is a bomb": lambda _: _with_dataset(
        list(encapsulated("stored", JPEG_BASELINE, codes.lying_jpeg()).parts)
    ),
    "a million items": lambda _: _with_dataset(list(datasets.items("stored", 1_000_000).parts)),
    "sequences 20,000 deep": lambda _: _with_dataset(list(datasets.deep("stored", 20_000).parts)),
}  # fmt: skip
