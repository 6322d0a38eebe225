"""Metadata, bulk data and pictures (PS3.18 10.4) of an archive that holds some objects."""

from __future__ import annotations

import gzip
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import zstandard
from dicomweb_desks import MadeDicomWeb, image
from multiparts import parts_of
from objects import as_received, written
from places import Place
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp.syntaxes import EXPLICIT
from scp.web.dicomweb.retrieve.metadata import HeaderCache

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@pytest.fixture
def here() -> Place:
    return Place.fresh()


BASE = "http://127.0.0.1:11180/dicom-web"
PNG, JPEG = {"Accept": "image/png"}, {"Accept": "image/jpeg"}


@pytest.mark.parametrize("form", ["zstd", "htj2k", "received"])
def test_metadata_is_all_of_the_header_whatever_the_stored_form(
    web: MadeDicomWeb, here: Place, form: str
) -> None:
    web.keep_as(form)
    sent = image(here.uid(1), PatientComments="Grüße", SpecificCharacterSet="ISO_IR 100")
    web.store(sent)
    answer = web.client().get(f"{here.at(1)}/metadata")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    (found,) = answer.json()
    pixels = found.pop("7FE00010")
    assert pixels == {"vr": "OW", "BulkDataURI": f"{BASE}{here.at(1)}/bulkdata/7FE00010"}
    read = Dataset.from_json(found)
    del sent.PixelData
    sent.SpecificCharacterSet = "ISO_IR 192"
    assert read == sent


def test_pixel_data_that_is_cut_off_leaves_the_metadata(web: MadeDicomWeb, here: Place) -> None:
    one = image(here.uid(1))
    whole = written(one, explicit=True, little=True)
    web.archive.ingest(as_received(whole[:-10], EXPLICIT, one.SOPClassUID, here.uid(1)))
    (found,) = web.client().get(f"{here.at(1)}/metadata").json()
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Miller^Anna"}]}
    assert found["7FE00010"]["vr"] == "OW"


def test_the_metadata_of_a_study_is_one_array(web: MadeDicomWeb, here: Place) -> None:
    web.store(
        *(image(here.uid(number), InstanceNumber=str(number)) for number in (2, 1)),
        image(f"1.{here.number}.4.1"),
    )
    for path, expected in ((here.study, 3), (here.series, 2)):
        found = web.client().get(f"{path}/metadata").json()
        assert len(found) == expected
        assert found[0]["00080018"]["Value"] == [here.uid(1)]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("gzip, zstd", "zstd"), ("zstd;q=0, gzip", "gzip"), ("identity", ""), ("br", "")],
)
def test_metadata_is_compressed_where_the_client_takes_it(
    web: MadeDicomWeb, here: Place, accepted: str, coding: str
) -> None:
    web.store(image(here.uid(1)))
    with web.client().stream(
        "GET", f"{here.at(1)}/metadata", headers={"Accept-Encoding": accepted}
    ) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding", "") == coding
    if coding == "gzip":
        raw = gzip.decompress(raw)
    if coding == "zstd":
        raw = zstandard.ZstdDecompressor().stream_reader(BytesIO(raw)).read()
    assert raw.startswith(b'[{"00080005"')


