"""Codestreams of every codec, and what becomes of them on a bad line or disk: cut off, zeros, noise, gaps."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.table import codec_named, decoder_of
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import (
    DEFLATED_FRAMES,
    HTJ2K,
    HTJ2K_EITHER,
    HTJ2K_RPCL,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGXL,
    JPEGXL_RECOMPRESSION,
    RLE,
)

CASES = Path(__file__).parent / "data" / "cases"
_ROWS, _COLUMNS = 88, 104
_END = b"\xff\xd9"  # EOI, and EOC too
_WITHOUT_END = (RLE, DEFLATED_FRAMES, JPEGXL, "1.2.840.10008.1.2.4.112", JPEGXL_RECOMPRESSION)


@dataclass(frozen=True)
class Stream:
    """A codestream that an encoder wrote, and what its object's header says of it."""

    syntax: str
    form: PixelFormat
    data: bytes

    @property
    def codec(self) -> Codec:
        found = decoder_of(self.syntax)
        assert found is not None
        return found

    def decoded(self, data: bytes | None = None) -> Frame:
        """As what comes from others is decoded."""
        return self.codec.strictly(self.data if data is None else data, self.form)


def picture(bits: int, samples: int = 1, rows: int = _ROWS, columns: int = _COLUMNS) -> Frame:
    """Waves with noise on them, which fill most of the range."""
    y, x = np.mgrid[:rows, :columns]
    waves = (np.sin(x / 17) + np.cos(y / 23) + 2) / 4 * ((1 << bits) - 1) * 0.8
    if samples > 1:
        waves = np.stack([waves, waves[::-1], waves[:, ::-1]], -1)
    noise = np.random.default_rng(1).normal(0, (1 << bits) / 300, waves.shape)
    return np.clip(waves + noise, 0, (1 << bits) - 1).astype("u1" if bits <= 8 else "<u2")


def format_of(frame: Frame, bits: int) -> PixelFormat:
    samples = 1 if frame.ndim == 2 else frame.shape[2]
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    rows, columns = frame.shape[:2]
    return PixelFormat(rows, columns, samples, frame.itemsize * 8, bits, bits - 1, False, photometric, 0, 1)


