"""C-FIND as a peer sees it: what matches, what is answered, in which characters, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from objects import bundled_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from .conftest import RunningNode, Starter
from .peers import (
    CT_IMAGE,
    EXPLICIT,
    IMPLICIT,
    PATIENT_FIND,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    VERIFICATION,
    Answer,
    Scu,
    dcmtk,
    identifier,
    image,
    of_file,
    written,
)

pytestmark = pytest.mark.peer

_CHARSETS = (
    "chrFren",
    "chrGerm",
    "chrGreek",
    "chrH31",
    "chrH32",
    "chrI2",
    "chrRuss",
    "chrX1",
    "chrX2",
    "chrHbrw",
    "chrArab",
)


@pytest.fixture(scope="module", params=[False, True], ids=["encoded before", "as shipped"])
def node(start_shared: Starter, request: pytest.FixtureRequest) -> RunningNode:
    node = start_shared(shipped=request.param)
    node.keep(
        *(
            image(
                study=f"1.2.3.{number}",
                series=f"1.2.3.{number}.{series}",
                instance=f"1.2.3.{number}.{series}.{one}",
                sop_class=CT_IMAGE if series == 1 else SECONDARY_CAPTURE,
                rows=8,
                PatientID=f"P{number}",
                PatientName=name,
                StudyDate=f"2020010{number}",
                StudyTime=time,
                AccessionNumber=f"A{number}",
                Modality="CT" if series == 1 else "OT",
                SeriesNumber=series,
                InstanceNumber=one,
            )
            for number, name, time in (
                (1, "Doe^Jane", "080000"),
                (2, "DOE^John", "120000.5"),
                (3, "Roe^Richard", "235959"),
            )
            for series in (1, 2)
            for one in range(1, 3)
        ),
        *(of_file(bundled_file(f"{name}.dcm")) for name in _CHARSETS),
    )
    return node


def _find(
    node: RunningNode, query: Dataset | bytes | None, root: str = STUDY_FIND, **more: Any
) -> list[Answer]:
    with node.scu((root, [EXPLICIT]), **more) as scu:
        return scu.find(root, query)


def _values(answers: list[Answer], keyword: str) -> list[str]:
    assert answers[-1].status == 0, answers[-1]
    return sorted(
        str(one.identifier[keyword].value or "") for one in answers[:-1] if one.identifier is not None
    )


def _studies(node: RunningNode, **keys: Any) -> list[str]:
    """Which of the three studies match, by their last number."""
    more = {"extended": keys.pop("extended")} if "extended" in keys else {}
    found = _values(
        _find(node, identifier("STUDY", **{"StudyInstanceUID": "", **keys}), **more), "StudyInstanceUID"
    )
    return [uid[-1] for uid in found if uid.startswith("1.2.3.")]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "123"),
        ({"PatientID": "*"}, "123"),
        ({"PatientID": "P2"}, "2"),
        ({"PatientID": "p2"}, ""),
        ({"AccessionNumber": "A?"}, "123"),
        ({"AccessionNumber": "*3"}, "3"),
        ({"StudyInstanceUID": ["1.2.3.1", "1.2.3.3", "9.9"]}, "13"),
        ({"PatientName": "doe^jane"}, "1"),
        ({"PatientName": "dOe*"}, "12"),
        ({"PatientName": "?oe^R*"}, "3"),
        ({"StudyDate": "20200102"}, "2"),
        ({"StudyDate": "20200102-"}, "23"),
        ({"StudyDate": "-20200102"}, "12"),
        ({"StudyDate": "20200101-20200102"}, "12"),
        ({"StudyTime": "08-12"}, "12"),
        ({"StudyTime": "-0800"}, "1"),
        ({"StudyTime": "120000.4-"}, "23"),
        ({"ModalitiesInStudy": "CT"}, "123"),
        ({"ModalitiesInStudy": "MR"}, ""),
        ({"StudyDate": "20200101-20200103", "StudyTime": "10-"}, "23"),
    ],
)
def test_matching(node: RunningNode, keys: dict[str, Any], expected: str) -> None:
    assert "".join(_studies(node, **keys)) == expected


def test_combined_date_and_time_only_when_negotiated(node: RunningNode) -> None:
    """From noon of the 1st to eight of the 3rd: one span of time, or two conditions."""
    keys = {"StudyDate": "20200101-20200103", "StudyTime": "110000-235958"}
    assert _studies(node, **keys) == ["2"]
    assert _studies(node, **keys, extended={STUDY_FIND: b"\0\1"}) == ["2", "3"][:1]
    keys = {"StudyDate": "20200101-20200103", "StudyTime": "100000-090000"}
    assert _studies(node, **keys) == []
    assert _studies(node, **keys, extended={STUDY_FIND: b"\0\1"}) == ["2"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("PatientName=doe*",), 2),
        (("StudyDate=20200102-20200103",), 2),
        (("PatientID=P1",), 1),
        (("PatientID=P9",), 0),
    ],
)
def test_findscu_agrees(node: RunningNode, tmp_path: Any, keys: tuple[str, ...], expected: int) -> None:
    arguments = [
        part for key in ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=", *keys) for part in ("-k", key)
    ]
    dcmtk("findscu", "-S", "-X", "-od", tmp_path, "-aec", "ZSCP", *arguments, *node.address)
    found = [str(pydicom.dcmread(path).StudyInstanceUID) for path in tmp_path.iterdir()]
    assert len([uid for uid in found if uid.startswith("1.2.3.")]) == expected


def test_what_is_not_supported_is_not_agreed_to(node: RunningNode) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT]), extended={STUDY_FIND: b"\1\1\1\1\1"}) as scu:
        agreed = scu.association.acceptor.sop_class_extended[STUDY_FIND]
    assert agreed == b"\1\1\0\0\0"


def test_levels_and_counts(node: RunningNode) -> None:
    query = identifier(
        "STUDY",
        StudyInstanceUID="1.2.3.1",
        ModalitiesInStudy="",
        SOPClassesInStudy="",
        NumberOfStudyRelatedSeries=None,
        NumberOfStudyRelatedInstances=None,
    )
    (one, _) = _find(node, query)
    assert one.identifier is not None
    assert list(one.identifier.ModalitiesInStudy) == ["CT", "OT"]
    assert list(one.identifier.SOPClassesInStudy) == [CT_IMAGE, SECONDARY_CAPTURE]
    assert one.identifier.NumberOfStudyRelatedSeries == 2
    assert one.identifier.NumberOfStudyRelatedInstances == 4
    counts = {f"NumberOfPatientRelated{what}": None for what in ("Studies", "Series", "Instances")}
    (one, _) = _find(node, identifier("PATIENT", PatientID="P1", **counts), PATIENT_FIND)
    assert one.identifier is not None
    assert [one.identifier[keyword].value for keyword in counts] == [1, 2, 4]
    query = identifier(
        "SERIES",
        StudyInstanceUID="1.2.3.1",
        SeriesInstanceUID="1.2.3.1.2",
        NumberOfSeriesRelatedInstances=None,
    )
    (one, _) = _find(node, query)
    assert one.identifier is not None
    assert one.identifier.NumberOfSeriesRelatedInstances == 2


def test_what_is_not_held_comes_back_empty(node: RunningNode) -> None:
    query = identifier("STUDY", StudyInstanceUID="1.2.3.1", InstitutionAddress="", PregnancyStatus=None)
    query.add_new(0x00091001, "LO", "private")
    item = Dataset()
    item.CodeValue = "T-1"
    query.PatientBreedCodeSequence = Items([item])
    (one, _) = _find(node, query)
    assert one.status == 0xFF01
    assert one.identifier is not None
    assert "InstitutionAddress" in one.identifier
    assert not one.identifier.InstitutionAddress
    assert one.identifier["PregnancyStatus"].value is None
    assert list(one.identifier.PatientBreedCodeSequence) == []


@pytest.mark.parametrize("tag", [0x00020010, 0x00020016, 0x00041130, 0xFFFCFFFC])
def test_a_key_of_no_dataset_is_ignored_and_does_not_come_back(node: RunningNode, tag: int) -> None:
    """File Meta Information, a directory's, trailing padding (PS3.5 7.1), in the query and in an item."""
    query = identifier("STUDY", StudyInstanceUID="1.2.3.1", PatientName="")
    element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"CS", 4) + b"NONE"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 12) + element
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1032, b"SQ", 0, len(item)) + item
    elements = [element, *_elements(written(query, EXPLICIT)), sequence]
    stream = b"".join(sorted(elements, key=lambda each: struct.unpack("<HH", each[:4])))
    answers = _find(node, stream)
    assert [one.status for one in answers] == [0xFF00, 0]
    assert answers[0].identifier is not None
    assert tag not in answers[0].identifier
    assert answers[0].identifier.PatientName == "Doe^Jane"
    assert list(answers[0].identifier.ProcedureCodeSequence) == []


