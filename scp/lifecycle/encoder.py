"""Encoding after the response: objects that were stored as received get the form that their rule asks for.

Those that were encoded before it, and lie in the landing log in their form, only get files of their own.

There is no queue: what is to be done is a query (``Index.pending``), so this may be killed at any moment and
started again. Where several nodes share a store, each encodes what is in its own landing log, and claims what
it encodes of the store: what a dead node had put there is encoded by others.

Order, for each batch: new forms durable and proven → the index names them → that is durable
→ old files removed, full segments of the landing log freed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime

import structlog

from scp.archive.archive import Archive
from scp.archive.repair import repair_from_siblings
from scp.archive.replacement import Change
from scp.background.back_off import BackOff
from scp.background.doorbell import Doorbell
from scp.background.loop import Task
from scp.background.parallel import yield_to_others
from scp.errors import FormLacksRoom, ObjectDamaged, ObjectMissing, ObjectRefused, ZscpError
from scp.index.queue import Lease, claimed
from scp.lifecycle.loss_audit import NOT_AUDITED, LossAudit
from scp.lifecycle.pace import Pace
from scp.lifecycle.recovery import Recovered, take_up_landed
from scp.lifecycle.stages import Stages, first_bytes, replaced
from scp.lifecycle.training import Automatic
from scp.model import Instance

# One commit and one sync for so many objects, or so many bytes of them.
_BATCH, _BATCH_BYTES = 64, 64 << 20
_ROUNDS_BEFORE_FREEING = 8
# Objects of one association come 1 to 10 ms apart, those of a modality in use seconds apart. Into servers
# that are busy, or far away, they come up to 100 ms apart, and encoding would ask the same servers.
QUIET_SECONDS, QUIET_BESIDE_SERVERS = 0.05, 0.3
# How long an object is left alone that could not be encoded or put in its place, through no fault of its own.
# One for which there is no room waits twice as long each time.
_PUT_OFF = BackOff(60.0, 3600.0)
# No bell rings when a stage becomes due, or when the claims of a dead process end.
_LOOK_SECONDS = 60.0


class Encoder(Task):
    """Encodes what is pending, in a process of its own; a node has one.

    Where ``pace`` returns a pace, it then carries out later stages in the name of ``owner``
    (:mod:`scp.lifecycle.stages`). Others may do that beside it, each with an owner of its own: they are not
    ``first``, and leave pending objects to the one that is.

    It yields to receiving: it waits for ``quiet`` seconds in which nothing arrives, unless more than
    ``eager`` bytes wait already, and its threads run only when no other wants the core. The bound on the
    backlog keeps them from starving: when it is reached, objects are encoded before their response.
    """

    name = "encoding"
    is_waited_for = True  # an object may take long, and what was done of it would be lost

    def __init__(  # noqa: PLR0913, PLR0917 - each process's own
        self,
        archive: Archive,
        bell: Doorbell,
        eager: int = 0,
        pace: Callable[[], Pace | None] = lambda: None,
        owner: str = "encoder",
        first: bool = True,
        clock: Callable[[], float] = time.monotonic,
        quiet: float = QUIET_SECONDS,
        audit: LossAudit = NOT_AUDITED,
    ) -> None:
        super().__init__(bell)
        self._archive, self._pace, self._first, self._eager, self._clock = archive, pace, first, eager, clock
        self._quiet = quiet
        self._renewed = not first
        self._training = Automatic(archive)
        self._put_off: dict[str, float] = {}  # until when, by the monotonic clock
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "encoder", initializer=yield_to_others)
        self._stages = Stages(archive, owner, self._pool, audit=audit)
        self._claimant = f"pending/{owner}"

    def stop(self) -> None:
        """Begin no other object."""
        super().stop()
        self._stages.stop()

    def close(self) -> None:
        """See :class:`scp.background.loop.Task`."""
        self._pool.shutdown()

    def turn(self) -> float:
        """Encode until nothing is pending or due; returns the seconds to rest. Raises OutOfResources."""
        if not self._renewed:
            self._archive.trials.allow_outdated()
            self._renewed = True
        while not self.stopping.is_set():
            if self._first:
                self._work_on_pending()
            if not self._work_on_stages():
                break
        return self._rest()

    def _rest(self) -> float:
        """The seconds until the next look, if no bell rings."""
        if (pace := self._pace()) is None:
            return _LOOK_SECONDS  # what was put off, or waits without a ring, has its turn
        if closed := pace.closed_for(datetime.now()):
            return min(closed, _LOOK_SECONDS)
        due = self._stages.seconds_until_due()  # 0: something became due since the last look
        return _LOOK_SECONDS if due is None else min(due, _LOOK_SECONDS)

    def _work_on_pending(self) -> None:
        rounds = 0
        while not self.stopping.is_set():
            self._wait_for_quiet()
            if not self.round():
                break
            rounds += 1
            if rounds % _ROUNDS_BEFORE_FREEING == 0:
                self.free()
        self.free()

    def _work_on_stages(self) -> bool:
        """Carry out due stages; True when new objects came, False when there is no more to do now."""
        while not self.stopping.is_set() and (pace := self._pace()) is not None:
            if pace.closed_for(datetime.now()):
                break
            started = time.monotonic()
            planned = self._stages.plan()  # what was retrieved may be due before all else
            done = self._stages.round()
            if not done.tried and not planned:
                return False
            pause = pace.pause(done.cpu, time.monotonic() - started)
            if self.bell.wait(pause):
                return True
        return False

    def _wait_for_quiet(self) -> None:
        """Let a sender finish that sends one object after another."""
        while not self.stopping.wait(self._quiet) and self.bell.wait(0):
            if self._archive.count_pending().size > self._eager:
                return

    def round(self) -> bool:
        """One batch; False when there was nothing to do. Raises OutOfResources."""
        batch = self._batch()
        with self._ours(batch) as ours:
            self._encode(ours)
        return bool(batch)

    @contextmanager
    def _ours(self, batch: list[Instance]) -> Iterator[list[Instance]]:
        """Those that this node encodes: its own landed ones and, of the shared store, what it has claimed.

        Without other nodes nothing is claimed: this encoder is the only one.
        """
        keeps = self._archive.files.keeps
        shared = [one for one in batch if keeps(one.key)] if self._archive.elsewhere.prefixes() else []
        if not shared:
            yield batch
            return
        with claimed(self._archive.claims, Lease.begin(self._claimant), shared) as mine:
            landed = [one for one in batch if not keeps(one.key)]
            yield [*landed, *(one for one in mine if one.pending)]

    def _encode(self, batch: list[Instance]) -> None:
        suspects = [one for one in batch if self._archive.trials.is_suspect(one)]
        self._done(list(self._pool.map(self._encoded, (one for one in batch if one not in suspects))))
        for one in suspects:  # one at a time: its result is stored before the next begins
            if not self.stopping.is_set():
                self._done([self._pool.submit(self._encoded, one).result()])

    def _done(self, found: list[Change | None]) -> None:
        """Put new forms in their places. Raises OutOfResources, where none can be, and puts them off."""
        changes = [one for one in found if one is not None]
        try:
            taken = replaced(self._archive, changes, self._tell)
        except Exception:
            for one in changes:  # even if these are at fault after all, they hold up nothing else
                self._put_off[one.before.key] = self._clock() + _PUT_OFF.first
            raise
        if taken:
            self._training.saw(taken)
            self._training.work(lambda task: self._pool.submit(task).result())

    def _tell(self, change: Change, error: Exception) -> None:
        """Put off an object whose new form cannot be put in its place, where others' can."""
        self._later(change.before, error, at_once=False)

    def _batch(self) -> list[Instance]:
        now = self._clock()
        self._put_off = {key: until for key, until in self._put_off.items() if until > now}
        found = self._archive.pending(_BATCH + len(self._put_off))
        return list(first_bytes((one for one in found if one.key not in self._put_off), _BATCH_BYTES))

    def _encoded(self, instance: Instance) -> Change | None:
        """The new form of an object; None where there is none.

        A damaged or missing object waits until it is repaired. One that fails otherwise is tried again alone,
        and then refused (:meth:`scp.archive.trials.Trials.of`), unless it is not the object's fault.
        None is begun once this is to stop.
        """
        if self.stopping.is_set():
            return None
        try:
            return self._archive.encode(instance)
        except ObjectMissing:
            held = self._archive.current(instance.identity)
            if held is None or held.key != instance.key:
                return None  # deleted or replaced since it was found
            if repair_from_siblings(self._archive, held):  # encoded by a process with an index that is gone
                return None
            self._damaged(instance, "it is not there")
        except (ObjectDamaged, ObjectRefused) as error:
            self._damaged(instance, str(error))
        except Exception as error:  # noqa: BLE001 - one object must not stop all others
            self._later(instance, error)
        return None

    def _damaged(self, instance: Instance, reason: str) -> None:
        """Note the damage; it is found again when it is repaired (:mod:`scp.lifecycle.scrub`) or restored."""
        uid = instance.sop_instance_uid
        structlog.get_logger("zscp").error("cannot be encoded", sop_instance=uid, reason=reason)
        self._archive.integrity.note([(instance, reason)], time.time())

    def _later(self, instance: Instance, error: Exception, at_once: bool = True) -> None:
        """Try a failed object again later; ``at_once``, and alone, if the failure counts as its fault."""
        if not (at_once and self._archive.trials.counts(instance)) or isinstance(error, (ZscpError, OSError)):
            times = error.times if isinstance(error, FormLacksRoom) else 1
            self._put_off[instance.key] = self._clock() + _PUT_OFF.after(times - 1)
        uid = instance.sop_instance_uid
        structlog.get_logger("zscp").error("encoding failed", sop_instance=uid, exc_info=error)

    def free(self) -> None:
        """Free the segments of the landing log whose records are all over: nobody needs them any more.

        A record that is neither over nor named by the index is taken up first: the index has lost its row, or
        the process that encoded it died before that was noted.
        """
        if not self._archive.index_fault():
            self._archive.remove_replaced()
            take_up_landed(self._archive, Recovered())
            self._archive.interrupted.free()
