"""Search for people: the newest first, in pages, with what is kept of each match."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from objects import SECONDARY_CAPTURE, as_received, written
from pydicom.dataset import Dataset

from scp.archive.archive import Archive
from scp.config.rules import PolicyRule
from scp.errors import OutOfResources, QueryError
from scp.index import sql_pages
from scp.index.sql import SqlIndex
from scp.objects.holds import Hold
from scp.objects.local import LocalStore
from scp.syntaxes import EXPLICIT
from scp.viewing.search import SearchPage, search

STUDIES, SERIES, IMAGES = 7, 2, 3
_OF_CT2 = {(2, 1), (5, 0)}  # study and series


def report(study: int, series: int, image: int) -> Dataset:
    """One object without pixels."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = SECONDARY_CAPTURE, f"1.2.{study}.{series}.{image}"
    one.StudyInstanceUID, one.SeriesInstanceUID = f"1.2.{study}", f"1.2.{study}.{series}"
    one.PatientID, one.PatientName = f"P{study % 2}", f"Search^{study}"
    one.StudyDate, one.Modality = f"2020010{study + 1}", "MR" if study % 3 == 0 else "CT"
    one.SeriesNumber, one.InstanceNumber = str(series), str(image)
    return one


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("search")
    rule = PolicyRule.model_validate({"name": "all", "stages": [{"form": "zstd"}]})
    archive = Archive(LocalStore(folder / "objects"), SqlIndex.open(f"sqlite:///{folder}/index.db"), [rule])
    for study in range(STUDIES):
        for series in range(SERIES):
            for image in range(IMAGES):
                one = report(study, series, image)
                stream = written(one, explicit=True, little=True)
                sent = as_received(stream, EXPLICIT, SECONDARY_CAPTURE, one.SOPInstanceUID)
                archive.ingest(replace(sent, calling_aet="CT2" if (study, series) in _OF_CT2 else "CT1"))
    yield archive
    archive.close()


def studies(page: SearchPage) -> list[str]:
    return [hit.attributes["StudyInstanceUID"] for hit in page.hits]


def test_the_newest_come_first_in_pages(held: Archive) -> None:
    first = search(held, "STUDY", {}, most=3)
    second = search(held, "STUDY", {}, before=first.following, most=3)
    third = search(held, "STUDY", {}, before=second.following, most=3)
    assert studies(first) + studies(second) + studies(third) == [f"1.2.{n}" for n in range(6, -1, -1)]
    assert third.following is None


@pytest.mark.parametrize("counted", [1000, 2])
def test_pages_are_the_same_however_many_match(
    held: Archive, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few matches are sorted, many are gone through from the newest on."""
    monkeypatch.setattr(sql_pages, "MOST_COUNTED", counted)
    first = search(held, "STUDY", {"PatientID": "P0"}, most=3)
    second = search(held, "STUDY", {"PatientID": "P0"}, before=first.following, most=3)
    assert studies(first) + studies(second) == ["1.2.6", "1.2.4", "1.2.2", "1.2.0"]
    assert (first.count, second.following) == (4 if counted == 1000 else None, None)


@pytest.mark.parametrize("counted", [1000, 2])
@pytest.mark.parametrize(
    ("level", "keys", "count"),
    [
        ("STUDY", {"calling_aet": "CT2"}, 2),
        ("STUDY", {"calling_aet": "CT2", "PatientID": "P1"}, 1),
        ("STUDY", {"calling_aet": "CT*"}, STUDIES),
        ("PATIENT", {"calling_aet": "CT2"}, 2),
        ("SERIES", {"calling_aet": "CT2"}, 2),
        ("IMAGE", {"calling_aet": "CT2"}, 6),
        ("STUDY", {"calling_aet": "CT3"}, 0),
        ("IMAGE", {"calling_aet": "CT3"}, 0),
    ],
)
def test_an_ae_title_finds_what_it_sent_however_much(
    held: Archive, level: str, keys: dict[str, str], count: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_pages, "MOST_COUNTED", counted)
    found = search(held, level, keys)
    assert len(found.hits) == count
    if keys == {"calling_aet": "CT2"} and level == "STUDY":
        assert studies(found) == ["1.2.5", "1.2.2"]
    if count <= counted:
        assert found.count == count


def test_a_match_says_how_it_is_kept(held: Archive) -> None:
    (hit,) = search(held, "STUDY", {"StudyInstanceUID": "1.2.3"}).hits
    own = [one for one in held.all() if one.study_instance_uid == "1.2.3"]
    assert hit.instances == SERIES * IMAGES
    assert hit.attributes["NumberOfStudyRelatedInstances"] == str(SERIES * IMAGES)
    assert hit.stored_size == sum(one.stored_size for one in own)
    assert hit.received_size == sum(one.received_size for one in own)
    assert sum(form.instances for form in hit.forms) == SERIES * IMAGES
    assert {form.form for form in hit.forms} == {one.form for one in own}


@pytest.mark.parametrize(
    ("level", "keys", "count"),
    [
        ("PATIENT", {}, 2),
        ("SERIES", {"StudyInstanceUID": "1.2.3"}, SERIES),
        ("IMAGE", {"SeriesInstanceUID": "1.2.3.1"}, IMAGES),
        ("STUDY", {"Modality": "MR"}, 3),
        ("STUDY", {"StudyDate": "20200102-20200104"}, 3),
        ("STUDY", {"PatientName": "search^*"}, STUDIES),
        ("STUDY", {"SOPInstanceUID": "1.2.3.1.2"}, 1),
        ("STUDY", {"PatientID": "nobody"}, 0),
    ],
)
def test_all_levels_and_keys(held: Archive, level: str, keys: dict[str, str], count: int) -> None:
    found = search(held, level, keys)
    assert len(found.hits) == count
    assert all(hit.instances for hit in found.hits)


def test_holds_show_on_all_levels(held: Archive) -> None:
    def shown(hold: Hold, level: str) -> set[str]:
        return {f"{hit.attributes.get('StudyInstanceUID', '')} {hit.held}" for hit in search(
            held, level, {"StudyDate": "20200103-20200104"}, holds=[hold]
        ).hits}  # fmt: skip

    study = Hold("STUDY", "1.2.2", "why", time.time())
    assert shown(study, "STUDY") == {"1.2.2 all", "1.2.3 no"}
    assert shown(study, "SERIES") == {"1.2.2 all", "1.2.3 no"}
    assert {hit.held for hit in search(held, "PATIENT", {"PatientID": "P0"}, holds=[study]).hits} == {"part"}
    series = replace(study, level="SERIES", uid="1.2.2.1")
    assert shown(series, "STUDY") == {"1.2.2 part", "1.2.3 no"}
    of_another = replace(series, patient_id="P1")
    assert shown(of_another, "STUDY") == {"1.2.2 no", "1.2.3 no"}
    assert {hit.held for hit in search(held, "STUDY", {}, holds=None).hits} == {"unknown"}


@pytest.mark.parametrize(
    ("level", "keys"), [("PLANET", {}), ("STUDY", {"NoSuchKey": "1"}), ("STUDY", {"StudyDate": "last week"})]
)
def test_a_search_that_makes_no_sense_says_so(held: Archive, level: str, keys: dict[str, str]) -> None:
    with pytest.raises(QueryError):
        search(held, level, keys)


def test_a_search_ends_when_its_time_is_up(held: Archive) -> None:
    with pytest.raises(OutOfResources, match="query takes longer"):
        search(held, "STUDY", {}, seconds=-1)
