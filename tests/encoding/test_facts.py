"""What a dataset says of itself, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, as_received, bundled, element, item, phantom, received, sequence
from pydicom import dcmread

from scp.encoding.facts import chosen, survey
from scp.syntaxes import EXPLICIT, IMPLICIT

pytestmark = pytest.mark.quick


def facts(*elements: bytes):
    return survey(as_received(b"".join(elements), EXPLICIT))


def test_values_are_text() -> None:
    found = facts(
        element(0x00080008, "CS", b"ORIGINAL\\PRIMARY"),
        element(0x00080060, "CS", b"MR"),
        element(0x00100010, "PN", b"Doe^Jane "),
        element(0x00200013, "IS", b" 7"),
        element(0x00280010, "US", b"\0\1"),
        element(0x00280030, "DS", b"0.50\\0.75 "),
    ).attributes
    assert dict(found) == {
        "ImageType": "ORIGINAL\\PRIMARY",
        "Modality": "MR",
        "PatientName": "Doe^Jane",
        "InstanceNumber": "7",
        "Rows": "256",
        "PixelSpacing": "0.50\\0.75",
    }
    assert len(found) == 6
    assert "Columns" not in found
    assert "NoSuchKeyword" not in found


def test_bulk_values_and_private_elements_have_no_text_and_sequences_have_json() -> None:
    found = facts(
        element(0x00081115, "SQ", item(element(0x00080060, "CS", b"MR"), True)),
        element(0x00091001, "LO", b"private "),
        element(0x00420011, "OB", b"%PDF"),
        element(0x7FE00010, "OW", b"1234"),
    ).attributes
    assert dict(found) == {"ReferencedSeriesSequence": '[{"Modality": "MR"}]'}


def test_character_sets_are_heeded() -> None:
    name = "Äneas^Rüdiger"
    for charset, codec in (("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8")):
        value = name.encode(codec)
        value += b" " * (len(value) % 2)
        found = facts(element(0x00080005, "CS", charset.encode()), element(0x00100010, "PN", value))
        assert found.attributes["PatientName"] == name


def test_a_sequence_that_cannot_be_read_hides_nothing_else() -> None:
    """Its length can be stepped over, so the dataset is readable; what is inside must not matter."""
    broken = element(0x00081115, "SQ", b"garbage where an item must be!")
    deep = sequence(0x00081140, [item(element(0x00091002, "UN", b"12", 0xFFFFFFFF), True)], True)
    for content in (broken, deep):
        found = facts(element(0x00080018, "UI", b"1.2\0"), content, element(0x00100020, "LO", b"ID"))
        assert found.readable
        assert (found.attributes["SOPInstanceUID"], found.attributes["PatientID"]) == ("1.2", "ID")


@pytest.mark.parametrize(
    ("vr", "value"), [("CS", b"\0\1"), ("AT", bytes(4)), ("PN", b"A^B "), ("CS", b"ISO_IR 999")]
)
def test_a_character_set_that_is_none_hides_nothing_else(vr: str, value: bytes) -> None:
    """Such a dataset made its C-STORE fail."""
    found = facts(element(0x00080005, vr, value), element(0x00080060, "CS", b"MR"))
    assert found.attributes["Modality"] == "MR"


def test_a_sequence_of_another_vr_has_no_text_for_the_index() -> None:
    """An index would take the text for the items of the sequence, and fail at each query for them."""
    data = element(0x00081032, "LO", b"text") + element(0x00100010, "PN", b"Doe^")
    attributes = survey(as_received(data, EXPLICIT)).attributes
    assert attributes.get("ProcedureCodeSequence") is None
    assert chosen(attributes, ["ProcedureCodeSequence", "PatientName"]) == {"PatientName": "Doe^"}


def test_what_is_malformed_is_left_out() -> None:
    found = facts(element(0x00280010, "US", b"\1"), element(0x00280011, "US", b"\0\1")).attributes
    assert "Rows" not in found
    assert found["Columns"] == "256"


@pytest.mark.parametrize("size", [0, 7, 60, 200, 400])
def test_of_what_is_unreadable_the_beginning_is_read(size: int) -> None:
    whole = phantom(Shape(), IMPLICIT).dataset
    object_ = as_received(whole[:size], IMPLICIT)
    found = survey(object_)
    assert (found.readable, bool(found.fault), found.size) == (not size, bool(size), size)
    if size >= 200:
        assert found.attributes["Modality"] == "OT"


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.name)
def test_any_file_has_facts(path: Path) -> None:
    found = survey(received(path))
    assert all(isinstance(value, str) for value in dict(found.attributes).values())
    read = dcmread(path, stop_before_pixels=True)
    if "SOPInstanceUID" in read:
        assert found.attributes["SOPInstanceUID"] == read.SOPInstanceUID


@examples(200, derandomize=True)
@given(
    st.binary(max_size=60),
    st.sampled_from(("SQ", "UN", "PN", "CS", "IS", "DS", "UI", "AT", "DA", "US", "FD")),
)
def test_any_value_has_text_or_none(value: bytes, vr: str) -> None:
    for tag in (0x00080005, 0x00080018, 0x00080060, 0x00280010, 0x00081115):
        found = facts(element(tag, vr, value), element(0x00100020, "LO", b"ID")).attributes
        assert all(isinstance(text, str) for text in dict(found).values())
