"""HTJ2K Lossless RPCL: a codestream that can be read resolution by resolution, or another label."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from objects import Shape, kept, phantom

from scp.config.rules import Stage
from scp.encoding.codecs import native, table
from scp.encoding.codecs.lossless import jpeg2000
from scp.encoding.codecs.progressive import (
    levels_for,
    part_lengths,
    progression_of,
    why_not_progressive,
)
from scp.encoding.codecs.table import codec_named
from scp.encoding.pixels import PixelFormat
from scp.errors import CannotDecode

pytestmark = pytest.mark.quick

TLM = b"\xff\x55"


def image(rows: int, columns: int, samples: int = 1, bits: int = 16, signed: bool = False) -> PixelFormat:
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    return PixelFormat(rows, columns, samples, bits, bits, bits - 1, signed, photometric, 0, 1)


def frame(form: PixelFormat) -> np.ndarray:
    random = np.random.default_rng(0)
    info = np.iinfo(form.dtype)
    ramp = np.linspace(info.min, info.max, int(np.prod(form.shape))).reshape(form.shape)
    return (ramp // 2 + random.integers(0, 9, form.shape)).astype(form.dtype)


def codestream(form: PixelFormat) -> bytes:
    return codec_named("htj2k-rpcl").encode(frame(form), form, 0)


@pytest.mark.parametrize(
    "form",
    [
        image(512, 512),
        image(1, 1),
        image(1, 3000),
        image(3000, 1),
        image(65, 2049),
        image(300, 200, signed=True),
        image(200, 300, samples=3, bits=8),
        image(90, 70, bits=32),
    ],
    ids=lambda form: f"{form.rows}x{form.columns}x{form.samples}",
)
def test_what_is_encoded_is_what_the_standard_asks(form: PixelFormat) -> None:
    """PS3.5 10.18: RPCL, a base resolution of 64 at most, TLM; and TLM says where tile-parts are."""
    stream = codestream(form)
    found = progression_of(stream)
    assert found.order == 2
    assert (found.rows, found.columns) == (form.rows, form.columns)
    assert max(form.rows, form.columns) / 2**found.levels <= 64
    assert len(found.lengths) == found.levels + 1
    at = found.begin
    for length in found.lengths:
        assert stream[at : at + 2] == b"\xff\x90"
        at += length
    assert stream[at:] == b"\xff\xd9"
    decoded = codec_named("htj2k-rpcl").decode(stream, form)
    assert np.array_equal(decoded, frame(form))


def test_each_resolution_can_be_had_from_the_beginning_alone() -> None:
    """Which is what the form is for: TLM tells how much to fetch, and no more is needed."""
    stream = codestream(image(512, 384))
    found = progression_of(stream)
    for left_out in range(1, found.levels + 1):
        end = found.begin + sum(found.lengths[: found.levels + 1 - left_out])
        whole = imagecodecs.htj2k_decode(stream, skipres=left_out)
        part = imagecodecs.htj2k_decode(stream[:end] + b"\xff\xd9", skipres=left_out)
        assert part.shape == (512 >> left_out, 384 >> left_out)
        assert np.array_equal(part, whole)


@pytest.mark.parametrize(
    ("rows", "columns", "levels"),
    [(1, 1, 5), (2048, 2048, 5), (2049, 1, 6), (1, 2049, 6), (4096, 4096, 6), (4097, 9, 7), (65535, 1, 10)],
)
def test_levels(rows: int, columns: int, levels: int) -> None:
    assert levels_for(rows, columns) == levels


def without_tlm(stream: bytes) -> bytes:
    at = stream.index(TLM)
    return stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") :]


def changed(stream: bytes, marker: bytes, at: int, value: bytes) -> bytes:
    at += stream.index(marker) + 4
    return stream[:at] + value + stream[at + len(value) :]


def test_why_a_codestream_is_not_progressive() -> None:
    stream = codestream(image(512, 512))
    assert why_not_progressive(stream) == ""
    assert "no TLM" in why_not_progressive(without_tlm(stream))
    assert "not RPCL" in why_not_progressive(changed(stream, b"\xff\x52", 1, b"\0"))
    assert "decompositions" in why_not_progressive(changed(stream, b"\xff\x52", 5, b"\2"))
    assert "does not tell" in why_not_progressive(changed(stream, TLM, 7, b"\xff"))
    one_part = bytes(imagecodecs.htj2k_encode(frame(image(512, 512)), reversible=True, tlm=True))
    assert "1 tile-parts for 6" in why_not_progressive(one_part)
    plain = codec_named("htj2k").encode(frame(image(512, 512)), image(512, 512), 0)
    assert "no TLM" in why_not_progressive(plain)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 40, 90, 110])
def test_a_codestream_that_ends_early_is_none(size: int) -> None:
    stream = codestream(image(64, 64))
    with pytest.raises(CannotDecode):
        progression_of(stream[:size])


def test_tile_parts_must_follow_each_other() -> None:
    stream = codestream(image(64, 64))
    begin = progression_of(stream).begin
    for damaged in (
        stream[:-2],
        stream[:-1],
        stream[: begin + 6],
        changed(stream, b"\xff\x90", 2, b"\0\0\0\5"),
    ):
        with pytest.raises(CannotDecode):
            part_lengths(damaged, begin)


@pytest.mark.parametrize(("index_size", "length_size"), [(0, 2), (1, 2), (2, 2), (0, 4), (1, 4), (2, 4)])
def test_tlm_of_every_layout_is_read(index_size: int, length_size: int) -> None:
    """ISO/IEC 15444-1 table A.34; several segments count by their Ztlm, not by their place."""
    stream = codestream(image(64, 64))
    lengths = [length % 60_000 for length in progression_of(stream).lengths]

    def segment(number: int, entries: list[int]) -> bytes:
        kind = index_size << 4 | (0x40 if length_size == 4 else 0)
        data = b"".join(bytes(index_size) + entry.to_bytes(length_size, "big") for entry in entries)
        return TLM + struct.pack(">HBB", 4 + len(data), number, kind) + data

    at = stream.index(TLM)
    plain = without_tlm(stream)
    several = plain[:at] + segment(1, lengths[3:]) + segment(0, lengths[:3]) + plain[at:]
    assert progression_of(several).lengths == tuple(lengths)


def test_one_that_the_library_makes_otherwise_is_refused_and_the_next_form_is_kept(monkeypatch) -> None:
    encode = imagecodecs.htj2k_encode

    class Older:
        """A library that takes the options and does not heed them."""

        @staticmethod
        def htj2k_encode(data: np.ndarray, **options: object) -> bytes:
            options.pop("tlm", None), options.pop("tilepart", None)
            return encode(data, **options)

        htj2k_decode = staticmethod(imagecodecs.htj2k_decode)

    monkeypatch.setattr(jpeg2000, "imagecodecs", Older)
    monkeypatch.setattr(table, "CODECS", native.CODECS)  # in this process, where it is replaced
    found = kept(phantom(Shape(rows=48, columns=48, noise=0.01)), Stage(forms=("htj2k-rpcl", "htj2k")))
    assert found.encoded.form == "htj2k"
    assert "TLM" in found.provenance.attempts[0].reason
