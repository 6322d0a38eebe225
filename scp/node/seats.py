"""The limits of associations at a time, counted over all processes of a node, and over all nodes."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping

from scp.dimse.seats import Holder, SeatLimit, SeatLimits
from scp.resources.locked_bytes import LockedBytes

_HALF = 8
_RECORD = 2 * _HALF
# Of NodeReport.associations: all, and those of an AE title or an address, each followed by its digest.
_ALL, _OF_AET, _OF_ADDRESS = "all", "aet/", "address/"
_SUM = struct.Struct("<II")  # before what other nodes have: its length, and its CRC-32


class SharedSeats:
    """Seats for all processes that were forked from the one that made this.

    Each is a locked byte, so that those of a process that dies are free. The file says who has each: a digest
    of AE title and one of address. A seat is taken and described first, and only then those of the same peer
    are counted: two processes at once may both refuse the last one, and never both take it. No process waits
    for another, which might be stopped.
    """

    def __init__(self, limits: SeatLimits) -> None:
        self.limits = limits
        self._locks = LockedBytes()
        self._others = LockedBytes()  # what other nodes have; see use_others
        self._own: dict[int, Holder] = {}
        self._lock = threading.Lock()

    def take(self, holder: Holder) -> SeatLimit | None:
        """Take a seat; where none is free for this holder, the limit that is reached."""
        with self._lock:
            seat = self._free()
            others = self._of_others()
            if seat is None or (others and self._all(seat) + others.get(_ALL, 0) > self.limits.associations):
                return self._refused(seat)
            self._own[seat] = holder
            self._locks.write(seat * _RECORD, _digest(holder.aet) + _digest(holder.address))
            reached = self._reached(holder, others)
            if reached is not None:
                self._give_back(seat)
            return reached

    def _refused(self, seat: int | None) -> SeatLimit:
        if seat is not None:
            self._locks.unlock(seat)
        return "associations"

    def held(self) -> dict[str, int]:
        """How many associations there are, as :attr:`scp.index.nodes.NodeReport.associations` has it."""
        with self._lock:
            records = self._locks.read()
            taken = [seat for seat in range(len(records) // _RECORD) if self._is_taken(seat)]
            found = Counter({_ALL: len(taken)})
            for seat in taken:
                at = seat * _RECORD
                found[_OF_AET + records[at : at + _HALF].hex()] += 1
                found[_OF_ADDRESS + records[at + _HALF : at + _RECORD].hex()] += 1
            return dict(found)

    def use_others(self, held: Iterable[Mapping[str, int]]) -> None:
        """Count what other nodes have, as they said last, from now on and in all processes."""
        found = sum((Counter(dict(one)) for one in held), Counter[str]())
        plain = json.dumps(found).encode() if found else b""
        self._others.write(0, _SUM.pack(len(plain), zlib.crc32(plain)) + plain)

    def _of_others(self) -> Mapping[str, int]:
        """What other nodes have; nothing while it is being written: then the own count alone holds."""
        told = self._others.read()
        if len(told) < _SUM.size:
            return {}
        size, check = _SUM.unpack_from(told)
        plain = told[_SUM.size : _SUM.size + size]
        if not plain or zlib.crc32(plain) != check:
            return {}
        found: dict[str, int] = json.loads(plain)
        return found

    def _all(self, own: int) -> int:
        """How many associations this node has, with the one that just took its seat."""
        return sum(seat == own or self._is_taken(seat) for seat in range(self.limits.associations))

    def _is_taken(self, seat: int) -> bool:
        return seat in self._own or self._locks.is_locked_elsewhere(seat)

    def _free(self) -> int | None:
        """A seat that was free, locked."""
        for seat in range(self.limits.associations):
            if seat not in self._own and self._locks.lock(seat):
                return seat
        return None

    def _reached(self, holder: Holder, others: Mapping[str, int]) -> SeatLimit | None:
        """The limit that this holder's newest seat is beyond."""
        records = self._locks.read()
        aet, address = _digest(holder.aet), _digest(holder.address)
        if self._held(records, 0, aet) + others.get(_OF_AET + aet.hex(), 0) > self.limits.by_aet:
            return "associations_by_aet"
        held = self._held(records, _HALF, address) + others.get(_OF_ADDRESS + address.hex(), 0)
        if held > self.limits.by_address:
            return "associations_by_address"
        return None

    def _held(self, records: bytes, at: int, digest: bytes) -> int:
        """How many seats are taken by those with a digest; a process that died leaves records behind."""
        same = (
            seat for seat in range(len(records) // _RECORD) if records.startswith(digest, seat * _RECORD + at)
        )
        return sum(seat in self._own or not self._locks.are_free(seat, 1) for seat in same)

    def give_back(self, holder: Holder) -> None:
        """Give back a seat of this process: the holder's highest, which may be above a lowered limit."""
        with self._lock:
            self._give_back(max(seat for seat, one in self._own.items() if one == holder))

    def _give_back(self, seat: int) -> None:
        del self._own[seat]
        self._locks.write(seat * _RECORD, bytes(_RECORD))
        self._locks.unlock(seat)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_HALF).digest()
