"""Legal holds and the trash, which protect objects from being lost when they are replaced or deleted."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import structlog

from scp.background.parallel import beside
from scp.errors import DuplicateRejected, HoldUnreadable, ObjectDamaged, OutOfResources
from scp.model import Instance
from scp.objects.bucket import Bucket
from scp.objects.holds import Hold, Holds
from scp.objects.trash import Trash
from scp.objects.trashed import Trashed

# The name of the lock of trash and holds among all nodes (scp.index.index.Index.exclusive).
TRASH = "trash"
# A C-STORE that replaces other content waits for it, and its peer waits for limits.dimse_seconds, 60 s or so.
TRASH_SECONDS = 20.0
# How old may be what is known of holds where that only decides when an object is recorded; and how old if a
# bucket is asked, or does not answer, meanwhile.
_FRESH_SECONDS, _KNOWN_SECONDS = 1.0, 3.0


def keys_of(one: Instance) -> dict[str, str]:
    """The unique keys of an object, by level, and the issuer of its Patient ID."""
    return {
        "ISSUER": one.issuer_of_patient_id,
        "PATIENT": one.patient_id,
        "STUDY": one.study_instance_uid,
        "SERIES": one.series_instance_uid,
        "IMAGE": one.sop_instance_uid,
    }


def is_under_hold(holds: Iterable[Hold], one: Instance) -> bool:
    """Whether any hold is on an object."""
    keys = keys_of(one)
    return any(hold.covers(keys) for hold in holds)


def is_kept(holds: Iterable[Hold], one: Trashed) -> bool:
    """Whether any hold is on an object in the trash, or on the lossy copy that a stage kept in its place."""
    names = (one.uids, {**one.uids, "IMAGE": one.lossy_copy}) if one.lossy_copy else (one.uids,)
    return any(hold.covers(keys) for hold in holds for keys in names)


def trashed(one: Instance, reason: str, at: float, lossy_copy: str = "") -> Trashed:
    """An object as the trash lists it; ``at`` is in seconds since 1970.

    ``lossy_copy`` is the SOP Instance UID of what a stage keeps in its place.
    """
    return Trashed(
        one.key,
        one.sop_instance_uid,
        one.study_instance_uid,
        one.stored_size,
        reason,
        at,
        keys_of(one),
        one.received_sha256,
        lossy_copy=lossy_copy,
    )


def made_lossy(original: Instance, copy: Instance, at: float) -> Trashed:
    """The original of a lossy copy, as the trash lists it; ``at`` as for :func:`trashed`."""
    reason = f"made lossy: {copy.sop_instance_uid} is kept in its place"
    return trashed(original, reason, at, copy.sop_instance_uid)


def entry_id(one: Instance, *more: str) -> str:
    """The id of the entry of an object that another one replaces: the same each time it is tried.

    So a process that dies before the file is removed leaves one entry, however often others take that up.
    ``more`` tells apart what is not the same for the caller.
    """
    told = (*one.identity, one.received_sha256, one.received_at.isoformat(), *more)
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:32]


def has_uid_of_original(instance: Instance) -> bool:
    """Whether it is a lossy copy that a stage keeps under the SOP Instance UID of its original."""
    return instance.lossy_of == instance.sop_instance_uid


class RecentHolds:
    """The holds as they were lately: nobody waits for a bucket. Those in a folder are the present ones.

    The folder is read again when it has changed. If that was less than a second before the reading, it may
    have changed again in the same moment, and is read once more a second later.
    """

    def __init__(self, holds: Holds, in_bucket: bool) -> None:
        self._holds, self._in_bucket = holds, in_bucket
        self._known: dict[tuple[str, str], list[Hold]] | None = None  # by level and unique key
        self._stamp: int | None = None
        self._asked = -_KNOWN_SECONDS
        self._stays = False
        self._reading = threading.Lock()
        self._asking: Future[None] | None = None

    def may_cover(self, one: Instance) -> bool:
        """Whether a hold covers an object; yes where the holds are not known, or cannot be read."""
        known, keys = self._recent(), keys_of(one)
        if known is None:
            return True
        return any(hold.covers(keys) for named in keys.items() for hold in known.get(named, ()))

    def _recent(self) -> dict[tuple[str, str], list[Hold]] | None:
        if self._in_bucket:
            age = time.monotonic() - self._asked
            if age >= _FRESH_SECONDS and (self._asking is None or self._asking.done()):
                self._asking = beside(lambda: self._ask(None))
            return self._known if age < _KNOWN_SECONDS else None
        if not self._is_present():
            with self._reading:
                if not self._is_present():
                    self._ask(self._holds.stamp())
        return self._known

    def _is_present(self) -> bool:
        is_recent = self._stays or time.monotonic() - self._asked < _FRESH_SECONDS
        return is_recent and self._stamp == self._holds.stamp()

    def _ask(self, stamp: int | None) -> None:
        asked, stays = time.monotonic(), stamp is None or time.time_ns() - stamp > _FRESH_SECONDS * 1e9
        known: dict[tuple[str, str], list[Hold]] = {}
        try:
            for hold in self._holds.all():
                known.setdefault((hold.level, hold.uid), []).append(hold)
        except (ObjectDamaged, OSError, OutOfResources):
            self._known, self._stays = None, False
        else:
            self._known, self._stays = known, stays
        self._stamp, self._asked = stamp, asked


class Safekeeping:
    """The holds and the trash of stores, by their names: each is given as its folder, or its bucket.

    ``alone`` is a lock among all nodes that share the stores. ``clock`` gives the time at which something
    goes to the trash (:meth:`scp.archive.trusted_time.TrustedTime.at_least`), ``trusted`` the time by which
    something in it is old (``now`` there).
    """

    def __init__(
        self,
        places: Mapping[str, Path | Bucket],
        alone: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.time,
        trusted: Callable[[], float] = time.time,
    ) -> None:
        self.trash, self.clock = Trash(places, alone, trusted), clock
        self.holds = Holds(places[""])
        self._recent = RecentHolds(self.holds, isinstance(places[""], Bucket))

    @contextmanager
    def replacing(self, held: Instance) -> Iterator[None]:
        """Around the replacement of ``held`` by other content: no legal hold can be added meanwhile.

        Raises DuplicateRejected if it is under a hold, HoldUnreadable if a hold cannot be read.
        """
        with self.trash.lock():
            if is_under_hold(self._known_holds(), held):
                raise DuplicateRejected(
                    "the SOP instance is under a legal hold; the other content is refused"
                )
            yield

    def may_be_held(self, one: Instance) -> bool:
        """Whether an object is under a hold, as far as is known without waiting; yes where nothing is."""
        return self._recent.may_cover(one)

    def is_held(self, one: Instance) -> bool:
        """Whether an object is under a hold now. Raises HoldUnreadable if a hold cannot be read."""
        return is_under_hold(self._known_holds(), one)

    def _known_holds(self) -> list[Hold]:
        try:
            return self.holds.all()
        except ObjectDamaged as error:
            structlog.get_logger("zscp").error("nothing is replaced meanwhile", reason=str(error))
            raise HoldUnreadable("a legal hold cannot be read, so that nothing is replaced") from error

    def keep(self, replaced: Instance, by: Instance) -> bool:
        """Put the file of a replaced object into the trash, inside :meth:`replacing`.

        ``by`` is what was sent, or a lossy copy of it. False if the trash could not take the file: then
        it must stay where it is. So must a record of a landing log, which another node put in the place of
        ``replaced`` after the lock was lost, as where PostgreSQL was restarted: its node puts it into the
        trash when it finds it replaced.
        """
        sender = by.calling_aet or "an unnamed AE"
        log = structlog.get_logger("zscp")
        try:
            if by.lossy_of == replaced.sop_instance_uid:
                entry = made_lossy(replaced, by, self.clock())
            else:
                entry = trashed(replaced, f"replaced by an object from {sender}", self.clock())
            begun = self.trash.begin([replace(entry, id=entry_id(replaced))])
            for one in begun:
                self.trash.mark(one, "gone")
        except (OSError, OutOfResources) as error:
            log.error(
                "the trash cannot take a replaced object; its file stays until the next start",
                key=replaced.key,
                reason=str(error),
            )
            return False
        if not begun:
            return False
        log.info(
            "replaced",
            sop_instance=replaced.sop_instance_uid,
            calling_aet=by.calling_aet,
            bytes=replaced.stored_size,
        )
        return True
