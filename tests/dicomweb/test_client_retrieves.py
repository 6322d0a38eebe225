"""Retrieval by a client that others wrote, dicomweb-client, and by one that is slow, from a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from decoders import jpeg2000
from dicomweb_client.api import DICOMwebClient
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, dicomweb_settings, image
from pydicom.dataset import Dataset
from requests import HTTPError

from scp.archive.deliver import Outgoing
from scp.dimse.negotiation.listener import bound
from scp.model import Instance
from scp.syntaxes import HTJ2K
from scp.web.page.serving import PageService

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

_STUDY, _SERIES, _LARGE = "1.9", "1.9.3", "1.8"
_ONE = (_STUDY, _SERIES, "1.9.3.1")
_VALUES = np.add.outer(np.arange(2) * 100, np.add.outer(np.arange(64) * 3, np.arange(64) * 5)).astype("<u2")


@pytest.fixture(scope="module")
def address(made: MadeDicomWeb) -> Iterator[tuple[str, int]]:
    """Where DICOMweb is served, on a series of HTJ2K with two frames in each image."""
    made.settings = dicomweb_settings()
    made.keep_as("htj2k")
    frames: dict[str, Any] = {
        "NumberOfFrames": "2",
        "Rows": 64,
        "Columns": 64,
        "PixelData": _VALUES.tobytes(),
    }
    made.store(*(image(f"{_SERIES}.{number}", InstanceNumber=str(number), **frames) for number in (1, 2)))
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, made.app, None, lambda: None)
    service.start()
    yield listening.getsockname()
    service.stop()


@pytest.fixture
def client(address: tuple[str, int]) -> DICOMwebClient:
    return DICOMwebClient(f"http://{address[0]}:{address[1]}{ROOT}", headers=bearer("viewer"))


def test_instances(client: DICOMwebClient) -> None:
    assert [one.SOPInstanceUID for one in client.retrieve_study(_STUDY)] == ["1.9.3.1", "1.9.3.2"]
    assert [one.SOPInstanceUID for one in client.iter_series(_STUDY, _SERIES)] == ["1.9.3.1", "1.9.3.2"]
    plain = client.retrieve_instance(*_ONE)
    assert (plain.pixel_array == _VALUES).all()
    stored = client.retrieve_instance(*_ONE, media_types=(("application/dicom", "*"),))
    assert stored.file_meta.TransferSyntaxUID == HTJ2K
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_instance(_STUDY, _SERIES, "1.9.3.9")


def test_metadata_and_the_bulk_data_that_it_names(client: DICOMwebClient) -> None:
    series = client.retrieve_series_metadata(_STUDY, _SERIES)
    assert [Dataset.from_json(one).InstanceNumber for one in series] == [1, 2]
    assert client.retrieve_study_metadata(_STUDY) == series
    assert client.retrieve_instance_metadata(*_ONE) == series[0]
    # The client sends its Host without the port, so that addresses have none.
    path = series[0]["7FE00010"]["BulkDataURI"].partition(ROOT)[2]
    (pixels,) = client.retrieve_bulkdata(client.base_url + path)
    assert pixels == _VALUES.tobytes()


def test_frames(client: DICOMwebClient) -> None:
    plain = client.retrieve_instance_frames(*_ONE, frame_numbers=[2, 1])
    assert plain == [_VALUES[1].tobytes(), _VALUES[0].tobytes()]
    coded = client.retrieve_instance_frames(*_ONE, frame_numbers=[1, 2], media_types=("image/jp2",))
    assert [jpeg2000(one).tolist() for one in coded] == _VALUES.tolist()
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_instance_frames(*_ONE, frame_numbers=[3])


def test_pictures(client: DICOMwebClient) -> None:
    whole = client.retrieve_instance_rendered(*_ONE, media_types=("image/jpeg",))
    frame = client.retrieve_instance_frames_rendered(*_ONE, frame_numbers=[2], media_types=("image/png",))
    assert (whole[:2], frame[:4]) == (b"\xff\xd8", b"\x89PNG")


def test_a_client_that_does_not_read_holds_up_nobody(
    made: MadeDicomWeb, client: DICOMwebClient, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made.keep_as("received")
    pixels = bytes(2 * 1024 * 1024)
    for number in range(1, 17):
        made.store(image(f"{_LARGE}.1.{number}", Rows=1024, Columns=1024, PixelData=pixels))
    begun, fetch = threading.Semaphore(0), made.archive.fetch
    count: list[str] = []

    def counted(instance: Instance, *rest: Any) -> Outgoing:
        count.append(instance.key)
        begun.release()
        return fetch(instance, *rest)

    monkeypatch.setattr(made.archive, "fetch", counted)
    with socket.create_connection(address, 30) as slow:
        headers = "".join(f"{name}: {value}\r\n" for name, value in bearer("viewer").items())
        slow.sendall(f"GET {ROOT}/studies/{_LARGE} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode())
        assert begun.acquire(timeout=60)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        assert len(client.retrieve_study(_STUDY)) == 2
        # 32 MB are to be sent: what sockets and buffers hold of them was read, and no more.
        assert len({key for key in count if f"/{_LARGE}/" in key}) < 16
