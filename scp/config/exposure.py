"""What in the configuration lets in more people than an admin may mean; the start and ``zscp check`` warn."""

from __future__ import annotations

import stat
from pathlib import Path

from scp.config.networks import is_loopback
from scp.config.ports import ports
from scp.config.settings import Settings


def exposures(settings: Settings) -> list[str]:
    """A line each, with the key and the remedy."""
    found = []
    if is_readable_by_others(settings.tls.key):
        found.append(
            f"tls.key: others than its owner may read {settings.tls.key}; give it mode 0600: chmod 600"
        )
    if settings.http.port and not is_loopback(settings.http.host):
        found.append(
            f"http.host: whoever reaches {settings.http.host}:{settings.http.port} may read the metrics; "
            'write "127.0.0.1", or let a firewall admit only those who read them'
        )
    found += [
        f"peer[{peer.aet}].tls: zscp connects to {peer.host}:{peer.port} without TLS, whatever its "
        "certificate_name; write tls = true, if objects or reports are ever sent there"
        for peer in settings.peer
        if peer.certificate_name and not peer.tls
    ]
    if is_open(settings):
        found.append(
            f'access.allow: "any" on {settings.node.host} lets in whoever reaches the port; write "known", '
            "with a [[peer]] for each, or limit strangers to echo (access.may), or require certificates "
            "on a port that is all there is (tls.ca without tls.port) or users (access.users), or listen on "
            "a loopback address"
        )
    return found


def is_readable_by_others(path: str) -> bool:
    """Whether a file's mode gives group or others anything."""
    try:
        return bool(path) and bool(stat.S_IMODE(Path(path).stat().st_mode) & 0o077)
    except OSError:
        return False  # that it cannot be read is told elsewhere


def is_open(settings: Settings) -> bool:
    """Whether anybody who reaches the port may do more than echo."""
    access = settings.access
    tls = settings.tls
    certified = all(port.secure for port in ports(settings)) and tls.asked_of_clients == "required"
    strangers = access.allow == "any" and bool({*access.may} - {"echo"}) and access.users == "ignored"
    return strangers and not certified and not is_loopback(settings.node.host)
