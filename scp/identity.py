"""An object's identity, and conflicts between objects about their study or patient (docs/decisions/0105)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Identity(NamedTuple):
    """What identifies an object: its SOP Instance UID, its study and its patient.

    A SOP Instance UID alone is not enough: two studies, or two patients, may each have an object with the
    same one (docs/decisions/0105). An attribute that an object lacks is empty.
    """

    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str


class ConflictKind(StrEnum):
    """How objects contradict each other about their study or patient."""

    STUDY = "one study, several patients"
    PATIENT = "one patient, different data"
    INSTANCE = "one instance, several studies or patients"


@dataclass(frozen=True, slots=True)
class Claimant:
    """A patient's study that takes part in a conflict, with what its own objects say."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    instances: int
    differs_within: bool = False  # its own objects differ in the patient's name, birth date or sex


@dataclass(frozen=True, slots=True)
class Conflict:
    """Objects that contradict each other; ``uid`` is the Study or SOP Instance UID, or the Patient ID."""

    kind: ConflictKind
    uid: str
    claimants: tuple[Claimant, ...]
