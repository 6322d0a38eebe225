"""The index behind the landing log: durable objects are acknowledged, then recorded in groups.

Each commit costs as much as all else of a small object, and an association that stores one object after the
other waits for each. But what makes the object durable is the landing log, which every start reads. So its
row may follow: one thread commits what was acknowledged in the last 20 ms together (docs/decisions/0194).

An object that was acknowledged is never given up. Where the commit fails, it is tried again until it
succeeds, and its record in the log stays: the next process records it where this one ends before. Meanwhile
:meth:`Behind.takes` says no, and new objects are answered after their commit.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial

import structlog

from scp.background.back_off import BackOff
from scp.background.parallel import beside
from scp.errors import OutOfResources, ZscpError
from scp.index.index import Index
from scp.model import Facts, Instance, Kept, QueuedSend, Received

# How long the first object of a group waits for others: ten come in that time on one association.
WINDOW_SECONDS = 0.02
# So many objects and bytes may wait. What they hold of memory is theirs until they are recorded.
MOST, MOST_BYTES = 64, 16 << 20
# How long a request waits for an object to be recorded: twice as long as the index lets a writer wait. And
# how long a release does: a peer that has less patience has all its answers, and breaks off.
PATIENCE_SECONDS, RELEASE_SECONDS = 20.0, 60.0
_AGAIN = BackOff(0.1, 5.0)
_STOP_SECONDS = 15.0
_ANSWERS_SECONDS = 1.0  # an index that takes longer for a group is in trouble


class Acknowledged:
    """An acknowledged object on its way into the index; ``kept`` is what its sender was told of it."""

    __slots__ = ("_calls", "_changed", "_hurry", "done", "kept")

    def __init__(self, kept: Kept, changed: threading.Condition, hurry: Callable[[], None]) -> None:
        self.kept, self.done = kept, False
        self._changed, self._hurry = changed, hurry
        self._calls: list[Callable[[Kept], object]] = []

    def then(self, call: Callable[[Kept], object]) -> None:
        """Call with what became of the object: at once, or from another thread, before :meth:`wait` returns.

        The calls come in this order. They must not wait for another object.
        """
        with self._changed:
            if not self.done:
                self._calls.append(call)
                return
        call(self.kept)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> bool:
        """Have it recorded now, and return when it is and all were told; False where that took longer."""
        if self.done:
            return True
        self._hurry()
        with self._changed:
            return self._changed.wait_for(lambda: self.done, seconds)

    def settle(self, kept: Kept) -> None:
        """Note what became of it."""
        self.kept = kept
        while True:
            with self._changed:
                calls, self._calls = self._calls, []
                if not calls:
                    self.done = True
                    self._changed.notify_all()
                    return
            for call in calls:
                try:
                    call(kept)
                except Exception as error:  # noqa: BLE001 - a bug there keeps nobody waiting for what is recorded
                    structlog.get_logger("zscp").error("not told what became of it", exc_info=error)


class Unrecorded:
    """What one sender was told is stored, and the index may not have yet; any thread may call."""

    def __init__(self) -> None:
        self._objects: list[Acknowledged] = []
        self._adding = threading.Lock()

    def add(self, one: Acknowledged) -> None:
        """Note that an object was acknowledged; those that are recorded meanwhile are forgotten."""
        with self._adding:  # or of two threads one would forget what the other adds
            self._objects = [*(other for other in self._objects if not other.done), one]

    def wait(self, seconds: float = PATIENCE_SECONDS) -> bool:
        """Return when the index has all of them; False where that took longer."""
        until = time.monotonic() + seconds
        newest_first = reversed(self._objects)  # when that one is recorded, the others mostly are
        return all(one.wait(max(0.0, until - time.monotonic())) for one in newest_first)

    def check(self) -> None:
        """As :meth:`wait`; raises OutOfResources where that took longer."""
        if not self.wait():
            raise OutOfResources("the index does not have yet what was stored before; try again later")


@dataclass(frozen=True, slots=True, eq=False)
class NewRow:
    """The row of an object whose record in the landing log is durable, and all that recording it takes.

    ``attributes`` and ``sends`` are recorded with ``instance``; ``kept`` is what the sender was told. What is
    logged of it then names the request that it came by, which is in ``context``.
    """

    received: Received
    facts: Facts
    instance: Instance
    attributes: Mapping[str, str]
    sends: tuple[QueuedSend, ...]
    kept: Kept
    context: Context = field(default_factory=copy_context)

    @property
    def size(self) -> int:
        """What it holds of memory, in bytes."""
        return len(self.received.dataset)


class Behind:
    """Records acknowledged objects, for all threads of a process; its own thread begins with the first one.

    ``settle`` is called for each object after its group was committed, with the instance that is held in its
    place, or None. It says what became of the object. What it raises is logged, and the object tried again.
    ``is_over`` says whether the record under a key is over; if it is, a commit whose answer was lost has
    recorded it. ``size`` is how many bytes wait.
    """

    def __init__(
        self,
        index: Index,
        settle: Callable[[NewRow, Instance | None], Kept],
        is_over: Callable[[str], bool],
    ) -> None:
        self._index, self._settle, self._is_over = index, settle, is_over
        self._changed = threading.Condition()  # guards all below
        self._waiting: dict[str, tuple[NewRow, Acknowledged]] = {}  # by SOP Instance UID
        self._fresh: list[NewRow] = []
        self._late: list[NewRow] = []  # those that failed
        self._beside: list[Future[None]] = []
        self._tried: dict[str, int] = {}  # by SOP Instance UID, how often those failed
        self.size = 0
        self._due, self._overdue = 0.0, math.inf
        self._hurried = self._postponed = self._closing = self._trouble = False
        self._thread: threading.Thread | None = None

    def takes(self, size: int) -> bool:
        """Whether an object of ``size`` bytes may be acknowledged before it is recorded.

        Not while many wait, or the index does not answer, nor after a group that failed as a whole, until the
        index was reached again.
        """
        with self._changed:
            if self._trouble or self._closing or time.monotonic() > self._overdue:
                return False
            room = len(self._waiting) < MOST and self.size + size <= MOST_BYTES
            return room and self._runs()

    def _runs(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="recording", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the machine gives no more threads
                return False
            self._thread = thread
        return True

    def add(self, row: NewRow) -> Acknowledged:
        """Record an object soon. None of its SOP Instance UID may wait (:meth:`waits`)."""
        one = Acknowledged(row.kept, self._changed, self._hurry)
        with self._changed:
            self._waiting[row.instance.sop_instance_uid] = row, one
            self.size += row.size
            self._fresh.append(row)
            if len(self._fresh) in (1, MOST // 2):
                self._changed.notify_all()
        return one

    def waits(self, sop_instance_uid: str) -> bool:
        """Whether an object of the UID waits."""
        return sop_instance_uid in self._waiting

    def wait_for(self, sop_instance_uid: str) -> None:
        """Return when the object of the UID that waits, if one does, is recorded: it came first.

        Raises OutOfResources.
        """
        found = self._waiting.get(sop_instance_uid)
        if found is not None and not found[1].wait():
            told = f"what was sent before of {sop_instance_uid} is not recorded yet; try again later"
            raise OutOfResources(told)

    def reached(self) -> None:
        """Note that another has written to the index: it can be reached."""
        if self._trouble:
            with self._changed:
                self._trouble = False
                self._hurried = True
                self._due = 0.0  # what failed before is tried now
                self._changed.notify_all()

    def close(self) -> None:
        """Record what waits, once more. What is left is recorded by the next start, from the log."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            wait(self._beside, _STOP_SECONDS)
        for row, one in list(self._waiting.values()):
            one.settle(row.kept)

    def _hurry(self) -> None:
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    # -- its thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._turn()
            except Exception as error:  # noqa: BLE001 - a bug, and what waits is acknowledged all the same
                with self._changed:
                    lists = (*self._fresh, *self._late)
                    left = [row for row, _ in self._waiting.values() if row not in lists]
                self._postpone([(row, error) for row in left])

    def _turn(self) -> bool:
        """Wait for a group, and record it; False after the last one."""
        with self._changed:
            self._postponed = False
            pause = max(0.0, self._due - time.monotonic()) if self._late else None
            self._changed.wait_for(lambda: self._fresh or self._postponed or self._is_urgent(), pause)
            if self._fresh:
                self._changed.wait_for(self._is_urgent, WINDOW_SECONDS)
            again = self._closing or time.monotonic() >= self._due
            late, self._late = (self._late, []) if again else ([], self._late)
            fresh, self._fresh, self._hurried = self._fresh, [], False
            last = self._closing
        self._retry(late)
        self._record(fresh, is_new=True)
        return not last

    def _is_urgent(self) -> bool:
        return self._hurried or self._closing or len(self._fresh) >= MOST // 2

    def _retry(self, rows: list[NewRow]) -> None:
        """Commit rows that failed before. One whose record is over was there, and has moved on."""
        try:
            gone = [row for row in rows if self._is_over(row.instance.key)]
        except Exception as error:  # noqa: BLE001 - the index is asked for that, too
            self._postpone([(row, error) for row in rows])
            return
        self._settle_each([(row, row.instance) for row in gone])
        self._record([row for row in rows if row not in gone], is_new=False)

    def _record(self, group: list[NewRow], is_new: bool) -> None:
        """Commit a group. What takes longer than that, as something is held, holds up no other group."""
        if not group:
            return
        self._overdue = time.monotonic() + _ANSWERS_SECONDS
        found = list(zip(group, self._added(group), strict=True))
        self._overdue = math.inf
        failed = [(row, one) for row, one in found if isinstance(one, Exception)]
        with self._changed:
            if is_new or len(failed) < len(group):
                self._trouble = len(failed) == len(group)
        self._postpone(failed)
        self._settle_each([(row, None) for row, one in found if one is None])
        self._beside = [one for one in self._beside if not one.done()]
        for held in [(row, one) for row, one in found if isinstance(one, Instance)]:
            self._beside.append(beside(partial(self._settle_each, [held])))

    def _added(self, group: list[NewRow]) -> list[Instance | Exception | None]:
        try:
            return self._index.add_many([(row.instance, row.attributes, row.sends) for row in group])
        except Exception as error:  # noqa: BLE001 - whatever it was: they were acknowledged, and are tried again
            if len(group) == 1:
                return [error]
            return [found for row in group for found in self._added([row])]

    def _settle_each(self, found: Sequence[tuple[NewRow, Instance | None]]) -> None:
        failed: list[tuple[NewRow, Exception]] = []
        for row, held in found:
            try:
                self._leave(row, row.context.copy().run(self._settle, row, held))
            except Exception as error:  # noqa: BLE001 - as above
                failed.append((row, error))
        self._postpone(failed)

    def _leave(self, row: NewRow, kept: Kept) -> None:
        """Nobody waits for it any more: it is recorded."""
        uid = row.instance.sop_instance_uid
        with self._changed:
            waiting = self._waiting.get(uid)
            if waiting is None or waiting[0] is not row:
                return  # it was tried twice at once
            del self._waiting[uid]
            self._tried.pop(uid, None)
            self.size -= row.size
        waiting[1].settle(kept)

    def _postpone(self, failed: list[tuple[NewRow, Exception]]) -> None:
        with self._changed:
            if not failed:
                return
            self._late += [row for row, _ in failed]
            uids = [row.instance.sop_instance_uid for row, _ in failed]
            pause = _AGAIN.after(min(self._tried.get(uid, 0) for uid in uids))
            self._tried.update((uid, self._tried.get(uid, 0) + 1) for uid in uids)
            self._due, self._postponed = time.monotonic() + pause, True
            self._changed.notify_all()
        row, error = failed[0]
        structlog.get_logger("zscp").error(
            "acknowledged objects wait for the index",
            objects=len(failed),
            first=row.instance.key,
            reason=error,
            retry_seconds=pause,
            exc_info=None if isinstance(error, ZscpError) else error,
        )
