"""Resolutions of codestreams: their beginnings are smaller images, by decoders that nobody here wrote."""

from __future__ import annotations

from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from scp.encoding.codecs import resolutions
from scp.encoding.codecs.resolutions import resolutions_of
from scp.encoding.codecs.table import codec_named
from scp.encoding.pixels import PixelFormat

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("codecs_here")]


def image(rows: int, columns: int, samples: int = 1, bits: int = 16, signed: bool = False) -> PixelFormat:
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    return PixelFormat(
        rows, columns, samples, bits, min(bits, 12), min(bits, 12) - 1, signed, photometric, 0, 1
    )


def frame(form: PixelFormat) -> np.ndarray:
    random = np.random.default_rng(1)
    at = np.indices(form.shape)
    smooth = at[0] * 2 + at[1] * 3 + 100 * np.sin(at[0] / 17) * np.sin(at[1] / 23)
    return ((smooth + random.normal(0, 3, form.shape)) % (1 << form.bits_stored - form.signed)).astype(
        form.dtype
    )


def coded(name: str, form: PixelFormat) -> bytes:
    return codec_named(name).encode(frame(form), form, 0)


def completed(beginning: bytes) -> bytes:
    """For decoders that insist: the last tile-part has its length, the codestream an end (A.4.2, A.4.4)."""
    at = beginning.index(b"\xff\x90")
    while at + (length := int.from_bytes(beginning[at + 6 : at + 10], "big")) < len(beginning):
        at += length
    left = (len(beginning) - at).to_bytes(4, "big")
    return beginning[: at + 6] + left + beginning[at + 10 :] + b"\xff\xd9"


def by_openjpeg(codestream: bytes, reduced: int) -> np.ndarray:
    """By Pillow, which mistakes the size of what cannot be halved so often without a rest."""
    opened = Image.open(BytesIO(codestream))
    opened.reduce = reduced  # type: ignore[attr-defined,method-assign,assignment]
    opened.load()  # by itself: numpy would try other things where this fails
    return np.asarray(opened)


def test_each_beginning_is_the_image_of_its_resolution_by_openjph() -> None:
    for name, form in (
        ("htj2k", image(304, 224)),
        ("htj2k", image(97, 130, signed=True)),
        ("htj2k", image(120, 75, samples=3, bits=8)),
        ("htj2k-rpcl", image(304, 224)),
        ("htj2k-rpcl", image(64, 2100)),
    ):
        stream = coded(name, form)
        found = resolutions_of(stream)
        assert len(found) >= 6
        assert (found[-1].rows, found[-1].columns, found[-1].size) == (form.rows, form.columns, len(stream))
        for left_out, one in enumerate(reversed(found)):
            whole = imagecodecs.htj2k_decode(stream, skipres=left_out)
            assert whole.shape[:2] == (one.rows, one.columns)
            assert np.array_equal(imagecodecs.htj2k_decode(stream[: one.size], skipres=left_out), whole)


@pytest.mark.parametrize("name", ["htj2k", "htj2k-rpcl", "jpeg2000"])
def test_each_beginning_is_the_image_of_its_resolution_by_openjpeg(name: str) -> None:
    stream = coded(name, image(304, 224))
    *smaller, whole = resolutions_of(stream)
    for left_out, one in enumerate(reversed(smaller[-3:]), 1):
        found = by_openjpeg(completed(stream[: one.size]), left_out)
        assert found.shape == (one.rows, one.columns)
        assert np.array_equal(found, by_openjpeg(stream, left_out))
    assert whole.size == len(stream)


def test_less_is_not_enough() -> None:
    """The ranges are no larger than they need to be."""
    stream = coded("jpeg2000", image(304, 224))
    quarter = resolutions_of(stream)[-3]
    with pytest.raises(OSError, match="broken data stream"):
        by_openjpeg(completed(stream[: quarter.size - 40]), 2)


def test_a_quarter_each_way_needs_about_a_sixteenth_of_the_bytes() -> None:
    stream = coded("htj2k", image(1024, 1024))
    quarter = resolutions_of(stream)[-3]
    assert (quarter.rows, quarter.columns) == (256, 256)
    assert len(stream) / 24 < quarter.size < len(stream) / 8


def test_what_begins_with_no_smaller_image_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, form = frame(image(300, 200)), image(300, 200)
    tiled = bytes(imagecodecs.htj2k_encode(samples, reversible=True, tile=(128, 128)))
    stream = coded("htj2k", form)
    at = stream.index(b"\xff\x52") + 5
    by_position = stream[:at] + b"\3" + stream[at + 1 :]  # PCRL
    for none in (tiled, by_position, stream[:-40], b"", b"\xff\x4f", coded("jpegls", form)):
        assert resolutions_of(none) == ()
    monkeypatch.setattr(resolutions, "_MOST_PIXELS", 300 * 200 - 1)  # beyond what is followed
    assert resolutions_of(stream) == ()


def test_damage_is_no_error() -> None:
    """Whoever sent it: what is not understood has no ranges."""
    stream = bytearray(coded("htj2k", image(96, 80)))
    random = np.random.default_rng(2)
    for _ in range(300):
        damaged = bytearray(stream)
        for at in random.integers(0, 400, 3):
            damaged[at] = random.integers(256)
        for one in resolutions_of(bytes(damaged)):
            assert 0 < one.size <= len(stream)
