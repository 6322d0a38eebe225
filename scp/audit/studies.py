"""Numbers of instances by study, so that one message describes all of a study (PS3.15 A.5.3)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from scp.audit.events import LifeCycle, Subject
from scp.audit.messages import patient, study


class OfAStudy(Protocol):
    """An instance, as far as a message tells of it; ``scp.model.Instance`` is one."""

    @property
    def study_instance_uid(self) -> str:
        """Its study."""

    @property
    def patient_id(self) -> str:
        """Its patient."""

    @property
    def issuer_of_patient_id(self) -> str:
        """Who gave the Patient ID."""

    @property
    def sop_class_uid(self) -> str:
        """Its SOP class."""


class StudyKey(NamedTuple):
    """A study of a patient: what one message is about."""

    study: str
    patient_id: str
    issuer: str


class StudyCounts:
    """Counts instances by study and SOP class."""

    def __init__(self, instances: Iterable[OfAStudy] = ()) -> None:
        self._counts: defaultdict[StudyKey, Counter[str]] = defaultdict(Counter)
        for one in instances:
            self.add(one)

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[StudyKey]:
        return iter(self._counts)

    def add(self, one: OfAStudy) -> None:
        """Count an instance."""
        key = StudyKey(one.study_instance_uid, one.patient_id, one.issuer_of_patient_id)
        self._counts[key][one.sop_class_uid] += 1

    def subjects(self, key: StudyKey, life_cycle: LifeCycle | None = None) -> tuple[Subject, Subject]:
        """The study and its patient."""
        counted = {uid: count for uid, count in self._counts[key].items() if uid}
        return study(key.study, counted, life_cycle), patient(key.patient_id, key.issuer)

    def all_subjects(self) -> Iterator[Subject]:
        """All studies, then each patient once: for messages that may be about several patients."""
        for key in self._counts:
            yield self.subjects(key)[0]
        yield from (patient(*one) for one in dict.fromkeys((key.patient_id, key.issuer) for key in self))
