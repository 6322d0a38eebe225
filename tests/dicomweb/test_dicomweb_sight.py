"""What a token that is held to a [[peer]] with `sees` is told of objects that it does not see: nothing."""

from __future__ import annotations

import pytest
from dicomweb_desks import MadeDicomWeb, dicomweb_settings, image, token
from places import Place

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

PEER = {"aet": "HELD", "host": "10.0.0.1", "port": 104, "sees": {"Modality": ["CT"]}}
RESOURCES = ("", "/metadata", "/thumbnail", "/rendered", "/frames/1", "/frames/1/rendered",
             "/frames/1/thumbnail", "/bulkdata/7FE00010")  # fmt: skip


@pytest.fixture
def here(web: MadeDicomWeb) -> Place:
    """A study with a CT image that is seen, and an MR image that is not."""
    place = Place.fresh()
    web.settings = dicomweb_settings([PEER], http={"token": [token("held", peer="HELD")]})
    web.store(image(place.uid(1)), image(f"1.{place.number}.4.1", Modality="MR", PatientName="Hidden"))
    return place


@pytest.mark.parametrize("resource", RESOURCES)
def test_what_is_not_seen_is_answered_as_what_is_not_held(
    web: MadeDicomWeb, here: Place, resource: str
) -> None:
    client, series = web.client("held"), f"{here.study}/series/1.{here.number}"
    hidden = f"{series}.4/instances/1.{here.number}.4.1{resource}"
    absent = f"{series}.5/instances/1.{here.number}.5.1{resource}"
    answers = [
        client.get(path, headers=headers)
        for path in (hidden, absent)
        for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-1"})
    ]
    assert {(one.status_code, one.text, one.headers.get("etag")) for one in answers} == {
        (404, answers[0].text, None)
    }
    assert client.get(here.at(1) + resource).status_code == 200


def test_a_study_is_what_is_seen_of_it(web: MadeDicomWeb, here: Place) -> None:
    client = web.client("held")
    assert client.get(here.study).content.count(b"DICM") == 1
    assert [one["00080060"]["Value"] for one in client.get(f"{here.study}/metadata").json()] == [["CT"]]
    (study,) = client.get(f"/studies?StudyInstanceUID=1.{here.number}&includefield=all").json()
    counts = [study[tag]["Value"] for tag in ("00201206", "00201208", "00080061")]
    assert counts == [[1], [1], ["CT"]]
    tag = client.get(f"{here.study}/metadata").headers["etag"]
    web.store(image(f"1.{here.number}.4.2", Modality="MR"))
    assert client.get(f"{here.study}/metadata").headers["etag"] == tag


def test_an_instance_of_two_patients_is_the_one_that_is_seen(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1), PatientID="P0", PatientName="Hidden", Modality="MR"))
    client = web.client("held")
    assert b"Hidden" not in client.get(here.at(1)).content
    (found,) = client.get(f"{here.at(1)}/metadata").json()
    assert found["00080060"]["Value"] == ["CT"]
