"""Requests for storage commitment, read as bytes: as pydicom reads them, or not at all."""

from __future__ import annotations

import time

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from scp.dimse.services.references import plain_request
from scp.encoding.elements import Encoding

pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings("ignore")]

_UIDS = st.sampled_from(["1.2.3", "1.2.34", "1.2.840.10008.5.1.4.1.1.2", "1." * 31 + "1", "a b", "-"])


def _request(
    references: list[tuple[str, str]], explicit: bool, little: bool, undefined: bool, transaction: str = "1.9"
) -> bytes:
    asked = Dataset()
    asked.TransactionUID = transaction
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        item.is_undefined_length_sequence_item = undefined
        items.append(item)
    asked.ReferencedSOPSequence = items
    asked["ReferencedSOPSequence"].is_undefined_length = undefined
    data = encode(asked, not explicit, little)
    assert data is not None
    return data


@examples(200)
@given(
    references=st.lists(st.tuples(_UIDS, _UIDS), max_size=4),
    explicit=st.booleans(),
    little=st.booleans(),
    undefined=st.booleans(),
)
def test_what_is_plain_is_read(
    references: list[tuple[str, str]], explicit: bool, little: bool, undefined: bool
) -> None:
    data = _request(references, explicit, little, undefined)
    assert plain_request(data, Encoding(explicit, little)) == ("1.9", references)
    for cut in range(1, len(data)):  # nor does it fail on what is cut off
        plain_request(data[:cut], Encoding(explicit, little))


@pytest.mark.parametrize(
    "reference", [("1.2", ""), ("", "1.2"), ("1.2", "1.2\\1.3"), ("1.2", "1.2é")], ids=str
)
def test_what_is_odd_is_left_to_others(reference: tuple[str, str]) -> None:
    data = _request([("1.2", "1.3"), reference], True, True, False)
    assert plain_request(data, Encoding()) is None
    assert plain_request(data, Encoding(explicit=False)) is None


def test_other_elements_are_left_to_others() -> None:
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = "1.9", [Dataset()]
    asked.RetrieveAETitle = "ELSEWHERE"
    assert plain_request(encode(asked, False, True) or b"", Encoding()) is None


def test_many_are_read_in_no_time() -> None:
    data = _request([("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{n}") for n in range(2000)], True, True, False)
    begun = time.thread_time()
    read = plain_request(data, Encoding())
    assert read is not None
    assert len(read[1]) == 2000
    assert time.thread_time() - begun < 0.1  # pydicom: 0.24 s
