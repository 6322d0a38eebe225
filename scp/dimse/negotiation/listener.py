"""The listening socket and its accept loop."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable

# Many senders at once, as when a ward's modalities come back after a network fault.
BACKLOG = 128
# At most so many connections may be without an association, until they time out; others are closed at once.
# Of these, one address has at most so many, or as many as it may have associations, if that is more: TLS
# handshakes that stall hold up nobody else.
MOST_UNASSOCIATED, MOST_OF_ONE_ADDRESS = 256, 64
# Without descriptors or memory, accept() fails again at once: it is tried again when some may be free.
_RECOVER_MS = 200
# The accept loop turns at least so often, as a sign of life.
_TURN_MS = 1000
# What a process waits before it accepts, for each association that it has, and at most: the one with the
# fewest is first. Else one of two workers had three of four senders in every second run, which took a fifth
# longer.
_HOLD_BACK_MS, _LONGEST_HOLD_BACK_MS = 1, 5
# Of connections that wait in a row, so many are held back: a burst is accepted at once.
_HELD_BACK = 8

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
        in_a_row = 0
        while True:
            if not (found := poll.poll(0)):
                in_a_row, found = 0, poll.poll(_TURN_MS)
            ready = {descriptor for descriptor, _ in found}
            if asked in ready:
                return
            self.turned.set()
            if not ready:
                continue
            hold_back = min(self._busy() * _HOLD_BACK_MS, _LONGEST_HOLD_BACK_MS)
            in_a_row += 1
            if hold_back and in_a_row <= _HELD_BACK and self._is_asked_within(hold_back):
                return
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                continue
            except OSError:
                self._is_asked_within(_RECOVER_MS)
                continue
            self._begin(connection, address[:2])

    def _is_asked_within(self, milliseconds: int) -> bool:
        """Wait for so long; True as soon as this is to stop."""
        stop = select.poll()
        stop.register(self._asked, select.POLLIN)
        return bool(stop.poll(milliseconds))

    def _begin(self, connection: socket.socket, address: tuple[str, int]) -> None:
        try:
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()
        except RuntimeError:  # no more threads: this peer may come again
            connection.close()
