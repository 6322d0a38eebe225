"""Who may associate, by AE titles and limits, before the rest of a request is looked at (PS3.8 9.3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scp.config.settings import Settings
from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.association_request import Choose, Titles
from scp.dimse.seats import Holder, Seats


@dataclass(frozen=True, slots=True)
class Admitted:
    """A peer may associate: what chooses its transfer syntaxes, and what gives its seat back."""

    choose: Choose
    give_back: Callable[[], None]


Admit = Callable[[Titles, str], Admitted | Rejection]


def refused_by_access(settings: Settings, titles: Titles) -> Rejection | None:
    """The rejection of a peer that calls another AE title, or is unknown where only known ones may come."""
    if settings.access.check_called_aet and titles.called != settings.node.aet:
        return Rejection(1, 1, 7, f"this node is {settings.node.aet} (node.aet, access.check_called_aet)")
    known = {settings.node.aet, *(peer.aet for peer in settings.peer)}
    if settings.access.allow == "known" and titles.calling not in known:
        return Rejection(1, 1, 3, 'no [[peer]] has this AE title, and access.allow is "known"')
    return None


def refused_by_limit(seats: Seats, holder: Holder) -> Rejection | None:
    """Take a seat, or give the rejection: transient, local limit exceeded."""
    reached = seats.take(holder)
    if reached is None:
        return None
    key = f"limits.{reached}"
    return Rejection(2, 3, 2, f"{key} is reached: end associations of this peer, or raise the key", key)
