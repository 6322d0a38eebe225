"""How an archive is built from its settings, and made ready: folders, stores, index, landing log, cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from scp import spool
from scp.archive.admission import Admission
from scp.archive.archive import Archive
from scp.archive.elsewhere import Cluster, Elsewhere
from scp.archive.forwarding import Forwarding
from scp.archive.options import Options
from scp.archive.pairing import NO_INDEX, NO_STORE, Pairing
from scp.archive.pending import PendingBound
from scp.archive.safekeeping import TRASH, TRASH_SECONDS, Safekeeping
from scp.archive.stored_files import StoredFiles
from scp.archive.trusted_time import TrustedTime
from scp.background.doorbell import Doorbell
from scp.background.progress import Progress, Silent
from scp.config.keys import keys_of
from scp.config.settings import Settings
from scp.config.stores import TierSettings
from scp.errors import ConfigurationError, IndexDamaged, IndexUnfit, ObjectChanged, OutOfResources
from scp.index.databases import Database
from scp.index.exclusive import opening
from scp.index.files import exists, set_aside
from scp.index.sql import SqlIndex
from scp.lifecycle.rebuild import make_fit
from scp.lifecycle.recovery import recover
from scp.node.account import check_account
from scp.node.encryption import missing_keys, note_keys
from scp.node.heartbeat import check_alone, register
from scp.node.itself import itself, own_folder
from scp.objects.attempts import Attempts
from scp.objects.bucket import Bucket
from scp.objects.bucket_marks import BucketMark, BucketMedium
from scp.objects.decoded import FOLDER, DecodedCache
from scp.objects.encrypted import Cipher
from scp.objects.landed import LandedStore
from scp.objects.landing import LandingLog
from scp.objects.mark import ArchiveMark, StoreMark
from scp.objects.store import AVAILABILITIES
from scp.objects.stores import StorePlace, open_store, places, request_seconds
from scp.objects.tiers import Medium, MediumMark, Tier, TieredStore
from scp.resources import bounds, budget, room
from scp.resources.malloc import keep_large_apart
from scp.resources.room import Room

_SILENT = Silent()


def open_archive(
    settings: Settings,
    bell: Doorbell | None = None,
    forwarding: Forwarding | None = None,
    repairs: bool = False,
) -> Archive:
    """Open the archive that the settings describe; its folders and index are made where they are missing.

    This does not check whether the index knows what the stores hold: :func:`take_up` does. With ``repairs``,
    a damaged index is kept under another name, and a new one is made.

    With a ``bell``, objects may be encoded after their response, and the bell wakes the encoder.
    ``forwarding`` wakes the forwarder for what is to be sent on; without it, the next look finds that.
    Raises OutOfResources when the index cannot be opened, IndexDamaged, and ConfigurationError.
    """
    storage = settings.storage
    own = own_folder(settings)
    check_account(own)
    _check_mounted(settings)
    storage.path.mkdir(parents=True, exist_ok=True)
    own.mkdir(parents=True, exist_ok=True)
    _use_limits(settings)
    placed = places(settings)
    mark = _mark_in(placed[""])
    index = _repaired_index(settings, mark) if repairs else SqlIndex.open(database_of(settings))
    mediums = {chosen.name: _medium(placed[chosen.name], chosen.name) for chosen in settings.tiers}
    cluster = Cluster(index.nodes, itself(own).id)
    landed = _opened_stores(settings, mediums, cluster)
    elsewhere = Elsewhere(cluster, index, landed)
    pairing = Pairing(index, mark, mediums, StoredFiles(landed).are_there)
    pairing.begin()
    note_keys(settings, {name: medium.is_there() for name, medium in mediums.items()})
    if repairs:
        for told in missing_keys(settings):
            structlog.get_logger("zscp").error("encryption key missing", reason=told)
    clock = TrustedTime(index.meta, lambda: _times_shown(index, safekeeping))
    safekeeping = Safekeeping(placed, partial(index.exclusive, TRASH, TRASH_SECONDS), clock.at_least)
    options = Options(
        storage.duplicates,
        Admission(storage.incomplete, storage.unreadable),
        pending=_pending_bound(index, elsewhere, storage.backlog, bell),
        forwarding=forwarding or Forwarding(settings),
        safekeeping=safekeeping,
        attempts=Attempts(own),
        pairing=pairing,
        decoded=_decoded_cache(settings),
        landing=storage.landing,
        elsewhere=elsewhere,
        clock=clock,
    )
    return Archive(landed, index, settings.policy, options)


def _times_shown(index: SqlIndex, safekeeping: Safekeeping) -> list[float]:
    """Times that the clock has shown, for an index that remembers none: new, or an earlier version's."""
    known = (index.history.last_look(), index.history.last_received())
    latest, _ = safekeeping.trash.latest(0, 1)
    return [*(one.at for one in latest), *(one.timestamp() for one in known if one is not None)]


def database_of(settings: Settings) -> Database:
    """Where the index is, with what it takes to open it."""
    chosen = settings.index
    return Database(chosen.url, chosen.password.get_secret_value(), chosen.connections)


def _use_limits(settings: Settings) -> None:
    """Set the limits of this process, and of those that it forks."""
    storage = settings.storage
    spool.keep_in(own_folder(settings), storage.reserve)
    room.use([Room(settings.folders[name], store.reserve) for name, store in settings.stores.items()])
    bounds.use(settings.limits.bounds)
    budget.use(settings.limits.memory)
    keep_large_apart()


