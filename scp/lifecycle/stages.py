"""The stages of the policy, carried out on stored objects: these are found, claimed, encoded and replaced.

All state is in the index: any number of processes may do this at once, each may be killed at any moment, and
the next one goes on. Order, for each batch: claimed → new forms made and proven → durable
→ the index names them → that is durable → old files removed (:meth:`scp.archive.replacer.Replacer.replace`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

import structlog

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.background.back_off import BackOff
from scp.encoding.cage.caged import thread_time
from scp.errors import FormLacksRoom, ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources
from scp.index.queue import LEASE_SECONDS, Lease, claimed
from scp.lifecycle.loss_audit import NOT_AUDITED, LossAudit
from scp.lifecycle.new_dictionaries import NewDictionaries
from scp.lifecycle.planning import Planner
from scp.model import Instance
from scp.objects.names import store_of

# Few, as receiving waits for no more than a batch; many enough to share a commit and its syncs.
_BATCH, _BATCH_BYTES = 16, 16 << 20
_PLANNED_AT_ONCE = 500
# What failed for a reason that is not the object's is left alone for so long.
_FAILED = timedelta(hours=1)
# What only lacked room, or a lock that others had: an hour is too long for what may be over in a minute.
_LACKED = BackOff(60.0, 3600.0)
# And for so long where nothing can be put in its place: others have their turn meanwhile.
_NOTHING_TAKEN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one batch: ``changes`` of the instances that were ``tried``, and core seconds used.

    ``busy`` are those that others work on. ``failed`` is how many could not be read, or could not be encoded
    through no fault of their own.
    """

    tried: int = 0
    changes: tuple[Change, ...] = ()
    cpu: float = 0.0
    busy: tuple[Instance, ...] = ()
    failed: int = 0


