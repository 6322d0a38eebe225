"""Stored objects as the page and its API have them: :mod:`scp.node.objects`, as reports of the page.

What is quick is done at once. What may take long is a job of this process (:mod:`scp.node.object_jobs`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

from scp.archive.archive import Archive
from scp.audit.events import Participant
from scp.audit.trail import AuditTrail
from scp.config.settings import Settings
from scp.errors import OutOfResources, QueryError
from scp.lifecycle.explain import Explanation
from scp.model import UNIQUE_KEYS, Instance
from scp.node.object_jobs import ObjectJobs, converted, of_patient, report_of, trash_entry
from scp.node.objects import NodeObjects
from scp.objects.holds import Hold
from scp.policy.wording import stage_in_words
from scp.spool import Buffer
from scp.syntaxes import BY_KEYWORD, BY_UID
from scp.viewing.search import SearchHit
from scp.web.page.objects.reports import (
    ChosenObjects,
    Download,
    DownloadPieces,
    ExplainedObject,
    FormShare,
    FoundEntity,
    FoundPage,
    HeaderRows,
    HoldEntry,
    JobReport,
    KeptProvenance,
    Level,
    NotTried,
    RuleNotTaken,
    SendRequest,
    TrashEntries,
    Which,
)

# At most so many exports at a time, each of so many bytes as received.
_EXPORTS, _MOST_EXPORTED = 3, 50 * 10**9
_SEVERAL = 20  # patients who have a UID in common


class PageObjects:
    """:class:`scp.web.page.objects.asked.ObjectsDesk` of a node; ``archive`` is opened by the process."""

    def __init__(
        self, archive: Callable[[], Archive], settings: Callable[[], Settings], trail: AuditTrail
    ) -> None:
        self._objects = NodeObjects(archive, settings, trail)
        self._exports = threading.BoundedSemaphore(_EXPORTS)
        self.running = ObjectJobs(self._objects)

    # -- looked at ---------------------------------------------------------------------------------------

    def search(self, level: Level, keys: Mapping[str, str], before: int | None, most: int) -> FoundPage:
        """See ObjectsDesk."""
        found = self._objects.search(level, keys, before, most)
        return FoundPage(
            level, [_entity(hit) for hit in found.hits], found.following, found.count, found.summed
        )

    def entities(self, which: Which) -> list[FoundEntity]:
        """See ObjectsDesk."""
        keys = {UNIQUE_KEYS[which.level]: which.uid}
        if which.level == "IMAGE":
            keys["NumberOfFrames"] = ""
        found = self.search(which.level, keys, None, _SEVERAL).hits
        wanted = {"PatientID": which.patient_id, "IssuerOfPatientID": which.issuer}
        wanted[UNIQUE_KEYS[which.level]] = which.uid
        return [one for one in found if all(_is(one.attributes, *pair) for pair in wanted.items())]

    def instance(self, which: Which) -> Instance:
        """See ObjectsDesk."""
        return self._objects.selected(which.uid, "IMAGE", of_patient(which))[0]

    def chosen(self, which: Which) -> ChosenObjects:
        """See ObjectsDesk."""
        found = self._selected(which)
        return ChosenObjects(
            len(found),
            len({one.study_instance_uid for one in found}),
            sum(one.received_size for one in found),
            sum(one.stored_size for one in found),
        )

    def _selected(self, which: Which) -> list[Instance]:
        return self._objects.selected(which.uid, which.level, of_patient(which))

    def explain(self, which: Which) -> ExplainedObject:
        """See ObjectsDesk."""
        return _explained(self._objects.explain(which.uid, patient=of_patient(which)))

    def header(
        self, which: Which, who: Participant, first: int, most: int, whole: bool = False
    ) -> HeaderRows:
        """See ObjectsDesk."""
        found = self._objects.header(which.uid, who, first, most, of_patient(which), whole)
        return converted(HeaderRows, found)

    def picture(
        self, which: Which, who: Participant, frame: int, most: int, window: tuple[float, float] | None
    ) -> bytes:
        """See ObjectsDesk."""
        return self._objects.picture(which.uid, who, frame, most, window, of_patient(which)).png

    def holds(self) -> list[HoldEntry]:
        """See ObjectsDesk."""
        return [_hold(one) for one in self._objects.holds()]

    def trash(self, first: int, most: int) -> TrashEntries:
        """See ObjectsDesk."""
        found = self._objects.trash(first, most)
        return TrashEntries([trash_entry(one) for one in found.entries], first, found.count)

    # -- done with them ----------------------------------------------------------------------------------

    def export(self, which: Which, who: Participant, syntax: str) -> Download:
        """See ObjectsDesk."""
        wanted, found = _syntax(syntax), self._selected(which)
        if sum(one.received_size for one in found) > _MOST_EXPORTED:
            told = f"that is more than {_MOST_EXPORTED // 10**9} GB; export it on the node, with zscp export"
            raise QueryError(told)
        place = f"browser at {who.address}"
        if which.level == "IMAGE" and len(found) == 1:
            file = partial(self._objects.export_file, found[0], who, wanted, place)
            return Download(f"{which.uid}.dcm", "application/dicom", self._one_of_few(file))
        zipped = partial(self._objects.export, found, who, wanted, place)
        return Download(f"{which.uid}.zip", "application/zip", self._one_of_few(zipped))

    def _one_of_few(self, pieces: Callable[[], Iterator[Buffer]]) -> DownloadPieces:
        """What ``pieces`` gives; the first is made now, so that what is wrong is known before it goes out.

        Raises OutOfResources where enough others are under way.
        """

        def given() -> Generator[bytes]:
            try:
                yield from map(bytes, pieces())
            finally:
                self._exports.release()

        if not self._exports.acquire(blocking=False):
            raise OutOfResources(f"{_EXPORTS} exports are under way; ask again when one has ended")
        return _Begun(given())

    def send(self, which: Which, who: Participant, aet: str) -> SendRequest:
        """See ObjectsDesk."""
        found = self._selected(which)
        asked = converted(SendRequest, self._objects.send(found, aet))
        self._objects.asked(found, who, f"to be sent to {aet}")
        return asked

    def hold(self, which: Which, who: Participant, reason: str) -> HoldEntry:
        """See ObjectsDesk."""
        return _hold(self._objects.hold(which.uid.strip(), which.level, reason, who, of_patient(which)))

    def release(self, which: Which, who: Participant) -> list[HoldEntry]:
        """See ObjectsDesk."""
        found = self._objects.release(which.uid.strip(), who, which.level, of_patient(which))
        return [_hold(one) for one in found]

    # -- jobs --------------------------------------------------------------------------------------------

    def verify(self, which: Which, who: Participant, deep: bool) -> JobReport:
        """See ObjectsDesk."""
        found = self._selected(which)
        self._objects.asked(found, who, "to be verified")
        return self.running.verify(found, which, who, deep)

    def recompress(self, which: Which, who: Participant, now: bool) -> JobReport:
        """See ObjectsDesk."""
        found = self._selected(which)
        self._objects.asked(found, who, "to be recompressed")
        return self.running.recompress(found, which, who, now)

    def delete(self, which: Which, who: Participant, reason: str) -> JobReport:
        """See ObjectsDesk."""
        return self.running.delete(self._selected(which), which, who, reason)

    def restore(self, which: Which, who: Participant, replace: bool) -> JobReport:
        """See ObjectsDesk."""
        return self.running.restore(which, who, replace)

    def jobs(self) -> list[JobReport]:
        """See ObjectsDesk."""
        return self.running.all()

    def job(self, id: str) -> JobReport:  # noqa: A002 - what it is
        """See ObjectsDesk."""
        return report_of(self.running.one(id))

    def stop_job(self, id: str) -> JobReport:  # noqa: A002 - what it is
        """See ObjectsDesk."""
        job = self.running.one(id)
        job.stop()
        return report_of(job)


class _Begun:
    """Pieces of which the first is made already."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._first, self._rest = [next(pieces, b"")], pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._first.pop() if self._first else next(self._rest)

    def close(self) -> None:
        """See DownloadPieces."""
        self._rest.close()


