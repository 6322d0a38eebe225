"""An object never has to fit in memory: streams in pieces, frames a few ahead, and what that costs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import Shape, as_received, deflate, kept, parts_of, phantom, transcoded

from scp import spool
from scp.config.rules import Stage
from scp.encoding import decoding, fragments, pool
from scp.encoding.codecs import table
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.dataset import join, split
from scp.encoding.streams import deflated, inflated, swapped_words
from scp.encoding.transcode import transcoding
from scp.errors import CannotDecode, CannotEncode
from scp.objects import part10
from scp.objects.frame_pieces import pieces_of_frame
from scp.objects.part10 import Part10
from scp.resources.room import Room
from scp.spool import Spool
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, HTJ2K, IMPLICIT, JPEGLS, RLE, lookup

MOVIE = Shape(rows=20, columns=20, frames=40, noise=0.5)


@examples(100, derandomize=True)
@given(st.lists(st.binary(max_size=11), max_size=8), st.sampled_from((1, 2, 4, 8)))
def test_words_are_swapped_across_pieces(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    even = len(whole) // size * size
    words = [whole[at : at + size][::-1] for at in range(0, even, size)]
    assert b"".join(swapped_words(iter(pieces), size)) == b"".join(words) + whole[even:]


@examples(100, derandomize=True)
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_deflated_in_pieces_it_is_the_same(pieces: list[bytes]) -> None:
    stream = b"".join(deflated(pieces))
    assert stream == deflate(b"".join(pieces))
    assert inflated(stream)[:2] == (b"".join(pieces), "")


def test_little_that_inflates_to_much_does_so_piece_by_piece() -> None:
    plain, fault, _ = inflated(deflate(bytes(30 << 20)))
    assert not fault
    assert len(plain) == 30 << 20
    assert plain.obj.__class__.__name__ == "mmap"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize(
    "shape",
    [
        MOVIE,
        Shape(rows=41, columns=43, bits_allocated=8, bits_stored=8, frames=5),
        replace(MOVIE, tail=b"123"),
    ],
    ids=str,
)
def test_pixels_come_frame_by_frame(syntax: str, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of an odd number of bytes too; and where all are decoded as they are read, not before."""
    object_ = phantom(shape, EXPLICIT if syntax == DEFLATED else syntax)
    file = part10.unpack(kept(object_, Stage(forms=("htj2k",))).data)
    assert file.transfer_syntax == HTJ2K
    monkeypatch.setattr(decoding, "_AT_ONCE", 0)
    pieces = list(transcoding(file.dataset, HTJ2K, syntax, file.provenance.restoration))
    if syntax == DEFLATED:
        assert inflated(b"".join(pieces))[:2] == (object_.dataset, "")
        return
    assert b"".join(pieces) == object_.dataset
    assert len(pieces) >= shape.frames


@pytest.fixture
def failing_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """JPEG-LS whose decoder fails at its 7th frame; the frames that it was asked for."""
    asked: list[int] = []

    def failing(stream: bytes, form: object) -> np.ndarray:
        asked.append(len(asked))
        if len(asked) == 7:
            raise RuntimeError("broken in the middle")
        return JPEGLS_CODEC.strictly(stream, form)

    codec = replace(JPEGLS_CODEC, strictly=failing)  # what is decoded here has no restoration
    monkeypatch.setattr(table, "CODECS", (codec,))
    return asked


def test_a_small_object_fails_before_its_first_piece(failing_at: list[int]) -> None:
    stored = transcoded(phantom(MOVIE).dataset, EXPLICIT, JPEGLS, None)
    with pytest.raises(CannotDecode, match="broken in the middle"):
        transcoding(stored, JPEGLS, EXPLICIT, None)


