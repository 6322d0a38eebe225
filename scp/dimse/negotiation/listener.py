"""The listening socket and its accept loop."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections.abc import Callable

import structlog

# Many senders at once, as when a ward's modalities come back after a network fault.
BACKLOG = 128
# At most so many connections may be without an association, until they time out; others are closed at once.
# Of these, one address has at most so many, or as many as it may have associations, if that is more: TLS
# handshakes that stall hold up nobody else.
MOST_UNASSOCIATED, MOST_OF_ONE_ADDRESS = 256, 64
# Without descriptors or memory, accept() fails again at once: it is tried again when some may be free.
_RECOVER_MS = 200
# Of other errors nobody is told: accept() passes on those of a peer's network, and a node that stops ends
# its sockets for all of its processes (EINVAL).
_FEWER = "fewer associations (limits.associations)"
_REMEDIES = {
    errno.EMFILE: f"allow more open files (LimitNOFILE), or {_FEWER}",
    **dict.fromkeys((errno.ENFILE, errno.ENOBUFS, errno.ENOMEM), f"allow {_FEWER}"),
}
# It is told so often at most, while it lasts.
_TOLD_SECONDS = 60.0
# The accept loop turns at least so often, as a sign of life.
_TURN_MS = 1000
# What a process waits before it accepts, for each association that it has, and at most: the one with the
# fewest is first. Else one of two workers had three of four senders in every second run, which took a fifth
# longer.
_HOLD_BACK_MS, _LONGEST_HOLD_BACK_MS = 1, 5
# At most so many connections are held back in so many seconds: the rest of a burst is accepted at once.
_HELD_BACK, _HELD_BACK_SECONDS = 8, 0.25

Serve = Callable[[socket.socket, tuple[str, int]], None]


def bound(host: str, port: int) -> socket.socket:
    """A socket with an address, that does not listen yet; port 0 takes any that is free. Raises OSError.

    A name with addresses of both kinds takes its IPv4 address: most modalities know no other.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


class Listener:
    """Accepts connections, and has each served in a thread of its own.

    The socket may be shared with other processes: each connection goes to one of them, if possible to the one
    that has the fewest; ``busy`` is how many this one has, and 0 where it shares the socket with nobody.
    ``turned`` is set whenever the accept loop turns.
    """

    def __init__(self, listening: socket.socket, serve: Serve, busy: Callable[[], int] = lambda: 0) -> None:
        self._listening = listening
        self._serve, self._busy = serve, busy
        self._held_since, self._held = 0.0, 0
        self._told = float("-inf")
        self.turned = threading.Event()
        self._asked, self._ask = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        # Another process may have accepted what poll() reported: then accept() must not wait.
        listening.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; what was accepted goes on."""
        self._ask.close()
        self._thread.join()
        self._asked.close()
        self._listening.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._asked, select.POLLIN)
        poll.register(self._listening, select.POLLIN)
        asked = self._asked.fileno()
        while asked not in (ready := {descriptor for descriptor, _ in poll.poll(_TURN_MS)}):
            self.turned.set()
            if not ready:
                continue
            if (milliseconds := self._hold_back()) and self._is_asked_within(milliseconds):
                return
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                continue
            except OSError as error:
                self._tell(error)
                self._is_asked_within(_RECOVER_MS)
                continue
            self._begin(connection, address[:2])

    def _hold_back(self) -> int:
        """Milliseconds to wait before the next connection is accepted."""
        if not (busy := self._busy()):
            return 0
        now = time.monotonic()
        if now - self._held_since > _HELD_BACK_SECONDS:
            self._held_since, self._held = now, 0
        self._held += 1
        return min(busy * _HOLD_BACK_MS, _LONGEST_HOLD_BACK_MS) if self._held <= _HELD_BACK else 0

    def _is_asked_within(self, milliseconds: int) -> bool:
        """Wait for so long; True as soon as this is to stop."""
        stop = select.poll()
        stop.register(self._asked, select.POLLIN)
        return bool(stop.poll(milliseconds))

    def _begin(self, connection: socket.socket, address: tuple[str, int]) -> None:
        try:
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()
        except RuntimeError as error:  # no more threads: this peer may come again
            structlog.get_logger("zscp").warning("connection refused", peer=address[0], reason=str(error))
            connection.close()

    def _tell(self, error: OSError) -> None:
        """Say that peers wait, and why, where the system is short of something."""
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is not None and (now := time.monotonic()) - self._told >= _TOLD_SECONDS:
            self._told = now
            structlog.get_logger("zscp").warning("connections wait", reason=str(error), remedy=remedy)
