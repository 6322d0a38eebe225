"""WADO-RS (PS3.18 10.4): whole instances, and frames, of an archive that holds some objects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from decoders import jpeg2000
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, image
from multiparts import Part, parts_of
from places import Place
from pydicom.dataset import Dataset

from scp.archive.deliver import Outgoing
from scp.config.rules import PolicyRule
from scp.errors import CodecProcessFailed, OutOfResources
from scp.model import Instance
from scp.syntaxes import EXPLICIT, HTJ2K, JPEG_BASELINE, JPEGLS

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@pytest.fixture
def here() -> Place:
    return Place.fresh()


DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'


def frames(here: Place, count: int) -> tuple[Dataset, np.ndarray]:
    """An image of several frames, and its samples: smooth, so that codecs make it smaller."""
    at = np.indices((count, 64, 64))
    values = (at[0] * 100 + at[1] * 3 + at[2] * 5).astype("<u2")
    one = image(here.uid(1), NumberOfFrames=str(count), PixelData=values.tobytes(), Rows=64, Columns=64)
    return one, values


def parts(answer: Any) -> list[Part]:
    assert answer.status_code == 200, answer.text
    return parts_of(answer.headers["content-type"], answer.content)


# -- instances -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["study", "series", "instance"])
def test_instances_come_as_dicom_files(web: MadeDicomWeb, here: Place, what: str) -> None:
    sent = [image(here.uid(number), InstanceNumber=str(number)) for number in (2, 1, 3)]
    web.store(*sent, image("2.3.1.1"))
    found = parts(web.client().get(here.of(what)))
    expected = [here.uid(1)] if what == "instance" else [here.uid(number) for number in (1, 2, 3)]
    assert [one.headers["content-location"].rpartition("/")[2] for one in found] == expected
    for one in found:
        assert one.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
        file = pydicom.dcmread(BytesIO(one.content))
        truth = next(each for each in sent if each.SOPInstanceUID == file.SOPInstanceUID)
        assert file.file_meta.TransferSyntaxUID == EXPLICIT
        assert file.PixelData == truth.PixelData
        assert file.PatientName == "Miller^Anna"


def test_an_instance_may_come_without_parts(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    answer = web.client().get(here.at(1), headers={"Accept": "application/dicom"})
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert pydicom.dcmread(BytesIO(answer.content)).SOPInstanceUID == here.uid(1)


def test_any_transfer_syntax_is_that_of_the_stored_file(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    web.store(frames(here, 1)[0])
    (found,) = parts(web.client().get(here.study, headers={"Accept": f"{DICOM}; transfer-syntax=*"}))
    file = pydicom.dcmread(BytesIO(found.content))
    assert file.file_meta.TransferSyntaxUID == HTJ2K
    stored = web.archive.named(here.uid(1))[0]
    held = pydicom.dcmread(BytesIO(bytes(web.archive.files.get(stored.key))))
    assert file.PixelData == held.PixelData


def test_other_transfer_syntaxes_are_made_without_loss(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = frames(here, 3)
    web.store(one)
    (found,) = parts(web.client().get(here.study, headers={"Accept": f"{DICOM}; transfer-syntax={JPEGLS}"}))
    file = pydicom.dcmread(BytesIO(found.content))
    coded = list(pydicom.encaps.generate_frames(file.PixelData, number_of_frames=3))
    assert [imagecodecs.jpegls_decode(each).tolist() for each in coded] == values.tolist()


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("{study}", "text/html", 406),
        ("{study}", "application/dicom", 406),
        ("{study}", f"{DICOM}; transfer-syntax={JPEG_BASELINE}", 406),
        ("{study}", f"{DICOM}; transfer-syntax=1.2.840.10008.1.2", 406),
        ("/studies/9.9", "", 404),
        ("{study}/series/9.9", "", 404),
        ("/studies/9.9{instance}", "", 404),
        ("/studies/no%2Fuid", "", 404),
        ("{study}%5C1.3", "", 404),
        ("/studies/*", "", 404),
        ("{study}?accept=text/html", "", 406),
    ],
)
def test_what_cannot_be_had_is_told(
    web: MadeDicomWeb, here: Place, path: str, accept: str, status: int
) -> None:
    web.store(image(here.uid(1)))
    asked = path.format(study=here.study, instance=here.at(1).removeprefix(here.study))
    answer = web.client().get(asked, headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")


def damage(web: MadeDicomWeb, uid: str) -> None:
    """Cut a stored file off."""
    stored = web.archive.named(uid)[0]
    path = web.folder / "objects" / stored.key
    path.write_bytes(path.read_bytes()[:-10])


def test_a_damaged_instance_is_left_out_and_told(web: MadeDicomWeb, here: Place) -> None:
    web.store(*(image(here.uid(number), InstanceNumber=str(number)) for number in (1, 2, 3)))
    damage(web, here.uid(2))
    client = web.client()
    first = client.get(here.study)  # nobody knew: the client sees that it has not all
    assert (first.status_code, first.content[-4:] != b"--\r\n") == (200, True)
    assert first.content.count(b"DICM") == 2
    answer = client.get(here.study)  # now it is known before the body begins
    assert answer.status_code == 206
    assert f"1 of 3 instances are left out ({here.uid(2)})" in answer.headers["warning"]
    found = parts_of(answer.headers["content-type"], answer.content)
    assert [one.headers["content-location"].rpartition("/")[2] for one in found] == [here.uid(1), here.uid(3)]


def test_a_damaged_instance_alone_is_an_error(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    damage(web, here.uid(1))
    answer = web.client().get(here.at(1))
    assert answer.status_code == 500
    assert "restore it from a copy" in answer.text


def test_a_damaged_instance_takes_no_thumbnail_from_its_series(web: MadeDicomWeb, here: Place) -> None:
    web.store(*(image(here.uid(number), InstanceNumber=str(number)) for number in (1, 2, 3)))
    damage(web, here.uid(2))
    assert web.client().get(f"{here.study}/thumbnail").status_code == 200
    assert web.client().get(f"{here.at(2)}/thumbnail").status_code == 500


def test_who_retrieves_is_in_the_audit_trail(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    web.client().get(here.study)
    (event,) = web.trail.events
    assert event.event.text == "DICOM Instances Transferred"
    assert [one.user_id for one in event.participants if one.requestor] == ["viewer"]
    assert event.subjects[0].identifier == here.study.rpartition("/")[2]


# -- frames ----------------------------------------------------------------------------------------------


def test_frames_come_in_the_order_in_which_they_are_asked_for(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = frames(here, 3)
    web.store(one)
    found = parts(web.client().get(f"{here.at(1)}/frames/3,1,3", headers={"Accept": OCTETS}))
    assert [each.content for each in found] == [values[number].tobytes() for number in (2, 0, 2)]
    assert [each.headers["content-location"].rpartition("/")[2] for each in found] == ["3", "1", "3"]
    assert {each.headers["content-type"] for each in found} == {
        f"application/octet-stream; transfer-syntax={EXPLICIT}"
    }


def test_frames_as_stored_are_decoded_by_another_decoder(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = frames(here, 2)
    web.store(one)
    for accept, kind in (
        ('multipart/related; type="image/jphc"', "image/jphc"),
        (f"{OCTETS}; transfer-syntax=*", "application/octet-stream"),
    ):
        found = parts(web.client().get(f"{here.at(1)}/frames/1,2", headers={"Accept": accept}))
        assert {each.headers["content-type"] for each in found} == {f"{kind}; transfer-syntax={HTJ2K}"}
        assert [jpeg2000(each.content).tolist() for each in found] == values.tolist()


@pytest.mark.parametrize(
    ("media_type", "decode"),
    [
        ("image/jls", imagecodecs.jpegls_decode),
        ("image/jphc", jpeg2000),
        ("image/jp2", jpeg2000),
        ("image/jxl", imagecodecs.jpegxl_decode),
        ("image/jpeg", imagecodecs.ljpeg_decode),
    ],
)
def test_a_frame_comes_in_each_lossless_media_type(
    web: MadeDicomWeb, here: Place, media_type: str, decode: Any
) -> None:
    one, values = frames(here, 2)
    web.store(one)
    answer = web.client().get(f"{here.at(1)}/frames/2", headers={"Accept": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(f"{media_type}; transfer-syntax=")
    assert np.asarray(decode(answer.content)).tolist() == values[1].tolist()


@pytest.mark.parametrize("what", ["frames/1", "bulkdata/7FE00010"])
def test_who_gets_pixels_has_used_the_object(web: MadeDicomWeb, here: Place, what: str) -> None:
    # Else a stage that goes by the last use takes an object away from those who look at it.
    stages = [{"form": "zstd"}, {"form": "htj2k", "after_access": "30d"}]
    web.archive.use_policy([PolicyRule.model_validate({"name": "all", "stages": stages})])
    web.store(image(here.uid(1)))
    web.client().get(f"{here.at(1)}/metadata")
    assert web.archive.named(here.uid(1))[0].accessed == 0
    web.client().get(f"{here.at(1)}/{what}")
    assert web.archive.named(here.uid(1))[0].accessed > 0


@pytest.mark.parametrize("what", ["", "/frames/1", "/bulkdata/7FE00010"])
def test_an_index_that_cannot_note_a_use_keeps_nobody_from_it(
    web: MadeDicomWeb, here: Place, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def busy(*_: Any) -> None:
        raise OutOfResources("the index does not answer: database is locked")

    stages = [{"form": "zstd"}, {"form": "htj2k", "after_access": "30d"}]
    web.archive.use_policy([PolicyRule.model_validate({"name": "all", "stages": stages})])
    web.store(image(here.uid(1)))
    monkeypatch.setattr(web.archive.stages, "record_access", busy)
    answer = web.client().get(f"{here.at(1)}{what}")
    assert (answer.status_code, answer.content[-4:]) == (200, b"--\r\n")


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ("4", 404),
        ("1,4", 404),
        ("0", 400),
        ("1,,2", 400),
        ("a", 400),
        ("-1", 400),
        ("1" * 11, 400),
        ("²", 400),
    ],
)
def test_frames_that_are_not_there_are_told(
    web: MadeDicomWeb, here: Place, numbers: str, status: int
) -> None:
    web.store(frames(here, 3)[0])
    assert web.client().get(f"{here.at(1)}/frames/{numbers}").status_code == status


def test_a_long_list_is_refused(web: MadeDicomWeb, here: Place) -> None:
    web.store(frames(here, 3)[0])
    assert web.client().get(f"{here.at(1)}/frames/{'1,' * 25_000}1").status_code == 404


def test_a_frame_comes_by_ranges_and_is_not_sent_again(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, _ = frames(here, 2)
    web.store(one)
    client, path = web.client(), f"{here.at(1)}/frames/2"
    whole = client.get(path, headers={"Accept": "image/jphc"})
    part = client.get(path, headers={"Accept": "image/jphc", "Range": "bytes=2-11"})
    assert (part.status_code, part.content) == (206, whole.content[2:12])
    assert part.headers["content-range"] == f"bytes 2-11/{len(whole.content)}"
    last = client.get(path, headers={"Accept": "image/jphc", "Range": "bytes=-5"})
    assert last.content == whole.content[-5:]
    beyond = client.get(path, headers={"Accept": "image/jphc", "Range": "bytes=999999-"})
    assert beyond.status_code == 416
    tag = whole.headers["etag"]
    again = client.get(path, headers={"Accept": "image/jphc", "If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path, headers={"Accept": "application/octet-stream", "If-None-Match": tag})
    assert other.status_code == 200
    changed = client.get(path, headers={"Accept": "image/jphc", "Range": "bytes=2-11", "If-Range": '"x"'})
    assert (changed.status_code, changed.content) == (200, whole.content)


@pytest.mark.parametrize("what", ["frames/1", "metadata", "bulkdata/7FE00010", "rendered"])
def test_conditions_are_those_of_http(web: MadeDicomWeb, here: Place, what: str) -> None:
    web.store(image(here.uid(1)))
    client, path = web.client(), f"{here.at(1)}/{what}"
    client.headers["Accept"] = {"metadata": "application/dicom+json", "rendered": "image/png"}.get(
        what, "application/octet-stream"
    )
    whole = client.get(path)
    assert client.get(path, headers={"If-Match": '"x"'}).status_code == 412
    assert client.get(path, headers={"If-Match": "*"}).content == whole.content
    named = client.get(path, headers={"If-Match": whole.headers["etag"]})
    assert named.status_code == (412 if what == "metadata" else 200)  # weak tags never match
    kept = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (kept.status_code, kept.headers["vary"]) == (304, whole.headers["vary"])
    head = client.head(path, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers.get("content-length") == whole.headers.get("content-length")


@pytest.mark.parametrize("what", ["study", "series", "instance"])
def test_whole_instances_are_not_sent_again(web: MadeDicomWeb, here: Place, what: str) -> None:
    web.store(image(here.uid(1)))
    client, path = web.client(), here.of(what)
    client.headers["Accept"] = DICOM
    tag = client.get(path).headers["etag"]
    for kept in (tag, "*"):
        assert client.get(path, headers={"If-None-Match": kept}).status_code == 304
    as_stored = client.get(path, headers={"Accept": f"{DICOM}; transfer-syntax=*", "If-None-Match": tag})
    assert as_stored.status_code == 200
    web.store(image(here.uid(1), PatientComments="another"))
    changed = client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)


# -- who sees what ---------------------------------------------------------------------------------------


def test_who_has_no_token_retrieves_nothing(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)))
    for path in (
        here.study,
        f"{here.study}/metadata",
        f"{here.at(1)}/frames/1",
        f"{here.at(1)}/bulkdata/7FE00010",
    ):
        assert web.client("").get(path).status_code == 401


def test_a_client_that_goes_ends_the_work(
    web: MadeDicomWeb, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.store(*(image(here.uid(number)) for number in range(1, 9)))
    fetched: list[str] = []
    fetch = web.archive.fetch

    def counted(instance: Instance, *rest: Any) -> Outgoing:
        fetched.append(instance.sop_instance_uid)
        return fetch(instance, *rest)

    monkeypatch.setattr(web.archive, "fetch", counted)
    asked = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if asked:
            return asked.pop()
        while len(sent) < 2:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0.2)  # a slow client, too: nothing is made ahead of it

    path = f"{ROOT}{here.study}"
    headers = [
        (b"host", b"127.0.0.1:11180"),
        *((k.lower().encode(), v.encode()) for k, v in bearer("viewer").items()),
    ]
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 11180), "scheme": "http",
    }  # fmt: skip
    asyncio.run(web.app(scope, receive, send))
    assert sent[0]["status"] == 200
    assert not any(message.get("body", b"")[-4:] == b"--\r\n" for message in sent)
    assert len(fetched) < 8


def test_an_instance_with_any_uid_can_be_had(web: MadeDicomWeb, here: Place) -> None:
    one = image(here.uid(1))
    one.SOPInstanceUID = f"{here.uid(1)}/odd"  # kept all the same (invariant 7)
    web.store(one)
    path = f"{here.at(1)}%2Fodd"
    (found,) = parts(web.client().get(path))
    assert pydicom.dcmread(BytesIO(found.content)).PixelData == one.PixelData
    assert found.headers["content-location"].endswith(path)
    assert web.client().get(f"{path}/metadata").json()[0]["00080018"]["Value"] == [one.SOPInstanceUID]
    assert web.client().get(path.replace("/series/1.", "/series/2.")).status_code == 404


def test_nothing_follows_half_an_instance(
    web: MadeDicomWeb, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.store(*(image(here.uid(number), InstanceNumber=str(number)) for number in (1, 2, 3)))
    fetch = web.archive.fetch

    def failing(instance: Instance, *rest: Any) -> Outgoing:
        found = fetch(instance, *rest)
        return (
            replace(found, chunks=half(found.chunks)) if instance.sop_instance_uid == here.uid(2) else found
        )

    def half(chunks: Iterator[Any]) -> Iterator[bytes]:
        yield bytes(next(chunks))[:100]
        raise CodecProcessFailed("its decoder died")

    monkeypatch.setattr(web.archive, "fetch", failing)
    answer = web.client().get(here.study)
    assert answer.content.count(b"DICM") == 1  # and the body has no end
    assert here.uid(3).encode() not in answer.content
    assert not answer.content.endswith(b"--\r\n")
