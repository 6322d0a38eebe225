"""The fast pass over a header: the same verdict as following it element by element, pydicom's own text."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import pytest
from examples import examples
from hypothesis import assume, example, given
from hypothesis import strategies as st
from objects import (
    CORPUS,
    Shape,
    as_received,
    bundled,
    deflate,
    element,
    item,
    phantom,
    received,
    sequence,
)
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from repertoires import REPERTOIRES

from scp.encoding.characters import TEXT_VRS
from scp.encoding.conversion import convert
from scp.encoding.dataset import encoding_of, split
from scp.encoding.elements import CANONICAL, IMPLICIT_LITTLE, Element, Encoding, walk
from scp.encoding.facts import survey
from scp.encoding.scan import PIXEL_TAGS, scan
from scp.errors import UnreadableDataset
from scp.index.attributes import HELD
from scp.model import Received
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, HTJ2K, IMPLICIT, lookup

BIG = Encoding(little=False)
ENCODINGS = {EXPLICIT: CANONICAL, IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: BIG}
FILES = [*bundled(), *sorted(CORPUS.glob("*/*.dcm"))]


def by_pydicom(header: bytes) -> Dataset:
    """A canonical header as pydicom reads it; without sequences and character set where that fails."""
    try:
        return read_dataset(BytesIO(header), is_implicit_VR=False, is_little_endian=True)
    except Exception:  # whatever a malformed value makes it raise  # noqa: BLE001
        plain = [each for each in walk(header, CANONICAL) if each.vr != b"SQ" and not each.undefined]
        kept = b"".join(header[each.start : each.next] for each in plain if each.tag != 0x00080005)
        return read_dataset(BytesIO(kept), is_implicit_VR=False, is_little_endian=True)


def text(dataset: Dataset, keyword: str) -> str | None:
    """What ``str`` of pydicom's values gives."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return None
    try:
        element_ = dataset[tag]
        if element_.VR in ("SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"):
            return None
        value = element_.value
        values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
        return "\\".join("" if one is None else str(one).strip(" \0") for one in values)[:10240]
    except Exception:  # noqa: BLE001
        return None


def is_sequence(keyword: str) -> bool:
    tag = tag_for_keyword(keyword)  # none of an overlay
    return tag is not None and dictionary_VR(tag) == "SQ"


