"""Command sets of any values, and messages cut into any pieces: what comes out is what went in."""

from __future__ import annotations

import struct

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from scp.dimse.wire.assembly import Assembly
from scp.dimse.wire.messages import C_STORE_RQ, NO_DATASET, Message, Value, read_command, write_command
from scp.dimse.wire.pdus import PDV
from scp.errors import UnreadableDataset

pytestmark = pytest.mark.quick

_NUMBERS = st.integers(0, 0xFFFF)
# A UID may be anything that latin-1 has (invariant 7), but for its padding.
_UIDS = st.text(st.characters(max_codepoint=0xFF), min_size=1, max_size=70).filter(
    lambda text: text == text.strip(" \0")
)
_TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
_COMMANDS: st.SearchStrategy[dict[str, Value]] = st.fixed_dictionaries(
    {"CommandField": _NUMBERS},
    optional={
        "MessageID": _NUMBERS,
        "Status": _NUMBERS,
        "NumberOfRemainingSuboperations": _NUMBERS,
        "AffectedSOPClassUID": _UIDS,
        "AffectedSOPInstanceUID": _UIDS,
        "RequestedSOPInstanceUID": _UIDS,
        "MoveDestination": _TEXTS,
        "ErrorComment": _TEXTS,
    },
)
_DATASETS = st.none() | st.binary(max_size=200)


@examples(200)
@given(_COMMANDS)
def test_a_command_is_read_as_it_was_written(fields: dict[str, Value]) -> None:
    assert read_command(write_command(fields)) == fields


@examples(100)
@given(_COMMANDS, st.data())
def test_a_command_that_is_cut_off_says_less_and_nothing_else(
    fields: dict[str, Value], data: st.DataObject
) -> None:
    whole = write_command(fields)
    try:
        told = read_command(whole[: data.draw(st.integers(0, len(whole) - 1))])
    except UnreadableDataset:
        return
    assert told.items() < fields.items()


def _values(message: tuple[dict[str, Value], bytes | None], sizes: st.DataObject) -> list[bytes]:
    """A message as presentation data values, cut anywhere."""
    fields, dataset = message
    kind = NO_DATASET if dataset is None else 0
    parts = [(1, write_command({**fields, "CommandDataSetType": kind}))]
    parts += [] if dataset is None else [(0, dataset)]
    found = []
    for bit, part in parts:
        at = 0
        while True:
            size = sizes.draw(st.integers(1, 300))
            last = 2 if at + size >= len(part) else 0
            piece = part[at : at + size]
            found.append(PDV.pack(len(piece) + 2, 5, bit | last) + piece)
            at += size
            if last:
                break
    return found


@examples(100)
@given(st.lists(st.tuples(_COMMANDS, _DATASETS), min_size=1, max_size=3), st.data())
def test_messages_are_put_together_from_any_pieces(
    sent: list[tuple[dict[str, Value], bytes | None]], data: st.DataObject
) -> None:
    sent = [({**fields, "CommandField": C_STORE_RQ}, dataset) for fields, dataset in sent]
    values = [value for one in sent for value in _values(one, data)]
    came: list[Message] = []
    assembly = Assembly(came.append)
    while values:
        count = data.draw(st.integers(1, len(values)))
        assembly.take(memoryview(b"".join(values[:count])))
        values = values[count:]
    assert not assembly.begun
    assert [None if one.dataset is None else bytes(one.dataset) for one in came] == [each for _, each in sent]
    for message, (fields, dataset) in zip(came, sent, strict=True):
        assert message.command == {**fields, "CommandDataSetType": NO_DATASET if dataset is None else 0}
        assert message.context_id == 5


@examples(100)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_message_or_a_fault(body: bytes) -> None:
    assembly = Assembly(lambda message: None)
    values = struct.pack(">LBB", len(body) + 2, 1, 3) + body
    for one in (body, values):
        try:
            assembly.take(memoryview(one))
        except UnreadableDataset:
            assembly = Assembly(lambda message: None)
