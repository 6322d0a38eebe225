"""A node as processes: one that holds the listening sockets and starts the others.

Workers serve associations from those sockets. An encoder works in the background, and does all that one
process does for the node. Other processes carry out later stages beside it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import structlog

from scp.archive.archive import Archive
from scp.archive.forwarding import Forwarding
from scp.audit.trail import AuditTrail, recording, trail_of
from scp.background.doorbell import Doorbell
from scp.background.loop import Loops, Task
from scp.background.progress import Progress, Silent
from scp.config.saving import ConfigurationFile
from scp.config.settings import Settings
from scp.dimse.negotiation.ports import Port, bound_ports
from scp.dimse.seats import seat_limits
from scp.encoding.cage.caged import prepare
from scp.errors import ZscpError
from scp.index import dialect
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.node.auditing import started, stopped
from scp.node.build import database_of, make_ready, open_archive, require_archive, take_up
from scp.node.encryption import hold_keys
from scp.node.heartbeat import Heartbeat
from scp.node.itself import Itself, itself, own_folder
from scp.node.manager import READY, ServiceManager
from scp.node.node import Node, reloaded
from scp.node.page_admin import Origin
from scp.node.renewal import needs_restart, warn_of_expiry
from scp.node.seats import SharedSeats
from scp.node.supervisor import Processes, Role
from scp.node.tasks import Bells, Current, background, encoder, guards, traffic_writer
from scp.node.web import NAME as WEB
from scp.node.web import WebProcess, http_socket
from scp.objects import stores
from scp.objects.attempts import died_of_an_object
from scp.resources import bounds, budget, pressure
from scp.resources.malloc import keep_large_apart

_SILENT = Silent()

Tasks = Callable[[Archive, Current, AuditTrail], list[Task]]


class Service:
    """A node as processes. ``reread`` reads the configuration again; None where that cannot be used.

    ``file`` is the configuration file that the node was started with.
    """

    def __init__(
        self, settings: Settings, reread: Callable[[], Settings | None], file: ConfigurationFile | None = None
    ) -> None:
        self.settings = settings
        self._reread, self._file = reread, file or ConfigurationFile(None, os.environ)
        self._manager, self._figures = ServiceManager(), NodeFigures()
        self._processes = Processes(
            lambda: self.settings.limits,
            partial(died_of_an_object, own_folder(settings)),
            self._manager,
            self._figures,
        )
        self._bells = Bells()
        self._start = uuid4().hex
        self._seats = SharedSeats(seat_limits(settings.limits))
        keep_large_apart()
        budget.use(settings.limits.memory)  # before anything is forked: all processes share it
        pressure.begin(settings.limits.node_memory)
        self.ports: tuple[Port, ...] = ()
        self._http: socket.socket | None = None

    def start(self, progress: Progress = _SILENT) -> tuple[str, int]:
        """Listen and start all processes; returns the address of node.port.

        The address is bound first, but no connection is accepted before the index knows what is stored:
        rebuilding it may take hours, which ``progress`` reports. A separate process does that: an object that
        ends it does not keep the node from starting. Raises OSError, OutOfResources, ConfigurationError.
        """
        warn_of_expiry(self.settings)  # this reads the certificates, for all processes
        hold_keys(self.settings)
        self.ports = bound_ports(self.settings)
        self._http = http_socket(self.settings)
        dialect.load(database_of(self.settings))
        stores.load(self.settings)
        gc.collect()
        gc.freeze()  # what all processes share stays shared: no collection writes to it
        self._processes.apart(partial(_make_ready, self.settings, self._start, progress))
        for port in self.ports:
            port.listen()
        roles = self._roles()
        for name in roles:  # before any is forked, so that each can read the figures of all
            self._figures.reserve(name)
        for name, role in roles.items():
            self._processes.fork(name, role)
        return self.ports[0].address

    def _roles(self) -> dict[str, Callable[[], Role]]:
        """What each process does, by its name."""
        roles: dict[str, Callable[[], Role]] = {
            f"worker {number + 1}": self._worker for number in range(_workers(self.settings))
        }
        roles["encoder"] = self._encoder
        for number in range(2, self.settings.lifecycle.workers + 1):
            roles[f"lifecycle {number}"] = partial(self._lifecycle, number)
        if self._http is not None:
            roles[WEB] = partial(self._web, self._http, Origin(self._file, os.getpid()))
        return {name: partial(self._in_place, role) for name, role in roles.items()}

    def _in_place(self, make: Callable[[], Role]) -> Role:
        """In a child: make its role, if the archive is still where it was. Raises OutOfResources."""
        require_archive(self.settings)
        return make()

    @property
    def itself(self) -> Itself:
        """Which node this is, once it has started."""
        return itself(own_folder(self.settings))

    def run(self) -> bool:
        """Serve until a signal says to stop; False when a process could not be kept running."""
        self._manager.tell(READY)
        kept_running = self._processes.run(self._reload, self._refuse_connections)
        self._count()
        with recording(self.settings) as trail:  # no process is forked any more: a thread does no harm
            stopped(trail, self.settings, os.getpid())
        return kept_running

    def _refuse_connections(self) -> None:
        """Shut the sockets down for all processes that share them.

        This process keeps them open, so the kernel would still connect peers, who would wait for workers that
        accept no more. Who is refused tries again, and a load balancer tries another node.
        """
        for port in self.ports:
            port.socket.shutdown(socket.SHUT_RDWR)

    def _count(self) -> None:
        """Write the last figures of all processes, and advance the count of the index.

        So a copy made while the node ran is known to be older.
        """
        try:
            require_archive(self.settings)
            archive = open_archive(self.settings)
            traffic_writer(archive, lambda: self.settings, self._figures).write()
            if archive.pairing is not None:
                archive.pairing.advance()
            archive.close()
        except ZscpError as error:  # the next start looks at it
            structlog.get_logger("zscp").error("the index was not looked at", reason=str(error))

    def _reload(self) -> bool:
        settings = self._reread()
        if settings is None:
            return False
        if needs_restart(self.settings.tls, settings.tls):
            reason = "tls.port, or whether there is a certificate, has changed: a restart takes that up"
            structlog.get_logger("zscp").warning("ports not reloaded", reason=reason)
        self.settings = reloaded(self.settings, settings)
        warn_of_expiry(self.settings)
        self._figures.own.reloaded()
        return True

    def _worker(self) -> Role:
        node = Node(self.settings, self._bells, self._seats, end=_end)
        self._bells.reporter.ring()  # a worker that died may have left something to report
        return _Worker(node, self._reread, self.ports)

    def _encoder(self) -> Role:
        """Encodes what is pending, carries out later stages, and does what one process does for all."""

        def tasks(archive: Archive, settings: Current, trail: AuditTrail) -> list[Task]:
            return [
                encoder(archive, settings, self._bells.encoder, trail=trail),
                *guards(archive, _end, counts=True),
                *background(archive, settings, self._bells, trail=trail, figures=self._figures),
                Heartbeat(archive, settings, self._start, self._seats),
            ]

        return BackgroundProcess(self.settings, self._reread, self._bells.encoder, tasks)

    def _web(self, listening: socket.socket, origin: Origin) -> Role:
        """Answers HTTP."""
        return WebProcess(self.settings, self._reread, listening, self._figures, _end, origin, self._bells)

    def _lifecycle(self, number: int) -> Role:
        """Carries out later stages beside the encoder."""
        bell = Doorbell()

        def tasks(archive: Archive, settings: Current, trail: AuditTrail) -> list[Task]:
            return [encoder(archive, settings, bell, number, trail), *guards(archive, _end, counts=False)]

        return BackgroundProcess(self.settings, self._reread, bell, tasks)


class _Worker:
    """Serves associations from the sockets that all workers share."""

    def __init__(self, node: Node, reread: Callable[[], Settings | None], ports: tuple[Port, ...]) -> None:
        self._node, self._reread, self._ports = node, reread, ports

    def start(self) -> None:
        self._node.start(self._ports)

    def reload(self) -> None:
        settings = self._reread()
        if settings is not None:
            self._node.reload(settings)
            counting.current().reloaded()

    def turns(self) -> bool:
        return self._node.server.turns()

    def stop(self) -> None:
        self._node.stop()


class BackgroundProcess:
    """Works in the background; ``tasks`` makes its tasks from its archive and settings."""

    def __init__(
        self, settings: Settings, reread: Callable[[], Settings | None], bell: Doorbell, tasks: Tasks
    ) -> None:
        self._settings, self._reread = settings, reread
        counting.know_peers(peer.aet for peer in settings.peer)
        self._forwarding = Forwarding(settings)  # for what a worker acknowledged that died
        self._archive = open_archive(settings, bell, self._forwarding, repairs=True)
        self._trail = trail_of(settings)
        self._loops = Loops(tasks(self._archive, lambda: self._settings, self._trail))

    def start(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        prepare()
        self._trail.start()
        take_up(self._archive)  # what this one's predecessor left, if it died
        self._loops.start()

    def reload(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        settings = self._reread()
        if settings is not None:
            self._settings = reloaded(self._settings, settings)
            bounds.use(self._settings.limits.bounds)
            self._archive.use_policy(settings.policy)
            self._forwarding.use(settings)
            counting.know_peers(peer.aet for peer in settings.peer)
            self._loops.reconfigured()
            counting.current().reloaded()

    def turns(self) -> bool:
        """See :class:`scp.node.supervisor.Role`: a turn of the loops here may take as long as an object."""
        return True

    def stop(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        self._archive.stopping()
        self._loops.stop()
        self._archive.close()
        self._trail.close()


def _make_ready(settings: Settings, start: str, progress: Progress) -> None:
    """Make the archive ready before any other process starts. Raises OutOfResources, ConfigurationError."""
    archive = open_archive(settings, repairs=True)
    try:
        make_ready(archive, settings, start, progress)
    finally:
        archive.close()
    with recording(settings) as trail:
        started(trail, settings, os.getppid())


def _end() -> None:
    """End this process as its parent would; the parent then starts another in its place."""
    os.kill(os.getpid(), signal.SIGTERM)


def _workers(settings: Settings) -> int:
    return (os.cpu_count() or 1) if settings.node.workers == "auto" else int(settings.node.workers)
