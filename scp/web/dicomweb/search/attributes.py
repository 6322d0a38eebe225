"""Which attributes a search tells of each match, by its level (PS3.18 10.6.3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scp.index.attributes import COMPUTED, COMPUTED_BY_KEYWORD, HELD, HELD_BY_KEYWORD
from scp.model import LEVELS

# What every match has, whatever the index holds.
ADDED = ("InstanceAvailability", "RetrieveURL")
# Of the standard's tables 10.6.3-3 to -5, what the index has: Timezone Offset From UTC is not among it.
# Instance Availability and Retrieve URL are added to each match. Beyond the tables: Study Description, which
# lists show.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "STUDY": (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    "IMAGE": (
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
    ),
}
_OF_STUDIES = ("PATIENT", "STUDY")  # patients' attributes are those of their studies (PS3.18 10.6.1.2.1)


def required(level: str, named: Iterable[str]) -> tuple[str, ...]:
    """The attributes of a level, and of those above it that the path does not name."""
    above = LEVELS[1 : LEVELS.index(level)]
    return tuple(
        keyword
        for each in (*above, level)
        if each == level or each not in named
        for keyword in REQUIRED[each]
    )


def everything(level: str) -> tuple[str, ...]:
    """All that the index has of a level and of those above it."""
    levels = (*_OF_STUDIES, *LEVELS[2 : LEVELS.index(level) + 1])
    held = (row.keyword for row in HELD if row.level in levels)
    return (*held, *(row.keyword for row in COMPUTED if row.level in levels))


def is_known(keyword: str) -> bool:
    """Whether the index holds an attribute, or gathers it."""
    return keyword in HELD_BY_KEYWORD or keyword in COMPUTED_BY_KEYWORD


def is_matched(keyword: str) -> bool:
    """Whether a search can be limited by an attribute: counts are told alone."""
    computed = COMPUTED_BY_KEYWORD.get(keyword)
    return keyword in HELD_BY_KEYWORD or (computed is not None and bool(computed.gathers))