def assert_same_text(object_: Received) -> None:
    header = bytes(split(object_.dataset, lookup(object_.transfer_syntax)).header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = by_pydicom(header)
        found = survey(object_).attributes
        keywords = dict.fromkeys([*map(keyword_for_tag, dataset.keys()), *(row.keyword for row in HELD)])
        # Once each: what cannot be converted, pydicom gives out otherwise when it is asked again.
        plain = (keyword for keyword in keywords if keyword and not is_sequence(keyword))
        expected = {keyword: text(dataset, keyword) for keyword in plain}
        assert {keyword: found.get(keyword) for keyword in expected} == expected
        told = [keyword for keyword in found if not is_sequence(keyword)]
        assert told == [k for k in map(keyword_for_tag, dataset.keys()) if expected.get(k) is not None]


@pytest.mark.corpus
def test_the_text_is_pydicoms() -> None:
    """For every keyword of every object of the corpus and of pydicom's own files, in each native encoding."""
    compared = 0
    for path in FILES:
        object_ = received(path)
        try:
            header = split(object_.dataset, lookup(object_.transfer_syntax)).header
        except UnreadableDataset:
            continue
        assert_same_text(object_)
        if path.parent.name == "mr-small":
            continue  # 600 of a kind
        for syntax, encoding in ENCODINGS.items():
            assert_same_text(as_received(convert(header, CANONICAL, encoding), syntax))
            compared += 1
    assert compared > len(bundled())  # three each, but for those that cannot be read


VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST SV TM UC UI UL UN UR US UT UV OB OW SQ".split()
TEXTS = st.one_of(
    st.binary(max_size=40),
    st.text(st.sampled_from(" \\^=\0.0123456789+-eE_AB\n\x1b~äß"), max_size=20).map(
        lambda text_: text_.encode("latin-1")
    ),
    st.sampled_from(
        (b"1.5 ", b"nan", b"inf", b"1_0", b"9007199254740993", b" 12 \\ 7", b"\\\\", b"=", b"A=B=C")
    ),
)
CHARACTER_SETS = st.sampled_from(
    (
        None,
        b"ISO_IR 100",
        b"ISO_IR 192",
        b"ISO_IR 13 ",
        b"\\ISO 2022 IR 87",
        b"ISO 2022 GBK",
        b"ISO_IR 999",
        b"\0\1",
        # pydicom does not know IR 203.
        *(each.character_set.encode() for each in REPERTOIRES.values() if "203" not in each.character_set),
    )
)


@examples(400, derandomize=True)
@given(TEXTS, st.sampled_from(VRS), CHARACTER_SETS, st.sampled_from((b"\0\0", b"\1\0")))
@example(b"\xff\xff\1\0\2\0", "SS", None, b"\1\0")
def test_any_value_has_pydicoms_text(
    value: bytes, vr: str, character_set: bytes | None, signed: bytes
) -> None:
    assume(vr not in TEXT_VRS or b"\x1b" not in value)  # test_characters.py
    tags = (0x00080018, 0x00100010, 0x00280106, 0x00281101)
    for tag in tags:
        elements = {0x00280103: element(0x00280103, "US", signed)}
        if character_set is not None:
            elements[0x00080005] = element(0x00080005, "CS", character_set)
        elements[tag] = element(tag, vr, value)
        stream = b"".join(elements[each] for each in sorted(elements))
        assert_same_text(as_received(stream, EXPLICIT))


def walked(data: bytes, encoding: Encoding) -> tuple[list[Element], str]:
    found = []
    try:
        for each in walk(data, encoding):
            found.append(each)  # noqa: PERF402 - a fault must not lose those before it
    except UnreadableDataset as error:
        return found, str(error)
    return found, ""


NESTED = sequence(0x00081140, [item(element(0x00080060, "CS", b"MR"), False)], False)
PIECES = st.sampled_from(
    [
        element(0x00080060, "CS", b"MR"),
        element(0x00090010, "LO", b"private "),
        element(0x00091001, "ZZ", b"1234"),
        element(0x00091002, "UN", b"1234"),
        element(0x00091003, "lo", b"1234"),
        element(0x00280010, "US", b"\0\1"),
        element(0x00281201, "OW", bytes(6)),
        NESTED,
        sequence(0x00081140, [item(element(0x00080060, "CS", b"MR"), True)], True),
        element(0x7FE00000, "UL", bytes(4)),
        element(0x7FE00010, "OW", bytes(8)),
        element(0xFFFCFFFC, "OB", bytes(4)),
        element(0xFFFEE000, "", b"1234"),
        b"\x08\0",
        b"\xff\xfe\0\xe0CS\1\0",
        element(0x00080061, "CS", b"CT", length=200),
    ]
)


@examples(500, derandomize=True)
@given(st.lists(PIECES, max_size=7), st.integers(0, 12), st.sampled_from((CANONICAL, IMPLICIT_LITTLE, BIG)))
def test_the_verdict_is_the_same_as_element_by_element(
    pieces: list[bytes], cut: int, encoding: Encoding
) -> None:
    stream = b"".join(pieces)
    stream = stream[: max(len(stream) - cut, 0)]
    elements, fault = walked(stream, encoding)
    found = scan(stream, encoding, nested=False)
    assert found.fault == fault
    pixels = [each for each in elements if each.tag in PIXEL_TAGS]
    assert found.pixel == (pixels[0] if pixels else None)
    assert found.end == (elements[-1].next if elements else 0)
    ahead = elements[: elements.index(pixels[0])] if pixels else elements
    last = {each.tag: each for each in ahead}.values()
    assert found.elements == {
        each.tag: (each.vr, each.value, each.end) for each in last if not each.undefined
    }


@examples(300, derandomize=True)
@given(
    st.lists(PIECES, max_size=6),
    st.integers(0, 12),
    st.sampled_from((EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, HTJ2K)),
)
def test_readable_is_what_can_be_split(pieces: list[bytes], cut: int, syntax: str) -> None:
    stream = b"".join(pieces)
    stream = stream[: max(len(stream) - cut, 0)]
    if syntax in (IMPLICIT, BIG_ENDIAN) and not walked(stream, CANONICAL)[1]:
        stream = convert(stream, CANONICAL, ENCODINGS[syntax])
    object_ = as_received(deflate(stream) if syntax == DEFLATED else stream, syntax)
    facts = survey(object_)
    try:
        split(object_.dataset, lookup(syntax))
    except UnreadableDataset:
        assert not facts.readable
        assert facts.fault
    else:
        assert facts.readable
        assert not facts.fault


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.name)
def test_readable_is_what_can_be_split_of_real_files(path: Path) -> None:
    object_ = received(path)
    facts = survey(object_)
    fault = ""
    try:
        split(object_.dataset, lookup(object_.transfer_syntax))
    except UnreadableDataset as error:
        fault = str(error)
    assert (facts.readable, facts.fault) == (not fault, fault)


def test_a_sequence_that_cannot_be_converted_makes_its_stream_unreadable() -> None:
    broken = element(0x00081140, "SQ", b"garbage!", encoding=IMPLICIT_LITTLE)
    stream = element(0x00080060, "CS", b"MR", encoding=IMPLICIT_LITTLE) + broken
    facts = survey(as_received(stream, IMPLICIT))
    assert not facts.readable
    assert facts.attributes["Modality"] == "MR"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_what_comes_before_a_fault_is_read(syntax: str) -> None:
    whole = phantom(Shape(), syntax).dataset
    for size in range(8, len(whole) - 1, 7):
        facts = survey(as_received(whole[:size], syntax))
        assert facts.attributes.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7") == "1.2.840.10008.5.1.4.1.1.7"
        assert facts.readable == (size in (0, len(whole)) or not walked(whole[:size], CANONICAL)[1]) or (
            syntax != EXPLICIT
        )


def test_a_wrong_label_hides_nothing() -> None:
    for syntax, label in ((IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)):
        facts = survey(as_received(phantom(Shape(), syntax).dataset, label))
        assert not facts.readable
        assert facts.attributes["Modality"] == "OT"


def test_pixel_representation_says_what_implied_us_or_ss_is() -> None:
    for signed, text_ in ((0, "65535"), (1, "-1")):
        stream = element(0x00280103, "US", bytes([signed, 0]), encoding=IMPLICIT_LITTLE)
        stream += element(0x00280106, "US", b"\xff\xff", encoding=IMPLICIT_LITTLE)
        assert survey(as_received(stream, IMPLICIT)).attributes["SmallestImagePixelValue"] == text_
        big = convert(convert(stream, IMPLICIT_LITTLE, CANONICAL), CANONICAL, encoding_of(lookup(BIG_ENDIAN)))
        assert survey(as_received(big, BIG_ENDIAN)).attributes["SmallestImagePixelValue"] == text_
