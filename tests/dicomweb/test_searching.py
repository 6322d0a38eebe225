"""QIDO-RS (PS3.18 10.6) on an archive that holds some objects."""

from __future__ import annotations

from typing import Any

import pytest
from dicomweb_desks import MadeDicomWeb, image

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

JSON = "application/dicom+json"


def values(match: dict[str, Any], tag: str) -> list[Any]:
    return match[tag].get("Value", [])


def test_studies_are_found_by_what_c_find_matches(web: MadeDicomWeb) -> None:
    web.store(image("1.2.1.1.1"), image("1.2.1.1.2"), image("1.2.2.1.1", PatientName="Other", Modality="MR"))
    answer = web.client().get("/studies", params={"PatientName": "mill*"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    (study,) = answer.json()
    assert values(study, "0020000D") == ["1.2.1"]
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Miller^Anna"}]}
    assert study["00201208"] == {"vr": "IS", "Value": [2]}
    assert values(study, "00080061") == ["CT"]
    assert values(study, "00081190") == ["http://127.0.0.1:11180/dicom-web/studies/1.2.1"]


def test_nothing_found_is_no_content(web: MadeDicomWeb) -> None:
    answer = web.client().get("/studies", params={"PatientID": "nobody"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_who_has_no_token_is_told_what_to_send(web: MadeDicomWeb) -> None:
    answer = web.client("").get("/studies")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="zscp"'
