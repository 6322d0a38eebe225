"""What deletion, restoration and holds add to the audit trail, study by study (PS3.15 A.5.3.6, A.5.3.8)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Self

from scp.audit import events, messages
from scp.audit.actors import operator, this_command, this_process
from scp.audit.events import Action, AuditEvent, AuditOutcome, LifeCycle, Participant, Subject
from scp.audit.studies import OfAStudy, StudyCounts
from scp.audit.trail import NO_TRAIL, AuditTrail
from scp.objects.holds import Hold
from scp.objects.trashed import Trashed

# Whether anything of a study is held: by its UID, Patient ID and issuer.
IsLeft = Callable[[str, str, str], bool]
# Makes a message of files: participants, URI of the place, subjects, and why it failed.
Made = Callable[[Iterable[Participant], str, Iterable[Subject], str], AuditEvent]
_STUDIES = 25  # in one message: some 20 KB, where a collector has to take 32 (A.6)


@dataclass(frozen=True, slots=True)
class TrashedInstance:
    """What the trash knows of an object, as an instance of a study; its SOP class is not noted there."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    sop_class_uid: str = ""


def of_trash(entries: Iterable[Trashed]) -> StudyCounts:
    """Entries of the trash by study."""
    return StudyCounts(TrashedInstance(*one.identity[1:]) for one in entries)


@dataclass(slots=True)
class Done:
    """What a deletion did so far: objects that went to the trash, and those that a hold kept."""

    gone: list[OfAStudy] = field(default_factory=list)
    held: list[OfAStudy] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeletionAudit:
    """Tells the audit trail what ``who`` does with stored objects."""

    trail: AuditTrail = NO_TRAIL
    who: tuple[Participant, ...] = ()

    def done(self, done: Done, is_left: IsLeft, why: str) -> None:
        """A deletion is over; ``is_left`` says whether anything of a study is still held."""
        if self.trail.on:
            self._deleted(StudyCounts(done.gone), is_left, why)
            told = f"kept by a legal hold: {why}"
            self._accessed(Action.DELETE, StudyCounts(done.held), told, None, ok=False)

    def resumed(self, gone: Iterable[Trashed], is_left: IsLeft) -> None:
        """A deletion that a dead process had begun is over; the reasons are the entries' own."""
        for why, entries in groupby(gone if self.trail.on else (), key=lambda one: one.reason):
            self._deleted(of_trash(entries), is_left, why)

    def _deleted(self, counts: StudyCounts, is_left: IsLeft, why: str) -> None:
        for key in counts:
            subjects = counts.subjects(key, LifeCycle.LOGICAL_DELETION)
            if is_left(*key):
                self.trail.record(messages.accessed(Action.DELETE, self.who, subjects, why, ok=True))
            else:
                self.trail.record(messages.study_deleted(self.who, subjects, why))

    def restored(self, entries: Iterable[Trashed]) -> None:
        """Objects came back from the trash."""
        if self.trail.on:
            self._accessed(Action.CREATE, of_trash(entries), "restored from the trash", None, ok=True)

    def purged(self, entries: Iterable[Trashed]) -> None:
        """Objects were removed for good."""
        if self.trail.on:
            erased = LifeCycle.PERMANENT_ERASURE
            self._accessed(Action.DELETE, of_trash(entries), "purged from the trash", erased, ok=True)

    def _accessed(
        self, action: Action, counts: StudyCounts, why: str, life_cycle: LifeCycle | None, ok: bool
    ) -> None:
        for key in counts:
            subjects = counts.subjects(key, life_cycle)
            self.trail.record(messages.accessed(action, self.who, subjects, why, ok))

    def hold_added(self, hold: Hold) -> None:
        """Something came under a legal hold."""
        self._hold_changed(hold, f"legal hold added on {hold.level.lower()}: {hold.reason}")

    def hold_removed(self, hold: Hold) -> None:
        """A legal hold was removed."""
        self._hold_changed(hold, f"legal hold removed from {hold.level.lower()}: {hold.reason}")

    def _hold_changed(self, hold: Hold, why: str) -> None:
        changed = events.OBJECT_SECURITY
        told = messages.alert(changed, self.who, _subject_of(hold), why, AuditOutcome.SUCCESS)
        self.trail.record(told)


def _subject_of(hold: Hold) -> Subject:
    if hold.level == "PATIENT":
        return messages.patient(hold.uid, hold.issuer or "")
    return (
        messages.study(hold.uid, {}) if hold.level == "STUDY" else messages.uri_subject(f"urn:oid:{hold.uid}")
    )


def by_command(trail: AuditTrail) -> DeletionAudit:
    """For what a person typed: both the person and the process take part."""
    return DeletionAudit(trail, (operator(), this_command()))


def by_itself(trail: AuditTrail, aet: str) -> DeletionAudit:
    """For what the node does by its rules."""
    return DeletionAudit(trail, (this_process(aet, requestor=True),))


class FilesAudit:
    """Tells of the objects of ``zscp import`` or ``export``: a message for so many studies, one of faults.

    ``made`` is :func:`scp.audit.messages.imported` or ``exported``. Of several ``places``, files or folders,
    the messages name the folder that holds all.
    """

    def __init__(self, trail: AuditTrail, made: Made, places: Sequence[Path]) -> None:
        self._trail, self._made = trail, made
        self._place = Path(os.path.commonpath([place.absolute() for place in places])).as_uri()
        role = events.DESTINATION if made is messages.imported else events.SOURCE
        self._who = (operator(role), this_command(role))
        self._counts = StudyCounts()
        self._failed, self._why = StudyCounts(), ""
        self._faults = 0

    def __enter__(self) -> Self:
        return self

    def add(self, instance: OfAStudy | None, fault: str) -> None:
        """Count an object that came in or went out, or did not for ``fault``; None: it is not known."""
        if not self._trail.on:
            return
        counts = self._failed if fault else self._counts
        if fault:
            self._faults, self._why = self._faults + 1, fault
        if instance is not None:
            counts.add(instance)
        if len(counts) >= _STUDIES:
            self._flush()

    def _flush(self) -> None:
        """Tell what was counted: successes and failures apart (A.5.2)."""
        if self._counts:
            self._trail.record(self._made(self._who, self._place, self._counts.all_subjects(), ""))
        if self._faults:
            why = f"{self._faults} objects failed; the last: {self._why}"
            self._trail.record(self._made(self._who, self._place, self._failed.all_subjects(), why))
        self._counts, self._failed, self._faults = StudyCounts(), StudyCounts(), 0

    def __exit__(self, *_: object) -> None:
        self._flush()
