"""A client that others wrote, dicomweb-client, against the page's own server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, bearer_of, dicomweb_settings, image
from pydicom.dataset import Dataset
from requests import HTTPError
from waiting import until

from scp.dimse.negotiation.listener import bound
from scp.web.dicomweb.gate import _THREADS
from scp.web.page.serving import PageService

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

Address = tuple[str, int]


@pytest.fixture(scope="module")
def address(made: MadeDicomWeb) -> Iterator[Address]:
    """Where DICOMweb is served, on a study of two series."""
    made.settings = dicomweb_settings()
    made.store(image("1.2.1.1.1"), image("1.2.1.1.2"), image("1.2.1.2.1", SeriesNumber="2"))
    made.store(
        image("1.2.2.1.1", PatientID="P2", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    )
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, made.app, None, lambda: None)
    service.start()
    yield listening.getsockname()
    service.stop()


@pytest.fixture
def client(address: Address) -> DICOMwebClient:
    return DICOMwebClient(f"http://{address[0]}:{address[1]}{ROOT}", headers=bearer("viewer"))


def test_studies_series_and_instances(client: DICOMwebClient) -> None:
    found = client.search_for_studies(search_filters={"PatientName": "Mü*"}, fields=["PatientSex"])
    (study,) = map(Dataset.from_json, found)
    assert (study.PatientName, study.NumberOfStudyRelatedInstances) == ("Müller^Jörg", 1)
    assert len(client.search_for_studies(limit=1, offset=1)) == 1
    assert len(client.search_for_studies(limit=1, get_remaining=True)) == 2
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    series = client.search_for_series(study_instance_uid="1.2.1", search_filters={"SeriesNumber": "2"})
    assert [Dataset.from_json(one).SeriesInstanceUID for one in series] == ["1.2.1.2"]
    assert len(client.search_for_series()) == 3
    instances = client.search_for_instances(study_instance_uid="1.2.1", series_instance_uid="1.2.1.1")
    assert {Dataset.from_json(one).SOPInstanceUID for one in instances} == {"1.2.1.1.1", "1.2.1.1.2"}


def test_a_client_is_told_what_is_wrong(client: DICOMwebClient) -> None:
    with pytest.raises(HTTPError, match="400"):
        client.search_for_studies(search_filters={"StudyDate": "yesterday"})
    unknown = DICOMwebClient(client.base_url, headers=bearer_of("no token"))
    with pytest.raises(HTTPError, match="401"):
        unknown.search_for_studies()


def test_a_query_that_is_longer_than_any_head_ends_its_connection_alone(
    client: DICOMwebClient, address: Address
) -> None:
    with socket.create_connection(address, 30) as peer, suppress(ConnectionError):
        peer.sendall(b"GET /dicom-web/studies?" + b"a" * 1_000_000)
        while peer.recv(4096):  # a timeout would fail the test
            pass
    assert client.search_for_studies(limit=1)


def test_clients_that_do_not_read_hold_up_nobody(
    client: DICOMwebClient, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more of them than threads for searches, and their answers have no end."""
    begun: list[int] = []

    def endless(*_: object) -> Iterator[list[dict[str, Any]]]:
        begun.append(1)
        while True:
            yield [{"00080005": {"vr": "LT", "Value": ["x" * 100_000]}}]

    token = bearer("viewer")["Authorization"]
    asking = f"GET {ROOT}/studies HTTP/1.1\r\nHost: {address[0]}\r\nAuthorization: {token}\r\n\r\n"
    idle = [socket.create_connection(address, 10) for _ in range(2 * _THREADS["find"])]
    try:
        with monkeypatch.context() as patched:
            patched.setattr("scp.web.dicomweb.search.service._datasets", endless)
            for one in idle:
                one.sendall(asking.encode())
            until(lambda: len(begun) == len(idle), "all answers have begun")
        assert len(client.search_for_studies()) == 2
    finally:
        for one in idle:
            one.close()
