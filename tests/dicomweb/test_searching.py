"""QIDO-RS (PS3.18 10.6) on an archive that holds some objects."""

from __future__ import annotations

import sqlite3
from typing import Any
from xml.etree import ElementTree

import pytest
from dicomweb_desks import CT, MadeDicomWeb, dicomweb_settings, image, token
from pydicom.dataset import Dataset

from scp.index.pages import Page
from scp.index.watch import Watch, unwatched
from scp.model import Query
from scp.web.dicomweb.search.attributes import REQUIRED, is_known
from scp.web.dicomweb.search.matches import SearchMatches
from scp.web.dicomweb.search.parameters import search_of

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

JSON = "application/dicom+json"
BASE = "http://127.0.0.1:11180/dicom-web"
Answer = list[dict[str, Any]]


def values(match: dict[str, Any], tag: str) -> list[Any]:
    return match[tag].get("Value", [])  # type: ignore[no-any-return]


def uids(answer: Answer, tag: str) -> list[Any]:
    return sorted(values(match, tag)[0] for match in answer)


def requested(step: str) -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, f"R{step}"
    return item


@pytest.fixture(scope="module")
def stored(made: MadeDicomWeb) -> None:
    """Study 1.2.1 of CT: two series with three images; study 1.2.2 of MR."""
    described = {"StudyDate": "20260102", "StudyTime": "101500.5", "AccessionNumber": "A1", "StudyID": "S1"}
    for uid, number in (("1.2.1.1.1", "1"), ("1.2.1.1.2", "2"), ("1.2.1.2.1", "1")):
        step = requested(uid[6])
        one = image(uid, InstanceNumber=number, SeriesNumber=uid[6], SliceThickness="1.50", **described)
        one.RequestAttributesSequence = [step]
        made.store(one)
    other = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "P2", "Modality": "MR"}
    made.store(image("1.2.2.1.1", SpecificCharacterSet="ISO_IR 192", StudyDate="20250101", **other))


@pytest.fixture
def filled(web: MadeDicomWeb, stored: None) -> MadeDicomWeb:
    """DICOMweb on these objects."""
    return web


