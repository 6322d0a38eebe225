"""The limits of associations at a time, counted over all processes of a node."""

from __future__ import annotations

import hashlib
import threading

from scp.dimse.seats import Holder, SeatLimit, SeatLimits
from scp.resources.locked_bytes import LockedBytes

_HALF = 8
_RECORD = 2 * _HALF


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
        self._own: dict[int, Holder] = {}
        self._lock = threading.Lock()

    def take(self, holder: Holder) -> SeatLimit | None:
        """Take a seat; where none is free for this holder, the limit that is reached."""
        with self._lock:
            seat = self._free()
            if seat is None:
                return "associations"
            self._own[seat] = holder
            self._locks.write(seat * _RECORD, _digest(holder.aet) + _digest(holder.address))
            reached = self._reached(holder)
            if reached is not None:
                self._give_back(seat)
            return reached

    def _free(self) -> int | None:
        """A seat that was free, locked."""
        for seat in range(self.limits.associations):
            if seat not in self._own and self._locks.lock(seat):
                return seat
        return None

    def _reached(self, holder: Holder) -> SeatLimit | None:
        """The limit that this holder's newest seat is beyond."""
        records = self._locks.read()
        if self._held(records, 0, _digest(holder.aet)) > self.limits.by_aet:
            return "associations_by_aet"
        if self._held(records, _HALF, _digest(holder.address)) > self.limits.by_address:
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
