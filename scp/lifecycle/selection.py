"""Which stored objects somebody means who names a patient, study, series or instance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scp.archive.archive import Archive
from scp.archive.records import shared_studies
from scp.errors import ObjectMissing, QueryError, SeveralPatients
from scp.identity import Identity
from scp.index.watch import Watch
from scp.model import LEVELS, UNIQUE_KEYS, Instance, Query, QueryKey
from scp.objects.trashed import Trashed

_VRS = {"PatientID": "LO"}  # the other unique keys are UIDs


def named(archive: Archive, uid: str, level: str = "", watch: Watch | None = None) -> list[Instance]:
    """What a UID names, or at level PATIENT a Patient ID; without a level the first that has something.

    As a retrieve names it: nothing in it is a wildcard. Empty where nothing is held. ``watch`` may stop the
    search. Raises QueryError, OutOfResources.
    """
    if level not in {"", *LEVELS}:
        raise QueryError(f"the level is one of {', '.join(LEVELS)}")
    for each in [level] if level else LEVELS[1:]:
        keyword = UNIQUE_KEYS[each]
        key = QueryKey(keyword, _VRS.get(keyword, "UI"), uid)
        if found := archive.instances(Query("PATIENT", each, (key,), relational=True), watch):
            return found
    return []


@dataclass(frozen=True, slots=True)
class OfPatient:
    """Whose objects are meant, where a UID may be that of several patients' studies.

    None is any ID, or any issuer; an empty one is that of objects without one.
    """

    patient_id: str | None = None
    issuer: str | None = None
    all_patients: bool = False

    def of(self, instances: Iterable[Instance], one_patient: bool = False) -> list[Instance]:
        """Those of the patient.

        Raises SeveralPatients where several patients' are left that have a study in common or, if they are to
        be of ``one_patient``, a Patient ID: whoever named it may not know of the other one.
        """
        wanted = [one for one in instances if self._has(one)]
        if self.all_patients:
            return wanted
        if shared := shared_studies(wanted):
            raise SeveralPatients(f"study {shared[0]} is of several patients, see zscp ls --conflicts")
        if one_patient and len({(one.patient_id, one.issuer_of_patient_id) for one in wanted}) > 1:
            raise SeveralPatients("this Patient ID is of several patients, by its issuers")
        return wanted

    def in_trash(self, entries: Iterable[Trashed], uid: str) -> list[Trashed]:
        """Those entries of the trash that a study, an instance or an entry's id names.

        Raises ObjectMissing where nothing is it, SeveralPatients.
        """
        found = [
            one
            for one in entries
            if uid in {one.sop_instance_uid, one.study_instance_uid, one.id} and self._has(one.identity)
        ]
        if not found:
            raise ObjectMissing(f"{uid} is not in the trash")
        if len({one.identity[2:] for one in found}) > 1 and not self.all_patients:
            raise SeveralPatients(f"in the trash, {uid} is of several patients")
        return found

    def _has(self, one: Instance | Identity) -> bool:
        return self.patient_id in (None, one.patient_id) and self.issuer in (None, one.issuer_of_patient_id)
