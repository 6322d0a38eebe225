"""Actions on stored objects that may take long, as jobs of the process that answers HTTP.

There are two queues: one whose jobs read and encode objects, and one that deletes and restores, so that a
deletion does not wait for hours. Each job looks between a few objects whether it is to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import TypeAdapter

from scp.audit.events import Participant
from scp.background.jobs import Job, Jobs, JobStopped
from scp.background.loop import Task
from scp.background.progress import Silent
from scp.errors import ObjectMissing
from scp.lifecycle.recompress import Recompressed
from scp.lifecycle.selection import OfPatient
from scp.lifecycle.verify import Verified
from scp.model import Instance
from scp.node.objects import NodeObjects
from scp.objects.trashed import Trashed
from scp.web.page.objects.reports import (
    DeleteResult,
    FaultyFile,
    JobReport,
    JobResult,
    RecompressResult,
    RestoreResult,
    TrashEntry,
    VerifyResult,
    Which,
)
from scp.web.page.objects.wording import told_of

# So many objects between two looks whether the job is to stop: a few seconds of encoding.
_AT_ONCE = 8
_REMOVED_AT_ONCE = 32  # the trash is locked meanwhile
_MOST_LISTED = 100
# Who asks waits so long for the end: most jobs are of one object, or a few.
_WAITED_SECONDS = 0.7

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def converted(kind: type[T], found: Any) -> T:
    """A dataclass of another room as the page's ``kind``, which has the same names; others are left out."""
    made: T = _adapter(kind).validate_python(asdict(found))  # type: ignore[arg-type]  # a type is hashable
    return made


def trash_entry(one: Trashed) -> TrashEntry:
    """An entry of the trash, as the page has it."""
    told = asdict(one) | {"at": datetime.fromtimestamp(one.at, UTC), "uids": dict(one.uids)}
    return TrashEntry(**told)


def of_patient(which: Which) -> OfPatient:
    """Whose objects are meant."""
    return OfPatient(which.patient_id, which.issuer, which.all_patients)


class ObjectJobs:
    """Begins jobs, and says how far they are."""

    def __init__(self, objects: NodeObjects) -> None:
        self._objects = objects
        self._working, self._removing = Jobs("checking and recompressing"), Jobs("deleting and restoring")
        self.tasks: tuple[Task, ...] = (self._working, self._removing)

    def stop(self) -> None:
        """Make all jobs end soon, and begin none."""
        for jobs in (self._working, self._removing):
            jobs.stop()

    def all(self) -> list[JobReport]:
        """All jobs that are known, the latest first."""
        found = sorted(self._known(), key=lambda job: job.progress.asked, reverse=True)
        return [report_of(job) for job in found]

    def one(self, id: str) -> Job:  # noqa: A002 - what it is
        """A job by its id. Raises ObjectMissing."""
        found = next((job for job in self._known() if job.id == id), None)
        if found is None:
            raise ObjectMissing("this node knows no such job: it is long over, or the node was started again")
        return found

    def _known(self) -> list[Job]:
        return [*self._working.all(), *self._removing.all()]

    # -- each kind ---------------------------------------------------------------------------------------

    def verify(self, instances: list[Instance], which: Which, who: Participant, deep: bool) -> JobReport:
        """Check stored files, and note what was found."""

        def work(job: Job) -> VerifyResult:
            found = _Verdicts()
            for some in _portions(instances, job):
                for verdict in self._objects.verify(some, deep):
                    found.add(verdict)
                    job.advance()
                job.result = converted(VerifyResult, found)
            return converted(VerifyResult, found)

        return self._begun(self._working, Job("verify", _about(which), who.user_id, len(instances), work))

    def recompress(self, instances: list[Instance], which: Which, who: Participant, now: bool) -> JobReport:
        """Carry out stages."""

        def work(job: Job) -> RecompressResult:
            done = Recompressed()
            for some in _portions(instances, job, job.advance):
                found = asdict(self._objects.recompress(some, who, now, _EndsWith(job)))
                done = Recompressed(**{key: value + found[key] for key, value in asdict(done).items()})
                job.result = converted(RecompressResult, done)
            return converted(RecompressResult, done)

        return self._begun(self._working, Job("recompress", _about(which), who.user_id, len(instances), work))

    def delete(self, instances: list[Instance], which: Which, who: Participant, reason: str) -> JobReport:
        """Move objects to the trash."""

        def work(job: Job) -> DeleteResult:
            job.result = done = DeleteResult([], [], [], [])
            wanted = _portions(instances, job, job.advance, _REMOVED_AT_ONCE)
            for removal in self._objects.delete(wanted, reason, who):
                for name, found in asdict(removal).items():
                    getattr(done, name).extend(found)
            return done

        return self._begun(self._removing, Job("delete", _about(which), who.user_id, len(instances), work))

    def restore(self, which: Which, who: Participant, replace: bool) -> JobReport:
        """Bring objects back from the trash; how many is not known before."""

        def work(job: Job) -> RestoreResult:
            found = self._objects.in_trash(which.uid, who, of_patient(which))
            job.result = back = RestoreResult([])
            wanted = chain.from_iterable(_portions(found, job, job.advance, 1))
            back.restored.extend(map(trash_entry, self._objects.restore(wanted, who, replace)))
            return back

        return self._begun(self._removing, Job("restore", which.uid, who.user_id, 0, work))

    @staticmethod
    def _begun(jobs: Jobs, job: Job) -> JobReport:
        jobs.ask(job)
        job.wait(_WAITED_SECONDS)
        return report_of(job)


def report_of(job: Job) -> JobReport:
    """A job as the page has it."""
    result = job.result if job.over and isinstance(job.result, JobResult) else None
    found = JobReport(job.progress, "", result)
    return replace(found, told=told_of(found))


def _about(which: Which) -> str:
    return f"{which.level.lower()} {which.uid}"


def _portions(
    wanted: list[T], job: Job, advance: Callable[[int], None] | None = None, at_once: int = _AT_ONCE
) -> Iterator[list[T]]:
    """A few at a time, until the job is to stop; whether any are left then, it is told."""
    rest = iter(wanted)
    while some := list(islice(rest, at_once)):
        if job.stopping:
            job.cut = True
            return
        yield some
        if advance is not None:
            advance(len(some))


class _EndsWith(Silent):
    """Ends work that reports its progress when its job is to stop, unless all of it is done."""

    def __init__(self, job: Job) -> None:
        self._job, self._left = job, 0

    def total(self, count: int) -> None:
        """See Progress."""
        self._left = count

    def advance(self, count: int = 1) -> None:
        """See Progress. Raises JobStopped."""
        self._left -= count
        if self._left > 0 and self._job.stopping:
            raise JobStopped


@dataclass(slots=True)
class _Verdicts:
    """What a check came to so far."""

    sound: int = 0
    damaged: int = 0
    away: int = 0
    faults: list[FaultyFile] = field(default_factory=list)
    undecodable: list[FaultyFile] = field(default_factory=list)

    def add(self, verdict: Verified) -> None:
        """Count one object."""
        self.sound += not verdict.fault
        self.damaged += bool(verdict.fault) and not verdict.away
        self.away += verdict.away
        listed = self.faults if verdict.fault else self.undecodable
        told = verdict.fault or verdict.remark
        if told and len(listed) < _MOST_LISTED:
            listed.append(FaultyFile(verdict.instance.sop_instance_uid, verdict.instance.key, told))
