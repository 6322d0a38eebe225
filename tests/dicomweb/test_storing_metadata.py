"""STOW-RS of metadata and bulk data: what is made of them, and bodies that are none."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from typing import Any

import pytest
from dicomweb_desks import MadeDicomWeb, dicomweb_settings, image, token
from objects import written
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from stow import BOUNDARY, END, others, part, refused, stored

from scp.encoding.streams import gathered
from scp.resources import bounds
from scp.resources.bounds import Bounds
from scp.syntaxes import EXPLICIT, JPEGLS
from scp.web.dicomweb.store import metadata_parts

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

JSON = "application/dicom+json"
CONTENT_TYPE = f'multipart/related; type="{JSON}"; boundary={BOUNDARY}'


@pytest.fixture
def stow(web: MadeDicomWeb) -> MadeDicomWeb:
    web.settings = dicomweb_settings(http={"token": [token("viewer"), token("writer", may=["store"])]})
    return web


def described(one: Dataset, address: str = "bulk/1") -> dict[str, Any]:
    """The metadata of an object whose pixels have an address."""
    found: dict[str, Any] = one.to_json_dict(bulk_data_threshold=1 << 20)
    found["7FE00010"] = {"vr": "OW", "BulkDataURI": address}
    return found


def bulk(value: bytes, address: str = "bulk/1", kind: str = "application/octet-stream") -> bytes:
    return part(value, f"Content-Type: {kind}\r\nContent-Location: {address}\r\n")


def sent(web: MadeDicomWeb, metadata: object, *bulk_parts: bytes, end: bytes = END) -> Any:
    """The answer to a body; metadata that is bytes goes as it is."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    content = part(text, f"Content-Type: {JSON}\r\n") + b"".join(bulk_parts) + end
    return web.client("writer").post("/studies", content=content, headers={"Content-Type": CONTENT_TYPE})


def held(web: MadeDicomWeb, uid: str) -> tuple[str, bytes]:
    (one,) = web.archive.named(uid)
    syntax = one.received_transfer_syntax
    return syntax, bytes(gathered(web.archive.fetch(one, [syntax]).chunks))


