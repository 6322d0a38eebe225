"""What is written without a dataset library is what that would write, or is left to it."""

from __future__ import annotations

import time

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from scp.dimse.identifier import read_identifier, write_identifier
from scp.dimse.services.answers import answer
from scp.dimse.services.plain_answers import PlainAnswers

pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings("ignore")]

_SYNTAXES = [f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".2")]
_SERVICE = {"QueryRetrieveLevel": "IMAGE", "RetrieveAETitle": "ZSCP", "InstanceAvailability": "ONLINE"}
_KEYWORDS = [
    "PatientName",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "PatientAge",
    "WindowCenter",
    "AcquisitionDateTime",
    "ImageComments",
    "NumberOfStudyRelatedInstances",
    "StationAETitle",
    "OperatorsName",
    "UnformattedTextValue",
    "OverlayRows",
    "RetrieveURL",
    "FloatingPointValue",
]
_VALUES = st.sampled_from(
    ["", "1", "70000", "-7", "1.5", "40\\400", "20240131", "1015", "045Y", "CT", "A B", " A", "A ", "1.2.3"]
) | st.text("aB1.\\^= éß山や", max_size=6)
_CHARACTER_SETS = st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "ISO_IR 144", "odd"])


def _asked(keywords: set[str], syntax: str, character_set: str) -> Dataset:
    asked = Dataset()
    if character_set:
        asked.SpecificCharacterSet = character_set.split("\\")
    asked.QueryRetrieveLevel = "IMAGE"
    for keyword in keywords:
        asked.add_new(keyword, dictionary_VR(keyword), None)
    return read_identifier(write_identifier(asked, syntax), syntax)


@examples(300)
@given(
    keywords=st.sets(st.sampled_from([one for one in _KEYWORDS if one != "OverlayRows"])),
    match=st.dictionaries(st.sampled_from(_KEYWORDS[:16]), _VALUES),
    syntax=st.sampled_from(_SYNTAXES),
    asked=_CHARACTER_SETS,
    own=_CHARACTER_SETS,
)
def test_both_ways_write_the_same(
    keywords: set[str], match: dict[str, str], syntax: str, asked: str, own: str
) -> None:
    identifier = _asked(keywords, syntax, asked)
    match = match | {"SpecificCharacterSet": own}
    made = PlainAnswers(identifier, syntax).write(match, _SERVICE)
    if made is not None:
        assert made == write_identifier(answer(identifier, match, _SERVICE), syntax)


def test_an_answer_takes_a_fraction_of_the_time() -> None:
    identifier = _asked(set(_KEYWORDS[:12]), _SYNTAXES[1], "ISO_IR 100")
    found = {
        "PatientName": "Müller^Jörg",
        "PatientID": "P1",
        "StudyDate": "20240131",
        "StudyTime": "101530.5",
        "StudyInstanceUID": "1.2.3",
        "SOPInstanceUID": "1.2.3.4",
        "InstanceNumber": "7",
        "Rows": "512",
        "SeriesDescription": "Thorax, größer",
        "Modality": "CT",
        "ImageType": "ORIGINAL\\PRIMARY",
        "PatientAge": "045Y",
    }
    plain = PlainAnswers(identifier, _SYNTAXES[1])
    assert plain.write(found, _SERVICE) is not None
    begun = time.thread_time()
    for _ in range(100):
        plain.write(found, _SERVICE)
    fast = time.thread_time() - begun
    begun = time.thread_time()
    for _ in range(100):
        write_identifier(answer(identifier, found, _SERVICE), _SYNTAXES[1])
    assert fast < (time.thread_time() - begun) / 3
