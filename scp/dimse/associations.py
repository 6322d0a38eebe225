"""The associations of a server that are under way, and a way to wait for their end."""

from __future__ import annotations

import threading

from scp.config.networks import origin
from scp.dimse.association import ServedAssociation
from scp.metrics import counting

# Source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4), as the metrics name them.
_REASONS = {
    (1, 2): "application context",
    (1, 3): "calling AE title",
    (1, 7): "called AE title",
    (2, 2): "protocol version",
    (3, 1): "temporary congestion",
    (3, 2): "local limit",
}


class Associations:
    """The associations that are under way, and a way to wait until there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[ServedAssociation] = set()
        self._closed = False

    def add(self, association: ServedAssociation) -> bool:
        """Add an association that begins; False where none may begin any more."""
        with self._changed:
            if not self._closed:
                self._held.add(association)
            return not self._closed

    def close(self) -> list[ServedAssociation]:
        """Let none begin any more; returns those under way."""
        with self._changed:
            self._closed = True
            return list(self._held)

    def discard(self, association: ServedAssociation) -> None:
        """Remove an association that is over: its threads have ended and its socket is closed."""
        _count(association)
        with self._changed:
            self._held.discard(association)
            self._changed.notify_all()

    def count(self) -> int:
        """How many are under way now."""
        return len(self._held)

    def all(self) -> list[ServedAssociation]:
        """Those under way now."""
        with self._changed:
            return list(self._held)

    def unseated(self, address: str) -> tuple[int, int]:
        """How many connections have not associated: all, and those that come from an address.

        Of IPv6, that is a network of 64 bits, as for seats.
        """
        with self._changed:
            sources = [_source(association) for association in self._held if not association.seated]
        here = origin(address)
        return len(sources), sum(one == address or origin(one) == here for one in sources if one)

    def wait_for_none(self, seconds: float) -> bool:
        """Wait at most so long until all are over; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, seconds)


def _source(association: ServedAssociation) -> str:
    information = association.requestor.address_info
    return information.address if information else ""


def _count(association: ServedAssociation) -> None:
    counting.count("zscp_associations_total", association.outcome)
    why = ""
    if association.outcome == "rejected":
        found = association.refusal or association.negotiator.rejection
        reason = found and (found.limit or _REASONS.get((found.source, found.reason)))
        counting.count("zscp_associations_rejected_total", reason or "other")
        why = found.why if found is not None else "none of the proposed presentation contexts is accepted"
    elif association.outcome in ("no TLS", "protocol") and not association.seated:
        why = association.negotiator.fault or f"the connection ended: {association.outcome}"
    if why or association.seated:
        counting.association(association.calling_aet, _source(association), why)
