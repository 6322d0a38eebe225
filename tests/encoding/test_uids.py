"""Which study and series an object belongs to, and the UIDs that it lacks on its way out."""

from __future__ import annotations

from itertools import permutations

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import NATIVE, as_received, deflate, element, written
from pydicom.dataset import Dataset
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES

from scp.encoding.coercion import with_uids
from scp.encoding.dataset import encoding_of
from scp.encoding.elements import CANONICAL, Encoding, walk
from scp.encoding.facts import survey
from scp.encoding.uids import LONGEST, NON_PATIENT, is_usable, uid_of, uids_of
from scp.spool import Buffer
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, lookup

pytestmark = pytest.mark.quick

TAGS = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
}
DOE = {"SOPClassUID": "1.2", "SOPInstanceUID": "1.3", "PatientID": "D1", "Modality": "CT"}


def test_what_was_derived_once_is_derived_for_ever() -> None:
    """Objects are found by these; docs/format.md says how they are made."""
    visit = DOE | {"AccessionNumber": "A1", "StudyDate": "20260102", "SeriesNumber": "7"}
    assert uids_of("1.2", "1.3", visit, {}).study == "2.25.298407895581142435994358348873617946837"
    assert uids_of("1.2", "1.3", visit, {}).series == "2.25.178339420284212003651150290036393552989"
    assert uids_of("1.2", "1.3", {}, {}).study == "2.25.290736375638938573915548936744267178532"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"StudyID": "1"}, {"StudyID": "1"}, True),
        ({"StudyID": "1"}, {"StudyID": "1", "StudyTime": "101010"}, True),
        ({"StudyID": "1"}, {"StudyID": "1", "SeriesInstanceUID": "1.5"}, True),
        ({"StudyID": "1"}, {"StudyID": "2"}, False),
        ({"StudyID": "1"}, {"StudyID": "1", "IssuerOfPatientID": "X"}, False),
        ({"StudyID": "1"}, {"AccessionNumber": "1"}, False),
        ({"StudyID": "1", "PatientID": ""}, {"StudyID": "1", "PatientID": ""}, False),
        (
            {"StudyID": "1", "PatientID": "", "PatientName": "Doe"},
            {"StudyID": "1", "PatientID": "", "PatientName": "Doe", "PatientBirthDate": "19700101"},
            False,
        ),
        ({}, {}, False),
        ({"SeriesInstanceUID": "1.5"}, {"SeriesInstanceUID": "1.5"}, True),
        ({"SeriesInstanceUID": "1.5"}, {"SeriesInstanceUID": "1.5", "PatientID": "D2"}, False),
        ({"SeriesInstanceUID": "1.5", "PatientID": ""}, {"SeriesInstanceUID": "1.5", "PatientID": ""}, True),
    ],
)
def test_which_objects_share_a_study(first: dict[str, str], second: dict[str, str], same: bool) -> None:
    one = uids_of("1.2", "1.3.1", DOE | first, {})
    other = uids_of("1.2", "1.3.2", DOE | second, {})
    assert (one.study == other.study) is same


def test_what_was_recorded_counts() -> None:
    known = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}
    found = uids_of("1.2", "1.3", DOE, known)
    assert (found.study, found.series, found.given) == ("2.25.1", "2.25.2", known)
    own = uids_of("1.2", "1.3", DOE | {"StudyInstanceUID": "1.9"}, known)
    assert (own.study, own.series) == ("1.9", "2.25.2")


def test_the_classes_without_a_study_are_the_standards() -> None:
    assert set(_NON_PATIENT_OBJECT_CLASSES.values()) == NON_PATIENT
    for uid in NON_PATIENT:
        assert uids_of(uid, "1.3", {"SOPClassUID": uid, "SOPInstanceUID": "1.3"}, {}).given == {}


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("1.2", "1.2"),
        (" 1.2 \0", "1.2"),
        ("\\ \\1.2\\1.3", "1.2"),
        ("\0\0", ""),
        ("  ", ""),
        ("", ""),
        ("A*b?", "A*b?"),
        ("1" * LONGEST, "1" * LONGEST),
        ("1" * (LONGEST + 1), ""),
    ],
)
def test_what_counts_of_a_text(text: str, uid: str) -> None:
    assert uid_of(text) == uid
    assert is_usable(text) == (bool(uid) and text == uid)


# -- on the way out ------------------------------------------------------------------------------------


def stream_of(dataset: Dataset, syntax: str) -> bytes:
    row = lookup(syntax)
    plain = written(dataset, row.explicit_vr, row.little_endian)
    return deflate(plain) if row.deflated else plain


def header(**uids: str) -> Dataset:
    dataset = Dataset()
    dataset.ImageType = "ORIGINAL"
    dataset.ReferencedStudySequence = [Dataset()]
    dataset.ReferencedStudySequence[0].StudyInstanceUID = "1.2.99"  # another's, within
    dataset.PatientID, dataset.StudyID, dataset.Rows = "D1", "7", 4
    dataset.add_new(0x7FE00010, "OW", bytes(range(200)))
    for keyword, uid in uids.items():
        setattr(dataset, keyword, uid)
    return dataset


