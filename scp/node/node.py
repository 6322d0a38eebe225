"""A node in one process, for a program that embeds one; or one of several processes that serve.

:mod:`scp.node.service` starts the processes, :mod:`scp.node.build` builds the archive, and
:mod:`scp.node.tasks` makes the background tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog

from scp.archive.forwarding import Forwarding
from scp.audit.trail import trail_of
from scp.background.loop import Loops, Task
from scp.config.settings import Settings
from scp.dimse.negotiation.ports import Port
from scp.dimse.patience import PAUSES, Pauses
from scp.dimse.scu.prefetch import Prefetcher
from scp.dimse.seats import seat_limits
from scp.dimse.server import DimseServer
from scp.encoding.cage.caged import prepare
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.node.auditing import started, stopped
from scp.node.build import make_ready, open_archive, take_up
from scp.node.heartbeat import Heartbeat
from scp.node.renewal import renewed_tls
from scp.node.seats import SharedSeats
from scp.node.tasks import Bells, background, encoder, guards, memory_watch
from scp.resources import bounds, pressure

# How long an object that a process died of waits to be worked on alone, as a peer waits for it.
PATIENCE_SECONDS = 5.0


# The parts of the configuration that are taken up when a node starts, and not when it reloads.
_AT_START = ("node", "storage", "tiers", "cache", "index", "audit")
_AT_START_OF_HTTP = ("host", "port", "page", "tls")


def needs_restart(key: str) -> bool:
    """Whether a key of the configuration, such as ``http.port``, is taken up only when a node starts."""
    table, _, within = key.partition(".")
    if table == "http":
        return within in _AT_START_OF_HTTP
    return table.partition("[")[0] in _AT_START


def reloaded(before: Settings, after: Settings) -> Settings:
    """The settings after a reload: all new ones but those of parts that need a restart.

    The files of certificates are read again.
    """
    kept: dict[str, object] = {name: getattr(before, name) for name in _AT_START}
    bound = {name: getattr(before.http, name) for name in _AT_START_OF_HTTP}
    kept["http"] = after.http.model_copy(update=bound)
    return after.model_copy(update={**kept, "tls": renewed_tls(before.tls, after.tls)})


def _nobody() -> None:
    """Do nothing: a program that embeds a node finds the reason in the log."""


class Node:
    """An archive, its DIMSE server and, unless another process does it, the background work.

    ``bells`` wake that other process. ``end`` is called when the index has to be opened again
    (:mod:`scp.lifecycle.guard`).
    """

    def __init__(
        self,
        settings: Settings,
        bells: Bells | None = None,
        seats: SharedSeats | None = None,
        end: Callable[[], None] = _nobody,
        pauses: Pauses = PAUSES,
    ) -> None:
        self.settings = settings
        self._alone, bells = bells is None, bells or Bells()
        self._start = uuid4().hex
        self._trail = trail_of(settings)
        self._forwarding = Forwarding(settings, bells.forwarder, prefetches=True)
        self.archive = open_archive(settings, bells.encoder, self._forwarding, repairs=True)
        self.archive.trials.wait_at_most(PATIENCE_SECONDS)
        self.server = DimseServer(self.archive, self._current, seats, bells.reporter, pauses, self._trail)
        tasks: list[Task] = [Prefetcher(self.archive, self._forwarding), memory_watch()]
        tasks += guards(self.archive, end, counts=self._alone)
        if self._alone:
            tasks.insert(0, encoder(self.archive, self._current, bells.encoder, trail=self._trail))
            figures = NodeFigures(counting.current())
            tasks += background(self.archive, self._current, bells, pauses, self._trail, figures=figures)
            tasks.append(Heartbeat(self.archive, self._current, self._start))
        self.loops = Loops(tasks)
        self._seats = seats
        (pressure.begin if self._alone else pressure.use)(settings.limits.node_memory)

    def _current(self) -> Settings:
        return self.settings

    def start(self, ports: Sequence[Port] = ()) -> tuple[str, int]:
        """Recover what a crash left, then listen; returns the address of node.port."""
        prepare()  # while there is time: the process that codec processes come from imports for a second
        self._trail.start()
        if self._alone:
            make_ready(self.archive, self.settings, self._start)
        else:
            take_up(self.archive)
        self.archive.prepare()
        if self._alone:
            started(self._trail, self.settings, os.getpid())
        self.loops.start()
        return self.server.start(ports)

    def reload(self, settings: Settings) -> None:
        """Take over peers, policy, access and limits; what is under way finishes as it began."""
        self.settings = reloaded(self.settings, settings)
        bounds.use(self.settings.limits.bounds)
        pressure.use(self.settings.limits.node_memory)
        self.archive.use_policy(self.settings.policy)
        self._forwarding.use(self.settings)
        if self._seats is not None:
            self._seats.limits = seat_limits(settings.limits)
        self.server.apply_settings()
        self.loops.reconfigured()
        structlog.get_logger("zscp").info("configuration reloaded", peers=len(settings.peer))

    def stop(self) -> None:
        """Stop serving and close everything."""
        self.archive.stopping()
        self.server.stop()
        self.loops.stop()
        self.archive.close()
        if self._alone:
            stopped(self._trail, self.settings, os.getpid())
        self._trail.close()