def _elements(stream: bytes) -> Iterator[bytes]:
    """Of VRs with a length of 16 bits."""
    while stream:
        size = 8 + struct.unpack("<H", stream[6:8])[0]
        yield stream[:size]
        stream = stream[size:]


def test_where_it_can_be_had(node: RunningNode) -> None:
    (one, _) = _find(node, identifier("STUDY", StudyInstanceUID="1.2.3.1", RetrieveAETitle=""))
    assert one.identifier is not None
    assert one.identifier.QueryRetrieveLevel == "STUDY"
    assert one.identifier.RetrieveAETitle == "ZSCP"
    assert one.identifier.InstanceAvailability == "ONLINE"


@pytest.mark.parametrize("name", _CHARSETS)
def test_names_in_their_character_set(node: RunningNode, name: str) -> None:
    """Asked for in the object's own character set it is found, and the answer reads as it was written."""
    came = pydicom.dcmread(bundled_file(f"{name}.dcm"))
    query = identifier("STUDY", StudyInstanceUID="", PatientName=came.PatientName)
    query.SpecificCharacterSet = came.SpecificCharacterSet
    answers = _find(node, query)
    names = {
        one.identifier.StudyInstanceUID: one.identifier.PatientName for one in answers[:-1] if one.identifier
    }
    assert str(names[came.StudyInstanceUID]) == str(came.PatientName)