@examples(150, derandomize=True)
@given(
    st.sampled_from(NATIVE),
    st.sets(st.sampled_from(list(TAGS))),
    st.sets(st.sampled_from(list(TAGS))),
    st.integers(1, 400),
)
def test_any_that_are_lacking_are_put_in(syntax: str, there: set[str], empty: set[str], step: int) -> None:
    """However the stream is cut into pieces: as pydicom would write the dataset with them."""
    own = {keyword: f"1.2.{tag}" for keyword, tag in TAGS.items() if keyword in there}
    lacking = {keyword: f"2.25.{tag}" for keyword, tag in TAGS.items() if keyword not in there}
    stream = stream_of(header(**own, **dict.fromkeys(set(lacking) & empty, "")), syntax)
    pieces: list[Buffer] = [stream[at : at + step] for at in range(0, len(stream), step)]
    found = with_uids(pieces, lookup(syntax), {TAGS[keyword]: uid for keyword, uid in lacking.items()})
    assert b"".join(map(bytes, found)) == stream_of(header(**own, **lacking), syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_the_length_of_the_group_is_counted_anew(syntax: str) -> None:
    encoding = encoding_of(lookup(syntax))
    order = "little" if encoding.little else "big"

    def stream(*elements: bytes) -> bytes:
        length = len(b"".join(elements)).to_bytes(4, order)  # type: ignore[arg-type]
        return element(0x00200000, "UL", length, encoding=encoding) + b"".join(elements)

    def uid(tag: int, value: bytes) -> bytes:
        return element(tag, "UI", value, encoding=encoding)

    number = element(0x00200013, "IS", b"1 ", encoding=encoding)
    before = stream(uid(0x0020000D, b"  "), number)
    found = with_uids([before], lookup(syntax), {0x0020000D: "1.25", 0x0020000E: "1.255"})
    assert b"".join(map(bytes, found)) == stream(
        uid(0x0020000D, b"1.25"), uid(0x0020000E, b"1.255\0"), number
    )


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
def test_at_the_end_and_in_nothing(order: tuple[int, ...]) -> None:
    uids = [(0x00080018, "1.3"), (0x0020000D, "1.4"), (0x0020000E, "1.50")]
    expected = b"".join(
        element(tag, "UI", uid.encode() + b"\0" * (len(uid) % 2), encoding=CANONICAL) for tag, uid in uids
    )
    given_uids = dict(uids[number] for number in order)
    assert b"".join(map(bytes, with_uids([], lookup(EXPLICIT), given_uids))) == expected


def test_one_that_is_there_is_never_replaced() -> None:
    stream = stream_of(header(StudyInstanceUID="1.2.3"), EXPLICIT)
    found = with_uids([stream], lookup(EXPLICIT), {0x0020000D: "1.9", 0x0020000E: "1.8"})
    expected = stream_of(header(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.8"), EXPLICIT)
    assert b"".join(map(bytes, found)) == expected


@pytest.mark.parametrize("stream", [b"\1\2\3", b"\x08\0\x08\0\1\2" * 9, b"\0" * 128 + b"DICM"])
def test_what_cannot_be_followed_stays(stream: bytes) -> None:
    assert b"".join(map(bytes, with_uids([stream], lookup(EXPLICIT), {0x0020000D: "1.4"}))) == stream
    assert b"".join(map(bytes, with_uids([stream], lookup(DEFLATED), {0x0020000D: "1.4"}))) == stream


@examples(100, derandomize=True)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_has_an_identity(study: str, patient: str) -> None:
    """Lone surrogates, controls, whatever a character set leaves behind."""
    found = uids_of("1.2", "1.3", {"StudyInstanceUID": study, "PatientID": patient, "StudyID": "1"}, {})
    assert is_usable(found.study)
    assert is_usable(found.series)


def test_a_file_within_a_file_is_looked_into_once() -> None:
    """Each layer a preamble: no depth of them is followed."""
    meta = b"\2\0\0\0UL\4\0\0\0\0\0"
    nested = (bytes(128) + b"DICM" + meta) * 3000
    found = survey(as_received(nested, EXPLICIT))
    assert (found.readable, found.fault) == (False, "a whole DICOM file was sent as the dataset")


def test_elements_behind_are_untouched() -> None:
    data = b"".join(element(tag, "LO", b"ab") for tag in (0x00100020, 0x00200060, 0x7FE10010))
    found = b"".join(map(bytes, with_uids([data], lookup(EXPLICIT), {0x0020000D: "1.44"})))
    assert [one.tag for one in walk(found, Encoding())] == [0x00100020, 0x0020000D, 0x00200060, 0x7FE10010]
