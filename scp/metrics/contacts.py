"""Who was in contact with a node since it started: counted in memory that all its processes share.

Peers choose their AE titles, so the number of entries is fixed: a peer of the configuration keeps its own. Of
all others the one that was seen longest ago makes room, and is counted among the others from then on. As for
figures (:mod:`scp.metrics.figures`), one process writes, and others read.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# One number each, of 8 bytes; then the texts.
_CHANGES, _LAST, _REQUESTS, _IN, _OUT, _ASSOCIATIONS, _REFUSED, _REFUSED_AT, _NUMBERS = range(9)
_TEXTS = (16, 64, 256)  # bytes of AE title, address, and why an association was refused
_ENTRY = 8 * _NUMBERS + sum(_TEXTS)
ENTRIES = 256
_OTHERS = 0  # the entry of those that had to make room, and of connections that named nobody
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Contact:
    """One AE title, empty for all others together; times in seconds since 1970, 0 for never; sizes in bytes.

    ``received`` and ``sent`` are datasets, ``last`` is the end of the last request or association. The
    ``reason`` is why the last of the ``refused`` associations was; it came from ``address`` if none came
    later.
    """

    aet: str = ""
    address: str = ""
    last: float = 0.0
    associations: int = 0
    requests: int = 0
    received: int = 0
    sent: int = 0
    refused: int = 0
    refused_at: float = 0.0
    reason: str = ""

    def __add__(self, other: Contact) -> Contact:
        """What two processes know of one AE title."""
        newer = max(self, other, key=lambda one: one.last)
        refused = max(self, other, key=lambda one: one.refused_at)
        return Contact(
            self.aet,
            newer.address or self.address or other.address,
            newer.last,
            self.associations + other.associations,
            self.requests + other.requests,
            self.received + other.received,
            self.sent + other.sent,
            self.refused + other.refused,
            refused.refused_at,
            refused.reason,
        )


class Contacts:
    """The contacts of one process, in memory that outlives it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ENTRIES * _ENTRY)
        self._all_numbers = memoryview(self._memory).cast("d")  # the texts among them are never read so
        self._known: frozenset[str] = frozenset()
        self.take_up()

    def take_up(self) -> None:
        """Go on with what a predecessor has counted, in this process."""
        self._lock = threading.Lock()
        self._at = {one.aet: at for at, one in self._entries() if one.aet}

    def know(self, aets: Iterable[str]) -> None:
        """These are peers of the configuration: their entries make no room for others."""
        self._known = frozenset(sorted(aets)[: ENTRIES // 2])

    # -- counting ----------------------------------------------------------------------------------------

    def request(self, aet: str, received: int, sent: int) -> None:
        """A request of a peer has ended, or one of ours to it; with the bytes of its datasets."""
        with self._lock:
            numbers = self._numbers(self._entry(aet))
            numbers[_LAST] = time.time()
            numbers[_REQUESTS] += 1
            numbers[_IN] += received
            numbers[_OUT] += sent

    def association(self, aet: str, address: str, refused: str) -> None:
        """A peer's association has ended; ``refused`` says why it never was one."""
        with self._lock:
            at = self._entry(aet)
            numbers = self._numbers(at)
            numbers[_LAST] = time.time()
            numbers[_ASSOCIATIONS] += not refused
            numbers[_REFUSED] += bool(refused)
            if refused:
                numbers[_REFUSED_AT] = time.time()
            known = self._read(at)
            if known.address != address or (refused and known.reason != refused):
                self._write(at, aet if at else "", address, refused or known.reason)

    def _entry(self, aet: str) -> int:
        """Where an AE title is counted; a new one takes a free entry, or that of one seen long ago."""
        aet = aet.strip(" ")
        if not aet:
            return _OTHERS
        at = self._at.get(aet)
        if at is None:
            at = self._free()
            self._at[aet] = at
            self._write(at, aet, "", "")
        return at

    def _free(self) -> int:
        if len(self._at) < ENTRIES - 1:
            return len(self._at) + 1
        strangers = [(self._numbers(at)[_LAST], aet, at) for aet, at in self._at.items()]
        oldest = min(one for one in strangers if one[1] not in self._known)
        _, aet, at = oldest
        del self._at[aet]
        self._add_to_others(at)
        return at

    def _add_to_others(self, at: int) -> None:
        gone, others = self._numbers(at), self._numbers(_OTHERS)
        for number in (_REQUESTS, _IN, _OUT, _ASSOCIATIONS, _REFUSED):
            others[number] += gone[number]
        for number in (_LAST, _REFUSED_AT):
            others[number] = max(others[number], gone[number])
        known, named = self._read(at), self._read(_OTHERS)
        if known.refused_at >= named.refused_at and known.reason:
            self._write(_OTHERS, "", known.address, known.reason)
        for number in range(1, _NUMBERS):
            gone[number] = 0.0

    def _write(self, at: int, *texts: str) -> None:
        """Change the texts of an entry; a reader sees by the number of changes that they change."""
        numbers, place = self._numbers(at), at * _ENTRY + 8 * _NUMBERS
        numbers[_CHANGES] += 1
        for text, size in zip(texts, _TEXTS, strict=True):
            self._memory[place : place + size] = text.encode("utf-8", "replace")[:size].ljust(size, b"\0")
            place += size
        numbers[_CHANGES] += 1

    def _numbers(self, at: int) -> memoryview[float]:
        first = at * _ENTRY // 8
        return self._all_numbers[first : first + _NUMBERS]

    # -- what others look at -----------------------------------------------------------------------------

    def all(self) -> list[Contact]:
        """All that were counted; from any process."""
        return [one for _, one in self._entries()]

    def _entries(self) -> Iterator[tuple[int, Contact]]:
        for at in range(ENTRIES):
            if self._numbers(at)[_LAST]:
                yield at, self._read(at)

    def _read(self, at: int) -> Contact:
        """An entry, as it is between two changes; after many tries as it is."""
        numbers = self._numbers(at)
        for _ in range(_TRIES):
            changes = numbers[_CHANGES]
            found = self._unpacked(at, numbers)
            if changes == numbers[_CHANGES] and not changes % 2:
                break
        return found

    def _unpacked(self, at: int, numbers: memoryview[float]) -> Contact:
        place, texts = at * _ENTRY + 8 * _NUMBERS, []
        for size in _TEXTS:
            texts.append(self._memory[place : place + size].rstrip(b"\0").decode("utf-8", "ignore"))
            place += size
        aet, address, reason = texts
        return Contact(
            aet,
            address,
            numbers[_LAST],
            int(numbers[_ASSOCIATIONS]),
            int(numbers[_REQUESTS]),
            int(numbers[_IN]),
            int(numbers[_OUT]),
            int(numbers[_REFUSED]),
            numbers[_REFUSED_AT],
            reason,
        )


def merged(of_processes: Iterable[Contacts]) -> list[Contact]:
    """What all processes know, by AE title in order; all others, whose title is empty, come first."""
    found: dict[str, Contact] = {}
    for process in of_processes:
        for one in process.all():
            found[one.aet] = found[one.aet] + one if one.aet in found else one
    return [found[aet] for aet in sorted(found)]
