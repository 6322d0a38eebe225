"""The composition root: the one place where the parts are built and joined.

A node is some processes: one that holds the listening socket and starts the others, workers that serve
associations from that socket, and an encoder that works behind them. :class:`Node` is all of it in one
process, for who wants a node inside a program.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import structlog

from scp import spool
from scp.archive.admission import Admission
from scp.archive.archive import Archive
from scp.archive.forwarding import Forwarding
from scp.archive.options import Options
from scp.archive.pairing import NO_INDEX, Pairing
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import Safekeeping
from scp.archive.stored_files import StoredFiles
from scp.background.doorbell import Doorbell
from scp.background.loops import Background, Loop
from scp.background.progress import Progress, Silent
from scp.config.settings import Settings, TierSettings
from scp.dimse.scu.forward import Forwarder
from scp.dimse.scu.prefetch import Prefetcher
from scp.dimse.scu.report import Reporter
from scp.dimse.server import DimseServer
from scp.encoding.cage.caged import prepare
from scp.errors import IndexDamaged, IndexUnfit
from scp.index.files import exists, set_aside
from scp.index.sql import SqlIndex
from scp.lifecycle.encoder import Encoder
from scp.lifecycle.guard import Guard
from scp.lifecycle.pace import Pace
from scp.lifecycle.rebuild import make_fit
from scp.lifecycle.recovery import recover
from scp.lifecycle.retention import Retention
from scp.lifecycle.scrub import Scrubber
from scp.node.seats import Seats
from scp.objects.attempts import Attempts
from scp.objects.decoded import FOLDER, DecodedCache
from scp.objects.landing import LandingLog
from scp.objects.local import LocalStore
from scp.objects.mark import ArchiveMark
from scp.objects.names import is_object
from scp.objects.store import AVAILABILITIES, ObjectStore
from scp.objects.tiers import MediumMark, Tier, TieredStore
from scp.resources import bounds, budget, room
from scp.resources.malloc import Trimmer, keep_large_apart
from scp.resources.room import Room

# From this part of a full backlog on, encoding does not wait for a quiet moment.
_EAGER = 4
# How long what a process died of waits to be alone, where peers wait.
_PATIENCE_SECONDS = 5.0
_SILENT = Silent()


def open_archive(
    settings: Settings,
    bell: Doorbell | None = None,
    forwarding: Forwarding | None = None,
    mends: bool = False,
) -> Archive:
    """The archive that the settings describe, its folders and index made where missing.

    Whether the index knows what the stores hold is not looked at: :func:`take_up` does. One that is damaged
    is kept under another name, and a new one made, where that ``mends``.

    With a ``bell`` objects may wait for their encoding, and it wakes who does that. ``forwarding`` knows who
    is woken for what is sent on; without, it is found by the next look.
    Raises OutOfResources when the index cannot be opened, IndexDamaged, and ConfigurationError.
    """
    storage = settings.storage
    storage.path.mkdir(parents=True, exist_ok=True)
    spool.keep_in(storage.path, storage.reserve)
    tiers = (Room(chosen.path, chosen.reserve) for chosen in settings.tiers)
    room.use([Room(storage.path, storage.reserve), *tiers])
    bounds.use(settings.limits.bounds)
    budget.use(settings.limits.memory)
    keep_large_apart()
    mark = ArchiveMark(storage.path)
    index = _mended_index(settings, mark) if mends else SqlIndex.open(settings.index.url)
    store: ObjectStore = LocalStore(storage.path, storage.reserve)
    mediums = {chosen.name: MediumMark(chosen.path, chosen.name) for chosen in settings.tiers}
    if settings.tiers:
        store = TieredStore(store, [_tier(chosen, mediums[chosen.name]) for chosen in settings.tiers])
    landing = LandingLog(storage.path, storage.reserve)
    pairing = Pairing(index, mark, mediums, StoredFiles(store, landing).are_there)
    pairing.begin()
    options = Options(
        storage.duplicates,
        Admission(storage.incomplete, storage.unreadable),
        landing,
        pending=_pending_bound(index, storage.backlog, bell),
        forwarding=forwarding or Forwarding(settings),
        safekeeping=Safekeeping(settings.folders),
        attempts=Attempts(storage.path),
        pairing=pairing,
        decoded=_decoded_cache(settings),
    )
    return Archive(store, index, settings.policy, options)


def _pending_bound(index: SqlIndex, most: int, bell: Doorbell | None) -> PendingBound | None:
    if bell is None or not most:
        return None
    return PendingBound(lambda: index.count_pending().size, most, bell)


def _decoded_cache(settings: Settings) -> DecodedCache | None:
    path, size = settings.storage.path / FOLDER, settings.cache.bytes
    return DecodedCache(path, size, settings.storage.reserve) if size else None


def require_index(settings: Settings) -> None:
    """Raises IndexUnfit where the stores hold something and there is no index: opening would make one."""
    path = settings.storage.path
    if exists(settings.index.url) or not path.exists():
        return
    if ArchiveMark(path).read() is not None or _holds_files(path):
        raise IndexUnfit(NO_INDEX)


def _holds_files(path: Path) -> bool:
    stored = LocalStore(path).keys()
    return next(chain(LandingLog(path).keys(), filter(is_object, stored)), None) is not None


def _mended_index(settings: Settings, mark: ArchiveMark) -> SqlIndex:
    """The index, read whole where it is small or was found damaged.

    A damaged one is kept under another name, and a new one made.
    """
    url = settings.index.url
    with mark.lock():
        found = mark.read()
        thorough = found is not None and found.suspect
        try:
            index = SqlIndex.open(url, check=True, thorough=thorough)
        except IndexDamaged as error:
            kept = set_aside(url)
            structlog.get_logger("zscp").error("the index is damaged", reason=str(error), kept_as=kept)
            index = SqlIndex.open(url)
        if found is not None and thorough:
            mark.write(replace(found, suspect=False))
    return index


def _tier(chosen: TierSettings, mark: MediumMark) -> Tier:
    """A store beside the first."""
    store = LocalStore(chosen.path, chosen.reserve, maps=False)
    availability = AVAILABILITIES[chosen.availability]
    return Tier(chosen.name, store, mark.is_there, availability, chosen.fetch_seconds)


def take_up(archive: Archive, progress: Progress = _SILENT) -> None:
    """Make the index anew where it does not know what the stores hold; recover what processes that died left.

    Raises ConfigurationError where an admin has to decide what index and stores are meant.
    """
    make_fit(archive, progress)
    found = recover(archive)
    if found.recorded or found.damaged or found.unfinished:
        structlog.get_logger("zscp").warning(
            "recovered", objects=found.recorded, damaged=found.damaged, unfinished=found.unfinished
        )


def reloaded(before: Settings, after: Settings) -> Settings:
    """What is taken over while running: all but where the node listens, and where it keeps things."""
    kept = {name: getattr(before, name) for name in ("node", "storage", "tiers", "cache", "index")}
    return after.model_copy(update=kept)


def encoder(archive: Archive, bell: Doorbell, settings: Settings, number: int = 1) -> Encoder:
    """One of the processes that carry out stages; the first also encodes what is pending.

    Each has the name that its predecessor had, so that it takes over what that one had claimed.
    """
    owner = _owner(settings, number)
    eager = settings.storage.backlog // _EAGER
    return Encoder(archive, bell, eager, pace(settings), owner, first=number == 1)


def pace(settings: Settings) -> Pace | None:
    """The pace of each process that carries out stages; None where there is none."""
    chosen = settings.lifecycle
    return Pace(chosen.max_cpu / chosen.workers, chosen.hours) if chosen.workers else None


def background(
    archive: Archive, settings: Callable[[], Settings], report_bell: Doorbell, send_bell: Doorbell
) -> list[Loop]:
    """What one process of a node does behind those who serve."""
    return [
        Reporter(archive, settings, report_bell),
        Forwarder(archive, settings, send_bell),
        Scrubber(archive, settings, _owner(settings(), 1)),
        Retention(archive, settings),
    ]


def guards(archive: Archive, end: Callable[[], None], counts: bool) -> list[Loop]:
    """Who watches a process: that it has the right index open, and keeps no memory that is free."""
    trimmer: list[Loop] = [Trimmer()]
    return [Guard(archive.pairing, end, counts), *trimmer] if archive.pairing is not None else trimmer


def _nobody() -> None:
    """Whoever has a node inside a program reads of it in the log."""


def _owner(settings: Settings, number: int) -> str:
    """In whose name a process claims what it works on."""
    node = settings.node
    return f"{node.aet}@{node.host}:{node.port}/{number}"


class Node:
    """An archive, its DIMSE server and, unless another process does it, what is done behind that.

    ``bell`` wakes the encoder, ``report_bell`` the reporter, ``send_bell`` the forwarder. ``end`` is
    called when the index has to be opened anew (:mod:`scp.lifecycle.guard`).
    """

    def __init__(
        self,
        settings: Settings,
        bell: Doorbell | None = None,
        seats: Seats | None = None,
        report_bell: Doorbell | None = None,
        send_bell: Doorbell | None = None,
        end: Callable[[], None] = _nobody,
    ) -> None:
        self.settings = settings
        self._bell = bell or Doorbell()
        report_bell = report_bell or Doorbell()
        send_bell = send_bell or Doorbell()
        self._forwarding = Forwarding(settings, send_bell, prefetches=True)
        self.archive = open_archive(settings, self._bell, self._forwarding, mends=True)
        self.archive.trials.wait_at_most(_PATIENCE_SECONDS)
        self.server = DimseServer(self.archive, lambda: self.settings, seats, report_bell)
        self.encoder = encoder(self.archive, self._bell, settings) if bell is None else None
        self._encoding = threading.Thread(target=self._encode, name="encoder", daemon=True)
        loops: list[Loop] = [Prefetcher(self.archive, self._forwarding)]
        loops += guards(self.archive, end, counts=bell is None)
        if bell is None:
            loops += background(self.archive, lambda: self.settings, report_bell, send_bell)
        self._background = Background(loops)
        self._seats = seats

    def start(self, listening: socket.socket | None = None) -> tuple[str, int]:
        """Recover what a crash left, then listen; returns host and port."""
        prepare()  # while there is time: what codec processes come from takes a second to import them
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
        self.settings = reloaded(self.settings, settings)
        bounds.use(self.settings.limits.bounds)
        self.archive.use_policy(self.settings.policy)
        self._forwarding.use(self.settings)
        if self.encoder is not None:
            self.encoder.pace = pace(settings)
            self._bell.ring()
        if self._seats is not None:
            self._seats.limit = settings.limits.associations
        self.server.apply_settings()
        self._background.hasten()
        structlog.get_logger("zscp").info("configuration reloaded", peers=len(settings.peer))

    def stop(self) -> None:
        """Stop serving and let go of everything."""
        self.archive.stopping()
        self.server.stop()
        self._background.stop()
        if self.encoder is not None and self._encoding.is_alive():
            self.encoder.stop()
            self._encoding.join()
        self.archive.close()