class Stages:
    """Carries out stages in the name of ``owner``, which nobody else has.

    ``now`` gives the time by which stages are due, where that is not the archive's clock, which a jump does
    not make late: a stage may make objects lossy. ``steady`` gives seconds.
    """

    def __init__(  # noqa: PLR0913 - two clocks and a lease, which tests set
        self,
        archive: Archive,
        owner: str,
        pool: Executor,
        now: Callable[[], float] | None = None,
        lease_seconds: float = LEASE_SECONDS,
        *,
        audit: LossAudit = NOT_AUDITED,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive, self._audit = archive, audit
        self._index, self._claims = archive.stages, archive.claims
        self._owner = owner
        self._pool = pool
        self._now = now or archive.clock.now
        self._lease_seconds = lease_seconds
        self._dictionaries = NewDictionaries(archive, steady)
        self._begun = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Begin no other object: what is being encoded is finished."""
        self._stopped.set()

    def plan(self) -> bool:
        """Plan some of what was last planned under another policy; False when there is none."""
        self._dictionaries.look()
        archive = self._archive
        policy = archive.policy.fingerprint  # before its rules: new ones are not planned as old ones
        planner = Planner(archive.policy.rules, (), archive.policy.newest)
        found = self._index.unplanned(policy, planner.keywords, _PLANNED_AT_ONCE)
        self._index.plan(policy, [(one.instance, planner.next_due(one, archive.facts)) for one in found])
        if lacked := planner.lacked:
            log = structlog.get_logger("zscp")
            log.warning("no room to plan stages", objects=len(lacked), reason=lacked[0])
        return bool(found)

    def seconds_until_due(self) -> float | None:
        """How long until a stage is due for anything that nobody works on; None where none will be."""
        now = self._archive.clock.now()
        due = self._index.next_due(self._archive.policy.fingerprint, now)
        return None if due is None else max(0.0, due - now)

    def round(self) -> Round:
        """Carry out what is due for one batch. Raises OutOfResources."""
        if not self._begun:  # an owner of the same name may have died with claims
            self._claims.release(self._owner)
            self._begun = True
        due = self._index.due(self._archive.policy.fingerprint, self._archive.clock.now(), _BATCH)
        return self.carry_out(due)

    def carry_out(self, instances: Iterable[Instance]) -> Round:
        """Claim the first of some instances and carry out the stage that is due for each.

        Raises OutOfResources.
        """
        wanted = list(first_bytes(islice(instances, _BATCH), _BATCH_BYTES))
        if not wanted:
            return Round()
        with claimed(self._claims, Lease.begin(self._owner, self._lease_seconds), wanted) as mine:
            suspects = [one for one in mine if self._archive.trials.is_suspect(one)]
            done = self._carried_out([one for one in mine if one not in suspects], Round(0))
            for one in suspects:  # one at a time: its result is stored before the next begins
                done = self._carried_out([one], done)
        got = {one.identity for one in mine}
        busy = tuple(one for one in wanted if one.identity not in got)
        return replace(done, tried=len(wanted), busy=busy)

    def _carried_out(self, mine: list[Instance], before: Round) -> Round:
        return self._replaced(before, list(self._pool.map(self._encoded, mine)))

    def _replaced(self, begun: Round, done: list[_Encoded]) -> Round:
        failed = {one.failed: one.left_for for one in done if one.failed}

        def not_taken(change: Change, error: Exception) -> None:
            uid = change.before.sop_instance_uid
            failed[uid] = _left_for(error)
            structlog.get_logger("zscp").error("not put in its place", sop_instance=uid, reason=str(error))

        made = [one.change for one in done if one.change is not None]
        found: list[Change] = []
        try:
            found += self._lossy(made, not_taken)
            for store, changes in _by_store(change for change in made if change.loss is None):
                found += self._taken(store, changes, not_taken)
        finally:
            for left_for in set(failed.values()):
                uids = [uid for uid, span in failed.items() if span == left_for]
                self._claims.hold(uids, datetime.now(UTC) + left_for)
        return replace(
            begun,
            changes=(*begun.changes, *found),
            cpu=begun.cpu + sum(one.cpu for one in done),
            failed=begun.failed + len(failed),
        )

    def _lossy(self, changes: list[Change], not_taken: NotTaken) -> list[Change]:
        """Those of the changes that put a lossy copy in its place, one by one."""
        taken: list[Change] = []
        try:
            for change in changes:
                if change.loss is None:
                    continue
                try:
                    self._archive.losses.replace(change)
                except Exception as error:  # noqa: BLE001 - the original stays, and no other waits for it
                    not_taken(change, error)
                    continue
                taken.append(change)
                self._archive.forget_decoded([change.before])
        finally:  # whatever ends this, what was made lossy is told
            self._audit.lost(taken)
        return taken

    def _taken(self, store: str, changes: list[Change], not_taken: NotTaken) -> list[Change]:
        """The changes that were put in place; none where a store other than the first takes nothing.

        Raises OutOfResources where the first store takes nothing: no work goes on without it. Even if these
        objects are at fault, they do not hold up others.
        """
        try:
            return replaced(self._archive, changes, not_taken)
        except Exception as error:
            if not store or not isinstance(
                error, (ObjectDamaged, ObjectUnavailable, OSError, OutOfResources)
            ):
                uids = [one.before.sop_instance_uid for one in changes]
                self._claims.hold(uids, datetime.now(UTC) + _NOTHING_TAKEN)
                raise
            log = structlog.get_logger("zscp")
            log.error("store takes nothing", store=store, objects=len(changes), reason=str(error))
            for change in changes:
                not_taken(change, error)
            return []

    def _encoded(self, instance: Instance) -> _Encoded:
        if self._stopped.is_set() or instance.pending or instance.refused:
            return _Encoded(None)
        started = thread_time()
        log = structlog.get_logger("zscp")
        try:
            return _Encoded(self._archive.encode(instance, self._now()), thread_time() - started)
        except (ObjectDamaged, ObjectMissing, ObjectUnavailable) as error:
            if isinstance(error, ObjectMissing) and self._archive.current(instance.identity) is None:
                return _Encoded(None)  # deleted meanwhile
            log.error("cannot be encoded", sop_instance=instance.sop_instance_uid, reason=str(error))
            if isinstance(error, ObjectDamaged):  # it waits until it is repaired
                self._archive.integrity.note([(instance, str(error))], time.time())
            left_for = _FAILED
        except Exception as error:
            log.error("encoding failed", sop_instance=instance.sop_instance_uid, exc_info=error)
            left_for = _left_for(error)
        return _Encoded(None, thread_time() - started, instance.sop_instance_uid, left_for)


NotTaken = Callable[[Change, Exception], None]


def replaced(archive: Archive, changes: list[Change], not_taken: NotTaken) -> list[Change]:
    """Put new forms in their places: all at once or, where that fails, one by one.

    Returns the changes that were made; ``not_taken`` is called for the others. Where none can be made, raises
    what the first of them raised: then it is no fault of the objects.
    """
    if not changes:
        return []
    try:
        archive.replace(changes)
    except Exception:
        if len(changes) == 1:
            raise
    else:
        return changes
    taken, failed = [], list[tuple[Change, Exception]]()
    for change in changes:
        try:
            archive.replace([change])
            taken.append(change)
        except Exception as error:  # noqa: BLE001 - whatever it was, the others are not held up by it
            failed.append((change, error))
    if not taken:
        raise failed[0][1]
    for change, why in failed:
        not_taken(change, why)
    return taken


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What became of one object; one that ``failed``, by its UID, is left alone ``left_for`` so long."""

    change: Change | None
    cpu: float = 0.0
    failed: str = ""
    left_for: timedelta = _FAILED


def _left_for(error: Exception) -> timedelta:
    if not isinstance(error, OutOfResources):
        return _FAILED
    times = error.times if isinstance(error, FormLacksRoom) else 1
    return timedelta(seconds=_LACKED.after(times - 1))


def _by_store(changes: Iterable[Change]) -> Iterator[tuple[str, list[Change]]]:
    def store(change: Change) -> str:
        return store_of(change.after.key) if change.data is not None else ""

    for name, group in groupby(sorted(changes, key=store), key=store):
        yield name, list(group)


def first_bytes(instances: Iterable[Instance], most: int) -> Iterator[Instance]:
    """Instances until they come to ``most`` bytes as received; at least one, if there is one."""
    size = 0
    for instance in instances:
        yield instance
        size += instance.received_size
        if size >= most:
            return
