"""Objects without a usable Study, Series or SOP Instance UID: found and retrieved, and their senders told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from scp.archive.encode import as_received
from scp.lifecycle.reindex import reindex
from scp.lifecycle.transfer import export
from scp.model import Received
from scp.node.build import open_archive
from scp.objects import part10

from .configured import settings_of, tables_of
from .conftest import RunningNode, Starter
from .peers import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    PATIENT_FIND,
    PATIENT_GET,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    Retrieved,
    Sent,
    Sink,
    as_file,
    dcmtk,
    identifier,
    image,
    of_file,
    written,
)

pytestmark = pytest.mark.peer

CASES = Path(__file__).parents[1] / "data" / "cases"
COERCED, UNREADABLE, MISMATCH, CANNOT_UNDERSTAND = 0xB000, 0xB007, 0xA900, 0xC002
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def lacking(*keywords: str, instance: str = "1.9.4.1", syntax: str = EXPLICIT, **more: Any) -> Sent:
    """An image without some of its UIDs."""
    whole = image(instance=instance, syntax=syntax, **more)
    dataset = whole.dataset
    for keyword in keywords:
        delattr(dataset, keyword)
    return Sent(whole.sop_class, instance, syntax, written(dataset, syntax))


def values(node: RunningNode, root: str, query: Dataset) -> list[Dataset]:
    with node.scu((root, [EXPLICIT])) as scu:
        answers = scu.find(root, query)
    assert answers[-1].status == 0
    return [one.identifier for one in answers[:-1] if one.identifier is not None]


def get(node: RunningNode, root: str, query: Dataset, syntax: str = EXPLICIT) -> Retrieved:
    with node.scu(
        (root, [EXPLICIT]),
        (MR_IMAGE, [syntax]),
        (SECONDARY_CAPTURE, [syntax]),
        roles=(
            MR_IMAGE,
            SECONDARY_CAPTURE,
        ),
    ) as scu:
        return scu.get(root, query)


@pytest.fixture(params=["encoded first", "landing"])
def node(request: pytest.FixtureRequest, start: Starter) -> RunningNode:
    """Objects are kept in their form before the response, or land and wait."""
    return start(storage={"backlog": 10**9 if request.param == "landing" else 0})


def test_the_case_is_found_and_retrieved_at_every_level(node: RunningNode) -> None:
    sent = of_file(CASES / "no-study-uid.dcm")
    (answer,) = node.store(sent)
    held = node.held(sent)
    assert held.study_instance_uid.startswith("2.25.")
    assert (answer.status, answer.comment) == (COERCED, f"Study UID missing: {held.study_instance_uid}")
    for root in (PATIENT_FIND, STUDY_FIND):
        (study,) = values(node, root, identifier("STUDY", PatientID="NS1", StudyInstanceUID="", StudyID=""))
        assert (study.StudyInstanceUID, study.StudyID) == (held.study_instance_uid, "1")
        named = identifier(
            "SERIES", PatientID="NS1", StudyInstanceUID=study.StudyInstanceUID, SeriesInstanceUID=""
        )
        (series,) = values(node, root, named)
        assert series.SeriesInstanceUID == sent.dataset.SeriesInstanceUID
        named.QueryRetrieveLevel, named.SeriesInstanceUID = "IMAGE", series.SeriesInstanceUID
        named.SOPInstanceUID = ""
        assert [one.SOPInstanceUID for one in values(node, root, named)] == [sent.instance]
    (patient,) = values(
        node, PATIENT_FIND, identifier("PATIENT", PatientID="", NumberOfPatientRelatedStudies="")
    )
    assert (patient.PatientID, patient.NumberOfPatientRelatedStudies) == ("NS1", 1)
    levels = [
        (PATIENT_GET, identifier("PATIENT", PatientID="NS1")),
        (STUDY_GET, identifier("STUDY", StudyInstanceUID=held.study_instance_uid)),
        (
            STUDY_GET,
            identifier(
                "SERIES", StudyInstanceUID=held.study_instance_uid, SeriesInstanceUID=held.series_instance_uid
            ),
        ),
    ]
    for root, query in levels:
        done = get(node, root, query)
        assert (done.final.status, len(done.objects)) == (0, 1)
        (got,) = done.objects
        assert got.dataset.StudyInstanceUID == held.study_instance_uid
        del (plain := got.dataset).StudyInstanceUID
        assert written(plain, EXPLICIT) == sent.data  # and nothing else is added, or lost


@pytest.mark.parametrize("missing", UIDS)
@pytest.mark.parametrize("how", ["absent", "empty", "blank"])
def test_a_uid_that_is_missing_is_there_on_the_way_out(start: Starter, missing: str, how: str) -> None:
    node = start()
    sent = lacking(missing)
    if how != "absent":
        dataset = sent.dataset
        setattr(dataset, missing, "" if how == "empty" else None)
        data = written(dataset, EXPLICIT)
        if how == "blank":
            tag = dataset[missing].tag
            there = bytes((tag.group & 255, tag.group >> 8, tag.elem & 255, tag.elem >> 8)) + b"UI\0\0"
            assert there in data
            data = data.replace(there, there[:6] + b"\4\0 \0 \0")
        sent = Sent(sent.sop_class, sent.instance, EXPLICIT, data)
    (answer, again) = node.store(sent, sent)
    assert (answer.status, again.status) == (COERCED, COERCED)
    assert "missing" in answer.comment
    held = node.held(sent)
    done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID=held.study_instance_uid))
    (got,) = done.objects
    expected = dict(zip(UIDS, (sent.sop_class, sent.instance), strict=False))
    expected |= {"StudyInstanceUID": held.study_instance_uid, "SeriesInstanceUID": held.series_instance_uid}
    assert {keyword: got.dataset[keyword].value for keyword in UIDS} == expected
    node.archive.verify(held, deep=True)


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_other_encodings(node: RunningNode, syntax: str) -> None:
    sent = lacking("StudyInstanceUID", "SeriesInstanceUID", syntax=syntax)
    (answer,) = node.store(sent)
    assert answer.status == COERCED
    held = node.held(sent)
    for wanted in (syntax, EXPLICIT):
        done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID=held.study_instance_uid), wanted)
        (got,) = done.objects
        assert got.dataset.StudyInstanceUID == held.study_instance_uid
        assert got.dataset.SeriesInstanceUID == held.series_instance_uid
        assert got.dataset.Rows == 32
        assert len(got.dataset.PixelData) == 2048


def test_objects_of_one_visit_are_one_study(start: Starter) -> None:
    """Of one patient, and what tells the visit; never objects of unknown patients."""
    node = start()

    def stored(number: int, **more: Any) -> Any:
        sent = lacking("StudyInstanceUID", "SeriesInstanceUID", instance=f"1.9.5.{number}", **more)
        assert [one.status for one in node.store(sent)] == [COERCED]
        return node.held(sent)

    first = stored(1, AccessionNumber="A1", SeriesNumber=1)
    other_series = stored(2, AccessionNumber="A1", SeriesNumber=2)
    same_series = stored(3, AccessionNumber="A1", SeriesNumber=2)
    other_visit = stored(4, AccessionNumber="A2", SeriesNumber=1)
    other_patient = stored(5, AccessionNumber="A1", SeriesNumber=1, PatientID="WIRE2")
    nobody = [stored(n, AccessionNumber="A1", PatientID=None, PatientName=None) for n in (6, 7)]
    untold = [stored(n) for n in (8, 9)]
    assert first.study_instance_uid == other_series.study_instance_uid == same_series.study_instance_uid
    assert first.series_instance_uid != other_series.series_instance_uid == same_series.series_instance_uid
    apart = [first, other_visit, other_patient, *nobody, *untold]
    assert len({one.study_instance_uid for one in apart}) == len(apart)


@pytest.mark.parametrize("number", [None, "", "  "])
def test_without_a_patient_id_the_study_is_the_way_in(start: Starter, number: str | None) -> None:
    """It is no UID, and none is made up: the object lacks nothing that it is kept under."""
    node = start(query={"hierarchy": "lenient"})
    sent = image(study="1.2.80", PatientID=number)
    node.keep(sent)
    for find, retrieve in ((STUDY_FIND, STUDY_GET), (PATIENT_FIND, PATIENT_GET)):
        (found,) = values(node, find, identifier("STUDY", StudyInstanceUID="1.2.80", PatientName=""))
        assert found.PatientName == "Wire^Test"
        done = get(node, retrieve, identifier("STUDY", StudyInstanceUID="1.2.80"))
        assert [one.data for one in done.objects] == [sent.data]


def test_of_several_values_the_first_counts(start: Starter) -> None:
    node = start()
    sent = image(study="1.2.77")
    dataset = sent.dataset
    dataset.StudyInstanceUID = ["1.2.77", "1.2.78"]
    sent = Sent(sent.sop_class, sent.instance, EXPLICIT, written(dataset, EXPLICIT))
    node.keep(sent)
    done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.77"))
    assert [one.data for one in done.objects] == [sent.data]


def test_a_whole_file_in_a_datasets_place(node: RunningNode, tmp_path: Path) -> None:
    """It cannot be read, but says what it is of; out it goes to the byte as it came."""
    inner = image(instance="1.9.6.1", study="1.2.79")
    data = as_file(inner, tmp_path / "file").read_bytes()
    for syntax, instance in ((EXPLICIT, "1.9.6.1"), (IMPLICIT, "1.9.6.1")):
        sent = Sent(MR_IMAGE, instance, syntax, data)
        (answer,) = node.store(sent)
        assert (answer.status, answer.comment) == (UNREADABLE, "a whole DICOM file was sent as the dataset")
        done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.79"), syntax)
        assert [one.data for one in done.objects] == [data]
    other = as_file(lacking("StudyInstanceUID", instance="1.9.6.2"), tmp_path / "other").read_bytes()
    for syntax in (EXPLICIT, IMPLICIT):
        sent = Sent(MR_IMAGE, "1.9.6.2", syntax, other)
        (answer,) = node.store(sent)
        assert answer.status == UNREADABLE
        held = node.held(sent)
        assert held.study_instance_uid.startswith("2.25.")
        done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID=held.study_instance_uid), syntax)
        assert [one.data for one in done.objects] == [other]


def test_noise_is_found_by_what_zscp_answered(node: RunningNode) -> None:
    sent = Sent(MR_IMAGE, "1.9.7.1", EXPLICIT, bytes(range(255, 5, -1)) * 20)
    (answer,) = node.store(sent)
    assert answer.status == UNREADABLE
    study = node.held(sent).study_instance_uid
    assert [
        one.StudyInstanceUID for one in values(node, STUDY_FIND, identifier("STUDY", StudyInstanceUID=""))
    ] == [study]
    done = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID=study))
    assert [one.data for one in done.objects] == [sent.data]


def test_what_has_no_study_by_its_class_lacks_none(start: Starter) -> None:
    """A hanging protocol is answered with Success, and nothing is put into it (PS3.4 GG)."""
    node = start()
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.38.1", "1.9.8.1"
    dataset.HangingProtocolName = "CHEST"
    sent = Sent(dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT, written(dataset, EXPLICIT))
    node.keep(sent)
    study = node.held(sent).study_instance_uid
    with node.scu((STUDY_GET, [EXPLICIT]), (sent.sop_class, [EXPLICIT]), roles=[sent.sop_class]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=study))
    assert [one.data for one in done.objects] == [sent.data]


@pytest.mark.parametrize("missing", UIDS[1:])
def test_refused_where_that_is_wanted(start: Starter, missing: str) -> None:
    for backlog in (0, 10**9):
        node = start(storage={"incomplete": "reject", "backlog": backlog})
        (answer, sound) = node.store(lacking(missing), image(instance="1.9.4.2"))
        assert (answer.status, sound.status) == (MISMATCH, 0)
        assert missing in answer.comment
        assert node.archive.index.newest("1.9.4.1") is None
        assert [one.sop_instance_uid for one in node.archive.index.all()] == ["1.9.4.2"]


def test_reindexing_arrives_at_the_same(node: RunningNode, start: Starter) -> None:
    sent = [
        lacking("StudyInstanceUID", instance="1.9.9.1"),
        lacking("SeriesInstanceUID", instance="1.9.9.2"),
        Sent(MR_IMAGE, "1.9.9.3", EXPLICIT, b"noise" * 20),
    ]
    assert [one.status for one in node.store(*sent)] == [COERCED, COERCED, UNREADABLE]
    before = {one.sop_instance_uid: one for one in map(node.held, sent)}
    node.node.stop()
    (node.root / "index.db").unlink()
    archive = open_archive(settings_of(tables_of(node.root, {})))
    try:
        reindex(archive, _Silent())
        for one in archive.index.all():
            was = before.pop(one.sop_instance_uid)
            assert (one.study_instance_uid, one.series_instance_uid) == (
                was.study_instance_uid,
                was.series_instance_uid,
            )
        assert before == {}
    finally:
        archive.close()


def test_what_an_earlier_version_kept_is_found_after_a_rebuild(start: Starter) -> None:
    """Its file lies under no study, and remembers no UIDs; it may get another form, and is retrieved."""
    sent = lacking("StudyInstanceUID", AccessionNumber="A1")
    when = datetime(2026, 1, 2, tzinfo=UTC)
    received = Received(MR_IMAGE, sent.instance, EXPLICIT, sent.data, "MR1", "ZSCP", when)
    name = f"e3/b0/none/{sent.instance}_{received.sha256[:16]}.received.dcm"
    node = start(policy=[{"name": "all", "stages": [{"form": "htj2k"}]}])
    node.archive.store.put(name, part10.pack(as_received(received)))
    node.archive.store.settle(name)
    reindex(node.archive, _Silent())
    held = node.held(sent)
    assert (held.key, held.study_instance_uid[:5]) == (name, "2.25.")
    query = identifier("STUDY", StudyInstanceUID=held.study_instance_uid)
    (got,) = get(node, STUDY_GET, query).objects
    assert got.dataset.StudyInstanceUID == held.study_instance_uid
    node.archive.replace([node.archive.encode(held)])
    after = node.held(sent)
    assert (after.form, after.study_instance_uid) == ("htj2k", held.study_instance_uid)
    assert node.files() == [node.path(sent)]
    assert node.archive.provenance(after).given == {"StudyInstanceUID": held.study_instance_uid}
    assert [one.data for one in get(node, STUDY_GET, query).objects] == [got.data]


class _Silent:
    def total(self, count: int) -> None: ...
    def advance(self, count: int = 1) -> None: ...


def test_the_file_remembers_what_was_given(start: Starter) -> None:
    node = start()
    sent = lacking("StudyInstanceUID")
    node.store(sent)
    held = node.held(sent)
    known = node.archive.provenance(held)
    assert known.given == {"StudyInstanceUID": held.study_instance_uid}
    assert known.sha256 == held.received_sha256  # of the stream as it came


def test_sent_on_and_exported(start: Starter, tmp_path: Path) -> None:
    """A workstation gets what it can use by DCMTK's movescu as well; an export is what came."""
    node = start()
    sent = lacking("StudyInstanceUID")
    node.store(sent)
    study = node.held(sent).study_instance_uid
    with Sink() as sink:
        node.peer("SINK", sink.port)
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        dcmtk("movescu", "-S", "-aec", "ZSCP", "-aem", "SINK", *keys, *node.address)
    assert [one.dataset.StudyInstanceUID for one in sink.objects.values()] == [study]
    (exported,) = export(node.archive, [node.held(sent)], tmp_path, "received")
    assert exported.path.parent.parent.name == study
    assert of_file(exported.path).data == sent.data


def test_group_lengths_stay_true(start: Starter) -> None:
    node = start()
    sent = lacking("StudyInstanceUID")
    dataset = sent.dataset
    group = Dataset()
    for element in dataset.group_dataset(0x0020):
        group.add(element)
    length = len(written(group, EXPLICIT))
    at = sent.data.index(b"\x20\0\x0e\0UI")
    told = b"\x20\0\0\0UL\4\0" + length.to_bytes(4, "little")
    sent = Sent(MR_IMAGE, sent.instance, EXPLICIT, sent.data[:at] + told + sent.data[at:])
    assert [one.status for one in node.store(sent)] == [COERCED]
    study = node.held(sent).study_instance_uid
    (got,) = get(node, STUDY_GET, identifier("STUDY", StudyInstanceUID=study)).objects
    grown = 8 + len(study) + len(study) % 2
    assert got.dataset[0x00200000].value == length + grown
    assert len(got.data) == len(sent.data) + grown
