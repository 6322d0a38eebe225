"""The sockets that a node listens on, each plain or TLS alone."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from scp.config.ports import ports
from scp.config.settings import Settings
from scp.dimse.negotiation.listener import BACKLOG, bound


@dataclass(frozen=True, slots=True)
class Port:
    """A bound socket, and whether it speaks TLS: that stays so until a restart."""

    socket: socket.socket
    secure: bool

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.socket.getsockname()[:2]
        return host, port

    def listen(self) -> None:
        """Accept connections from now on."""
        self.socket.listen(BACKLOG)


def bound_ports(settings: Settings) -> tuple[Port, ...]:
    """The ports of the configuration, bound; node.port is the first. Raises OSError, with the address."""
    host, made = settings.node.host, list[Port]()
    with ExitStack() as undo:
        for choice in ports(settings):
            try:
                sock = bound(host, choice.number)
            except OSError as error:
                where = f"{host}:{choice.number} ({choice.key})"
                raise OSError(error.errno, error.strerror or str(error), where) from error
            undo.callback(sock.close)
            made.append(Port(sock, choice.secure))
        undo.pop_all()
    return tuple(made)
