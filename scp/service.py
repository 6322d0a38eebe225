"""A node as processes: one that holds the listening socket and starts the others.

Workers serve associations from that socket, an encoder works behind them and does what else is to be done
once, and others carry out later stages beside it.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable
from functools import partial

from scp.background import Background
from scp.config import Settings
from scp.doorbell import Doorbell
from scp.node import Node, background, encoder, open_archive, pace, reloaded, take_up
from scp.processes import Processes, Role
from scp.seats import Seats

_BACKLOG_OF_CONNECTIONS = 128


class Service:
    """A node as processes. ``reread`` gives the configuration anew, or None where it cannot be used."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings | None]) -> None:
        self.settings = settings
        self._reread = reread
        self._processes = Processes()
        self._bell, self._reports_bell, self._departures_bell = Doorbell(), Doorbell(), Doorbell()
        self._seats = Seats(settings.limits.associations)
        self._listening: socket.socket | None = None

    def start(self) -> tuple[str, int]:
        """Listen and start all processes; returns host and port. Raises OSError, OutOfResources."""
        node = self.settings.node
        family = socket.AF_INET6 if ":" in node.host else socket.AF_INET
        address = (node.host, node.port)
        self._listening = socket.create_server(address, family=family, backlog=_BACKLOG_OF_CONNECTIONS)
        archive = open_archive(self.settings)
        take_up(archive)
        archive.close()
        for number in range(_workers(self.settings)):
            self._processes.fork(f"worker {number + 1}", self._worker)
        self._processes.fork("encoder", self._encoder)
        for number in range(2, self.settings.lifecycle.workers + 1):
            self._processes.fork(f"lifecycle {number}", partial(self._lifecycle, number))
        host, port = self._listening.getsockname()[:2]
        return host, port

    def run(self) -> bool:
        """Serve until a signal says to stop; False when a process could not be kept running."""
        return self._processes.run(self._reload)

    def _reload(self) -> bool:
        settings = self._reread()
        if settings is None:
            return False
        self.settings = settings
        return True

    def _worker(self) -> Role:
        node = Node(self.settings, self._bell, self._seats, self._reports_bell, self._departures_bell)
        self._reports_bell.ring()  # a worker that died may have left something to report
        return _Worker(node, self._reread, self._listening)

    def _encoder(self) -> Role:
        return _Encoder(self.settings, self._reread, self._bell, (self._reports_bell, self._departures_bell))

    def _lifecycle(self, number: int) -> Role:
        return _Encoder(self.settings, self._reread, Doorbell(), number=number)


class _Worker:
    """Serves associations from the socket that all workers share."""

    def __init__(
        self, node: Node, reread: Callable[[], Settings | None], listening: socket.socket | None
    ) -> None:
        self._node, self._reread, self._listening = node, reread, listening

    def start(self) -> None:
        self._node.start(self._listening)
        gc.collect()
        gc.freeze()  # a million objects that stay: no collection need look at them again

    def reload(self) -> None:
        settings = self._reread()
        if settings is not None:
            self._node.reload(settings)

    def stop(self) -> None:
        self._node.stop()


class _Encoder:
    """Encodes behind the workers, and carries out later stages; one also reports what they could not."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings | None],
        bell: Doorbell,
        bells: tuple[Doorbell, Doorbell] | None = None,
        number: int = 1,
    ) -> None:
        self._settings, self._reread, self._bell = settings, reread, bell
        self._archive = open_archive(settings, bell)
        self._encoder = encoder(self._archive, bell, settings, number)
        self._thread = threading.Thread(target=self._encoder.run, name="encoder")
        self._background = (
            Background(background(self._archive, lambda: self._settings, *bells)) if bells else Background(())
        )

    def start(self) -> None:
        take_up(self._archive)  # what this one's predecessor left, if it died
        self._thread.start()
        self._background.start()

    def reload(self) -> None:
        settings = self._reread()
        if settings is not None:
            self._settings = reloaded(self._settings, settings)
            self._archive.use_policy(settings.policy)
            self._encoder.pace = pace(settings)
            self._bell.ring()
            self._background.hasten()

    def stop(self) -> None:
        self._background.stop()
        self._encoder.stop()
        self._thread.join()
        self._archive.close()


def _workers(settings: Settings) -> int:
    return (os.cpu_count() or 1) if settings.node.workers == "auto" else int(settings.node.workers)