@pytest.mark.parametrize(
    ("path", "tag", "found"),
    [
        ("/studies", "0020000D", ["1.2.1", "1.2.2"]),
        ("/series", "0020000E", ["1.2.1.1", "1.2.1.2", "1.2.2.1"]),
        ("/instances", "00080018", ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.2.1", "1.2.2.1.1"]),
        ("/studies/1.2.1/series", "0020000E", ["1.2.1.1", "1.2.1.2"]),
        ("/studies/1.2.1/instances", "00080018", ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.2.1"]),
        ("/studies/1.2.1/series/1.2.1.1/instances", "00080018", ["1.2.1.1.1", "1.2.1.1.2"]),
        # A match by what the standard's tables have, one way of each kind.
        ("/studies?StudyDate=20260101-20260131", "0020000D", ["1.2.1"]),
        ("/studies?StudyDate=-20251231", "0020000D", ["1.2.2"]),
        ("/studies?StudyDate=20260102&StudyTime=1010-1020", "0020000D", ["1.2.1"]),
        ("/studies?AccessionNumber=A?", "0020000D", ["1.2.1"]),
        ("/studies?ModalitiesInStudy=MR", "0020000D", ["1.2.2"]),
        ("/studies?ModalitiesInStudy=MR,US", "0020000D", ["1.2.2"]),
        ("/studies?ModalitiesInStudy=MR%5CCT", "0020000D", ["1.2.1", "1.2.2"]),
        ("/studies?00100010=mill*", "0020000D", ["1.2.1"]),
        ("/studies?PatientName=%E5%B1%B1%E7%94%B0*", "0020000D", ["1.2.2"]),
        ("/studies?PatientID=P2", "0020000D", ["1.2.2"]),
        ("/studies?StudyInstanceUID=1.2.1,1.2.2", "0020000D", ["1.2.1", "1.2.2"]),
        ("/studies?StudyInstanceUID=1.2.1%5C1.2.9", "0020000D", ["1.2.1"]),
        ("/studies?SeriesInstanceUID=1.2.2.1", "0020000D", ["1.2.2"]),
        ("/studies?SOPInstanceUID=1.2.2.1.1", "0020000D", ["1.2.2"]),
        ("/series?Modality=CT&SeriesNumber=2", "0020000E", ["1.2.1.2"]),
        ("/series?RequestAttributesSequence.ScheduledProcedureStepID=2", "0020000E", ["1.2.1.2"]),
        ("/series?00400275.00400009=1&00400275.00401001=R1", "0020000E", ["1.2.1.1"]),
        ("/series?PatientID=P2", "0020000E", ["1.2.2.1"]),
        (f"/instances?SOPClassUID={CT}&InstanceNumber=2", "00080018", ["1.2.1.1.2"]),
        ("/studies/1.2.1/instances?SeriesInstanceUID=1.2.1.2", "00080018", ["1.2.1.2.1"]),
        ("/studies/?PatientID=", "0020000D", ["1.2.1", "1.2.2"]),
    ],
)
def test_what_is_found_at_each_resource(filled: MadeDicomWeb, path: str, tag: str, found: list[str]) -> None:
    answer = filled.client().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert uids(answer.json(), tag) == found
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/studies?PatientID=nobody",
        "/studies/1.2.9/series",
        "/studies/1.2.2/series/1.2.1.1/instances",
        "/series?RequestAttributesSequence.ScheduledProcedureStepID=1&RequestAttributesSequence.RequestedProcedureID=R2",
        "/studies?limit=0",
        "/studies?offset=2",
    ],
)
def test_nothing_found_is_no_content(filled: MadeDicomWeb, path: str) -> None:
    answer = filled.client().get(path)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_study_has_what_its_table_requires(filled: MadeDicomWeb) -> None:
    (study,) = filled.client().get("/studies?PatientID=P1").json()
    assert study == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20260102"]},
        "00080030": {"vr": "TM", "Value": ["101500.5"]},
        "00080050": {"vr": "SH", "Value": ["A1"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00080090": {"vr": "PN"},
        "00081030": {"vr": "LO"},
        "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.2.1"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Miller^Anna"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100030": {"vr": "DA"},
        "00100040": {"vr": "CS"},
        "0020000D": {"vr": "UI", "Value": ["1.2.1"]},
        "00200010": {"vr": "SH", "Value": ["S1"]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [3]},
    }


def test_a_series_has_what_its_table_requires_and_its_study_where_the_path_names_none(
    filled: MadeDicomWeb,
) -> None:
    (alone,) = filled.client().get("/studies/1.2.1/series?SeriesNumber=1").json()
    assert values(alone, "00201209") == [2]
    assert alone["00400275"] == {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ["1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}}],
    }
    assert values(alone, "00081190") == [f"{BASE}/studies/1.2.1/series/1.2.1.1"]
    assert "00100010" not in alone
    (among_all,) = filled.client().get("/series?SeriesInstanceUID=1.2.1.1").json()
    assert values(among_all, "00201208") == [3]
    assert alone.items() <= among_all.items()


def test_an_instance_has_what_its_table_requires(filled: MadeDicomWeb) -> None:
    path = "/studies/1.2.1/series/1.2.1.1/instances?InstanceNumber=2&includefield=SliceThickness,00100010"
    (one,) = filled.client().get(path).json()
    assert (values(one, "00280010"), values(one, "00280011"), values(one, "00280100")) == ([16], [16], [16])
    assert one["00280008"] == {"vr": "IS"}
    assert one["00180050"] == {"vr": "DS", "Value": [1.5]}
    assert values(one, "00100010") == [{"Alphabetic": "Miller^Anna"}]
    assert values(one, "00081190") == [f"{BASE}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2"]


def test_a_name_has_its_component_groups(filled: MadeDicomWeb) -> None:
    (study,) = filled.client().get("/studies?PatientID=P2").json()
    groups = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert values(study, "00100010") == [groups]


def test_all_has_whatever_the_index_has(filled: MadeDicomWeb) -> None:
    (one,) = filled.client().get("/instances?SOPInstanceUID=1.2.1.1.1&includefield=all").json()
    assert {"00180050", "00080008", "00080060", "00080061", "00100040", "00281050"} <= one.keys()


def test_pages_are_in_one_order_and_say_how_many_follow(filled: MadeDicomWeb) -> None:
    client, everyone = filled.client(), "/instances?PatientID=P*"
    whole = client.get(everyone).json()
    assert client.get("/instances").json() == whole
    for offset in range(4):
        answer = client.get(f"{everyone}&limit=1&offset={offset}")
        assert answer.json() == whole[offset : offset + 1]
        left = f'299 {BASE} "There are {3 - offset} additional results that can be requested"'
        assert answer.headers.get("warning") == (left if offset < 3 else None)
    answer = client.get("/instances?limit=1")  # nothing is matched, so that nothing was counted
    assert answer.headers["warning"] == f'299 {BASE} "There are additional results that can be requested"'
    assert "warning" not in client.get("/instances?limit=4").headers


def test_a_page_of_items_of_sequences_is_counted_by_what_matches(filled: MadeDicomWeb) -> None:
    client, asked = filled.client(), "/instances?RequestAttributesSequence.ScheduledProcedureStepID=1"
    whole = client.get(asked).json()
    assert uids(whole, "00080018") == ["1.2.1.1.1", "1.2.1.1.2"]
    assert client.get(f"{asked}&offset=1&limit=5").json() == whole[1:]
    assert client.get(f"{asked}&limit=1").json() == whole[:1]


def test_more_than_a_page_of_the_database_comes_whole(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scp.web.dicomweb.search.matches._FIRST", 1)
    monkeypatch.setattr("scp.web.dicomweb.search.matches._FOLLOWING", 2)
    client = filled.client()
    assert len(client.get("/instances").json()) == 4
    assert len(client.get("/instances?limit=3").json()) == 3
    found = client.get("/instances?RequestAttributesSequence.ScheduledProcedureStepID=1&limit=2")
    assert uids(found.json(), "00080018") == ["1.2.1.1.1", "1.2.1.1.2"]


def test_the_most_that_c_find_returns_is_the_most_here(filled: MadeDicomWeb) -> None:
    query = filled.settings.query.model_copy(update={"max_matches": 3})
    filled.settings = filled.settings.model_copy(update={"query": query})
    answer = filled.client().get("/instances?PatientID=P*")
    assert len(answer.json()) == 3
    assert "There are 1 additional results" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "/studies?fuzzymatching=true",
            "The fuzzymatching parameter is not supported. Only literal matching",
        ),
        ("/studies?emptyvaluematching=true", "The emptyvaluematching parameter is not supported."),
        ("/studies?00091001=x", "not supported, and were ignored: 00091001"),
        ("/studies?includefield=PixelData,StudyDate", "not supported, and were ignored: PixelData"),
        ("/studies?NumberOfStudyRelatedInstances=7", "ignored: NumberOfStudyRelatedInstances"),
        ("/studies?TimezoneOffsetFromUTC=%2B0100", "ignored: TimezoneOffsetFromUTC"),
    ],
)
def test_what_is_not_there_is_told_in_a_warning(filled: MadeDicomWeb, path: str, told: str) -> None:
    answer = filled.client().get(path)
    assert (answer.status_code, len(answer.json())) == (200, 2)
    assert f'299 {BASE} "' in answer.headers["warning"]
    assert told in answer.headers["warning"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", "application/json"),
        ("application/dicom+json, application/json;q=0.5", JSON),
        ('multipart/related; type="application/dicom+xml"', "multipart/related"),
        ('multipart/related; type="application/dicom+xml", application/json;q=0.2', "multipart/related"),
        ("text/html, */*;q=0.1", JSON),
    ],
)
def test_matches_come_in_the_media_type_that_the_client_likes_best(
    filled: MadeDicomWeb, accept: str, media_type: str
) -> None:
    answer = filled.client().get("/studies", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)


