"""A zstd frame of which only the beginning is compressed is one standard frame, and damage to it shows."""

from __future__ import annotations

import random
import subprocess

import pytest
import zstandard

from scp.errors import ObjectDamaged
from scp.objects import part10
from scp.objects.half_frames import half_frame
from scp.spool import IN_MEMORY, Spool

TEXT = b"".join(b"ElementNumber%d=%d;" % (each, each * each) for each in range(30_000))
BLOCK = 128 << 10  # RFC 8878 3.1.1.2.4: what a block gives, at most
SIZES = [
    (1, 1),
    (3, 5),
    (2_000, 130_000),
    (7_632, 102_646),
    (100, BLOCK - 1),
    (100, BLOCK),
    (100, BLOCK + 1),
    (100, 2 * BLOCK),
    (300_000, 1_000_000),  # the part that is compressed has several blocks, too
]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def framed(data: bytes, begin: int) -> bytes:
    return bytes(half_frame(data, begin, zstandard.ZstdCompressor(level=3, write_checksum=True), Spool()))


@pytest.mark.parametrize(("begin", "rest"), SIZES)
def test_stock_readers_read_it(begin: int, rest: int) -> None:
    data = TEXT[:begin] + noise(rest)
    frame = framed(data, begin)
    assert zstandard.ZstdDecompressor().decompress(frame) == data
    assert subprocess.run(["zstd", "-dc"], input=frame, capture_output=True, check=True).stdout == data
    assert bytes(part10.unwrap(frame)) == data


@pytest.mark.parametrize("compressed", [noise(5_000), bytes(5_000), TEXT[:400_000], b"\0"], ids=len)
def test_whatever_is_to_be_compressed(compressed: bytes) -> None:
    """Blocks of each kind: raw, of one byte repeated, compressed, and several of them."""
    data = compressed + noise(40_000)
    assert zstandard.ZstdDecompressor().decompress(framed(data, len(compressed))) == data


def test_it_says_its_size_and_has_a_checksum() -> None:
    found = zstandard.get_frame_parameters(framed(TEXT[:900] + noise(9_000), 900))
    assert (found.content_size, found.has_checksum, found.dict_id) == (9_900, True, 0)


def test_any_flipped_bit_shows() -> None:
    data = TEXT[:900] + noise(9_000)
    frame = framed(data, 900)
    shown = 0
    for at in range(4, len(frame), 7):  # behind the magic number
        damaged = bytearray(frame)
        damaged[at] ^= 1 << at % 8
        try:
            assert bytes(part10.unwrap(bytes(damaged))) == data, at  # there are bits that mean nothing
        except ObjectDamaged:
            shown += 1
    assert shown > len(frame) / 7 * 0.99


@pytest.mark.parametrize("cut", [1, 4, 5, 100, 9_000])
def test_a_frame_that_is_cut_off_shows(cut: int) -> None:
    with pytest.raises(ObjectDamaged):
        part10.unwrap(framed(TEXT[:900] + noise(9_000), 900)[:-cut])


@pytest.mark.parametrize("size", [200_000, IN_MEMORY + 1])
def test_what_is_asked_for_is_kept_apart_from_what_fits(size: int) -> None:
    """Above 4 MB, at other levels, and without a place, all is compressed as before."""
    data = TEXT[:5_000] + bytes(size)  # zeros, so that what is not compressed shows
    half = bytes(part10.wrap(data, 3, dense_from=5_000))
    assert (len(half) > size) == (size <= IN_MEMORY)
    for frame in (half, bytes(part10.wrap(data, 9, dense_from=5_000)), bytes(part10.wrap(data, 3))):
        assert bytes(part10.unwrap(frame)) == data
    assert len(part10.wrap(data, 9, dense_from=5_000)) < 10_000
