"""Who may associate, and what a peer may do: pure, by the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from scp.config.peers import SERVICES, Peer, Service
from scp.config.settings import Settings
from scp.dimse.negotiation.contexts import FIND, GET, MOVE, STORAGE_COMMITMENT, VERIFICATION
from scp.dimse.wire import messages
from scp.errors import NotAuthorized

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
    """What a peer may do; ``destinations`` are those that its C-MOVEs may name, None: all that are known."""

    aet: str
    services: frozenset[Service]
    destinations: frozenset[str] | None = None

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


ALL = Rights("", frozenset(SERVICES))


def rights_of(settings: Settings, aet: str, address: str) -> Rights:
    """What the peer that calls itself ``aet``, and comes from ``address``, may do.

    Raises NotAuthorized where it may not associate.
    """
    peer, access = settings.peer_named(aet), settings.access
    if peer is not None:
        _check_address(peer, address)
        destinations = None if peer.destinations is None else frozenset(peer.destinations)
        return Rights(peer.aet, frozenset(peer.may), destinations)
    if access.allow == "known" and aet != settings.node.aet:
        raise NotAuthorized(f'{aet} is no [[peer]], and access.allow is "known"')
    return Rights(aet, frozenset(access.may))


def _check_address(peer: Peer, address: str) -> None:
    """An IPv4 address may come as an IPv6 one (RFC 4291 2.5.5.2)."""
    if not peer.addresses:
        return
    found = ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    if not any((mapped or found) in network for network in peer.addresses):
        raise NotAuthorized(f"{peer.aet} came from {address}, none of the `addresses` of its [[peer]]")
