"""Keys that the standard asks for and clients leave out: answered where it is clear what is meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    MR_IMAGE,
    PATIENT_FIND,
    PATIENT_GET,
    STUDY_FIND,
    STUDY_GET,
    Answer,
    Retrieved,
    Sent,
    dcmtk,
    identifier,
    image,
    storescp,
)

pytestmark = pytest.mark.peer

# Studies of two series each: two of the second patient, with one Accession Number.
_STUDIES = {"1": ("P1", "A1"), "2": ("P2", "A2"), "3": ("P2", "A2")}


def _objects() -> list[Sent]:
    return [
        image(
            study=f"1.2.{study}",
            series=f"1.2.{study}.{series}",
            instance=f"1.2.{study}.{series}.{number}",
            rows=8,
            PatientID=patient,
            AccessionNumber=accession,
        )
        for study, (patient, accession) in _STUDIES.items()
        for series in (1, 2)
        for number in (1, 2)
    ]


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    """By default."""
    node = start_shared()
    node.keep(*_objects())
    # A Series Instance UID that equipment used twice, in studies of two patients.
    node.keep(
        *(
            image(study=f"1.3.{n}", series="1.3", instance=f"1.3.{n}.1", rows=8, PatientID=f"Q{n}")
            for n in (1, 2)
        )
    )
    return node


@pytest.fixture(scope="module")
def strict(start_shared: Starter) -> RunningNode:
    node = start_shared(query={"hierarchy": "strict"})
    node.keep(*_objects())
    return node


def _get(node: RunningNode, root: str, query: Dataset, **more: Any) -> Retrieved:
    with node.scu((root, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE], **more) as scu:
        return scu.get(root, query)


def _uids(done: Retrieved) -> list[str]:
    assert done.final.status == 0, done.final
    return [one.instance for one in done.objects]


def _find(node: RunningNode, root: str, query: Dataset, **more: Any) -> list[Answer]:
    with node.scu((root, [EXPLICIT]), **more) as scu:
        return scu.find(root, query)


def _below(prefix: str) -> list[str]:
    return [one.instance for one in _objects() if one.instance.startswith(prefix)]


@pytest.mark.parametrize("root", [PATIENT_GET, STUDY_GET])
@pytest.mark.parametrize("with_level", [True, False])
@pytest.mark.parametrize(
    ("level", "keys", "prefix"),
    [
        ("STUDY", {"StudyInstanceUID": "1.2.1"}, "1.2.1."),
        ("STUDY", {"StudyInstanceUID": ["1.2.1", "1.2.2"]}, ("1.2.1.", "1.2.2.")),
        ("SERIES", {"SeriesInstanceUID": "1.2.1.2"}, "1.2.1.2."),
        ("SERIES", {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.1.2"}, "1.2.1.2."),
        ("IMAGE", {"SOPInstanceUID": "1.2.3.1.2"}, "1.2.3.1.2"),
        ("IMAGE", {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.1.2"}, "1.2.3.1.2"),
        ("STUDY", {"AccessionNumber": "A1"}, "1.2.1."),
        ("STUDY", {"AccessionNumber": "A1", "StudyInstanceUID": ""}, "1.2.1."),
    ],
)
def test_retrieved_by_what_is_unique(
    node: RunningNode, root: str, with_level: bool, level: str, keys: dict[str, Any], prefix: Any
) -> None:
    query = identifier(level, **keys)
    if not with_level:
        del query.QueryRetrieveLevel
    assert _uids(_get(node, root, query)) == _below(prefix)


def test_without_a_level_a_patient(node: RunningNode) -> None:
    query = identifier("", PatientID="P1")
    assert _uids(_get(node, PATIENT_GET, query)) == _below("1.2.1.")
    assert _get(node, STUDY_GET, query).final.status == 0xA900  # which has no such level


@pytest.mark.parametrize(
    ("level", "keys", "said"),
    [
        ("STUDY", {"AccessionNumber": "A2"}, "2 studies"),
        ("STUDY", {"AccessionNumber": "A*"}, "StudyInstanceUID"),
        ("STUDY", {"AccessionNumber": "A9"}, "no study"),
        ("", {"AccessionNumber": "A2"}, "2 studies"),
        ("", {"PatientName": "Wire*"}, "Level"),
        ("SERIES", {"AccessionNumber": "A1"}, "SeriesInstanceUID"),
        ("SERIES", {"SeriesInstanceUID": "1.3"}, "InstanceUID is of several"),
        ("SERIES", {"SeriesInstanceUID": ["1.2.1.1", "1.3"]}, ": add "),
    ],
)
@pytest.mark.parametrize("root", [PATIENT_GET, STUDY_GET])
def test_what_could_mean_several_is_refused(
    node: RunningNode, root: str, level: str, keys: dict[str, Any], said: str
) -> None:
    done = _get(node, root, identifier(level, **keys))
    assert (done.final.status, done.objects) == (0xA900, [])
    assert said in done.final.comment
    assert len(done.final.comment) <= 64


def test_told_apart_by_a_key_above(node: RunningNode) -> None:
    shared = {"SeriesInstanceUID": "1.3"}
    by_study = identifier("SERIES", StudyInstanceUID="1.3.2", **shared)
    assert _uids(_get(node, PATIENT_GET, by_study)) == ["1.3.2.1"]
    by_accession = identifier("STUDY", AccessionNumber="A1", PatientID="P1")
    assert _uids(_get(node, PATIENT_GET, by_accession)) == _below("1.2.1.")
    relational = _get(node, STUDY_GET, identifier("SERIES", **shared), extended={STUDY_GET: b"\1"})
    assert sorted(_uids(relational)) == ["1.3.1.1", "1.3.2.1"]


@pytest.mark.parametrize(
    ("root", "level", "keys", "count"),
    [
        (PATIENT_FIND, "STUDY", {"StudyInstanceUID": "1.2.1"}, 1),
        (PATIENT_FIND, "STUDY", {"AccessionNumber": "A2"}, 2),
        (PATIENT_FIND, "SERIES", {"StudyInstanceUID": "1.2.1"}, 2),
        (PATIENT_FIND, "SERIES", {"SeriesInstanceUID": "1.2.1.2"}, 1),
        (STUDY_FIND, "SERIES", {"PatientID": "P1"}, 2),
        (STUDY_FIND, "IMAGE", {"SOPInstanceUID": "1.2.1.1.1"}, 1),
        (STUDY_FIND, "IMAGE", {"StudyInstanceUID": "1.2.1"}, 4),
    ],
)
def test_found_without_the_keys_above(
    node: RunningNode, root: str, level: str, keys: dict[str, Any], count: int
) -> None:
    answers = _find(node, root, identifier(level, **keys))
    assert (answers[-1].status, len(answers) - 1) == (0, count)


@pytest.mark.parametrize(
    ("level", "missing"), [("SERIES", "StudyInstanceUID"), ("IMAGE", "SeriesInstanceUID")]
)
def test_strict_unless_negotiated(strict: RunningNode, level: str, missing: str) -> None:
    query = identifier(level, PatientID="P1", SeriesInstanceUID="")
    if level == "IMAGE":
        query.SOPInstanceUID = ""
    refused = _find(strict, STUDY_FIND, query)[-1]
    assert refused.status == 0xA900
    assert missing in refused.comment
    assert len(refused.comment) <= 64
    relational = _find(strict, STUDY_FIND, query, extended={STUDY_FIND: b"\1"})
    assert (relational[-1].status, len(relational) - 1) == (0, {"SERIES": 2, "IMAGE": 4}[level])


@pytest.mark.parametrize(
    ("level", "keys", "said"),
    [
        ("STUDY", {"StudyInstanceUID": "1.2.1"}, "PatientID"),
        ("", {"PatientID": "P1"}, "Level"),
        ("STUDY", {"PatientID": "P1", "AccessionNumber": "A1"}, "StudyInstanceUID"),
    ],
)
def test_strict_retrieves(strict: RunningNode, level: str, keys: dict[str, Any], said: str) -> None:
    done = _get(strict, PATIENT_GET, identifier(level, **keys))
    assert (done.final.status, said in done.final.comment) == (0xA900, True)


def test_dcmtk_retrieves_so(node: RunningNode, tmp_path: Any) -> None:
    """DCMTK's movescu in patient root, by a Study Instance UID and by an Accession Number alone."""
    with storescp(tmp_path / "came") as port:
        node.peer("DEST", port)
        for key, count in (("StudyInstanceUID=1.2.1", 4), ("AccessionNumber=A1", 4)):
            keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", key)
            dcmtk("movescu", "-P", "-aec", "ZSCP", "-aem", "DEST", "--no-port", *keys, *node.address)
            came = list((tmp_path / "came").iterdir())
            assert len(came) == count
            for path in came:
                path.unlink()
