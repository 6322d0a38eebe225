"""What every answer says to the browser, and which requests a browser of somebody else's page sends."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache

from starlette.types import Message, Send

SECURITY_HEADERS: Mapping[str, str] = {
    # Scripts, styles, pictures and requests are this node's alone; none stands within the page's text.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": forms would then have the origin "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
# As they are sent.
_RAW = tuple((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
# Of proxies (RFC 7239, RFC 9110 7.6.3), and what most have used before.
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^:\[\]]+)(:\d{1,5})?", re.ASCII)


def is_known_host(host: str, names: Iterable[str]) -> bool:
    """Whether the header field Host has an address or a name of this node.

    A page elsewhere may make its own name one of this node's address, and would then read the answers (DNS
    rebinding); an address in Host was not looked up. Ports are anybody's, as of tunnels.
    """
    name = _name_in(host)
    if name is None:
        return False
    return not name or name in {"localhost", socket.gethostname().casefold(), *map(str.casefold, names)}


@lru_cache(64)  # clients send the same with each request
def _name_in(host: str) -> str | None:
    """The name in the header field Host; empty for an address, None for what is neither."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    name = found["name"].casefold().rstrip(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name or None
    return ""


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether another site's page sent a request, by what browsers say (Origin, Sec-Fetch-Site).

    Programs say nothing of both.
    """
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    if site not in ("", "same-origin", "none"):
        return True
    return bool(origin) and origin.partition("://")[2] != headers.get("host", "")


def is_forwarded(headers: Mapping[str, str]) -> bool:
    """Whether a proxy says that it passed a request on: then its own account says nothing of who asks."""
    return any(name in headers for name in _FORWARDED)


def guarded(send: Send) -> Send:
    """Adds the headers that every answer has; what has a longer life says so itself."""

    async def given(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"]]
            there = {name for name, _ in headers}  # ASGI: names are in lower case
            message["headers"] = headers + [one for one in _RAW if one[0] not in there]
        await send(message)

    return given
