"""The listening socket and its accept loop."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable

# Many senders at once, as when a ward's modalities come back after a network fault.
_BACKLOG = 128
# Connections that have not associated yet: beyond so many, which time out, others are turned away.
MOST_UNASSOCIATED = 256
# Out of descriptors or memory, accept() fails again at once: look again when some may be free.
_RECOVER_MS = 200

Serve = Callable[[socket.socket, tuple[str, int]], None]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG)


class Listener:
    """Accepts connections, and has each served in a thread of its own.

    The socket may be shared with other processes: each connection goes to one of them.
    """

    def __init__(self, listening: socket.socket, serve: Serve) -> None:
        self._listening = listening
        self._serve = serve
        self._asked, self._ask = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        # Another process may have taken what poll() told of: then accept() must not wait.
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
        while asked not in {descriptor for descriptor, _ in poll.poll()}:
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                continue
            except OSError:
                stop = select.poll()
                stop.register(self._asked, select.POLLIN)
                stop.poll(_RECOVER_MS)
                continue
            self._begin(connection, address[:2])

    def _begin(self, connection: socket.socket, address: tuple[str, int]) -> None:
        try:
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()
        except RuntimeError:  # no more threads: this peer may come again
            connection.close()