def test_what_is_not_acceptable_is_refused(filled: MadeDicomWeb) -> None:
    assert filled.client().get("/studies", headers={"Accept": "text/html"}).status_code == 406
    assert (
        filled.client().get("/studies?accept=application/json").headers["content-type"] == "application/json"
    )


def test_several_fields_of_a_header_are_one_list(filled: MadeDicomWeb) -> None:
    fields = [("Accept", "text/html"), ("Accept", "application/json")]
    answer = filled.client().get("/studies", headers=fields)
    assert (answer.status_code, answer.headers.get("content-type")) == (200, "application/json")


def test_xml_has_what_json_has(filled: MadeDicomWeb) -> None:
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    answer = filled.client().get("/studies?PatientID=P2", headers=accept)
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    head, _, body = answer.content.split(f"--{boundary}".encode())[1].strip().partition(b"\r\n\r\n")
    assert head == b"Content-Type: application/dicom+xml"
    root = ElementTree.fromstring(body)
    of = {"": "http://dicom.nema.org/PS3.19/models/NativeDICOM"}
    told = {one.get("tag"): one for one in root.findall("DicomAttribute", of)}
    assert set(told) == set(filled.client().get("/studies?PatientID=P2").json()[0])
    assert told["0020000D"].findtext("Value", namespaces=of) == "1.2.2"
    name = told["00100010"]
    assert (name.get("vr"), name.get("keyword")) == ("PN", "PatientName")
    assert name.findtext("PersonName/Ideographic/FamilyName", namespaces=of) == "山田"


