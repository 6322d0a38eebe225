"""The process that answers HTTP: metrics, liveness, readiness. No peer waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from socket import socket

from scp.archive.archive import Archive
from scp.background.loop import Loops
from scp.config.credentials import credentials_of
from scp.config.fingerprint import fingerprint
from scp.config.settings import Settings
from scp.dimse.negotiation.listener import bound
from scp.errors import ConfigurationError
from scp.lifecycle.guard import Guard
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.node.build import open_archive
from scp.node.itself import itself, own_folder
from scp.node.node import reloaded
from scp.resources import pressure
from scp.resources.in_use import used_by_all
from scp.web.disks import disks_of
from scp.web.exposition import Exposition, MetricSources
from scp.web.health import Health
from scp.web.looks import ArchiveLooks
from scp.web.server import Page, PageServer

NAME = "web"
_JSON = "application/json"


def http_socket(settings: Settings) -> socket | None:
    """The bound socket for HTTP; None where there is to be none. Raises ConfigurationError."""
    http = settings.http
    if not http.port:
        return None
    try:
        return bound(http.host, http.port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {http.host}:{http.port} for HTTP: {error.strerror}; "
            "set http.host and http.port to an address that is free, or http.port to 0 for no HTTP"
        ) from error


def _memory() -> tuple[int, int]:
    node = pressure.pressure()
    return node.measure(), node.limit


class WebProcess:
    """Answers HTTP; ``end`` is called when the index has to be opened again."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings | None],
        listening: socket,
        figures: NodeFigures,
        end: Callable[[], None],
    ) -> None:
        self._settings, self._reread, self._figures = settings, reread, figures
        self._end = end
        self._guard: Guard | None = None
        self._looks = ArchiveLooks(self._opened, self._watch, lambda: disks_of(self._settings).room)
        shortage = pressure.pressure().shortage
        self._health = Health(figures, lambda: self._looks.latest, shortage=shortage)
        me = itself(own_folder(settings))
        source = MetricSources(
            figures,
            self._health,
            lambda: self._looks.latest,
            lambda: disks_of(self._settings),
            used_by_all,
            _memory,
            lambda: credentials_of(self._settings.tls).certificates,
            lambda: (fingerprint(self._settings), me.id, me.name),
            figures.began,
        )
        self._exposition = Exposition(source)
        self._server = PageServer(listening, self._pages())
        self._loops = Loops([self._looks])

    def _pages(self) -> dict[str, Page]:
        def live(_: str) -> tuple[int, str, bytes]:
            status, body = self._health.live()
            return status, _JSON, body

        def ready(_: str) -> tuple[int, str, bytes]:
            status, body = self._health.ready()
            return status, _JSON, body

        return {
            "/metrics": lambda accept: (200, *self._exposition.text(accept)),
            "/live": live,
            "/ready": ready,
        }

    def _opened(self) -> Archive:
        archive = open_archive(self._settings, repairs=True)
        if archive.pairing is not None:
            self._guard = Guard(archive.pairing, self._end)
        return archive

    def _watch(self, _: Archive) -> None:
        if self._guard is not None:
            self._guard.watch()

    def start(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        self._loops.start()
        self._server.start()

    def reload(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        settings = self._reread()
        if settings is not None:
            self._settings = reloaded(self._settings, settings)
            pressure.use(self._settings.limits.node_memory)
            counting.current().reloaded()

    def turns(self) -> bool:
        """See :class:`scp.node.supervisor.Role`."""
        return True

    def stop(self) -> None:
        """Answer until all others have ended, so that what finishes is still counted and seen."""
        until = time.monotonic() + self._settings.limits.stop_seconds
        while time.monotonic() < until and self._figures.own.stopping and self._others_run():
            time.sleep(0.05)
        self._server.stop()
        self._loops.stop()

    def _others_run(self) -> bool:
        return any(one.alive for name, one in self._figures.processes().items() if name != NAME)