def test_what_is_described_is_stored_as_the_file_of_it_would_be(stow: MadeDicomWeb) -> None:
    images = [
        image(f"1.2.60.1.{n}", PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 192") for n in (1, 2)
    ]
    pixels = [one.PixelData for one in images]
    metadata = [described(one, f"bulk/{n}") for n, one in enumerate(images)]
    answer = sent(stow, metadata, *(bulk(value, f"bulk/{n}") for n, value in enumerate(pixels)))
    assert (answer.status_code, stored(answer.json())) == (200, {"1.2.60.1.1": 0, "1.2.60.1.2": 0})
    for one in images:
        assert held(stow, one.SOPInstanceUID) == (EXPLICIT, written(one, explicit=True, little=True))


def test_compressed_pixels_become_a_fragment(stow: MadeDicomWeb) -> None:
    answer = sent(stow, [described(image("1.2.61.1.1"))], bulk(b"\xff\xd8\xff", kind="image/jls"))
    assert stored(answer.json()) == {"1.2.61.1.1": 0}
    syntax, stream = held(stow, "1.2.61.1.1")
    assert syntax == JPEGLS
    one = read_dataset(BytesIO(stream), is_implicit_VR=False, is_little_endian=True)
    assert one.PixelData.startswith(
        b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0\x04\0\0\0\xff\xd8\xff\0"
    )


def test_values_may_be_inline_or_in_other_attributes(stow: MadeDicomWeb) -> None:
    one = image("1.2.62.1.1")
    inline = described(one) | {"7FE00010": {"vr": "OW", "InlineBinary": "AAEC"}}
    inline["00420011"] = {"vr": "OB", "BulkDataURI": "a document"}
    answer = sent(stow, [inline], bulk(b"%PDF", "a document", "application/octet-stream"))
    assert stored(answer.json()) == {"1.2.62.1.1": 0}
    back = read_dataset(BytesIO(held(stow, "1.2.62.1.1")[1]), is_implicit_VR=False, is_little_endian=True)
    assert (back.PixelData, back.EncapsulatedDocument) == (b"\0\1\2\0", b"%PDF")


def test_tags_in_lower_case_lose_no_pixels(stow: MadeDicomWeb) -> None:
    one = image("1.2.66.1.1", SpecificCharacterSet="ISO_IR 192")
    metadata = {tag.lower(): entry for tag, entry in described(one).items()}
    answer = sent(stow, [metadata], bulk(one.PixelData))
    assert stored(answer.json()) == {"1.2.66.1.1": 0}
    assert held(stow, "1.2.66.1.1") == (EXPLICIT, written(one, explicit=True, little=True))


def test_a_value_in_base64_is_not_taken_for_pixels(stow: MadeDicomWeb) -> None:
    headers = "Content-Location: bulk/1\r\nContent-Transfer-Encoding: base64\r\n"
    answer = sent(stow, [described(image("1.2.67.1.1"))], part(b64encode(bytes(512)), headers))
    assert (answer.status_code, stow.archive.named("1.2.67.1.1")) == (409, [])
    assert "Content-Transfer-Encoding is base64" in answer.headers["warning"]


_FRAMES: dict[str, Any] = {"00280008": {"vr": "IS", "Value": [2]}}


@pytest.mark.parametrize(
    ("odd", "kind", "why"),
    [
        ({"7FE00010": {"vr": "OW", "BulkDataURI": "none"}}, "application/octet-stream", "no part"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": 1}}, "application/octet-stream", "no part"),
        ({"00100010": {"vr": "PN", "Value": 7}}, "application/octet-stream", "no DICOM JSON"),
        ({"nonsense": {}}, "application/octet-stream", "no DICOM JSON"),
        ({}, "text/html", "no media type"),
        ({}, "application/octet-stream; transfer-syntax=1.2.840.10008.1.2", "not in 1.2"),
        (_FRAMES, "image/jp2", "several compressed frames"),
        ({"00080018": {"vr": "UI"}}, "application/octet-stream", "keep it under"),
    ],
)
def test_what_cannot_be_made_is_refused_alone(
    stow: MadeDicomWeb, odd: dict[str, Any], kind: str, why: str
) -> None:
    good = described(image("1.2.63.1.2"), "bulk/2")
    metadata = [described(image("1.2.63.1.1")) | odd, good, 7]
    answer = sent(stow, metadata, bulk(b"\0\0", kind=kind), bulk(bytes(512), "bulk/2"))
    assert (answer.status_code, stored(answer.json())) == (202, {"1.2.63.1.2": 0})
    assert len(others(answer.json())) + len(refused(answer.json())) == 2
    assert why in answer.headers["warning"]


@pytest.mark.parametrize("metadata", [b"", b"{}", b"[]", b"no JSON", b"[" * 100_000, b"\xff"])
def test_what_is_no_metadata_is_refused(stow: MadeDicomWeb, metadata: bytes) -> None:
    assert sent(stow, metadata, bulk(b"")).status_code == 400


def test_inline_values_that_are_no_base64_are_refused(stow: MadeDicomWeb) -> None:
    """Python leaves out what it does not know: an image came to be stored without its pixels."""
    pixels = described(image("1.2.64.1.1")) | {"7FE00010": {"vr": "OW", "InlineBinary": "@@@@"}}
    private = {"vr": "OB", "InlineBinary": "AA*C"}
    nested = described(image("1.2.64.1.2")) | {"00081140": {"vr": "SQ", "Value": [{"00091010": private}]}}
    lines = described(image("1.2.64.1.3")) | {"7FE00010": {"vr": "OW", "InlineBinary": "AA\r\nEC"}}
    answer = sent(stow, [pixels, nested, lines], bulk(b"\0\1"))
    assert others(answer.json()) == [0xC002, 0xC002]
    assert stored(answer.json()) == {"1.2.64.1.3": 0}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_json(stow: MadeDicomWeb, number: str) -> None:
    one = json.dumps([described(image("1.2.65.1.1")) | {"00281053": {"vr": "DS", "Value": [12345]}}])
    answer = sent(stow, one.replace("12345", number).encode(), bulk(b"\0\1"))
    assert answer.status_code == 400
    assert stow.archive.named("1.2.65.1.1") == []


def test_nothing_of_a_body_without_its_end_is_stored(stow: MadeDicomWeb) -> None:
    answer = sent(stow, [described(image("1.2.64.1.1"))], bulk(bytes(512)), end=b"")
    assert (answer.status_code, stow.archive.named("1.2.64.1.1")) == (400, [])


def test_what_one_request_holds_is_bounded(stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_parts, "MOST_METADATA", 1000)
    assert sent(stow, b"[" + b" " * 1000).status_code == 413
    monkeypatch.setattr(metadata_parts, "MOST_PARTS", 2)
    assert sent(stow, [], *(bulk(b"", str(n)) for n in range(3))).status_code == 413
    assert sent(stow, [7, 7, 7]).status_code == 413
    assert sent(stow, [7, 7]).status_code == 409


def test_a_value_that_is_named_often_counts_each_time(stow: MadeDicomWeb) -> None:
    private = {f"0009{n:02X}01": {"vr": "OB", "BulkDataURI": "bulk/1"} for n in range(16, 32)}
    before = bounds.bounds()
    bounds.use(Bounds(header_bytes=100_000))
    try:
        answer = sent(stow, [described(image("1.2.65.1.1")) | private], bulk(bytes(10_000)))
    finally:
        bounds.use(before)
    assert (answer.status_code, "limits.header_bytes" in answer.headers["warning"]) == (409, True)