def _opened_stores(settings: Settings, mediums: Mapping[str, Medium], cluster: Cluster) -> LandedStore:
    """The first store, those beside it, and the landing log before them. Raises ConfigurationError."""
    storage = settings.storage
    keys = keys_of(storage.encryption_keys)
    store = open_store(_place(settings))
    if settings.tiers:
        store = TieredStore(
            store, [_tier(settings, chosen, mediums[chosen.name]) for chosen in settings.tiers]
        )
    log = LandingLog(own_folder(settings), storage.reserve, node=cluster.own)
    return LandedStore(store, log, Cipher(keys), cluster)


def _pending_bound(
    index: SqlIndex, elsewhere: Elsewhere, most: int, bell: Doorbell | None
) -> PendingBound | None:
    if bell is None or not most:
        return None
    return PendingBound(lambda: index.count_pending(elsewhere.prefixes()).size, most, bell)


def _decoded_cache(settings: Settings) -> DecodedCache | None:
    """The cache; none where any store is encrypted, as its files are not: those that are left are removed."""
    path, size = own_folder(settings) / FOLDER, settings.cache.bytes
    if settings.encrypts:
        shutil.rmtree(path, ignore_errors=True)
        return None
    return DecodedCache(path, size, settings.storage.reserve) if size else None


def _check_mounted(settings: Settings) -> None:
    """Raises ConfigurationError where the index names objects, and the first store has no trace of any.

    Before anything is made: below an empty mount point it would lie on another disk, and the mount hides it.
    What other stores hold does not count: an index rebuilt from these alone would lack all others.
    """
    place = database_of(settings)
    if settings.storage.in_bucket or _mark_in(places(settings)[""]).read() is not None:
        return
    if not exists(place) or _holds_files(settings):  # then a damaged index is made again from these
        return
    try:
        if not SqlIndex.is_current(place):
            return
        index = SqlIndex.open(place)
    except IndexDamaged as error:
        raise ConfigurationError(f"{error}; and {NO_STORE}") from error
    try:
        if index.has_keys(""):
            raise ConfigurationError(NO_STORE)
    finally:
        index.close()


def require_index(settings: Settings) -> None:
    """Raises IndexUnfit where the stores hold something and there is no index: to open it would make one.

    Raises OutOfResources where a bucket does not answer.
    """
    storage = settings.storage
    if not (storage.in_bucket or storage.path.exists()) or exists(database_of(settings)):
        return
    if _mark_in(places(settings)[""]).read() is not None or _holds_files(settings):
        raise IndexUnfit(NO_INDEX)


def _holds_files(settings: Settings) -> bool:
    store = LandedStore(open_store(_place(settings)), LandingLog(settings.storage.path))
    return StoredFiles(store).are_there()


def _repaired_index(settings: Settings, mark: StoreMark) -> SqlIndex:
    """Open the index, and check all of it where it is small or was found damaged.

    A damaged one is kept under another name, and a new one is made.
    """
    place = database_of(settings)
    with opening(place) if settings.storage.in_bucket else mark.lock():
        found = mark.read()
        thorough = found is not None and found.suspect
        try:
            index = SqlIndex.open(place, check=True, thorough=thorough)
        except IndexDamaged as error:
            kept = set_aside(place)
            structlog.get_logger("zscp").error("the index is damaged", reason=str(error), kept_as=kept)
            index = SqlIndex.open(place)
        if found is not None and thorough:
            with suppress(ObjectChanged):  # another process wrote it: the next start checks all again
                mark.write(replace(found, suspect=False))
    return index


def _tier(settings: Settings, chosen: TierSettings, medium: Medium) -> Tier:
    """A store beside the first."""
    store = open_store(_place(settings, chosen.name))
    availability = AVAILABILITIES[chosen.availability]
    return Tier(chosen.name, store, medium.is_there, availability, chosen.fetch_seconds)


def _place(settings: Settings, name: str = "") -> StorePlace:
    """Where to open a store; one beside the first may be taken away. Raises ConfigurationError."""
    chosen = settings.stores[name]
    return StorePlace(
        chosen.url,
        settings.folders[name],
        chosen.reserve,
        removable=bool(name),
        bucket=chosen.bucket,
        seconds=request_seconds(settings, name),
        encryption_keys=keys_of(chosen.encryption_keys),
    )


def _mark_in(place: Path | Bucket) -> StoreMark:
    return ArchiveMark(place) if isinstance(place, Path) else BucketMark(place)


def _medium(place: Path | Bucket, name: str) -> Medium:
    return MediumMark(place, name) if isinstance(place, Path) else BucketMedium(place, name)


def make_ready(archive: Archive, settings: Settings, start: str, progress: Progress = _SILENT) -> None:
    """What one process of a node does before any other: as :func:`take_up`, and other nodes are told of it.

    ``start`` is new each time a node starts. Raises ConfigurationError, OutOfResources.
    """
    check_alone(archive, settings, start)
    take_up(archive, progress)
    with suppress(OutOfResources):  # then the first turn of retention looks, or purges nothing
        archive.clock.look()  # before anything of this start tells of a time that may be wrong
    register(archive, settings, start)


def take_up(archive: Archive, progress: Progress = _SILENT) -> None:
    """Rebuild the index where it does not know what the stores hold; recover what dead processes left.

    Raises ConfigurationError where an admin has to decide which index and stores are meant.
    """
    make_fit(archive, progress)
    found = recover(archive)
    if found.recorded or found.damaged or found.unfinished:
        structlog.get_logger("zscp").warning(
            "recovered", objects=found.recorded, damaged=found.damaged, unfinished=found.unfinished
        )
