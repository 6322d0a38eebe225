"""Whose process is at the other end of a connection from this very machine.

Without users, the page is for the account that runs the node, and root: both may read its files anyway. Other
accounts of the machine reach the loopback address, too.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
# proc(5): sl, local_address, rem_address, st, tx:rx queue, tr:when, retrnsmt, uid, …
_LOCAL, _REMOTE, _UID = 1, 2, 7


def is_of_this_account(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether the client's process runs as the account of this one, or as root.

    False for a client elsewhere, and where the system does not say.
    """
    try:
        if not ipaddress.ip_address(client[0]).is_loopback:
            return False
    except ValueError:
        return False
    uids = set(_uids(set(_written(*client)), set(_written(*server))))
    return bool(uids) and uids <= {0, os.geteuid()}


def _uids(local: set[str], remote: set[str]) -> Iterator[int]:
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[_LOCAL] in local and fields[_REMOTE] in remote:
                yield int(fields[_UID])


def _written(host: str, port: int) -> Iterator[str]:
    """An address as the kernel writes it: 32-bit words in the machine's order; IPv4 also within IPv6."""
    address = ipaddress.ip_address(host)
    kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
    plain = socket.inet_pton(kind, host)
    forms = [plain, b"\0" * 10 + b"\xff" * 2 + plain] if address.version == 4 else [plain]
    for form in forms:
        words = struct.unpack(f"={len(form) // 4}I", form)
        yield "".join(f"{word:08X}" for word in words) + f":{port:04X}"
