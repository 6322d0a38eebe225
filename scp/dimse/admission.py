"""Who associates, by rights and limits, before the rest of a request is looked at (PS3.8 9.3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.association_request import Choose
from scp.dimse.rights import Arrival, Rights
from scp.dimse.seats import Holder, Seats
from scp.resources.pressure import KEY as MEMORY
from scp.resources.pressure import pressure


@dataclass(frozen=True, slots=True)
class Admitted:
    """A peer may associate: its rights, what chooses its transfer syntaxes, and what gives its seat back."""

    arrival: Arrival
    rights: Rights
    choose: Choose
    give_back: Callable[[], None]


Admit = Callable[[Arrival], Admitted | Rejection]


def refused_by_limit(seats: Seats, holder: Holder) -> Rejection | None:
    """Take a seat, or give the rejection: transient, temporary congestion or local limit exceeded."""
    memory = pressure()
    if memory.is_crowded:
        told = f"the node uses {memory.used >> 20} MB, {MEMORY} is {memory.limit >> 20}"
        return Rejection(2, 3, 1, f"{told}: the peer may come again, or raise the key", MEMORY)
    reached = seats.take(holder)
    if reached is None:
        return None
    key = f"limits.{reached}"
    return Rejection(2, 3, 2, f"{key} is reached: end associations of this peer, or raise the key", key)
