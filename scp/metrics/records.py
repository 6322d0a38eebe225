"""Small records in memory that processes share: one process writes, others read, and no reader waits.

As with figures (:mod:`scp.metrics.figures`), no file lies behind this memory. A record is JSON with its
length and a checksum before it: whoever reads while it is written finds that they do not fit, and looks
again.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = struct.Struct("<II")  # length, CRC-32; a length of 0 is a free place
_LOOKS = 3
_SHORTEST = 16


class Records:
    """``places`` records of at most ``size`` bytes each."""

    def __init__(self, places: int, size: int) -> None:
        self.places, self._size = places, size
        self._memory = mmap.mmap(-1, places * size)

    def put(self, place: int, record: Mapping[str, Any]) -> None:
        """Write a record; texts are cut until it fits."""
        most = self._size - _HEAD.size
        longest = most
        while len(told := json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")) > most:
            longest //= 2
            if longest < _SHORTEST:
                return  # so many values that none of them could be kept
            record = {key: _cut(value, longest) for key, value in record.items()}
        at = place * self._size
        self._memory[at : at + _HEAD.size + len(told)] = _HEAD.pack(len(told), zlib.crc32(told)) + told

    def clear(self, place: int) -> None:
        """Free a place."""
        at = place * self._size
        self._memory[at : at + _HEAD.size] = bytes(_HEAD.size)

    def all(self) -> Iterator[dict[str, Any]]:
        """The records, in the order of their places; from any process."""
        for place in range(self.places):
            for _ in range(_LOOKS):
                size, check = _HEAD.unpack_from(self._memory, place * self._size)
                if not size:
                    break
                at = place * self._size + _HEAD.size
                told = self._memory[at : at + min(size, self._size - _HEAD.size)]
                if zlib.crc32(told) == check:
                    yield json.loads(told)
                    break


def _cut(value: Any, most: int) -> Any:
    return f"{value[: most - 1]}\u2026" if isinstance(value, str) and len(value) > most else value
