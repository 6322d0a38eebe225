"""JSON by templates is that of a header which is written element by element."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from objects import corpus, received
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset

from scp.encoding.dataset import split
from scp.errors import UnreadableDataset
from scp.syntaxes import lookup
from scp.web.dicomweb.retrieve import dataset_json
from scp.web.dicomweb.retrieve.dataset_json import ROOT, PixelEntry, json_of
from scp.web.dicomweb.retrieve.json_templates import Templates

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> Templates:
    made = Templates(dataset_json._plain_member, dataset_json._nested_member, dataset_json._terms_in)
    monkeypatch.setattr(dataset_json, "_templates", made)
    return made


def header(number: int, **changed: Any) -> bytes:
    one = Dataset()
    one.SpecificCharacterSet, one.SOPInstanceUID, one.PatientName = "ISO_IR 100", f"1.2.{number}", "Müller^A"
    one.InstanceNumber, one.SliceLocation, one.PixelRepresentation = str(number), f"{number}.5", 0
    one.SmallestImagePixelValue = number
    one["SmallestImagePixelValue"].VR = "US"
    one.ReferencedImageSequence = [Dataset()]
    one.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    one.add_new(0x00091001, "UN", bytes([number]) * 3)
    one.add_new(0x00091002, "OB", bytes([number]) * 2000)
    for name, value in changed.items():
        setattr(one, name, value)
    out = BytesIO()
    writer = DicomFileLike(out)
    writer.is_little_endian, writer.is_implicit_VR = True, False
    write_dataset(writer, one)
    return out.getvalue()


def by_elements(data: bytes) -> bytes:
    return dataset_json._object(dataset_json._members_of(data))


def told(data: bytes, *more: Any) -> dict[str, Any]:
    return dict(json.loads(json_of(data, *more).replace(ROOT, b"")))


def test_the_third_of_a_series_is_told_by_a_template(templates: Templates) -> None:
    for number in range(1, 9):
        data = header(number)
        known = templates.members(data)
        assert (known is not None) == (number > 2)
        assert json_of(data) == by_elements(data)
    assert told(header(9))["00200013"]["Value"] == [9]


@pytest.mark.parametrize(
    "changed",
    [
        {"SpecificCharacterSet": "ISO_IR 192"},
        {"SpecificCharacterSet": "ISO_IR 101"},
        {"PixelRepresentation": 1},
        {"ReferencedImageSequence": []},
        {"PatientName": "Ž^B", "SpecificCharacterSet": "ISO_IR 101"},
        {"SliceLocation": ""},
        {"SliceLocation": None},
        {"InstanceNumber": "1234567890"},
        {"Modality": "CT"},
    ],
    ids=str,
)
def test_what_differs_otherwise_is_told_as_it_is(changed: dict[str, Any]) -> None:
    for number in range(1, 5):
        json_of(header(number))
    for number in (5, 6, 7, 8):
        data = header(number, **changed)
        assert json_of(data) == by_elements(data)
        assert json_of(header(number)) == by_elements(header(number))


def outcome(work: Callable[[bytes], bytes], data: bytes) -> bytes | str:
    try:
        return work(data)
    except UnreadableDataset as error:
        return str(error)


@pytest.mark.parametrize(
    "changed",
    [
        {"SpecificCharacterSet": "ISO_IR 192"},
        {"PixelRepresentation": 1},
        {"ReferencedImageSequence": [Dataset()]},
    ],
    ids=str,
)
def test_the_next_series_of_a_scanner_has_a_template_again(
    changed: dict[str, Any], templates: Templates
) -> None:
    """What decides how others are read, or a sequence, differs from patient to patient."""
    for number in range(1, 4):
        json_of(header(number))
    known = 0
    for number in range(4, 9):
        data = header(number, **changed)
        known += templates.members(data) is not None
        assert json_of(data) == by_elements(data)
    assert known >= 3


def test_a_sequence_may_differ_from_image_to_image(templates: Templates) -> None:
    for number in range(1, 9):
        item = Dataset()
        item.ReferencedSOPInstanceUID, item.PatientName = "1.2.3" * number, "Müller"
        item.is_undefined_length_sequence_item = number % 2 == 0
        data = header(number, ReferencedImageSequence=[item] * (number % 3))
        assert (templates.members(data) is not None) == (number > 2)
        assert json_of(data) == by_elements(data)
        for cut in range(0, len(data), 7):
            assert outcome(json_of, data[:cut]) == outcome(by_elements, data[:cut])


def test_an_unknown_vr_is_read_by_what_is_behind_it_each_time(templates: Templates) -> None:
    """With a length of 16 bits, and none: whether it is so depends on the element after the next."""

    def data(name: bytes) -> bytes:
        return (
            struct.pack("<HH2sH", 8, 0x1000, b"ZZ", 0)
            + struct.pack("<HH2sHL", 0x10, 0, b"UL", 4, 8 + len(name))
            + struct.pack("<HH2sH", 0x10, 0x10, b"PN", len(name))
            + name
        )

    for name in (b"abcd12ef", b"1234567 ", b"2345678 ", b"1234AB  ", b"1234AB\0\0\0\0"):
        assert outcome(json_of, data(name)) == outcome(by_elements, data(name))


def test_headers_that_were_changed_anywhere_are_told_as_element_by_element() -> None:
    for number in range(1, 5):
        json_of(header(number))
    data = header(5)
    for at in range(len(data) - 1900):  # but for most of the long value, whose bytes are alike
        for value in (0, 0xFF, data[at] ^ 1):
            one = data[:at] + bytes([value]) + data[at + 1 :]
            assert outcome(json_of, one) == outcome(by_elements, one), at
        assert outcome(json_of, data[:at]) == outcome(by_elements, data[:at])


def test_pixel_data_and_the_trailer_stand_where_they_belong() -> None:
    pixel = PixelEntry(0x7FE00010, "OW")
    for number in range(1, 5):
        found = list(told(header(number), pixel))
        assert found == sorted(found)
        assert found[-1] == "7FE00010"
    trailer = b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\1\1"
    assert list(told(header(5), pixel, trailer))[-2:] == ["7FE00010", "FFFCFFFC"]


@pytest.mark.corpus
@pytest.mark.parametrize("folder", ["ct-ge", "ct-philips", "mr-small"])
def test_a_real_series_is_told_the_same_by_templates(templates: Templates, folder: str) -> None:
    known = 0
    for path in corpus(folder)[:28]:
        sent = received(path)
        header = bytes(split(sent.dataset, lookup(sent.transfer_syntax)).header)
        known += templates.members(header) is not None
        assert json_of(header) == by_elements(header)
    assert known > 0
