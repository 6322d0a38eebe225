"""Jobs: what people ask for that takes long, one after the other in a thread of the process, with progress.

Jobs are in the memory of their process. What they did until that ends stays done.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import structlog

from scp.background.loop import Task
from scp.errors import OutOfResources, ZscpError, public

JobState = Literal["waiting", "running", "done", "stopped", "failed"]
_MOST_WAITING, _MOST_KEPT = 20, 50


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is: of ``total`` objects ``done`` many; ``total`` 0: it is not known how many.

    ``kind`` is what is done, ``about`` with what, and ``user`` asked for it. With the state ``stopped`` it
    left something undone, as somebody asked for that or the process ended; ``fault`` says why it ``failed``.
    """

    id: str
    kind: str
    about: str
    user: str
    state: JobState
    asked: datetime
    ended: datetime | None
    total: int
    done: int
    fault: str


class JobStopped(Exception):
    """Raised within a job's work that is to end soon; what it did stays."""


def _nothing(_: Job) -> None:
    """What a job that has ended does."""


class Job:
    """One job; ``work`` is called with it, advances it, and returns soon where it is ``stopping``.

    ``result`` is what ``work`` returns; it may set it before, for the case that it fails. Where it leaves
    something undone as it is to stop, it raises JobStopped, or sets ``cut``.
    """

    def __init__(self, kind: str, about: str, user: str, total: int, work: Callable[[Job], object]) -> None:
        self.id = secrets.token_hex(8)
        self.result: object = None
        self.cut = False
        self._kind, self._about, self._user, self._total = kind, about, user, total
        self._work = work
        self._asked, self._at = datetime.now(UTC), 0
        self._ended: datetime | None = None
        self._state: JobState = "waiting"
        self._fault = ""
        self._stopping, self._over = threading.Event(), threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether it is to end soon."""
        return self._stopping.is_set()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    @property
    def progress(self) -> JobProgress:
        """How far it is."""
        named = (self.id, self._kind, self._about, self._user)
        times = (self._asked, self._ended)
        return JobProgress(*named, self._state, *times, self._total, self._at, self._fault)

    def advance(self, count: int = 1) -> None:
        """Some more objects are done."""
        self._at += count

    def stop(self) -> None:
        """Make it end soon; one that waits is not begun."""
        self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end so long at most; whether it has ended."""
        return self._over.wait(seconds)

    def run(self) -> None:
        """Do the work."""
        self._state = "running"
        end: JobState = "failed"
        try:
            if self.stopping:
                raise JobStopped
            self.result = self._work(self)
            end = "stopped" if self.cut else "done"
        except JobStopped:
            end = "stopped"
        except ZscpError as error:
            self._fault = str(error)
        except Exception as error:  # noqa: BLE001 - it is told; the other jobs are done all the same
            structlog.get_logger("zscp").error("job failed", job=self._kind, exc_info=error)
            self._fault = f"this is a fault of zscp, and stands in its log ({public(error)})"
        self._work = _nothing  # what it was about may be much
        self._ended, self._state = datetime.now(UTC), end
        self._over.set()


class Jobs(Task):
    """A queue of jobs, and the last of those that have ended."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, job: Job) -> None:
        """Do a job after those that wait. Raises OutOfResources where too many wait, or the process ends."""
        with self._lock:
            waiting = sum(not one.over for one in self._jobs.values())
            if waiting >= _MOST_WAITING or self.stopping.is_set():
                raise OutOfResources(f"{waiting} jobs wait already; ask again when some are done")
            self._jobs[job.id] = job
            too_many = max(0, len(self._jobs) - _MOST_KEPT)
            for old in [one for one in self._jobs.values() if one.over][:too_many]:
                del self._jobs[old.id]
        self.bell.ring()

    def all(self) -> list[Job]:
        """All that are known, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def turn(self) -> None:
        """See :class:`scp.background.loop.Task`."""
        for job in self.all():
            if not job.over:
                job.run()

    def stop(self) -> None:
        """See :class:`scp.background.loop.Task`: each ends soon, and none is begun."""
        super().stop()
        for job in self.all():
            job.stop()

    def close(self) -> None:
        """See :class:`scp.background.loop.Task`: those that wait end as they are."""
        self.stop()
        self.turn()