def _is(attributes: Mapping[str, str], keyword: str, wanted: str | None) -> bool:
    """Whether an attribute is what is wanted: a search takes wildcards, and compares names loosely."""
    return not wanted if keyword not in attributes else wanted in (None, attributes[keyword])


def _entity(hit: SearchHit) -> FoundEntity:
    forms = [FormShare(**asdict(one)) for one in hit.forms]
    sizes = (hit.instances, hit.received_size, hit.stored_size, hit.pending, hit.damaged)
    return FoundEntity(dict(hit.attributes), *sizes, forms, hit.held)


def _explained(found: Explanation) -> ExplainedObject:
    return ExplainedObject(
        found.sop_instance_uid,
        converted(KeptProvenance, found.provenance),
        found.rule.model_dump(mode="json") if found.rule else None,
        dict(found.matched),
        [converted(RuleNotTaken, one) for one in found.passed_over],
        found.transfer_syntax,
        found.size,
        list(found.attempts),
        list(found.ways_out),
        found.undecodable,
        converted(NotTried, found.refused) if found.refused else None,
        found.stored,
        [stage_in_words(stage) for stage in found.later],
    )


def _hold(one: Hold) -> HoldEntry:
    return HoldEntry(**asdict(one) | {"since": datetime.fromtimestamp(one.since, UTC)})


def _syntax(name: str) -> str:
    """A transfer syntax by its keyword or UID, ``received`` or ``stored``. Raises QueryError."""
    if name in ("received", "stored"):
        return name
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise QueryError(f"{name} is no transfer syntax")
    return row.uid
