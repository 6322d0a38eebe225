"""Frames in fragments (PS3.5 A.4), ours and as others cut them."""

from __future__ import annotations

import struct

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import item

from scp.encoding.fragments import encapsulate, frames_within
from scp.errors import CannotDecode

pytestmark = pytest.mark.quick

JPEG = b"\xff\xd8\xff"


def whole(value: bytes, count: int) -> list[bytes]:
    return [b"".join(fragments) for fragments in frames_within(value, count)]


def fragments(*contents: bytes, offsets: tuple[int, ...] = ()) -> bytes:
    table = struct.pack(f"<{len(offsets)}L", *offsets)
    return b"".join(item(content, True) for content in (table, *contents))


@examples(100, derandomize=True)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=6))
def test_frames_come_back_padded_to_even(frames: list[bytes]) -> None:
    even = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    assert whole(encapsulate(frames, len(frames)), len(frames)) == even


def test_the_offset_table_points_at_items() -> None:
    value = bytes(encapsulate([b"12", b"345", b"6"], 3))
    offsets = struct.unpack_from("<3L", value, 8)
    first = 8 + 12
    assert [value[first + at : first + at + 4] for at in offsets] == [b"\xfe\xff\x00\xe0"] * 3
    assert [value[first + at + 8] for at in offsets] == list(b"136")


def test_sizes_and_offsets_of_all_frames() -> None:
    frames = frames_within(fragments(JPEG + b"1", b"22", JPEG + b"333", JPEG + b"4", b"5", b"6"), 3)
    assert list(frames.sizes) == [each.size for each in frames]
    firsts = [sum(map(len, frames[:at])) for at in range(3)]
    assert list(frames.offsets) == [0, frames[0].size + 16, frames[0].size + 16 + frames[1].size + 8]
    assert firsts == [0, 2, 3]
    assert list(frames_within(fragments(), 1).sizes) == [0]


@pytest.mark.parametrize(
    ("value", "count", "frames"),
    [
        (fragments(b"12", b"34"), 2, [b"12", b"34"]),
        (fragments(b"12", b"34"), 1, [b"1234"]),
        (fragments(JPEG + b"1", b"22", JPEG + b"3"), 2, [JPEG + b"122", JPEG + b"3"]),
        (fragments(b"12", b"34", b"56", offsets=(0, 20)), 2, [b"1234", b"56"]),
        # A table that is wrong where the codestreams tell by themselves:
        (fragments(JPEG + b"1", b"22", JPEG + b"3", offsets=(0, 12)), 2, [JPEG + b"122", JPEG + b"3"]),
        (fragments(b"12", b"34", offsets=(0, 0)), 2, [b"12", b"34"]),
    ],
    ids=["one each", "one of all", "by their start", "by the table", "wrong table", "wrong table not needed"],
)
def test_frames_are_told_apart(value: bytes, count: int, frames: list[bytes]) -> None:
    assert whole(value, count) == frames


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (fragments(b"12", b"34", b"56"), 2),
        (fragments(b"12", b"34", b"56", offsets=(0, 7)), 2),
        (fragments(b"12"), 2),
        (fragments(), 2),
        (b"", 2),
        (fragments(b"12")[:-1], 1),
        (b"garbage that is no item", 1),
        (fragments(b"12", b"34", b"56", offsets=(10, 20)), 2),
    ],
)
def test_what_cannot_be_told_apart_is_not_guessed(value: bytes, count: int) -> None:
    with pytest.raises(CannotDecode):
        frames_within(value, count)
