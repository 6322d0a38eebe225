"""Who may associate, and what a peer may do: pure, by the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scp.config.networks import is_among
from scp.config.peers import SERVICES, Service
from scp.config.settings import Settings
from scp.dimse.negotiation.association_pdus import Rejection
from scp.dimse.negotiation.contexts import FIND, GET, MOVE, STORAGE_COMMITMENT, VERIFICATION
from scp.dimse.wire import messages
from scp.errors import NotAuthorized
from scp.model import QueryKey

_OF_FIELD: Mapping[int, Service] = {
    messages.C_ECHO_RQ: "echo",
    messages.C_STORE_RQ: "store",
    messages.C_FIND_RQ: "find",
    messages.C_MOVE_RQ: "move",
    messages.C_GET_RQ: "get",
    messages.N_ACTION_RQ: "commit",
}
_OF_SOP_CLASS: Mapping[str, Service] = {
    VERIFICATION: "echo",
    STORAGE_COMMITMENT: "commit",
    **dict.fromkeys(FIND, "find"),
    **dict.fromkeys(MOVE, "move"),
    **dict.fromkeys(GET, "get"),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """What a peer may do; ``destinations`` are those that its C-MOVEs may name, None: all that are known.

    ``seen`` is what an object must have for the peer to find and retrieve it.
    """

    aet: str
    services: frozenset[Service]
    destinations: frozenset[str] | None = None
    seen: tuple[QueryKey, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the peer may use all services."""
        return len(self.services) == len(SERVICES)

    def accepts(self, sop_class: str) -> bool:
        """Whether a presentation context of a SOP class is of any use to the peer.

        Who may get, but not store, needs those of storage too: C-GET sends objects in them (PS3.4 C.5.3).
        """
        service = _OF_SOP_CLASS.get(sop_class)
        return bool(self.services & ({"store", "get"} if service is None else {service}))

    def check(self, command_field: int) -> None:
        """Raises NotAuthorized for a request of a service that the peer may not use."""
        service = _OF_FIELD.get(command_field)
        if service is not None and service not in self.services:
            raise NotAuthorized(f"{self.aet} may not {service}: see `may` of its [[peer]], or of [access]")

    def check_destination(self, destination: str) -> None:
        """Raises NotAuthorized for a C-MOVE to a destination that the peer may not name."""
        if self.destinations is not None and destination not in self.destinations:
            raise NotAuthorized(
                f"{self.aet} may not move to {destination}: see `destinations` of its [[peer]]"
            )


NONE = Rights("", frozenset())


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who asks for an association: its AE title, the one that it calls, and where it comes from.

    ``names`` are those in its certificate, in lower case, if it has one.
    """

    calling: str
    called: str
    address: str
    names: frozenset[str] = frozenset()


def rights_of(settings: Settings, arrival: Arrival) -> Rights | Rejection:
    """What a peer may do.

    A rejection where it may not associate. Both reasons are permanent, by the service user (PS3.8 9.3.4).
    """
    calling, called, address = arrival.calling, arrival.called, arrival.address
    peer, access, node = settings.peer_named(calling), settings.access, settings.node
    if access.check_called_aet and called not in (node.aet, *node.aliases):
        return Rejection(1, 1, 7, f"{called} is neither node.aet nor one of node.aliases")
    if peer is None and access.allow == "known" and calling != node.aet:
        return Rejection(1, 1, 3, f'{calling} is no [[peer]], and access.allow is "known"')
    if peer is None:
        # The node itself, as of a health check by C-ECHO: its AE title is no secret, and lets nobody do more.
        itself = access.allow == "known"
        return Rights(calling, frozenset(access.may) & {"echo"} if itself else frozenset(access.may))
    if peer.addresses and not is_among(address, peer.addresses):
        return Rejection(1, 1, 3, f"{calling} came from {address}, none of the `addresses` of its [[peer]]")
    if peer.certificate_name and peer.certificate_name.casefold() not in arrival.names:
        shown = ", ".join(sorted(arrival.names)) or "no certificate"
        return Rejection(1, 1, 3, f"{calling} showed {shown}, not the `certificate_name` of its [[peer]]")
    destinations = None if peer.destinations is None else frozenset(peer.destinations)
    return Rights(peer.aet, frozenset(peer.may), destinations, peer.seen)
