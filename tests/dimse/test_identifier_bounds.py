"""Identifiers are bounded before they are inflated or parsed."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from scp.dimse.identifier import OF_QUERIES, bounded, query_of, read_identifier
from scp.dimse.services.commitment import _LIMITS as OF_COMMITMENTS
from scp.dimse.wire import messages
from scp.dimse.wire.assembly import LONGEST_ACTION, LONGEST_IDENTIFIER, Assembly
from scp.dimse.wire.messages import Message, write_command
from scp.errors import IdentifierTooLarge, QueryError
from scp.syntaxes import lookup

pytestmark = pytest.mark.quick

_IMPLICIT, _EXPLICIT, _DEFLATED = (f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99"))


def _nested(depth: int, undefined: bool) -> bytes:
    data = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
    for _ in range(depth):
        length = 0xFFFFFFFF if undefined else len(data)
        data = struct.pack("<HHL", 0xFFFE, 0xE000, length) + data
        data += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) * undefined
        length = 0xFFFFFFFF if undefined else len(data)
        data = struct.pack("<HHL", 0x0040, 0x0275, length) + data
        data += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) * undefined
    return data


def _elements(count: int) -> bytes:
    return b"".join(struct.pack("<HHL", 9 + 2 * (n >> 16), n & 0xFFFF, 0) for n in range(count))


def _items(count: int) -> bytes:
    data = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * count
    return struct.pack("<HHL", 0x0040, 0x0275, len(data)) + data


def _bomb(size: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join([*(deflater.compress(bytes(1 << 20)) for _ in range(size >> 20)), deflater.flush()])


@pytest.mark.parametrize(
    ("make", "syntax"),
    [
        (lambda: _nested(60, undefined=False), _IMPLICIT),
        (lambda: _nested(60, undefined=True), _IMPLICIT),
        (lambda: _nested(9, undefined=False), _IMPLICIT),
        (lambda: _nested(20_000, undefined=True), _IMPLICIT),
        (lambda: _elements(400_000), _IMPLICIT),
        (lambda: _items(400_000), _IMPLICIT),
        (lambda: struct.pack("<HHL", 0x0010, 0x4000, 5 << 20) + b"A" * (5 << 20), _IMPLICIT),
        (lambda: _bomb(200 << 20), _DEFLATED),
    ],
    ids=["deep", "deep, undefined", "too deep", "deepest", "elements", "items", "long", "deflated"],
)
def test_an_identifier_beyond_bounds_is_refused_at_once(make: Callable[[], bytes], syntax: str) -> None:
    data = make()
    tracemalloc.start()
    begun = time.thread_time()
    with pytest.raises(IdentifierTooLarge, match="the identifier"):
        read_identifier(data, syntax)
    took, (_, peak) = time.thread_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1.0
    assert peak < 24 << 20


def test_a_short_identifier_is_read_as_far_as_that_can_be_done() -> None:
    """Announced as explicit VR, and written in implicit VR: nothing can be counted in it."""
    assert len(read_identifier(_elements(10), _EXPLICIT)) == 10
    with pytest.raises(QueryError, match="cannot be read"):
        read_identifier(_elements(10_000), _EXPLICIT)


def test_long_lists_and_deep_keys_are_read() -> None:
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.SOPInstanceUID = [f"1.2.826.0.1.3680043.8.498.{10**36 + n}" for n in range(10_000)]
    data = encode(asked, True, True)
    assert data is not None
    assert len(read_identifier(data, _IMPLICIT).SOPInstanceUID) == 10_000
    assert len(_nested(8, undefined=True)) < len(data) < OF_QUERIES.inflated_bytes
    assert read_identifier(_nested(8, undefined=True), _IMPLICIT).RequestAttributesSequence


def _unknown(tag: tuple[int, int], value: bytes) -> bytes:
    return struct.pack("<HH2sHL", *tag, b"UN", 0, len(value)) + value


def test_lists_of_more_than_64_kb_are_un_in_explicit_vr() -> None:
    """PS3.5 6.2.2. Once, such a key matched everything."""
    uids = [f"1.2.826.0.1.3680043.8.498.{10**36 + n}" for n in range(2_000)]
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.SOPInstanceUID = uids
    data = encode(asked, False, True)
    assert data is not None
    assert b"UN" in data[:40]
    (key,) = query_of(read_identifier(data, _EXPLICIT), "STUDY", strict=False, relational=True).keys
    assert (key.vr, key.value.split("\\")) == ("UI", uids)


def test_a_key_that_cannot_be_read_does_not_match_everything() -> None:
    level = struct.pack("<HH2sH", 8, 0x52, b"CS", 6) + b"STUDY "
    identifier = read_identifier(level + _unknown((0x0040, 0x0275), b"A" * 70_000), _EXPLICIT)
    with pytest.raises(QueryError, match="its VR is UN"):
        query_of(identifier, "STUDY", strict=False, relational=False)
    assert read_identifier(level + _unknown((0x0009, 0x1001), b"\1\0"), _EXPLICIT)  # private: no key


def test_a_request_for_commitment_of_100000_instances_isbounded_bounds() -> None:
    """With the longest UIDs, in items of undefined length. Only counted here: reading it takes 12 s."""
    reference = struct.pack("<HH2sH", 8, 0x1150, b"UI", 64) + b"1" * 64
    reference += struct.pack("<HH2sH", 8, 0x1155, b"UI", 64) + b"1" * 64
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(reference)) + reference
    data = struct.pack("<HH2sHL", 8, 0x1199, b"SQ", 0, 100_000 * len(item)) + item * 100_000
    assert len(data) < LONGEST_ACTION
    assert bounded(data, lookup(_EXPLICIT), OF_COMMITMENTS) is data


def _taken(field: int, size: int) -> tuple[Message, int]:
    """A message with a dataset of that size, and the most that was held of it."""
    found: list[Message] = []
    assembly = Assembly(found.append)
    command: dict[str, messages.Value] = {"CommandField": field, "MessageID": 1, "CommandDataSetType": 0}

    def give(data: bytes, control: int) -> None:
        assembly.take(memoryview(struct.pack(">LBB", len(data) + 2, 1, control) + data))

    give(write_command(command), 3)
    part = bytes(1 << 20)
    tracemalloc.start()
    for _ in range(size >> 20):
        give(part, 0)
    give(b"\0\0", 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found[0], peak


@pytest.mark.parametrize("field", [messages.C_FIND_RQ, messages.C_MOVE_RQ, messages.C_GET_RQ])
def test_the_rest_of_too_long_an_identifier_is_dropped(field: int) -> None:
    message, peak = _taken(field, 100 << 20)
    assert message.dataset is None
    assert message.too_long
    assert "longer than" in message.fault
    assert peak < 2 * LONGEST_IDENTIFIER


def test_longer_ones_name_what_is_to_be_committed() -> None:
    message, _ = _taken(messages.N_ACTION_RQ, LONGEST_ACTION - (1 << 20))
    assert message.dataset is not None
    message, _ = _taken(messages.N_ACTION_RQ, LONGEST_ACTION)
    assert message.too_long


def test_objects_may_be_of_any_length() -> None:
    message, _ = _taken(messages.C_STORE_RQ, LONGEST_ACTION)
    assert message.dataset is not None
    assert message.sha256


@pytest.mark.parametrize("held", ["1.2.3\t", "\n1.2.3", "1.2.3\v", "1.2.é"])
@pytest.mark.filterwarnings("ignore")
def test_a_uid_is_asked_for_as_it_was_stored(held: str) -> None:
    """Found by fuzzing: pydicom strips more than padding, and found no such object (invariant 7)."""
    raw = f"{held}\\1.2.4".encode("latin-1")
    raw += b"\0" * (len(raw) % 2)
    level = struct.pack("<HH2sH", 0x0008, 0x0052, b"CS", 6) + b"IMAGE "
    data = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(raw)) + raw + level
    query = query_of(read_identifier(data, _EXPLICIT), "STUDY", strict=False, relational=True)
    assert [key.value for key in query.keys] == [f"{held}\\1.2.4"]