def saved(frame: Frame, kind: str, **how: object) -> bytes:
    """A codestream by Pillow, which has options that imagecodecs has not."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, kind, **how)
    return out.getvalue()


def _made(syntax: str, bits: int, samples: int, encode: Callable[[Frame], bytes]) -> Callable[[], Stream]:
    def make() -> Stream:
        frame = picture(bits, samples)
        return Stream(syntax, format_of(frame, bits), bytes(encode(frame)))

    return make


def _lossless_jpeg(bits: int, predictor: int = 1) -> Callable[[Frame], bytes]:
    def encode(frame: Frame) -> bytes:
        colour = "RGB" if frame.ndim == 3 else None
        return imagecodecs.jpeg8_encode(
            frame,
            colorspace=colour,
            outcolorspace=colour,
            lossless=True,
            predictor=predictor,
            bitspersample=bits,
        )

    return encode


def _jpeg(**how: object) -> Callable[[Frame], bytes]:
    return lambda frame: imagecodecs.jpeg8_encode(frame, 90, **how)


def _pillow_jpeg(**how: object) -> Callable[[Frame], bytes]:
    return lambda frame: saved(frame, "JPEG", quality=90, **how)


def _by_codec(name: str, bits: int, samples: int) -> Callable[[Frame], bytes]:
    codec = codec_named(name)
    assert codec is not None
    return lambda frame: codec.encode(frame, format_of(frame, bits), 0)


def _recompressed(frame: Frame) -> bytes:
    return imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(frame, 90), usecontainer=True)


STREAMS: dict[str, Callable[[], Stream]] = {
    "jpeg": _made(JPEG_BASELINE, 8, 1, _jpeg()),
    "jpeg-420": _made(JPEG_BASELINE, 8, 3, _jpeg(subsampling="420")),
    "jpeg-own-tables": _made(JPEG_BASELINE, 8, 1, _jpeg(optimize=True)),
    "jpeg-restarts": _made(JPEG_BASELINE, 8, 3, _pillow_jpeg(restart_marker_rows=2)),
    "jpeg-progressive": _made(JPEG_BASELINE, 8, 1, _pillow_jpeg(progressive=True)),
    "jpeg-12": _made(JPEG_EXTENDED, 12, 1, _jpeg(bitspersample=12)),
    "jpeg-lossless-8": _made(JPEG_LOSSLESS_SV1, 8, 1, _lossless_jpeg(8)),
    "jpeg-lossless-12": _made(JPEG_LOSSLESS_SV1, 12, 1, _lossless_jpeg(12)),
    "jpeg-lossless-16": _made(JPEG_LOSSLESS_SV1, 16, 1, _lossless_jpeg(16)),
    "jpeg-lossless-rgb": _made(JPEG_LOSSLESS_SV1, 8, 3, _lossless_jpeg(8)),
    **{
        f"jpeg-lossless-predictor-{each}": _made(JPEG_LOSSLESS, 12, 1, _lossless_jpeg(12, each))
        for each in range(2, 8)
    },
    "jpegls": _made(JPEGLS, 12, 1, imagecodecs.jpegls_encode),
    "jpegls-rgb": _made(JPEGLS, 8, 3, imagecodecs.jpegls_encode),
    "jpegls-near": _made("1.2.840.10008.1.2.4.81", 12, 1, lambda frame: imagecodecs.jpegls_encode(frame, 3)),
    "j2k": _made(JPEG2000, 12, 1, _by_codec("jpeg2000", 12, 1)),
    "j2k-rgb": _made(JPEG2000, 8, 3, _by_codec("jpeg2000", 8, 3)),
    "j2k-lossy": _made(
        "1.2.840.10008.1.2.4.91", 12, 1,
        lambda frame: imagecodecs.jpeg2k_encode(
            frame, 60, codecformat="j2k", reversible=False, bitspersample=12
        ),
    ),
    "htj2k": _made(HTJ2K, 12, 1, _by_codec("htj2k", 12, 1)),
    "htj2k-rgb": _made(HTJ2K, 8, 3, _by_codec("htj2k", 8, 3)),
    "htj2k-rpcl": _made(HTJ2K_RPCL, 12, 1, _by_codec("htj2k-rpcl", 12, 1)),
    "htj2k-lossy": _made(
        HTJ2K_EITHER, 12, 1, lambda frame: imagecodecs.htj2k_encode(frame, reversible=False, level=0.00001)
    ),
    "jpegxl": _made(JPEGXL, 12, 1, _by_codec("jpegxl", 12, 1)),
    "jpegxl-lossy": _made(
        "1.2.840.10008.1.2.4.112", 8, 3, lambda frame: imagecodecs.jpegxl_encode(frame, 80)
    ),
    "jpegxl-recompression": _made(JPEGXL_RECOMPRESSION, 8, 3, _recompressed),
    "rle": _made(RLE, 12, 1, _by_codec("rle", 12, 1)),
    "deflated-frames": _made(DEFLATED_FRAMES, 12, 1, _by_codec("deflated-frames", 12, 1)),
}  # fmt: skip


def damages(stream: Stream) -> Iterator[tuple[str, int, bytes]]:
    """What is done to it, from which percent on, and what is left: every 5 %."""
    data = stream.data
    end = b"" if stream.syntax in _WITHOUT_END else _END
    data = data[: data.rindex(end) + len(end)] if end else data  # without padding
    noise = np.random.default_rng(5).bytes(len(data))
    for percent in range(5, 100, 5):
        at = len(data) * percent // 100
        left = len(data) - at - len(end)
        gap = min(max(len(data) // 20, 40), left)
        yield "cut", percent, data[:at]
        yield "zeros", percent, data[:at] + bytes(len(data) - at)
        yield "noise", percent, data[:at] + noise[at:]
        yield "gap", percent, data[:at] + data[at + gap :]
        yield "zeros within", percent, data[:at] + bytes(gap) + data[at + gap :]
        yield "noise within", percent, data[:at] + noise[:gap] + data[at + gap :]
        if end:
            yield "cut, and an end", percent, data[:at] + end
            yield "zeros, and an end", percent, data[:at] + bytes(left) + end
            yield "noise, and an end", percent, data[:at] + noise[:left] + end
