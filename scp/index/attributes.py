"""The attributes that the index holds, as one table, and those that it computes, as another.

Everything else follows from these rows: the columns of :mod:`scp.index.schema`, what is recorded,
what can be matched and what is returned. A new row needs a migration that adds its columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from scp.model import LEVELS

# The columns beside an attribute's own text that hold keys to compare, where the text itself cannot be
# compared (scp.index.keys makes them). A person name has one for each of its component groups.
KEY_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "DA": ("key",),
    "DT": ("key",),
    "IS": ("key",),
    "PN": ("alphabetic", "ideographic", "phonetic"),
    "TM": ("key",),
}


# The attributes that tell patients apart. All other attributes of a patient describe it.
IDENTIFYING = ("PatientID", "IssuerOfPatientID")


def column_name(keyword: str) -> str:
    """The keyword of PS3.6 in snake case: ``SOPClassUID`` becomes ``sop_class_uid``."""
    plural = keyword.replace("IDs", "Ids")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plural).lower()


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row: an attribute held for the entities of ``level``.

    ``several`` says that several values are usual, so that each of them is matched alone. ``column`` holds
    the text that is returned, ``key_columns`` the keys that are compared; they are the same where the text
    itself is compared. The text of a sequence is JSON (:mod:`scp.index.sequences`). ``table`` is the level
    whose table has the columns. It is ``level``, except for attributes that describe a patient: each study
    holds these as its own objects say them (docs/decisions/0105).
    """

    level: str
    keyword: str
    vr: str
    several: bool = False
    column: str = field(init=False)
    key_columns: tuple[str, ...] = field(init=False)
    table: str = field(init=False)

    def __post_init__(self) -> None:
        column = column_name(self.keyword)
        suffixes = KEY_SUFFIXES.get(self.vr, ())
        object.__setattr__(self, "column", column)
        object.__setattr__(self, "key_columns", tuple(f"{column}_{s}" for s in suffixes) or (column,))
        described = self.level == "PATIENT" and self.keyword not in IDENTIFYING
        object.__setattr__(self, "table", "STUDY" if described else self.level)


@dataclass(frozen=True, slots=True)
class Computed:
    """One row: an attribute of ``level`` that is computed from the entities below when a query asks for it.

    It either counts the entities of level ``counts`` or gathers the values of attribute ``gathers``.
    """

    level: str
    keyword: str
    counts: str = ""
    gathers: str = ""


