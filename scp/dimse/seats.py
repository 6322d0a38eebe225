"""The count of associations, in all, by AE title and by address; here that of this process alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from scp.config.settings import LimitSettings

SeatLimit = Literal["associations", "associations_by_aet", "associations_by_address"]


class Holder(NamedTuple):
    """Who has a seat: calling AE title, and where a peer comes from (:func:`scp.config.networks.origin`)."""

    aet: str
    address: str


class SeatLimits(NamedTuple):
    """How many associations there may be, as :class:`LimitSettings` has it."""

    associations: int
    by_aet: int
    by_address: int


def seat_limits(limits: LimitSettings) -> SeatLimits:
    """The limits of associations among all limits."""
    return SeatLimits(limits.associations, limits.associations_by_aet, limits.associations_by_address)


class Seats(Protocol):
    """A place for each association; called by many threads at a time."""

    def take(self, holder: Holder) -> SeatLimit | None:
        """Take one; where none is free for this holder, the limit that is reached."""

    def give_back(self, holder: Holder) -> None:
        """Give one back that was taken for this holder."""


class OwnSeats:
    """At most as many as ``limits`` returns at that time, counted in this process."""

    def __init__(self, limits: Callable[[], SeatLimits]) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._taken: list[Holder] = []

    def take(self, holder: Holder) -> SeatLimit | None:
        """As :meth:`Seats.take`."""
        limits = self._limits()
        with self._lock:
            if len(self._taken) >= limits.associations:
                return "associations"
            if sum(one.aet == holder.aet for one in self._taken) >= limits.by_aet:
                return "associations_by_aet"
            if sum(one.address == holder.address for one in self._taken) >= limits.by_address:
                return "associations_by_address"
            self._taken.append(holder)
            return None

    def give_back(self, holder: Holder) -> None:
        """As :meth:`Seats.give_back`."""
        with self._lock:
            self._taken.remove(holder)