@pytest.mark.parametrize("room", [True, False])
def test_a_large_object_fails_before_its_first_piece_while_the_disk_has_room(
    room: bool, failing_at: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without room it is decoded on its way, so that a sound one can be had from a full disk."""
    monkeypatch.setattr(decoding, "_AT_ONCE", 0)
    monkeypatch.setattr(spool, "_room", Room(tmp_path, reserve=0 if room else 1 << 60))
    movie = replace(MOVIE, bits_stored=16)  # of fewer, all frames would be decoded first (decision 0093)
    stored = transcoded(phantom(movie).dataset, EXPLICIT, JPEGLS, None)
    if room:
        with pytest.raises(CannotDecode, match="broken in the middle"):
            transcoding(stored, JPEGLS, EXPLICIT, None)
        return
    pieces = transcoding(stored, JPEGLS, EXPLICIT, None)
    assert len(failing_at) < MOVIE.frames  # the first is decoded at once, and some ahead
    with pytest.raises(CannotDecode, match="broken in the middle"):
        b"".join(pieces)
    assert len(failing_at) < MOVIE.frames


def test_what_is_known_early_is_said_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_AT_ONCE", 0)
    stored = transcoded(phantom(MOVIE).dataset, EXPLICIT, JPEGLS, None)
    for stream, source, target, error in (
        (stored, JPEGLS, "1.2.840.10008.1.2.4.50", CannotEncode),
        (stored[:-200], JPEGLS, EXPLICIT, CannotDecode),
        (stored, "1.2.840.10008.1.2.4.100", EXPLICIT, CannotDecode),
        (stored.replace(b"\x28\0\x10\0US\2\0", b"\x28\0\x11\0US\2\0"), JPEGLS, EXPLICIT, CannotDecode),
    ):
        with pytest.raises(error):
            transcoding(stream, source, target, None)


def test_few_frames_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for each in range(1000):
            made.append(each)
            yield each

    results = pool.in_order(lambda each: each * 2, items(), 1000, 1)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(made) <= 3 + 2 * (os.cpu_count() or 1) + 1
    results.close()  # type: ignore[attr-defined]
    large = pool.in_order(lambda each: each, items(), 1000, 1 << 30)
    made.clear()
    next(large)
    assert len(made) == 2, "bounded in bytes"


def test_codec_threads_step_back_for_others() -> None:
    own = niceness()
    names = list(pool.in_order(lambda _: (threading.current_thread().name, niceness()), range(9), 9, 1))
    assert {name.partition("_")[0] for name, _ in names} == {"codec"}
    if sys.platform == "linux":
        assert {nice for _, nice in names} == {10}
        assert niceness() == own


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_pool_works_in_a_process_that_was_forked() -> None:
    script = """
import os, sys
from scp.encoding.pool import in_order
assert sum(in_order(int, range(9), 9, 1)) == 36
child = os.fork()
if not child:
    os._exit(0 if sum(in_order(int, range(9), 9, 1)) == 36 else 1)
sys.exit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def test_offsets_that_pass_32_bits_leave_the_table_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [b"12", b"345", b"6"]
    monkeypatch.setattr(fragments, "_LARGEST_OFFSET", 20)
    value = bytes(fragments.encapsulate(frames, 3))
    assert value.startswith(b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\2\0\0\0")
    assert [b"".join(frame) for frame in fragments.frames_within(value, 3)] == [b"12", b"345\0", b"6\0"]


def test_a_large_frame_of_zstd_is_read_some_blocks_at_a_time() -> None:
    random = np.random.default_rng(1).integers(0, 256, 5 << 20, dtype="u1").tobytes()
    file = Part10("1.2", "1.2.3", EXPLICIT, bytes(40 << 20) + random)
    spool = Spool(hashing=True)
    frame = bytes(part10.wrap(part10.pack(file), 3, spool))
    assert hashlib.sha256(frame).hexdigest() == spool.sha256
    sizes = [len(piece) for piece in pieces_of_frame(frame)]
    assert sum(sizes) == len(frame)
    assert len(sizes) >= 45 / 2
    found = part10.unpack(frame)
    assert found == file
    for damaged in (frame[:-1], frame[:-5], frame + b"\0", frame[:-1] + bytes([frame[-1] ^ 1])):
        with pytest.raises(part10.ObjectDamaged):  # type: ignore[attr-defined]
            part10.unwrap(damaged)


def test_the_digest_is_that_of_the_file() -> None:
    quick = (Stage(forms=("htj2k",), wrap="none"), Stage(forms=("zstd",)))
    large = replace(MOVIE, rows=500, columns=500, frames=20)
    for shape, stages in ((MOVIE, (*quick, Stage(forms=("jpegxl", "rle")))), (large, quick)):
        for stage in stages:
            found = kept(phantom(shape), stage)
            assert found.sha256 == hashlib.sha256(found.data).hexdigest()


def test_a_lossless_movie_is_encoded_anew() -> None:
    plain = phantom(MOVIE)
    stored = transcoded(plain.dataset, EXPLICIT, RLE, None)
    found = kept(as_received(stored, RLE), Stage(forms=("htj2k",)))
    assert found.encoded.form == "htj2k"
    assert transcoded(found.encoded.dataset, HTJ2K, EXPLICIT, None) == plain.dataset


def test_without_pixels_it_streams_too() -> None:
    parts = parts_of(phantom(MOVIE))
    header = replace(parts, pixel=None)
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN):
        stream = b"".join(join(header, lookup(syntax)))
        assert bytes(split(stream, lookup(EXPLICIT if syntax == EXPLICIT else syntax)).header) == parts.header


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("syntax", [EXPLICIT, pytest.param(BIG_ENDIAN, marks=pytest.mark.long)])
def test_an_object_never_has_to_fit_in_memory(syntax: str, tmp_path: Path) -> None:
    """140 MB are kept as HTJ2K, proven, and given out again, in 120 MB beside the program itself."""
    grown = _run_in_little_memory(syntax, 140, tmp_path)
    assert grown < 120


def _run_in_little_memory(syntax: str, megabytes: int, folder: Path) -> int:
    script = Path(__file__).parents[1] / "in_little_memory.py"
    done = subprocess.run(
        [sys.executable, str(script), syntax, str(megabytes), str(folder)],
        check=True,
        timeout=600,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(script.parents[1])},
    )
    return int(done.stdout.split()[-1])
