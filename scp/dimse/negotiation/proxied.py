"""The PROXY protocol: a load balancer says for whom it connects, before anything else on the connection.

Without it each peer would seem to come from the load balancer: the ``addresses`` of a [[peer]] would admit
nobody, and ``limits.associations_by_address`` would count all peers as one. HAProxy writes the header for
``send-proxy`` (version 1, a line of text) and for ``send-proxy-v2`` (version 2, binary); its document
proxy-protocol.txt specifies both. A header is believed only from the addresses of ``node.proxies``, and
required from them: one that may be missing could be forged by whoever sends through the load balancer.
"""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import ip_address

from scp.errors import MalformedAssociation

_BINARY = b"\r\n\r\n\0\r\nQUIT\n"
_TEXT, _END, _LONGEST = b"PROXY ", b"\r\n", 107  # bytes of a line
_LOCAL, _PROXIED = 0x20, 0x21  # version 2, and the command
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES = {_TCP4: (struct.Struct(">4s4sHH")), _TCP6: (struct.Struct(">16s16sHH"))}

Address = tuple[str, int]


def announced_peer(sock: socket.socket, proxy: Address, seconds: float) -> Address:
    """Read the header; returns the address of the peer, or that of the ``proxy`` where it speaks for itself.

    Nothing behind the header is read. Raises MalformedAssociation if there is none within ``seconds``, and
    OSError.
    """
    until = time.monotonic() + seconds
    begin = _exactly(sock, len(_BINARY), until)
    if begin == _BINARY:
        return _binary(sock, until) or proxy
    if begin.startswith(_TEXT):
        return _text(sock, begin, until) or proxy
    raise MalformedAssociation(
        f"no PROXY header from {proxy[0]}, which node.proxies names: let the load balancer send one "
        "(HAProxy: send-proxy-v2), or take its address out of node.proxies"
    )


def _binary(sock: socket.socket, until: float) -> Address | None:
    """The rest of a header of version 2; its values behind the addresses (TLVs) are not looked at."""
    command, family, size = struct.unpack(">BBH", _exactly(sock, 4, until))
    rest = _exactly(sock, size, until)
    if command == _LOCAL:  # such as a health check
        return None
    form = _ADDRESSES.get(family)
    if command != _PROXIED or form is None or len(rest) < form.size:
        raise MalformedAssociation(f"a PROXY header for something else than TCP: {command:#x} {family:#x}")
    source, _, port, _ = form.unpack_from(rest)
    return str(ip_address(source)), port


def _text(sock: socket.socket, line: bytes, until: float) -> Address | None:
    """The rest of a line of version 1: PROXY TCP4 <source> <destination> <source port> <port>."""
    while not line.endswith(_END):
        if len(line) >= _LONGEST:
            raise MalformedAssociation("a PROXY line that does not end")
        line += _exactly(sock, 1, until)
    words = line.decode("latin-1").split()
    if words[1:2] == ["UNKNOWN"]:
        return None
    try:
        _, kind, source, _, port, _ = words
        address, number = ip_address(source), int(port)
    except ValueError as error:
        raise MalformedAssociation("a PROXY line that cannot be read") from error
    if kind != f"TCP{address.version}" or not 0 <= number <= 65535:
        raise MalformedAssociation("a PROXY line that contradicts itself")
    return str(address), number


def _exactly(sock: socket.socket, size: int, until: float) -> bytes:
    """So many bytes. Raises MalformedAssociation if they do not come in time, and OSError if none comes."""
    data = b""
    while len(data) < size:
        sock.settimeout(max(until - time.monotonic(), 0.001))
        try:
            more = sock.recv(size - len(data))
        except TimeoutError as error:
            raise MalformedAssociation("the PROXY header does not come") from error
        if not more and not data:
            raise ConnectionAbortedError  # a look whether the port is open, as load balancers do
        if not more:
            raise MalformedAssociation("the PROXY header is not whole")
        data += more
    sock.settimeout(None)
    return data
