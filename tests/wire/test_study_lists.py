"""What study lists ask for, as docs/peers.md has it, and sequences (PS3.4 C.2.2.2.6)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from .conftest import RunningNode, Starter
from .peers import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    PATIENT_FIND,
    STUDY_FIND,
    Answer,
    Sent,
    dcmtk,
    identifier,
    image,
)

pytestmark = pytest.mark.peer

_PAGE = Path(__file__).parents[2] / "docs" / "peers.md"
_ROW = re.compile(r"^\| ([^|]+) \| (PATIENT|STUDY|SERIES|IMAGE) \| ([\w, ]+) \|$", re.MULTILINE)
CLIENTS = [(client, level, keys.split(", ")) for client, level, keys in _ROW.findall(_PAGE.read_text())]
# Of what objects do not say; and what the service adds.
_EMPTY = {"StudyComments", "InterpretationStatusID", "IssuerOfPatientID", "InstanceAvailability"}


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="99TEST", CodeMeaning=meaning)


def _request(number: int) -> Dataset:
    return _item(
        RequestedProcedureID=f"RP{number}",
        ScheduledProcedureStepID=f"S{number}",
        ScheduledProcedureStepDescription="Schädel",
        ScheduledProtocolCodeSequence=Items([_code(f"C{number}", "Protocol"), _code("C0", "All")]),
    )


def _object(study: int, series: int, syntax: str, **more: Any) -> Sent:
    uid = f"1.2.{study}.{series}"
    return image(
        study=f"1.2.{study}",
        series=uid,
        instance=f"{uid}.1",
        syntax=syntax,
        rows=8,
        SpecificCharacterSet="ISO_IR 100",
        PatientID=f"P{study}",
        PatientBirthDate="19700101",
        PatientSex="F",
        StudyDate="20200101",
        StudyTime="1200",
        StudyID="7",
        AccessionNumber=f"A{study}",
        StudyDescription="Kopf",
        ReferringPhysicianName="Ref^Erring",
        RequestingPhysician="Re^Questing",
        RequestedProcedureDescription="Schädel nativ",
        SeriesNumber=series,
        SeriesDescription="axial",
        SeriesDate="20200101",
        SeriesTime="1201",
        BodyPartExamined="HEAD",
        PerformingPhysicianName="Per^Forming",
        StationName="CT1",
        PerformedProcedureStepStartDate="20200101",
        PerformedProcedureStepStartTime="1202",
        InstanceCreationDate="20200101",
        InstanceCreationTime="1203",
        ProcedureCodeSequence=Items([_code(f"PC{study}", "Head")]),
        RequestAttributesSequence=Items([_request(10 * study + series), _request(10 * study)]),
        AnatomicRegionSequence=Items([_code("T-A0100", "Brain")]),
        **more,
    )


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    node = start_shared()
    node.keep(
        _object(1, 1, EXPLICIT, InstitutionName="Clinic"),
        _object(1, 2, IMPLICIT, InstitutionName="Practice"),
        _object(2, 1, BIG_ENDIAN, InstitutionName="Clinic"),
    )
    return node


def _find(
    node: RunningNode, level: str, root: str = STUDY_FIND, syntax: str = EXPLICIT, **keys: Any
) -> list[Answer]:
    with node.scu((root, [syntax])) as scu:
        *answers, final = scu.find(root, identifier(level, **keys))
    assert final.status == 0, final
    return answers


def _sequences(answers: list[Answer], keyword: str) -> dict[str, list[Dataset]]:
    """UID at the level → the items of a sequence."""
    unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    found = [one.identifier for one in answers if one.identifier is not None]
    return {str(one[unique[one.QueryRetrieveLevel]].value): list(one[keyword].value) for one in found}


@pytest.mark.parametrize(("client", "level", "keys"), CLIENTS)
def test_all_that_a_client_asks_for_is_answered(
    node: RunningNode, client: str, level: str, keys: list[str]
) -> None:
    """None of its keys is one that is not supported, and all come back with what objects say."""
    unique = {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.1.1"}
    asked = {
        keyword: unique[keyword] if keyword in unique else [] if dictionary_VR(keyword) == "SQ" else None
        for keyword in keys
    }
    asked.setdefault("StudyInstanceUID", "1.2.1")
    answers = _find(node, level, PATIENT_FIND if level == "PATIENT" else STUDY_FIND, **asked)
    assert answers, client
    assert {one.status for one in answers} == {0xFF00}
    told = answers[0].identifier
    assert told is not None
    assert [k for k in keys if k not in told] == []
    assert [k for k in keys if not told[k].value and k not in _EMPTY] == []


def test_the_page_lists_the_clients() -> None:
    assert {client for client, _, _ in CLIENTS} >= {"OHIF", "Weasis", "Horos, OsiriX", "3D Slicer (CTK)"}
    assert all(tag_for_keyword(keyword) for _, _, keys in CLIENTS for keyword in keys)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_sequence_is_returned(node: RunningNode, syntax: str) -> None:
    """Asked for without an item it comes whole, with one it has the attributes of that item."""
    answers = _find(
        node, "SERIES", syntax=syntax, StudyInstanceUID="1.2.1", RequestAttributesSequence=Items()
    )
    whole = _sequences(answers, "RequestAttributesSequence")
    assert whole == {"1.2.1.1": [_request(11), _request(10)], "1.2.1.2": [_request(12), _request(10)]}
    assert {one.status for one in answers} == {0xFF00}
    wanted = Items([_item(RequestedProcedureID="", RequestedProcedureDescription="")])
    answers = _find(node, "SERIES", syntax=syntax, StudyInstanceUID="1.2.2", RequestAttributesSequence=wanted)
    (items,) = _sequences(answers, "RequestAttributesSequence").values()
    expected = [
        _item(RequestedProcedureID=name, RequestedProcedureDescription="") for name in ("RP21", "RP20")
    ]
    assert items == expected


def test_a_sequence_at_study_level_is_that_of_all_series(node: RunningNode) -> None:
    answers = _find(node, "STUDY", StudyInstanceUID="1.2.1", RequestAttributesSequence=Items())
    (items,) = _sequences(answers, "RequestAttributesSequence").values()
    assert sorted(str(item.RequestedProcedureID) for item in items) == ["RP10", "RP11", "RP12"]
    answers = _find(node, "STUDY", StudyInstanceUID="1.2.2", ProcedureCodeSequence=Items())
    assert _sequences(answers, "ProcedureCodeSequence") == {"1.2.2": [_code("PC2", "Head")]}
    answers = _find(node, "STUDY", StudyInstanceUID="1.2.2", AnatomicRegionsInStudyCodeSequence=Items())
    assert _sequences(answers, "AnatomicRegionsInStudyCodeSequence") == {"1.2.2": [_code("T-A0100", "Brain")]}


@pytest.mark.parametrize(
    ("level", "keyword", "item", "expected"),
    [
        ("STUDY", "ProcedureCodeSequence", {"CodeValue": "PC1"}, {"1.2.1": 1}),
        ("STUDY", "ProcedureCodeSequence", {"CodeValue": "PC*", "CodeMeaning": ""}, {"1.2.1": 1, "1.2.2": 1}),
        ("STUDY", "ProcedureCodeSequence", {"CodeValue": "PC1", "CodeMeaning": "Foot"}, {}),
        ("STUDY", "RequestAttributesSequence", {"RequestedProcedureID": "RP12"}, {"1.2.1": 1}),
        (
            "SERIES",
            "RequestAttributesSequence",
            {"RequestedProcedureID": "RP1?"},
            {"1.2.1.1": 2, "1.2.1.2": 2},
        ),
        ("SERIES", "RequestAttributesSequence", {"ScheduledProcedureStepDescription": "Sch?del"}, None),
        (
            "SERIES",
            "RequestAttributesSequence",
            {"ScheduledProtocolCodeSequence": [{"CodeValue": "C21"}]},
            {"1.2.2.1": 1},
        ),
        ("STUDY", "AnatomicRegionsInStudyCodeSequence", {"CodeValue": "T-A0100"}, {"1.2.1": 1, "1.2.2": 1}),
        ("STUDY", "AnatomicRegionsInStudyCodeSequence", {"CodeValue": "T-D1100"}, {}),
    ],
)
def test_a_sequence_is_matched(
    node: RunningNode, level: str, keyword: str, item: dict[str, Any], expected: dict[str, int] | None
) -> None:
    asked = _item(**{k: Items([_item(**v[0])]) if isinstance(v, list) else v for k, v in item.items()})
    found = _sequences(_find(node, level, **{keyword: Items([asked])}), keyword)
    counted = {uid: len(items) for uid, items in found.items()}
    assert counted == (expected if expected is not None else {"1.2.1.1": 2, "1.2.1.2": 2, "1.2.2.1": 2})
    for items in found.values():
        assert all({e.keyword for e in one} == set(item) for one in items)


def test_dcmtk_asks_for_sequences(node: RunningNode, tmp_path: Path) -> None:
    keys = [
        "QueryRetrieveLevel=STUDY",
        "StudyInstanceUID=",
        "InstitutionName=Clin*",
        "RequestAttributesSequence[0].RequestedProcedureID=RP11",
        "RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning=",
    ]
    arguments = [part for key in keys for part in ("-k", key)]
    dcmtk("findscu", "-S", "-X", "-od", tmp_path, "-aec", "ZSCP", *arguments, *node.address)
    (answer,) = (pydicom.dcmread(path) for path in tmp_path.iterdir())
    assert (answer.StudyInstanceUID, answer.InstitutionName) == ("1.2.1", "Clinic")
    (item,) = answer.RequestAttributesSequence
    assert item.RequestedProcedureID == "RP11"
    assert [code.CodeMeaning for code in item.ScheduledProtocolCodeSequence] == ["Protocol", "All"]


@pytest.mark.parametrize(
    ("keyword", "value", "studies"),
    [
        ("InstitutionName", "Practice", ["1.2.1"]),
        ("InstitutionName", "Clinic", ["1.2.1", "1.2.2"]),
        ("RequestingPhysician", "re^quest*", ["1.2.1", "1.2.2"]),
        ("RequestedProcedureDescription", "Schädel*", ["1.2.1", "1.2.2"]),
        ("PerformingPhysicianName", "nobody", []),
    ],
)
def test_matched_at_study_level(node: RunningNode, keyword: str, value: str, studies: list[str]) -> None:
    query = {"SpecificCharacterSet": "ISO_IR 100", "StudyInstanceUID": "", keyword: value}
    found = [one.identifier for one in _find(node, "STUDY", **query)]
    assert sorted(str(one.StudyInstanceUID) for one in found if one) == studies
    assert {str(one[keyword].value) for one in found if one} <= {"Clinic", "Re^Questing", "Schädel nativ"}


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00400275, "LO", b"RP11"),  # a sequence as text
        (0x00080080, "SQ", b"\xfe\xff\x00\xe0\x0c\0\0\0\x08\0\0\x01SH\4\0RP11"),  # text as a sequence
    ],
)
def test_a_key_of_another_vr_is_refused(node: RunningNode, tag: int, vr: str, value: bytes) -> None:
    head = tag.to_bytes(4, "big")
    element = head[1::-1] + head[:1:-1] + vr.encode()
    element += (
        len(value).to_bytes(2, "little") if vr == "LO" else b"\0\0" + len(value).to_bytes(4, "little")
    ) + value
    level = b"\x08\0\x52\0CS\6\0STUDY "
    stream = level + element
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        (refused,) = scu.find(STUDY_FIND, stream)
    assert refused.status == 0xA900
