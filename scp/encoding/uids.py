"""Which study, series and instance an object belongs to, whatever UIDs it came with (docs/decisions/0107).

What stands in a UID counts as it is: letters, hashes and leading zeros name an object as well as digits do.
Where an object has no usable UID of its study or series, zscp derives one, from what the object says of
itself: the same object has the same UIDs whenever it comes, and objects that belong together have one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

# Bytes. PS3.5 9.1 has 64; beyond this a key of the index is larger than PostgreSQL takes.
LONGEST = 1024
# The root of the UIDs that are derived; it must not change, lest the same object gets others.
_NAMESPACE = uuid.UUID("0c9d9a0e-5b0f-5d6c-8b8f-6f8a3c0b7a15")
# SOP classes of objects that have no patient, study or series (PS3.4 GG.3).
NON_PATIENT = frozenset(
    {
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    }
)

Texts = Mapping[str, str]
_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Uids:
    """The UIDs of an object's study and series, and those that were ``given`` to it, by keyword.

    What is ``given`` is missing in the dataset: derived UIDs of study and series, and the command's SOP
    Class and Instance UID. Objects that have no study by their SOP class are found under derived UIDs, but
    lack nothing.
    """

    study: str
    series: str
    given: Texts


@lru_cache(maxsize=256)  # the four UIDs of an object are asked for up to 16 times while it is received
def uid_of(text: str) -> str:
    """The UID that ``text`` is, without padding; of several values the first. Empty where none is usable."""
    for value in text.replace("\0", "").split("\\"):
        if uid := value.strip(" "):
            return uid if len(uid.encode("utf-8", "replace")) <= LONGEST else ""
    return ""


def is_usable(uid: str) -> bool:
    """Whether an object can be kept under ``uid``, and asked for by it.

    A backslash stands between two UIDs (PS3.5 6.4), and databases have no NUL in a text.
    """
    return uid_of(uid) == uid != ""


def uids_of(sop_class_uid: str, sop_instance_uid: str, attributes: Texts, recorded: Texts) -> Uids:
    """The UIDs of an object by its own ``attributes``; what was ``recorded`` before is given again."""
    own = {keyword: uid_of(attributes.get(keyword) or "") for keyword in _KEYWORDS}
    study, series = own["StudyInstanceUID"], own["SeriesInstanceUID"]
    if all(own.values()):
        return Uids(study, series, {})
    of = _NamedObject(sop_class_uid, sop_instance_uid, series, attributes)
    study = study or uid_of(recorded.get("StudyInstanceUID", "")) or of.derived_study()
    series = series or uid_of(recorded.get("SeriesInstanceUID", "")) or of.derived_series(study)
    wanted = (sop_class_uid, sop_instance_uid, study, series)
    lacking = _KEYWORDS[:2] if sop_class_uid in NON_PATIENT else _KEYWORDS
    given = {keyword: uid for keyword, uid in zip(lacking, wanted, strict=False) if not own[keyword]}
    return Uids(study, series, given)


@dataclass(frozen=True, slots=True)
class _NamedObject:
    """An object by what it says of itself."""

    sop_class_uid: str
    sop_instance_uid: str
    series: str
    attributes: Texts

    def derived_study(self) -> str:
        """Of the patient's visit or day, if that is told; else of its series; else its own.

        Objects that nothing ties to a patient are never put together: they may be of different persons.
        """
        patient, visit = self._patient(), self._texts("AccessionNumber", "StudyID", "StudyDate")
        if patient and any(visit):
            return _derived("study", *patient, *visit)
        if self.series:
            return _derived("study of series", *patient, self.series)
        return _derived("study of instance", self.sop_instance_uid)

    def derived_series(self, study: str) -> str:
        """Of its number and modality within the study; of its SOP class where it has none."""
        number, modality = self._texts("SeriesNumber", "Modality")
        return _derived("series", study, *self._patient(), number, modality or self.sop_class_uid)

    def _patient(self) -> tuple[str, ...]:
        """What tells its patient from others; empty where nothing does."""
        number, issuer = self._texts("PatientID", "IssuerOfPatientID")
        if number:
            return "ID", number, issuer
        name, birth = self._texts("PatientName", "PatientBirthDate")
        return ("name", name, birth) if name else ()

    def _texts(self, *keywords: str) -> tuple[str, ...]:
        return tuple((self.attributes.get(keyword) or "").strip(" \0") for keyword in keywords)


def _derived(*parts: str) -> str:
    """A UID of PS3.5 B.2, from a UUID of version 5 (RFC 9562) of the parts, as a JSON array."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"