HELD: tuple[Attribute, ...] = (
    Attribute("PATIENT", "PatientID", "LO"),
    Attribute("PATIENT", "IssuerOfPatientID", "LO"),
    Attribute("PATIENT", "PatientName", "PN"),
    Attribute("PATIENT", "PatientBirthDate", "DA"),
    Attribute("PATIENT", "PatientBirthTime", "TM"),
    Attribute("PATIENT", "PatientSex", "CS"),
    Attribute("PATIENT", "OtherPatientIDs", "LO", several=True),
    Attribute("PATIENT", "EthnicGroup", "SH"),
    Attribute("PATIENT", "PatientComments", "LT"),
    Attribute("PATIENT", "PatientSpeciesDescription", "LO"),
    Attribute("PATIENT", "ResponsiblePerson", "PN"),
    Attribute("PATIENT", "OtherPatientIDsSequence", "SQ"),
    Attribute("PATIENT", "IssuerOfPatientIDQualifiersSequence", "SQ"),
    Attribute("STUDY", "StudyInstanceUID", "UI"),
    Attribute("STUDY", "StudyDate", "DA"),
    Attribute("STUDY", "StudyTime", "TM"),
    Attribute("STUDY", "AccessionNumber", "SH"),
    Attribute("STUDY", "StudyID", "SH"),
    Attribute("STUDY", "StudyDescription", "LO"),
    Attribute("STUDY", "ReferringPhysicianName", "PN"),
    Attribute("STUDY", "NameOfPhysiciansReadingStudy", "PN", several=True),
    Attribute("STUDY", "PhysiciansOfRecord", "PN", several=True),
    Attribute("STUDY", "RequestingPhysician", "PN"),
    Attribute("STUDY", "RequestedProcedureDescription", "LO"),
    Attribute("STUDY", "AdmittingDiagnosesDescription", "LO", several=True),
    Attribute("STUDY", "AdmissionID", "LO"),
    Attribute("STUDY", "PatientAge", "AS"),
    Attribute("STUDY", "PatientSize", "DS"),
    Attribute("STUDY", "PatientWeight", "DS"),
    Attribute("STUDY", "Occupation", "SH"),
    Attribute("STUDY", "AdditionalPatientHistory", "LT"),
    Attribute("STUDY", "StudyComments", "LT"),
    Attribute("STUDY", "InterpretationStatusID", "CS"),
    Attribute("STUDY", "RequestingService", "LO"),
    Attribute("STUDY", "RequestedProcedureID", "SH"),
    Attribute("STUDY", "ReasonForTheRequestedProcedure", "LO"),
    Attribute("STUDY", "ProcedureCodeSequence", "SQ"),
    Attribute("STUDY", "RequestedProcedureCodeSequence", "SQ"),
    Attribute("STUDY", "IssuerOfAccessionNumberSequence", "SQ"),
    Attribute("STUDY", "AdmittingDiagnosesCodeSequence", "SQ"),
    Attribute("STUDY", "ReferencedStudySequence", "SQ"),
    Attribute("STUDY", "SpecificCharacterSet", "CS", several=True),
    Attribute("SERIES", "SeriesInstanceUID", "UI"),
    Attribute("SERIES", "Modality", "CS"),
    Attribute("SERIES", "SeriesNumber", "IS"),
    Attribute("SERIES", "SeriesDescription", "LO"),
    Attribute("SERIES", "SeriesDate", "DA"),
    Attribute("SERIES", "SeriesTime", "TM"),
    Attribute("SERIES", "BodyPartExamined", "CS"),
    Attribute("SERIES", "Laterality", "CS"),
    Attribute("SERIES", "PatientPosition", "CS"),
    Attribute("SERIES", "ProtocolName", "LO"),
    Attribute("SERIES", "PerformingPhysicianName", "PN", several=True),
    Attribute("SERIES", "OperatorsName", "PN", several=True),
    Attribute("SERIES", "Manufacturer", "LO"),
    Attribute("SERIES", "ManufacturerModelName", "LO"),
    Attribute("SERIES", "DeviceSerialNumber", "LO"),
    Attribute("SERIES", "StationName", "SH"),
    Attribute("SERIES", "InstitutionName", "LO"),
    Attribute("SERIES", "InstitutionalDepartmentName", "LO"),
    Attribute("SERIES", "FrameOfReferenceUID", "UI"),
    Attribute("SERIES", "PerformedProcedureStepID", "SH"),
    Attribute("SERIES", "PerformedProcedureStepStartDate", "DA"),
    Attribute("SERIES", "PerformedProcedureStepStartTime", "TM"),
    Attribute("SERIES", "PerformedProcedureStepDescription", "LO"),
    Attribute("SERIES", "RequestAttributesSequence", "SQ"),
    Attribute("SERIES", "PerformedProtocolCodeSequence", "SQ"),
    Attribute("SERIES", "ReferencedPerformedProcedureStepSequence", "SQ"),
    Attribute("SERIES", "SeriesDescriptionCodeSequence", "SQ"),
    Attribute("SERIES", "InstitutionCodeSequence", "SQ"),
    Attribute("SERIES", "AnatomicRegionSequence", "SQ"),
    Attribute("IMAGE", "SOPInstanceUID", "UI"),
    Attribute("IMAGE", "SOPClassUID", "UI"),
    Attribute("IMAGE", "InstanceNumber", "IS"),
    Attribute("IMAGE", "InstanceCreationDate", "DA"),
    Attribute("IMAGE", "InstanceCreationTime", "TM"),
    Attribute("IMAGE", "ContentDate", "DA"),
    Attribute("IMAGE", "ContentTime", "TM"),
    Attribute("IMAGE", "AcquisitionDate", "DA"),
    Attribute("IMAGE", "AcquisitionTime", "TM"),
    Attribute("IMAGE", "AcquisitionDateTime", "DT"),
    Attribute("IMAGE", "AcquisitionNumber", "IS"),
    Attribute("IMAGE", "ImageType", "CS", several=True),
    Attribute("IMAGE", "ImageComments", "LT"),
    Attribute("IMAGE", "ImageLaterality", "CS"),
    Attribute("IMAGE", "ViewPosition", "CS"),
    Attribute("IMAGE", "NumberOfFrames", "IS"),
    Attribute("IMAGE", "Rows", "US"),
    Attribute("IMAGE", "Columns", "US"),
    Attribute("IMAGE", "SamplesPerPixel", "US"),
    Attribute("IMAGE", "PhotometricInterpretation", "CS"),
    Attribute("IMAGE", "BitsAllocated", "US"),
    Attribute("IMAGE", "BitsStored", "US"),
    Attribute("IMAGE", "PixelRepresentation", "US"),
    Attribute("IMAGE", "LossyImageCompression", "CS"),
    Attribute("IMAGE", "WindowCenter", "DS", several=True),
    Attribute("IMAGE", "WindowWidth", "DS", several=True),
    Attribute("IMAGE", "SliceThickness", "DS"),
    Attribute("IMAGE", "SliceLocation", "DS"),
    Attribute("IMAGE", "ContentLabel", "CS"),
    Attribute("IMAGE", "ContentDescription", "LO"),
    Attribute("IMAGE", "ContentCreatorName", "PN"),
    Attribute("IMAGE", "PresentationCreationDate", "DA"),
    Attribute("IMAGE", "PresentationCreationTime", "TM"),
    Attribute("IMAGE", "CompletionFlag", "CS"),
    Attribute("IMAGE", "VerificationFlag", "CS"),
    Attribute("IMAGE", "DocumentTitle", "ST"),
    Attribute("IMAGE", "ConceptNameCodeSequence", "SQ"),
    Attribute("IMAGE", "ContentTemplateSequence", "SQ"),
)

