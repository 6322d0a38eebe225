"""Datasets as DICOM JSON (PS3.18 F.2), read back by pydicom, and compared with what the standard says."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import pytest
from objects import bundled, element, item, received, written
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from scp.encoding.dataset import split
from scp.encoding.element_paths import value_at
from scp.encoding.elements import CANONICAL
from scp.errors import BeyondBounds, UnreadableDataset
from scp.syntaxes import lookup
from scp.web.dicomweb.json_model import attribute
from scp.web.dicomweb.retrieve.dataset_json import ROOT, PixelEntry, json_of
from scp.web.dicomweb.xml_model import native_model

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


def model(header: bytes, pixel: PixelEntry | None = None) -> dict[str, Any]:
    """The JSON object of a header."""
    found: dict[str, Any] = json.loads(json_of(header, pixel).replace(ROOT, b"http://node"))
    return found


def one(keyword: str, value: object, **others: object) -> dict[str, Any]:
    """The attribute object of one element that pydicom wrote."""
    dataset = Dataset()
    for name, other in others.items():
        setattr(dataset, name, other)
    setattr(dataset, keyword, value)
    found = model(written(dataset, explicit=True, little=True))
    (tag,) = set(found) - {"00080005"}
    attribute: dict[str, Any] = found[tag]
    return attribute


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("StudyDate", "20261130", {"vr": "DA", "Value": ["20261130"]}),
        ("StudyDate", "", {"vr": "DA"}),
        ("ImageType", ["A", "", "C"], {"vr": "CS", "Value": ["A", None, "C"]}),
        ("SOPInstanceUID", "1.2.3", {"vr": "UI", "Value": ["1.2.3"]}),
        ("Rows", 512, {"vr": "US", "Value": [512]}),
        ("SelectorSLValue", [-1, 2], {"vr": "SL", "Value": [-1, 2]}),
        ("SelectorFDValue", 0.1, {"vr": "FD", "Value": [0.1]}),
        ("FrameIncrementPointer", [0x00181063, 0x00540010], {"vr": "AT", "Value": ["00181063", "00540010"]}),
        ("PatientName", "Yamada^Tarou=山田^太郎=やまだ", None),
        ("StrainDescription", "a\\b", None),
        ("ImageComments", "a\\b", {"vr": "LT", "Value": ["a\\b"]}),
        ("FileOffsetInContainer", 2**60, {"vr": "UV", "Value": [str(2**60)]}),
        ("FileOffsetInContainer", 7, {"vr": "UV", "Value": [7]}),
        ("ReferencedImageSequence", [], {"vr": "SQ"}),
        ("ReferencedImageSequence", [Dataset()], {"vr": "SQ", "Value": [{}]}),
    ],
)
def test_values_are_what_the_standard_says(
    keyword: str, value: object, expected: dict[str, Any] | None
) -> None:
    others = {"SpecificCharacterSet": "ISO_IR 192"} if keyword == "PatientName" else {}
    if keyword == "PatientName":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        parts = dict(zip(groups, str(value).split("="), strict=True))
        expected = {"vr": "PN", "Value": [parts]}
    if keyword == "StrainDescription":
        expected = {"vr": "UC", "Value": ["a", "b"]}
    assert one(keyword, value, **others) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1.50", 1.5),
        (b"+1.5 ", 1.5),
        (b" .5 ", 0.5),
        (b"-007.25", -7.25),
        (b"1e3 ", 1000.0),
        (b"12  ", 12),
        (b"nan ", "nan"),
        (b"1_0 ", "1_0"),
        (b"12x ", "12x"),
        (b"1E400 ", "1E400"),
    ],
)
def test_a_decimal_string_is_a_number_or_else_its_text(text: bytes, expected: object) -> None:
    assert model(element(0x00281053, "DS", text))["00281053"] == {"vr": "DS", "Value": [expected]}


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_an_integer_that_no_double_holds_stays_text(digits: int) -> None:
    # One of 309 digits or more kept all metadata of its series from being made.
    text = "9" * digits
    assert model(element(0x00200013, "IS", text.encode()))["00200013"] == {"vr": "IS", "Value": [text]}
    assert attribute("IS", text) == {"vr": "IS", "Value": [text]}


@pytest.mark.parametrize(("vr", "size"), [("US", 3), ("US", 1), ("FL", 6), ("FD", 4), ("AT", 6)])
def test_a_value_that_is_not_whole_numbers_has_an_address(vr: str, size: int) -> None:
    found = model(element(0x00720075, vr, bytes(range(size))))["00720075"]
    assert found == {"vr": vr, "BulkDataURI": "http://node/bulkdata/00720075"}


def test_what_stands_behind_pixel_data_has_the_repertoire_of_the_header() -> None:
    header = element(0x00080005, "CS", b"ISO_IR 126")  # Greek
    trailer = element(0x7FE10010, "LO", "Άννα".encode("iso8859-7"))
    found = json.loads(json_of(header, PixelEntry(0x7FE00010, "OW"), trailer).replace(ROOT, b""))
    assert found["7FE10010"]["Value"] == ["Άννα"]
    assert list(found) == ["00080005", "7FE00010", "7FE10010"]


def test_xml_names_who_reserved_a_private_block_and_keeps_line_ends() -> None:
    header = element(0x00090010, "LO", b"ACME") + element(0x00091001, "LT", b"a\r\nb")
    root = ElementTree.fromstring(native_model(model(header)))
    creator, private = root
    assert "privateCreator" not in creator.attrib
    assert (private.get("tag"), private.get("privateCreator")) == ("00091001", "ACME")
    assert private[0].text == "a\r\nb"


def test_what_json_has_no_number_for_has_an_address() -> None:
    value = struct.pack("<2d", float("nan"), 1.0)
    found = model(element(0x00720074, "FD", value))["00720074"]
    assert found == {"vr": "FD", "BulkDataURI": "http://node/bulkdata/00720074"}


def test_a_float_is_the_shortest_number_that_is_it() -> None:
    value = struct.pack("<3f", 0.1, 50_000_008.0, -11.2)
    assert model(element(0x00720076, "FL", value))["00720076"]["Value"] == [0.1, 50_000_008.0, -11.2]


def test_bytes_are_in_line_up_to_a_kilobyte() -> None:
    short = model(element(0x00420011, "OB", b"ab"))["00420011"]
    assert short == {"vr": "OB", "InlineBinary": "YWI="}
    inner = element(0x00420011, "OB", bytes(1026))
    found = model(element_in_sequence(inner))
    assert found["00400260"]["Value"][1]["00420011"] == {
        "vr": "OB",
        "BulkDataURI": "http://node/bulkdata/00400260.1.00420011",
    }


def element_in_sequence(inner: bytes) -> bytes:
    """A sequence of two items, the second with an element."""
    items = item(b"", defined=True) + item(inner, defined=True)
    return element(0x00400260, "SQ", items)


@pytest.mark.parametrize("vr", ["UN", "OB"])
def test_fragments_of_a_private_element_have_an_address(vr: str) -> None:
    # All of the metadata was refused for it, while the object itself was sent.
    begun = struct.pack("<HH2sHI", 0x0009, 0x1001, vr.encode(), 0, 0xFFFFFFFF)
    fragments = item(b"ab", defined=True) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    header = begun + fragments + element(0x00100020, "LO", b"P1")
    assert model(header) == {
        "00091001": {"vr": vr, "BulkDataURI": "http://node/bulkdata/00091001"},
        "00100020": {"vr": "LO", "Value": ["P1"]},
    }
    found = value_at(header, CANONICAL, "00091001")
    assert found is not None
    assert bytes(found) == item(b"ab", defined=True)


def test_a_path_into_what_is_no_sequence_finds_nothing() -> None:
    inner = element(0x00080100, "SH", b"1 ")
    nested = element_in_sequence(inner)
    header = element(0x00100020, "LO", b"P1") + nested + element(0x00420011, "OB", item(inner, defined=True))
    assert value_at(header, CANONICAL, "00100020.0.00080100") is None
    assert value_at(header, CANONICAL, "00420011.0.00080100") is None
    found = value_at(header, CANONICAL, "00400260.1.00080100")
    assert found is not None
    assert bytes(found) == b"1 "


def test_pixel_data_always_has_an_address() -> None:
    found = model(b"", PixelEntry(0x7FE00010, "OW"))
    assert found == {"7FE00010": {"vr": "OW", "BulkDataURI": "http://node/bulkdata/7FE00010"}}


def test_group_lengths_are_left_out_and_tags_are_in_order() -> None:
    header = element(0x00100000, "UL", bytes(4)) + element(0x00100020, "LO", b"P2")
    found = json_of(header + element(0x00080060, "CS", b"CT") + element(0x00100020, "LO", b"P1"))
    assert json.loads(found) == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
    }
    assert list(json.loads(found)) == ["00080060", "00100020"]


def test_an_unknown_vr_is_what_the_dictionary_says() -> None:
    known = model(element(0x00280010, "UN", b"\0\2"))["00280010"]
    assert known == {"vr": "US", "Value": [512]}
    creator = element(0x00090010, "UN", b"ACME") + element(0x00091001, "UN", b"ab")
    assert model(creator) == {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "UN", "InlineBinary": "YWI="},
    }


def test_text_is_utf_8_and_says_so() -> None:
    header = element(0x00080005, "CS", b"ISO_IR 100") + element(0x00104000, "LT", b"M\xfcller")
    assert model(header)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert model(header)["00104000"]["Value"] == ["Müller"]


def test_control_characters_never_stand_for_an_address() -> None:
    header = element(0x00104000, "LT", b'a\0b\x01"c')
    assert ROOT not in json_of(header)
    assert model(header)["00104000"]["Value"] == ['a\0b\x01"c']


def test_sequences_that_nest_too_deep_are_refused() -> None:
    inner = b""
    for _ in range(70):
        inner = element(0x00400260, "SQ", item(inner, defined=True))
    with pytest.raises(BeyondBounds):
        json_of(inner)


@pytest.mark.parametrize("cut", [1, 7, 9, 13])
def test_a_header_that_breaks_off_is_told(cut: int) -> None:
    header = element(0x00100020, "LO", b"P1") + element_in_sequence(element(0x00420011, "OB", b"ab"))
    with pytest.raises(UnreadableDataset):
        json_of(header[:-cut])


def texts_of(dataset: Dataset) -> dict[str, object]:
    """Attributes that both write alike: texts, numbers and sequences of these."""
    return {
        f"{each.tag:08X}": [texts_of(one) for one in each.value]
        if each.VR == "SQ"
        else [str(one).rstrip() for one in (each.value if each.VM > 1 else [each.value])]
        for each in dataset
        if each.VR in ("SQ", "LO", "SH", "CS", "UI", "PN", "US", "IS", "DA", "TM") and each.VM
        if each.tag not in (0x00080005,) and not each.tag.is_private
    }


# Cut off within an element, or in another encoding than they say.
_NOT_FOLLOWED = ("MR_truncated.dcm", "SC_rgb_jpeg.dcm", "rtplan_truncated.dcm")


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.name)
def test_pydicom_reads_what_it_reads_of_the_object_itself(path: Any) -> None:
    if path.name in _NOT_FOLLOWED:
        with pytest.raises(UnreadableDataset):
            split(received(path).dataset, lookup(received(path).transfer_syntax))
        return
    parts = split(received(path).dataset, lookup(received(path).transfer_syntax))
    truth = read_dataset(BytesIO(bytes(parts.header)), is_implicit_VR=False, is_little_endian=True)
    if path.name == "badVR.dcm":  # pydicom refuses JSON with a number that is none
        assert model(bytes(parts.header))["00280008"] == {"vr": "IS", "Value": ["1A"]}
        return
    expected = texts_of(truth)
    found = Dataset.from_json(json_of(parts.header).replace(ROOT, b"").decode())
    assert texts_of(found) == expected
