"""The socket that the page is served from: how many connections there are before they are secured.

asyncio tells of a connection when its TLS handshake is over, and waits a minute for that. Those that are
opened and say nothing would take all file descriptors of the process meanwhile.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from scp.config.networks import origin

# So many at a time; an honest one is among them for some 20 ms. Twice as many until those that were shut are
# closed.
_MOST_UNSECURED = 128
# So many are accepted before what others asked for goes on: asyncio would take all that wait, at once.
_AT_ONCE = 8


class BoundedListening(socket.socket):
    """Accepts every connection; of too many, it shuts the oldest one of the address that has most.

    ``secured`` are the file descriptors of those that are no longer counted.
    """

    def __init__(self, listening: socket.socket, secured: Callable[[], Collection[int]]) -> None:
        super().__init__(fileno=listening.dup().detach())
        self._secured = secured
        self._accepted: dict[socket.socket, str] = {}  # in the order in which they came
        self._shut: list[socket.socket] = []
        self._at_once = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """See socket.socket. Raises BlockingIOError where others have their turn, or must be closed first."""
        self._at_once = (self._at_once + 1) % (_AT_ONCE + 1)
        if not self._at_once:
            raise BlockingIOError("connections that there are have their turn")
        if len(self._shut) >= _MOST_UNSECURED:
            self._shut = [one for one in self._shut if one.fileno() != -1]
            if len(self._shut) >= _MOST_UNSECURED:
                raise BlockingIOError("connections that were shut are not closed yet")
        connection, address = super().accept()
        self._accepted[connection] = origin(address[0])
        if len(self._accepted) > _MOST_UNSECURED:
            self._bound()
        return connection, address

    def _bound(self) -> None:
        secured = self._secured()
        for one in list(self._accepted):
            if one.fileno() == -1 or one.fileno() in secured:
                del self._accepted[one]
        if len(self._accepted) > _MOST_UNSECURED:
            ((most, _),) = Counter(self._accepted.values()).most_common(1)
            oldest = next(one for one, each in self._accepted.items() if each == most)
            del self._accepted[oldest]
            self._shut.append(oldest)
            with suppress(OSError):  # its client has gone
                oldest.shutdown(socket.SHUT_RDWR)
