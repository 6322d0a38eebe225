"""Addresses and networks: as the configuration names them, and whether somebody comes from one."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import BeforeValidator

from scp.config.values import texts

Network = IPv4Network | IPv6Network


def networks(value: object) -> tuple[Network, ...]:
    """Addresses and networks in CIDR notation (RFC 4632)."""
    return tuple(map(_network, texts(value)))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write 10.1.2.3, 10.1.0.0/16 or fd00::/8") from None


Networks = Annotated[tuple[Network, ...], BeforeValidator(networks)]


def is_among(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is one of these, or within one of them."""
    return any(_same_kind(address) in network for network in networks)


def _same_kind(address: str) -> IPv4Address | IPv6Address:
    """An address; one of IPv4 that comes as one of IPv6 is that (RFC 4291 2.5.5.2)."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def origin(address: str) -> str:
    """What limits count as one address: of IPv6 the network of 64 bits.

    A machine there has as many addresses as it likes (RFC 4291 2.5.4, RFC 8981).
    """
    found = _same_kind(address)
    return str(found) if isinstance(found, IPv4Address) else str(IPv6Network((found, 64), strict=False))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
