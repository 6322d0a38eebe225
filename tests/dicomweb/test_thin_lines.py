"""Clients on a thin line: smaller images first, and what a [[peer]] entry has them sent (invariant 4)."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from decoders import jpeg2000
from dicomweb_desks import MadeDicomWeb, dicomweb_settings, image, token
from multiparts import parts_of
from places import Place
from pydicom.dataset import Dataset

from scp.config.link import link
from scp.config.settings import Settings
from scp.syntaxes import EXPLICIT, HTJ2K, HTJ2K_EITHER, JPEG2000_EITHER, JPEGLS, JPEGLS_NEAR, JPEGXL

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

RESOLUTIONS, JPHC = "image-resolutions", {"Accept": "image/jphc"}
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


@pytest.fixture
def here() -> Place:
    return Place.fresh()


def picture(here: Place, count: int = 1, side: int = 128, **changed: Any) -> tuple[Dataset, np.ndarray]:
    """An image with noise, which costs less with loss, and its samples."""
    random = np.random.default_rng(4)
    at = np.indices((count, side, side))
    values = (1000 + at[0] * 10 + at[1] * 3 + at[2] * 2 + random.normal(0, 20, at[0].shape)).astype("<u2")
    one = image(
        here.uid(1), NumberOfFrames=str(count), PixelData=values.tobytes(), Rows=side, Columns=side,
        BitsStored=12, HighBit=11, PixelRepresentation=0, **changed,
    )  # fmt: skip
    return one, values


def on_a_line(web: MadeDicomWeb, **entry: Any) -> None:
    """The token of the tests is held to a peer with this entry."""
    peer = {"aet": "HOME", "host": "127.0.0.1", "port": 104, **entry}
    web.settings = dicomweb_settings([peer], http={"token": [token("viewer", peer="HOME")]})


def listed(header: str) -> list[tuple[int, int, int]]:
    """Bytes, rows and columns of each resolution (RFC 9651: a list of integers with parameters)."""
    found = []
    for one in header.split(","):
        size, *parameters = one.strip().split(";")
        named = dict(each.split("=") for each in parameters)
        found.append((int(size), int(named["rows"]), int(named["columns"])))
    return found


# -- smaller images first --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["htj2k", "htj2k-rpcl"])
def test_a_range_is_a_smaller_image(web: MadeDicomWeb, here: Place, form: str) -> None:
    web.keep_as(form)
    one, values = picture(here)
    web.store(one)
    client, path = web.client(), f"{here.at(1)}/frames/1"
    beginning = client.get(path, headers={**JPHC, "Range": "bytes=0-99"})
    assert beginning.status_code == 206
    found = listed(beginning.headers[RESOLUTIONS])
    assert found[-1][1:] == (128, 128)
    whole = client.get(path, headers=JPHC)
    for left_out, (size, rows, columns) in enumerate(reversed(found)):
        part = client.get(path, headers={**JPHC, "Range": f"bytes=0-{size - 1}"})
        smaller = imagecodecs.htj2k_decode(part.content, skipres=left_out)
        assert smaller.shape == (rows, columns)
        assert np.array_equal(smaller, imagecodecs.htj2k_decode(whole.content, skipres=left_out))
    assert np.array_equal(jpeg2000(whole.content), values[0])
    assert found[-1][0] == len(whole.content)


def test_head_tells_them_too_and_who_takes_all_does_not_wait(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    web.store(picture(here)[0])
    client, path = web.client(), f"{here.at(1)}/frames/1"
    head, whole = client.head(path, headers=JPHC), client.get(path, headers=JPHC)
    assert listed(head.headers[RESOLUTIONS])[-1][0] == int(head.headers["content-length"])
    assert RESOLUTIONS not in whole.headers
    for accept in ("image/jls", "application/octet-stream", "multipart/related; type=image/jphc"):
        assert RESOLUTIONS not in client.head(path, headers={"Accept": accept}).headers


def test_pages_elsewhere_may_read_them(web: MadeDicomWeb, here: Place) -> None:
    web.settings = dicomweb_settings(origins=["https://viewer.example.org"])
    web.keep_as("htj2k")
    web.store(picture(here)[0])
    asked = {**JPHC, "Range": "bytes=0-9", "Origin": "https://viewer.example.org"}
    answer = web.client().get(f"{here.at(1)}/frames/1", headers=asked)
    assert RESOLUTIONS in answer.headers["access-control-expose-headers"].lower()


# -- an entry for a line ---------------------------------------------------------------------------------


def test_any_transfer_syntax_is_what_the_entry_names(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = picture(here)
    web.store(one)
    on_a_line(web, link_mbps=5, prefer=["JPEGXLLossless"])
    asked = {"Accept": f"{OCTETS}; transfer-syntax=*"}
    (frame,) = parts_of_answer(web, f"{here.at(1)}/frames/1", asked)
    assert frame.headers["content-type"] == f"application/octet-stream; transfer-syntax={JPEGXL}"
    assert np.array_equal(imagecodecs.jpegxl_decode(frame.content), values[0])
    (file,) = parts_of_answer(web, here.study, {"Accept": f"{DICOM}; transfer-syntax=*"})
    assert pydicom.dcmread(BytesIO(file.content)).file_meta.TransferSyntaxUID == JPEGXL


def parts_of_answer(web: MadeDicomWeb, path: str, headers: dict[str, str]) -> list[Any]:
    answer = web.client().get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return parts_of(answer.headers["content-type"], answer.content)


def test_without_a_thin_line_what_is_stored_goes_first(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    web.store(picture(here)[0])
    on_a_line(web, prefer=["JPEGXLLossless"])
    (frame,) = parts_of_answer(web, f"{here.at(1)}/frames/1", {"Accept": f"{OCTETS}; transfer-syntax=*"})
    assert frame.headers["content-type"].endswith(HTJ2K)


def test_what_is_accepted_bounds_what_the_entry_names(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = picture(here)
    web.store(one)
    on_a_line(web, link_mbps=5, prefer=["JPEGXLLossless"])
    answer = web.client().get(f"{here.at(1)}/frames/1", headers={"Accept": "image/jls"})
    assert answer.headers["content-type"] == f"image/jls; transfer-syntax={JPEGLS}"
    assert np.array_equal(imagecodecs.jpegls_decode(answer.content), values[0])


def test_who_comes_from_a_line_has_its_entry(web: MadeDicomWeb, here: Place) -> None:
    """By the network; their rights stay those of their own token."""
    web.keep_as("htj2k")
    web.store(picture(here)[0])
    peer = {"aet": "HOME", "host": "127.0.0.1", "port": 104, "addresses": ["10.9.0.0/16"], "link_mbps": 5}
    peer |= {"prefer": ["JPEGXLLossless"], "sees": {"Modality": ["MR"]}}
    web.settings = dicomweb_settings([peer], lines=["HOME"])
    asked = {"Accept": f"{OCTETS}; transfer-syntax=*"}
    for address, expected in (("10.9.0.7", JPEGXL), ("10.8.0.7", HTJ2K)):
        answer = web.client(client=(address, 1)).get(f"{here.at(1)}/frames/1", headers=asked)
        (frame,) = parts_of(answer.headers["content-type"], answer.content)
        assert frame.headers["content-type"].endswith(expected), address


@pytest.mark.parametrize(
    ("peers", "told"),
    [([], "no [[peer]]"), ([{"aet": "HOME", "host": "h", "port": 1}], "has no addresses")],
)
def test_a_line_needs_an_entry_with_addresses(peers: list[Any], told: str) -> None:
    made = Settings.model_validate({"peer": peers, "dicomweb": {"lines": ["HOME"]}})
    ((key, what),) = link(made)[1]
    assert key == "dicomweb.lines[0]"
    assert told in what


# -- with loss, where the entry says so ------------------------------------------------------------------

WITH_LOSS = {"lossy": True, "max_error": 4, "prefer": ["JPEGLSNearLossless"]}


def test_frames_with_loss_are_within_the_bound_smaller_and_told(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = picture(here, count=3)
    web.store(one)
    on_a_line(web, **WITH_LOSS)
    client, path = web.client(), f"{here.at(1)}/frames/2"
    answer = client.get(path, headers={"Accept": "image/jls"})
    assert answer.headers["content-type"] == f"image/jls; transfer-syntax={JPEGLS_NEAR}"
    back = imagecodecs.jpegls_decode(answer.content).astype(int)
    assert 0 < abs(back - values[1]).max() <= 4
    assert "Coded with loss" in answer.headers["warning"]
    assert "maximum error 4" in answer.headers["warning"]
    stored = client.get(path, headers=JPHC)
    assert len(answer.content) < 0.8 * len(stored.content)
    assert "warning" not in stored.headers  # HTJ2K is lossless still: the entry does not name it
    assert np.array_equal(jpeg2000(stored.content), values[1])
    found = parts_of_answer(
        web, f"{here.at(1)}/frames/1,2,3", {"Accept": "multipart/related; type=image/jls"}
    )
    assert {each.headers["content-type"].partition("=")[2] for each in found} == {JPEGLS_NEAR}
    for each, truth in zip(found, values, strict=True):
        assert abs(imagecodecs.jpegls_decode(each.content).astype(int) - truth).max() <= 4


def test_other_rules_are_other_answers(web: MadeDicomWeb, here: Place) -> None:
    """A client that has one, and whose entry changes, does not keep it."""
    web.store(picture(here)[0])
    path, tags = f"{here.at(1)}/frames/1", set()
    for error in (2, 4):
        on_a_line(web, **{**WITH_LOSS, "max_error": error})
        tags.add(web.client().get(path, headers={"Accept": "image/jls"}).headers["etag"])
        tags.add(web.client().get(f"{here.at(1)}/metadata").headers["etag"])
    assert len(tags) == 4


@pytest.mark.parametrize("entry", [{}, {"link_mbps": 5}, {"link_mbps": 5, "prefer": ["JPEG2000", "HTJ2K"]}])
@pytest.mark.parametrize("accept", ["image/jphc", "image/jp2", "image/jls", "image/jxl", "image/jpeg"])
def test_nothing_is_coded_with_loss_without_a_rule(
    web: MadeDicomWeb, here: Place, entry: dict[str, Any], accept: str
) -> None:
    one, values = picture(here)
    web.store(one)
    on_a_line(web, **entry)
    decode = {"image/jls": imagecodecs.jpegls_decode, "image/jxl": imagecodecs.jpegxl_decode}
    decode["image/jpeg"] = imagecodecs.ljpeg_decode
    answer = web.client().get(f"{here.at(1)}/frames/1", headers={"Accept": accept})
    assert "warning" not in answer.headers
    assert np.array_equal(decode.get(accept, jpeg2000)(answer.content), values[0])


def test_native_samples_are_never_coded_with_loss(web: MadeDicomWeb, here: Place) -> None:
    one, values = picture(here)
    web.store(one)
    on_a_line(web, **WITH_LOSS)
    for path in ("frames/1", "bulkdata/7FE00010"):
        answer = web.client().get(f"{here.at(1)}/{path}", headers={"Accept": "application/octet-stream"})
        assert answer.content == values[0].tobytes()


def test_an_instance_with_loss_is_a_copy_that_says_so(web: MadeDicomWeb, here: Place) -> None:
    web.keep_as("htj2k")
    one, values = picture(here)
    web.store(one)
    on_a_line(web, lossy=True, quality=80, prefer=["JPEG2000"])
    (part,) = parts_of_answer(web, here.study, {"Accept": f"{DICOM}; transfer-syntax={JPEG2000_EITHER}"})
    file = pydicom.dcmread(BytesIO(part.content))
    assert file.file_meta.TransferSyntaxUID == JPEG2000_EITHER
    assert (file.LossyImageCompression, file.LossyImageCompressionMethod) == ("01", "ISO_15444_1")
    assert file.SOPInstanceUID != here.uid(1)
    assert file.SourceImageSequence[0].ReferencedSOPInstanceUID == here.uid(1)
    (frame,) = pydicom.encaps.generate_frames(file.PixelData, number_of_frames=1)
    assert 0 < abs(jpeg2000(frame).astype(int) - values[0]).max() < 60
    (plain,) = parts_of_answer(web, here.study, {"Accept": f"{DICOM}; transfer-syntax={EXPLICIT}"})
    assert pydicom.dcmread(BytesIO(plain.content)).SOPInstanceUID == here.uid(1)


def test_metadata_says_that_frames_may_have_lost_something(web: MadeDicomWeb, here: Place) -> None:
    web.store(picture(here, DerivationDescription="Made")[0])
    (plain,) = web.client().get(f"{here.at(1)}/metadata").json()
    on_a_line(web, **WITH_LOSS)
    (told,) = web.client().get(f"{here.at(1)}/metadata").json()
    assert told.pop("00282110") == {"vr": "CS", "Value": ["01"]}
    (derivation,) = told.pop("00082111")["Value"]
    assert derivation == "Made; Frames may be coded with loss on their way: maximum error 4"
    plain.pop("00282110", None)
    assert plain.pop("00082111")["Value"] == ["Made"]
    assert told == plain
    assert told["7FE00010"]["BulkDataURI"].startswith("http")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"SOPClassUID": PARAMETRIC_MAP}, "measures"),
        ({"padding": 1100}, "padding that would mix with the image"),
    ],
)
def test_what_may_lose_nothing_comes_whole(
    web: MadeDicomWeb, here: Place, changed: dict[str, Any], why: str
) -> None:
    changed, padding = dict(changed), changed.get("padding")
    changed.pop("padding", None)
    one, values = picture(here, **changed)
    if padding is not None:
        one.add_new(0x00280120, "US", padding)
    web.store(one)
    on_a_line(web, **WITH_LOSS)
    answer = web.client().get(f"{here.at(1)}/frames/1", headers={"Accept": "image/jls"})
    assert answer.headers["content-type"].endswith(JPEGLS), why
    assert np.array_equal(imagecodecs.jpegls_decode(answer.content), values[0])
    assert "warning" not in answer.headers


def test_samples_stay_within_the_bits_that_metadata_has(web: MadeDicomWeb, here: Place) -> None:
    """JPEG-LS of 12 bits codes 16: 4095 may come back as 4099, which no header says of a frame."""
    one, values = picture(here)
    values[0, :64] = 4095 - np.random.default_rng(5).integers(0, 9, values[0, :64].shape)
    one.PixelData = values.tobytes()
    web.store(one)
    on_a_line(web, **WITH_LOSS)
    answer = web.client().get(f"{here.at(1)}/frames/1", headers={"Accept": "image/jls"})
    assert imagecodecs.jpegls_decode(answer.content).max() <= 4095


def test_a_smaller_image_of_a_frame_with_loss(web: MadeDicomWeb, here: Place) -> None:
    web.store(picture(here)[0])
    on_a_line(web, lossy=True, quality=70, prefer=["HTJ2K"])
    head = web.client().head(f"{here.at(1)}/frames/1", headers=JPHC)
    assert head.headers["content-type"] == f"image/jphc; transfer-syntax={HTJ2K_EITHER}"
    assert len(listed(head.headers[RESOLUTIONS])) == 6
