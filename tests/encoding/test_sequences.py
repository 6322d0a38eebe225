"""The text of sequences: what pydicom reads of them, in each encoding, and nothing without a bound."""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from typing import Any

import pytest
from objects import as_received, bundled, element, item, received, sequence
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from scp.encoding.conversion import convert
from scp.encoding.dataset import split
from scp.encoding.elements import CANONICAL, IMPLICIT_LITTLE, Encoding
from scp.encoding.facts import survey
from scp.encoding.sequences import DEEPEST, LONGEST, MOST
from scp.errors import UnreadableDataset
from scp.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, lookup

pytestmark = pytest.mark.quick

REQUESTS = 0x00400275


def by_pydicom(items: Sequence, depth: int = 1) -> list[dict[str, Any]]:
    """As scp.encoding.sequences says it, without looking there."""
    return [said for each in items if (said := _said(each, depth))]


def _said(dataset: Dataset, depth: int) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for each in dataset:
        if tag_for_keyword(each.keyword) is None or each.keyword == "SpecificCharacterSet":
            continue
        if each.VR == "SQ":
            if depth < DEEPEST and (inner := by_pydicom(each.value, depth + 1)):
                said[each.keyword] = inner
        elif each.VR not in ("OB", "OD", "OF", "OL", "OV", "OW", "UN"):
            value = each.value
            values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
            text = "\\".join("" if one is None else str(one).strip(" \0") for one in values)
            if text and len(text) <= LONGEST:
                said[each.keyword] = text
    return said


def test_all_sequences_of_pydicoms_files_in_each_encoding() -> None:
    """But those that are longer than is kept."""
    compared = 0
    for path in bundled():
        object_ = received(path)
        try:
            header = bytes(split(object_.dataset, lookup(object_.transfer_syntax)).header)
        except UnreadableDataset:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = _read(header)
            found = {each.keyword: each.value for each in dataset if each.VR == "SQ" and each.keyword}
            for syntax, encoding in (
                (EXPLICIT, CANONICAL),
                (IMPLICIT, IMPLICIT_LITTLE),
                (BIG_ENDIAN, Encoding(little=False)),
            ):
                attributes = survey(as_received(convert(header, CANONICAL, encoding), syntax)).attributes
                for keyword, items in found.items():
                    expected = by_pydicom(items)
                    if len(json.dumps(expected)) < MOST:
                        text = attributes.get(keyword)
                        assert json.loads(text or "[]") == expected, (path.name, keyword)
                        compared += bool(expected)
    assert compared > 100


def _read(header: bytes) -> Dataset:
    return read_dataset(BytesIO(header), is_implicit_VR=False, is_little_endian=True)


def _text_of(*elements: bytes) -> str | None:
    return survey(as_received(b"".join(elements), EXPLICIT)).attributes.get("RequestAttributesSequence")


ID = element(0x00401001, "SH", b"RP1 ")


@pytest.mark.parametrize("undefined", [True, False])
def test_items_of_defined_and_undefined_length(undefined: bool) -> None:
    items = [
        item(ID, undefined),
        item(b"", undefined),
        item(ID + element(0x00400009, "SH", b"S1"), undefined),
    ]
    text = _text_of(sequence(REQUESTS, items, undefined))
    assert json.loads(text or "") == [
        {"RequestedProcedureID": "RP1"},
        {"RequestedProcedureID": "RP1", "ScheduledProcedureStepID": "S1"},
    ]


def test_what_is_within_unknown_is_implicit() -> None:
    """Who did not know the attribute wrote UN (PS3.5 6.2.2)."""
    implicit = element(0x00401001, "SH", b"RP1 ", encoding=IMPLICIT_LITTLE)
    whole = item(implicit, False)
    assert json.loads(_text_of(element(REQUESTS, "UN", whole)) or "") == [{"RequestedProcedureID": "RP1"}]


def test_characters_are_those_around_unless_the_item_says_otherwise() -> None:
    description = element(0x00321060, "LO", b"\xe4 ")
    own = element(0x00080005, "CS", b"ISO_IR 144")
    around = element(0x00080005, "CS", b"ISO_IR 100")
    text = _text_of(
        around, sequence(REQUESTS, [item(description, True), item(own + description, True)], True)
    )
    assert [each["RequestedProcedureDescription"] for each in json.loads(text or "")] == ["ä", "ф"]


@pytest.mark.parametrize(
    "content",
    [
        element(0x00091001, "LO", b"private "),
        element(0x60000010, "US", b"\1\0"),  # an overlay's: its keyword is that of no one tag
        element(0x00204000, "LT", b"x" * (LONGEST + 2)),
        element(0x00189810, "US", b"\1\0") + element(0x00401001, "OB", b"RP1 "),
        b"garbage!",
    ],
    ids=["private", "overlay", "long", "bulk", "garbage"],
)
def test_what_is_left_out_of_an_item(content: bytes) -> None:
    text = _text_of(sequence(REQUESTS, [item(ID, True), item(content, True)], True))
    first, *others = json.loads(text or "")
    assert first == {"RequestedProcedureID": "RP1"}
    assert all(not {"RequestedProcedureID", "ImageComments", "OverlayRows"} & each.keys() for each in others)


def test_another_vr_than_a_sequences_is_none() -> None:
    assert _text_of(element(REQUESTS, "LO", b"[{}]")) is None
    assert _text_of(sequence(REQUESTS, [], True)) is None


def test_long_and_deep_ones_are_cut() -> None:
    many = _text_of(sequence(REQUESTS, [item(ID, False)] * 5000, False))
    assert MOST < len(many or "") < 2 * MOST + LONGEST
    deep = ID
    for _ in range(40):
        deep = ID + sequence(REQUESTS, [item(deep, False)], False)
    text = _text_of(deep)
    assert (text or "").count("RequestedProcedureID") == DEEPEST
