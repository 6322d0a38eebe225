"""What the processes of a node do besides serving, each a loop of its own (:mod:`scp.background.loop`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scp.archive.archive import Archive
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.background.doorbell import Doorbell
from scp.background.loop import Every, Task
from scp.config.settings import Settings
from scp.dimse.patience import PAUSES, Pauses
from scp.dimse.scu.forward import Forwarder
from scp.dimse.scu.report import Reporter
from scp.lifecycle.encoder import QUIET_BESIDE_SERVERS, QUIET_SECONDS, Encoder
from scp.lifecycle.guard import LOOK_SECONDS as GUARD_SECONDS
from scp.lifecycle.guard import Guard
from scp.lifecycle.history import HistoryKeeper, TrafficWriter
from scp.lifecycle.loss_audit import by_itself
from scp.lifecycle.lost_commits import LOOK_SECONDS as COMMITS_SECONDS
from scp.lifecycle.lost_commits import LostCommits
from scp.lifecycle.name_indexing import NameIndexing
from scp.lifecycle.pace import Pace
from scp.lifecycle.retention import Retention
from scp.lifecycle.scrub import Scrubber
from scp.lifecycle.uploads import Uploader
from scp.metrics.counting import NodeFigures
from scp.node.auditing import ConfigurationWatch
from scp.node.renewal import daily
from scp.resources.malloc import LOOK_SECONDS as TRIM_SECONDS
from scp.resources.malloc import Trimmer
from scp.resources.pressure import LOOK_SECONDS as MEMORY_SECONDS
from scp.resources.pressure import pressure

# From 1/_EAGER of a full backlog on, encoding does not wait for a quiet moment.
_EAGER = 4

Current = Callable[[], Settings]


@dataclass(frozen=True, slots=True)
class Bells:
    """Wake the encoder, the reporter of storage commitment and the forwarder, in whichever process."""

    encoder: Doorbell = field(default_factory=Doorbell)
    reporter: Doorbell = field(default_factory=Doorbell)
    forwarder: Doorbell = field(default_factory=Doorbell)


def encoder(
    archive: Archive, settings: Current, bell: Doorbell, number: int = 1, trail: AuditTrail = NO_TRAIL
) -> Encoder:
    """One of the processes that carry out stages; the first also encodes what is pending.

    Each has the name that its predecessor had, so that it takes over what that one had claimed.
    """
    chosen = settings()
    eager, owner = chosen.storage.backlog // _EAGER, _owner(archive, chosen, number)
    beside_servers = chosen.storage.in_bucket or chosen.index.path is None
    quiet = QUIET_BESIDE_SERVERS if beside_servers else QUIET_SECONDS
    pace, audit = (lambda: _pace(settings())), by_itself(trail, chosen.node.aet)
    return Encoder(archive, bell, eager, pace, owner, number == 1, quiet=quiet, audit=audit)


def background(
    archive: Archive,
    settings: Current,
    bells: Bells,
    pauses: Pauses = PAUSES,
    trail: AuditTrail = NO_TRAIL,
    *,
    figures: NodeFigures,
) -> list[Task]:
    """The background work that one process does for a node, whose processes count into ``figures``."""
    return [
        Reporter(archive, settings, bells.reporter),
        Forwarder(archive, settings, bells.forwarder, pauses.send, trail),
        Scrubber(archive, settings, _owner(archive, settings(), 1)),
        Uploader(archive, lambda: settings().limits.stop_seconds),
        Retention(archive, settings, trail=trail),
        HistoryKeeper(archive, traffic_writer(archive, settings, figures)),
        ConfigurationWatch(trail, settings),
        NameIndexing(archive.index_names),
        daily(settings),
    ]


def traffic_writer(archive: Archive, settings: Current, figures: NodeFigures) -> TrafficWriter:
    """What writes the figures of a node's processes, of this run, into the index."""
    run = int(figures.began * 1000)
    return TrafficWriter(archive, figures.all, run, lambda: {peer.aet for peer in settings().peer})


def guards(archive: Archive, end: Callable[[], None], counts: bool) -> list[Task]:
    """Tasks of every process: check that its index is the right one and lost nothing; give memory back."""
    trimming = Every("trimming", TRIM_SECONDS, Trimmer().look)
    if archive.pairing is None:
        return [trimming]
    guard = Guard(archive.pairing, end, counts)
    commits = Every("looking for lost commits", COMMITS_SECONDS, LostCommits(archive).look)
    return [Every("guarding the index", GUARD_SECONDS, guard.watch), commits, trimming]


def memory_watch() -> Task:
    """The task of each process that serves: measure what the node takes of the memory."""
    return Every("watching the memory", MEMORY_SECONDS, lambda: pressure().look())


def _pace(settings: Settings) -> Pace | None:
    """The pace of each process that carries out stages; None where there is none."""
    chosen = settings.lifecycle
    return Pace(chosen.max_cpu / chosen.workers, chosen.hours) if chosen.workers else None


def _owner(archive: Archive, settings: Settings, number: int) -> str:
    """The name in which a process claims what it works on; nodes may share all but their ids."""
    node = settings.node
    return f"{archive.elsewhere.cluster.own}/{node.aet}@{node.host}:{node.port}/{number}"