@pytest.mark.parametrize("name", _CHARSETS)
def test_names_in_unicode(node: RunningNode, name: str) -> None:
    """Asked for in UTF-8 it is found whatever it was written in."""
    came = pydicom.dcmread(bundled_file(f"{name}.dcm"))
    query = identifier("STUDY", StudyInstanceUID="", PatientName=f"{str(came.PatientName)[:2]}*")
    query.SpecificCharacterSet = "ISO_IR 192"
    answers = _find(node, query)
    names = {
        one.identifier.StudyInstanceUID: one.identifier.PatientName for one in answers[:-1] if one.identifier
    }
    assert str(names[came.StudyInstanceUID]) == str(came.PatientName)


@pytest.mark.parametrize(
    ("asked", "answered"), [(None, "ISO_IR 126"), ("ISO_IR 100", "ISO_IR 126"), ("ISO_IR 192", "ISO_IR 192")]
)
def test_an_answer_says_its_character_set(node: RunningNode, asked: str | None, answered: str) -> None:
    """A query in a character set that cannot hold the answer gets it in the object's."""
    came = pydicom.dcmread(bundled_file("chrGreek.dcm"))
    query = identifier("STUDY", StudyInstanceUID=came.StudyInstanceUID, PatientName="")
    if asked:
        query.SpecificCharacterSet = asked
    (one, _) = _find(node, query)
    assert one.identifier is not None
    assert one.identifier.SpecificCharacterSet == answered
    assert one.identifier.PatientName == came.PatientName


def test_implicit_and_deflated_identifiers(node: RunningNode) -> None:
    for syntax in (IMPLICIT, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"):
        with node.scu((STUDY_FIND, [syntax])) as scu:
            found = scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3.1", PatientName=""))
        assert _values(found, "PatientName") == ["Doe^Jane"]


@pytest.mark.parametrize(
    "query",
    [
        identifier("", StudyInstanceUID=""),
        identifier("FRAME", StudyInstanceUID=""),
        identifier("PATIENT", PatientID=""),
        identifier("STUDY", StudyInstanceUID="", StudyDate="yesterday"),
        identifier("STUDY", StudyInstanceUID="", StudyDate="20200103-20200101-20200102"),
        b"\xff\xfe\xfd" * 7,
        None,
    ],
    ids=["no level", "FRAME", "PATIENT", "no date", "no range", "garbage", "missing"],
)
def test_what_is_no_query_is_refused(node: RunningNode, query: Dataset | bytes | None) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as scu:
        refused = scu.find(STUDY_FIND, query)
        assert len(refused) == 1
        assert refused[0].status == 0xA900
        assert refused[0].comment
        assert scu.echo() == 0
        assert scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3.1"))[-1].status == 0


def test_most_matches(start: Starter) -> None:
    limited = start(query={"max_matches": 3})
    limited.keep(*(image(rows=8, study=f"1.2.{number}") for number in range(5)))
    answers = _find(limited, identifier("STUDY", StudyInstanceUID=""))
    assert [one.status for one in answers] == [0xFF00] * 3 + [0]


def test_two_queries_at_once(node: RunningNode) -> None:
    with node.scu((STUDY_FIND, [EXPLICIT])) as one, node.scu((STUDY_FIND, [EXPLICIT])) as other:
        assert isinstance(one, Scu)
        assert len(one.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3.1"))) == 2
        assert len(other.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3.2"))) == 2