def test_head_has_the_headers_alone(filled: MadeDicomWeb) -> None:
    answer = filled.client().head("/studies")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, JSON, b"")


def test_the_tables_name_what_the_index_has() -> None:
    assert [one for fields in REQUIRED.values() for one in fields if not is_known(one)] == []


def test_a_query_that_takes_too_long_is_too_broad(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(query: Query, most: int, before: int | None, watch: Watch, skip: int) -> Page:
        with watch.working():
            watch._until = 0.0  # as if the time were up
            watch.look()
        raise AssertionError("the watch did not stop it")

    monkeypatch.setattr(filled.archive, "find_page", slow)
    answer = filled.client().get("/studies?PatientName=*e*")
    assert (answer.status_code, "query.seconds" in answer.text) == (413, True)


def test_a_token_that_is_held_to_a_peer_sees_what_the_peer_sees(filled: MadeDicomWeb) -> None:
    peer = {"aet": "HELD", "host": "10.0.0.1", "port": 104, "sees": {"Modality": ["MR"]}}
    filled.settings = dicomweb_settings([peer], http={"token": [token("held", peer="HELD")]})
    client = filled.client("held")
    assert uids(client.get("/studies").json(), "0020000D") == ["1.2.2"]
    assert client.get("/studies?StudyInstanceUID=1.2.1").status_code == 204
    assert client.get("/studies/1.2.1/instances").status_code == 204


def test_that_somebody_asked_is_in_the_audit_trail(filled: MadeDicomWeb) -> None:
    filled.client().get("/studies?PatientID=P1")
    (event,) = filled.trail.events
    assert (event.event.text, event.participants[0].user_id) == ("Query", "viewer")
    assert event.subjects[0].query == b"/dicom-web/studies?PatientID=P1"


def test_what_lies_in_a_slower_store_is_said_to_be(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scp.archive.archive.slowness", lambda _: {"": 1})  # of all files
    for path in ("/studies?limit=1", "/series?limit=1", "/instances?limit=1"):
        (match,) = filled.client().get(path).json()
        assert values(match, "00080056") == ["NEARLINE"]


def test_between_two_pages_nothing_of_the_database_is_held_and_what_arrives_moves_nothing(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scp.web.dicomweb.search.matches._FIRST", 1)
    search = search_of("IMAGE", {}, b"StudyInstanceUID=1.2.1")
    pages = SearchMatches(filled.archive, search, None, unwatched()).pages()
    (first,) = next(pages)
    filled.store(image("1.2.1.3.1"))
    database = sqlite3.connect(filled.folder / "index.db", timeout=0)
    busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    database.close()
    assert not busy
    rest = [match["SOPInstanceUID"] for page in pages for match in page]
    assert [first["SOPInstanceUID"], *rest] == ["1.2.1.2.1", "1.2.1.1.2", "1.2.1.1.1"]
