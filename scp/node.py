"""The composition root: the one place where the parts are built and joined.

A node is some processes: one that holds the listening socket and starts the others, workers that serve
associations from that socket, and an encoder that works behind them. :class:`Node` is all of it in one
process, for who wants a node inside a program.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable
from functools import partial

import structlog

from scp import spool
from scp.archive import Archive
from scp.background import Background, Loop
from scp.backlog import Backlog
from scp.config import Settings, TierSettings
from scp.decoded import Decoded
from scp.departures import Departures
from scp.dimse.forwarder import Forwarder
from scp.dimse.prefetcher import Prefetcher
from scp.dimse.reporter import Reporter
from scp.dimse.server import DimseServer
from scp.doorbell import Doorbell
from scp.index.index import Index
from scp.index.sql import SqlIndex
from scp.lifecycle.behind import Encoder
from scp.lifecycle.pace import Pace
from scp.lifecycle.recovery import recover
from scp.lifecycle.retention import Retention
from scp.lifecycle.scrub import Scrubber
from scp.objects.decoded import FOLDER, DecodedCache
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.store import AVAILABILITIES, ObjectStore, beside
from scp.objects.tiers import MediumMark, Tier, TieredStore
from scp.processes import Processes, Role
from scp.seats import Seats

_BACKLOG_OF_CONNECTIONS = 128
# From this part of a full backlog on, encoding does not wait for a quiet moment.
_EAGER = 4


def open_archive(
    settings: Settings, bell: Doorbell | None = None, departures: Departures | None = None
) -> Archive:
    """The archive that the settings describe, its folders and index made where missing.

    With a ``bell`` objects may wait for their encoding, and it wakes who does that. ``departures`` knows who
    is woken for what is sent on; without, it is found by the next look.
    Raises OutOfResources when the index cannot be opened.
    """
    storage = settings.storage
    storage.path.mkdir(parents=True, exist_ok=True)
    spool.keep_in(storage.path)
    index = SqlIndex.open(settings.index.url)
    store: ObjectStore = LocalStore(storage.path, storage.reserve)
    if settings.tiers:
        store = TieredStore(store, [_tier(chosen, index) for chosen in settings.tiers])
    landing = LandingLog(storage.path, storage.reserve)
    backlog = None
    if bell is not None and storage.backlog:
        backlog = Backlog(lambda: index.backlog().size, storage.backlog, bell)
    departures = departures or Departures(settings)
    archive = Archive(store, index, settings.policy, storage.duplicates, landing, backlog, departures)
    if settings.cache.bytes:
        cache = DecodedCache(storage.path / FOLDER, settings.cache.bytes, storage.reserve)
        archive.decoded = Decoded(cache)
    return archive


def _tier(chosen: TierSettings, index: Index) -> Tier:
    """A store beside the first. It is new, and marked as such, where no object lies in it yet."""
    mark = MediumMark(chosen.path, chosen.name)
    if not index.has_keys(beside(chosen.name, "")):
        mark.make()
    store = LocalStore(chosen.path, chosen.reserve, maps=False)
    availability = AVAILABILITIES[chosen.availability]
    return Tier(chosen.name, store, mark.is_there, availability, chosen.fetch_seconds)


def take_up(archive: Archive) -> None:
    """Recover what processes that died left, and tell."""
    found = recover(archive)
    if found.recorded or found.damaged or found.unfinished:
        structlog.get_logger("zscp").warning(
            "recovered", objects=found.recorded, damaged=found.damaged, unfinished=found.unfinished
        )


def _reloaded(before: Settings, after: Settings) -> Settings:
    """What is taken over while running: all but where the node listens, and where it keeps things."""
    kept = {name: getattr(before, name) for name in ("node", "storage", "tiers", "cache", "index")}
    return after.model_copy(update=kept)


def _encoder(archive: Archive, bell: Doorbell, settings: Settings, number: int = 1) -> Encoder:
    """One of the processes that carry out stages; the first also encodes what is pending.

    Each has the name that its predecessor had, so that it takes over what that one had claimed.
    """
    owner = _owner(settings, number)
    eager = settings.storage.backlog // _EAGER
    return Encoder(archive, bell, eager, _pace(settings), owner, first=number == 1)


def _pace(settings: Settings) -> Pace | None:
    """The pace of each process that carries out stages; None where there is none."""
    chosen = settings.lifecycle
    return Pace(chosen.max_cpu / chosen.workers, chosen.hours) if chosen.workers else None


def _background(
    archive: Archive, settings: Callable[[], Settings], reports_bell: Doorbell, departures_bell: Doorbell
) -> list[Loop]:
    """What one process of a node does behind those who serve."""
    return [
        Reporter(archive, settings, reports_bell),
        Forwarder(archive, settings, departures_bell),
        Scrubber(archive, settings, _owner(settings(), 1)),
        Retention(archive, settings),
    ]


def _owner(settings: Settings, number: int) -> str:
    """In whose name a process claims what it works on."""
    node = settings.node
    return f"{node.aet}@{node.host}:{node.port}/{number}"


class Node:
    """An archive, its DIMSE server and, unless another process does it, what is done behind that.

    ``bell`` wakes the encoder, ``reports_bell`` the reporter, ``departures_bell`` the forwarder.
    """

    def __init__(
        self,
        settings: Settings,
        bell: Doorbell | None = None,
        seats: Seats | None = None,
        reports_bell: Doorbell | None = None,
        departures_bell: Doorbell | None = None,
    ) -> None:
        self.settings = settings
        self._bell = bell or Doorbell()
        reports_bell = reports_bell or Doorbell()
        departures_bell = departures_bell or Doorbell()
        self._departures = Departures(settings, departures_bell, prefetches=True)
        self.archive = open_archive(settings, self._bell, self._departures)
        self.server = DimseServer(self.archive, lambda: self.settings, seats, reports_bell)
        self.encoder = _encoder(self.archive, self._bell, settings) if bell is None else None
        self._encoding = threading.Thread(target=self._encode, name="encoder", daemon=True)
        loops: list[Loop] = [Prefetcher(self.archive, self._departures)]
        if bell is None:
            loops += _background(self.archive, lambda: self.settings, reports_bell, departures_bell)
        self._background = Background(loops)
        self._seats = seats

    def start(self, listening: socket.socket | None = None) -> tuple[str, int]:
        """Recover what a crash left, then listen; returns host and port."""
        take_up(self.archive)
        self.archive.prepare()
        if self.encoder is not None:
            self._encoding.start()
        self._background.start()
        return self.server.start(listening)

    def _encode(self) -> None:
        if self.encoder is not None:
            self.encoder.run()

    def reload(self, settings: Settings) -> None:
        """Take over peers, policy, access and limits; what is under way finishes as it began."""
        self.settings = _reloaded(self.settings, settings)
        self.archive.use_policy(self.settings.policy)
        self._departures.use(self.settings)
        if self.encoder is not None:
            self.encoder.pace = _pace(settings)
            self._bell.ring()
        if self._seats is not None:
            self._seats.limit = settings.limits.associations
        self.server.apply_settings()
        self._background.hasten()
        structlog.get_logger("zscp").info("configuration reloaded", peers=len(settings.peer))

    def stop(self) -> None:
        """Stop serving and let go of everything."""
        self.server.stop()
        self._background.stop()
        if self.encoder is not None and self._encoding.is_alive():
            self.encoder.stop()
            self._encoding.join()
        self.archive.close()


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
        self._encoder = _encoder(self._archive, bell, settings, number)
        self._thread = threading.Thread(target=self._encoder.run, name="encoder")
        self._background = (
            Background(_background(self._archive, lambda: self._settings, *bells))
            if bells
            else Background(())
        )

    def start(self) -> None:
        take_up(self._archive)  # what this one's predecessor left, if it died
        self._thread.start()
        self._background.start()

    def reload(self) -> None:
        settings = self._reread()
        if settings is not None:
            self._settings = _reloaded(self._settings, settings)
            self._archive.use_policy(settings.policy)
            self._encoder.pace = _pace(settings)
            self._bell.ring()
            self._background.hasten()

    def stop(self) -> None:
        self._background.stop()
        self._encoder.stop()
        self._thread.join()
        self._archive.close()


def _workers(settings: Settings) -> int:
    return (os.cpu_count() or 1) if settings.node.workers == "auto" else int(settings.node.workers)