def test_metadata_that_the_client_has_is_not_sent_again(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    client = web.client()
    tag = client.get(f"{here.series}/metadata").headers["etag"]
    again = client.get(f"{here.series}/metadata", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    web.store(image(here.uid(2)))
    assert client.get(f"{here.series}/metadata", headers={"If-None-Match": tag}).status_code == 200


def test_metadata_is_json_and_nothing_else(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    client = web.client()
    for accept in ("application/json", "application/dicom+json", "*/*"):
        assert client.get(f"{here.at(1)}/metadata", headers={"Accept": accept}).status_code == 200
    assert client.get(f"{here.at(1)}/metadata", headers={"Accept": "text/html"}).status_code == 406


def test_the_cache_is_bounded(web: MadeDicomWeb, here: Place) -> None:
    web.store(*(image(here.uid(number)) for number in range(1, 6)))
    instances = [web.archive.named(here.uid(number))[0] for number in range(1, 6)]
    cache = HeaderCache(most=3000)
    first = [cache.get(web.archive, one) for one in instances]
    assert sum(map(len, cache._held.values())) <= 3000
    assert 0 < len(cache._held) < 5
    assert [cache.get(web.archive, one) for one in instances] == first


# -- bulk data -------------------------------------------------------------------------------------------


def with_document(here: Place) -> Dataset:
    item = Dataset()
    item.EncapsulatedDocument = bytes(range(256)) * 8
    return image(here.uid(1), ContentSequence=Sequence([Dataset(), item]))


def test_bulk_data_is_what_its_address_stands_for(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    sent = with_document(here)
    web.store(sent)
    client = web.client()
    (found,) = client.get(f"{here.at(1)}/metadata").json()
    address = found["0040A730"]["Value"][1]["00420011"]["BulkDataURI"]
    for uri, expected in (
        (address, bytes(range(256)) * 8),
        (found["7FE00010"]["BulkDataURI"], sent.PixelData),
    ):
        path = uri.removeprefix(BASE)
        answer = client.get(path, headers={"Accept": "application/octet-stream"})
        assert (answer.status_code, answer.content) == (200, expected)
        (part,) = parts_of(*_typed(client.get(path)))
        assert part.content == expected
        some = client.get(path, headers={"Accept": "application/octet-stream", "Range": "bytes=10-19"})
        assert (some.status_code, some.content) == (206, expected[10:20])


def _typed(answer: object) -> tuple[str, bytes]:
    return answer.headers["content-type"], answer.content  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path", ["00420011", "0040A730", "0040A730.9.00420011", "x", ".", "0040A730.1", "1" * 900]
)
def test_bulk_data_that_is_not_there_is_told(web: MadeDicomWeb, here: Place, path: str) -> None:
    web.store(with_document(here))
    assert web.client().get(f"{here.at(1)}/bulkdata/{path}").status_code == 404


# -- pictures --------------------------------------------------------------------------------------------


def test_a_frame_is_rendered_in_a_window(web: MadeDicomWeb, here: Place) -> None:
    values = np.tile(np.arange(16, dtype="<u2") * 100, (16, 1))
    web.store(image(here.uid(1), PixelData=values.tobytes()))
    client = web.client()
    dark = client.get(f"{here.at(1)}/rendered", params={"window": "5000,10,linear"}, headers=PNG)
    assert dark.headers["content-type"] == "image/png"
    assert imagecodecs.png_decode(dark.content).max() == 0
    light = client.get(
        f"{here.at(1)}/frames/1/rendered", params={"window": "-5000,10,linear-exact"}, headers=PNG
    )
    assert imagecodecs.png_decode(light.content).min() == 255


def test_a_picture_fits_the_viewport(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    client = web.client()
    answer = client.get(f"{here.at(1)}/rendered", params={"viewport": "8,4", "quality": "50"}, headers=JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    assert imagecodecs.jpeg8_decode(answer.content).shape == (4, 4)
    for path in (here.study, here.series, here.at(1), f"{here.at(1)}/frames/1"):
        small = client.get(f"{path}/thumbnail")
        assert imagecodecs.jpeg8_decode(small.content).shape == (16, 16)


@pytest.mark.parametrize(
    "asked",
    ["viewport=0,0", "viewport=a", "window=1", "window=1,2,cubic", "window=nan,1", "quality=0", "quality=x",
     "window=1,0", "window=1,0.5", "window=1,0,sigmoid", "window=1,-1,linear-exact"],
)  # fmt: skip
def test_wishes_that_make_no_sense_are_refused(web: MadeDicomWeb, here: Place, asked: str) -> None:
    web.store(image(here.uid(1)))
    assert web.client().get(f"{here.at(1)}/rendered?{asked}").status_code == 400


def test_what_has_no_picture_is_told(web: MadeDicomWeb, here: Place) -> None:
    sent = image(here.uid(1))
    del sent.PixelData
    web.store(sent)
    assert web.client().get(f"{here.at(1)}/rendered").status_code == 406
    assert web.client().get(f"{here.at(1)}/rendered", headers={"Accept": "image/gif"}).status_code == 406
