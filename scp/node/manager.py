"""What a node tells the service manager that started it: ready, stopping, alive (sd_notify(3)).

A few lines of text in a datagram to a socket that the environment names; without one, nothing is told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


class ServiceManager:
    """The service manager by its environment variables."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # One that begins with @ is in Linux's abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micros = environ.get("WATCHDOG_USEC", "") if meant else ""
        # Half of the time after which it ends a service that says nothing (sd_watchdog_enabled(3)).
        self.alive_seconds = int(micros) / 2e6 if self._address and micros.isdecimal() else None

    def tell(self, state: str) -> None:
        """Tell it, if there is one; that it does not listen is no fault of the node."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode(), self._address)