COMPUTED: tuple[Computed, ...] = (
    Computed("PATIENT", "NumberOfPatientRelatedStudies", counts="STUDY"),
    Computed("PATIENT", "NumberOfPatientRelatedSeries", counts="SERIES"),
    Computed("PATIENT", "NumberOfPatientRelatedInstances", counts="IMAGE"),
    Computed("STUDY", "NumberOfStudyRelatedSeries", counts="SERIES"),
    Computed("STUDY", "NumberOfStudyRelatedInstances", counts="IMAGE"),
    Computed("STUDY", "ModalitiesInStudy", gathers="Modality"),
    Computed("STUDY", "SOPClassesInStudy", gathers="SOPClassUID"),
    Computed("STUDY", "AnatomicRegionsInStudyCodeSequence", gathers="AnatomicRegionSequence"),
    Computed("SERIES", "NumberOfSeriesRelatedInstances", counts="IMAGE"),
)

KEYWORDS = tuple(row.keyword for row in HELD)
HELD_BY_KEYWORD: Mapping[str, Attribute] = {row.keyword: row for row in HELD}
COMPUTED_BY_KEYWORD: Mapping[str, Computed] = {row.keyword: row for row in COMPUTED}
# Rows that an earlier version recorded lack this one (migration 0021): a rule reads their files.
LOSSY = "LossyImageCompression"
RULED_BY: Mapping[str, Attribute] = {row.keyword: row for row in HELD if row.keyword != LOSSY}
HELD_BY_LEVEL: Mapping[str, tuple[Attribute, ...]] = {
    level: tuple(row for row in HELD if row.level == level) for level in LEVELS
}
HELD_BY_TABLE: Mapping[str, tuple[Attribute, ...]] = {
    level: tuple(row for row in HELD if row.table == level) for level in LEVELS
}
