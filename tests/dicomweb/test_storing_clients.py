"""STOW-RS on a real server: by a client that others wrote, by one that is slow, and by one that goes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, dicomweb_settings, image, token
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from requests import HTTPError
from stow import CONTENT_TYPE, END, body, file_of, part
from waiting import until

from scp.dimse.negotiation.listener import bound
from scp.syntaxes import EXPLICIT
from scp.web.page import serving
from scp.web.page.serving import PageService

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

Address = tuple[str, int]


@pytest.fixture(scope="module")
def address(made: MadeDicomWeb) -> Iterator[Address]:
    made.settings = dicomweb_settings(http={"token": [token("writer", may=["find", "get", "store"])]})
    listening = bound("127.0.0.1", 0)
    service = PageService(listening, made.app, None, lambda: None)
    service.start()
    yield listening.getsockname()
    service.stop()


@pytest.fixture
def client(address: Address) -> DICOMwebClient:
    return DICOMwebClient(f"http://{address[0]}:{address[1]}{ROOT}", headers=bearer("writer"))


def _with_meta(one: Dataset) -> Dataset:
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    return one


def _head(length: int | None = None, more: str = "") -> bytes:
    """The head of a request; without a length its body comes in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        f"POST {ROOT}/studies HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in bearer("writer").items()),
        f"Content-Type: {CONTENT_TYPE}",
        framing,
    )
    return "\r\n".join((*lines, more, "")).encode() + (b"\r\n" if more else b"")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_client_stores_and_retrieves(client: DICOMwebClient) -> None:
    images = [_with_meta(image(f"1.5.1.1.{n}", PixelData=bytes([n, 0] * 128))) for n in range(3)]
    told = client.store_instances(images)
    assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == [
        one.SOPInstanceUID for one in images
    ]
    assert "FailedSOPSequence" not in told
    assert [one.PixelData for one in client.retrieve_study("1.5.1")] == [one.PixelData for one in images]
    with pytest.raises(HTTPError, match="409"):
        client.store_instances(images[:1], study_instance_uid="1.5.9")


def test_a_large_body_in_chunks(address: Address, made: MadeDicomWeb) -> None:
    """Larger than what is held in memory of one part, and without a Content-Length."""
    whole = body([file_of(image("1.5.2.1.1", PixelData=bytes(9 << 20))), file_of(image("1.5.2.1.2"))])
    with socket.create_connection(address, 60) as sender:
        sender.sendall(_head())
        for at in range(0, len(whole), 300_000):
            sender.sendall(_chunk(whole[at : at + 300_000]))
        sender.sendall(_chunk(b""))
        assert sender.recv(1000).startswith(b"HTTP/1.1 200")
    assert [len(made.archive.named(f"1.5.2.1.{n}")) for n in (1, 2)] == [1, 1]


def test_a_client_that_waits_for_leave_is_given_it(address: Address) -> None:
    with socket.create_connection(address, 60) as sender:
        whole = body([file_of(image("1.5.3.1.1"))])
        sender.sendall(_head(len(whole), "Expect: 100-continue\r\n"))
        assert sender.recv(1000).startswith(b"HTTP/1.1 100")
        sender.sendall(whole)
        assert sender.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_goes_leaves_nothing_half(address: Address, made: MadeDicomWeb) -> None:
    first, second = (part(file_of(image(f"1.5.4.1.{n}", PixelData=bytes(1 << 20)))) for n in (1, 2))
    with socket.create_connection(address, 60) as sender:
        sender.sendall(_head() + _chunk(first + second[: len(second) // 2]))
    until(lambda: len(made.archive.named("1.5.4.1.1")) == 1, "what came whole is stored", 60)
    assert made.archive.named("1.5.4.1.2") == []
    with socket.create_connection(address, 60) as sender:
        sender.sendall(_head() + _chunk(first + second + END) + _chunk(b""))
        assert sender.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_body_that_trickles_loses_its_place(
    address: Address, client: DICOMwebClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_LOOK_SECONDS", 1.0)
    with socket.create_connection(address, 60) as slow:
        slow.sendall(_head(1 << 30))
        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(0.05):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert client.search_for_studies(limit=1) is not None
            with suppress(ConnectionError):
                assert slow.recv(1000) == b""  # a timeout would fail the test
        finally:
            ended.set()
            thread.join(60)


def test_several_store_at_once(client: DICOMwebClient, made: MadeDicomWeb) -> None:
    failures: list[Exception] = []

    def store(number: int) -> None:
        try:
            images = [_with_meta(image(f"1.5.5.{number}.{n}")) for n in range(4)]
            client_of_its_own = DICOMwebClient(client.base_url, headers=bearer("writer"))
            assert len(client_of_its_own.store_instances(images).ReferencedSOPSequence) == 4
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    senders = [threading.Thread(target=store, args=(number,)) for number in range(6)]
    for one in senders:
        one.start()
    for one in senders:
        one.join(120)
    assert failures == []
    assert sum(len(made.archive.named(f"1.5.5.{number}.{n}")) for number in range(6) for n in range(4)) == 24
