"""Codecs that ``zscp advise`` compares with zscp's own; zscp stores nothing in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import as_unsigned, fitted
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotEncode

_AVIF_BITS = 12  # the most that AV1 codes


@dataclass(frozen=True, slots=True)
class Compared:
    """An image codec; ``refuses``, ``encode`` and ``decode`` are as those of a Codec, without an effort."""

    name: str
    refuses: Callable[[PixelFormat], str]
    encode: Callable[[Frame, PixelFormat], bytes]
    decode: Callable[[bytes, PixelFormat], Frame]


@dataclass(frozen=True, slots=True)
class ByteCodec:
    """A codec of bytes."""

    name: str
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]


def _bits(most: int, samples: tuple[int, ...] = (1, 3)) -> Callable[[PixelFormat], str]:
    def refuses(form: PixelFormat) -> str:
        if form.bits_allocated > most:
            return f"takes {most} bits a sample, not {form.bits_allocated}"
        return "" if form.samples in samples else f"takes no {form.samples} samples a pixel"

    return refuses


def _png(frame: Frame, _form: PixelFormat) -> bytes:
    return bytes(imagecodecs.png_encode(as_unsigned(frame)))


def _webp(frame: Frame, _form: PixelFormat) -> bytes:
    # It knows colour only: grey costs it next to nothing as three equal samples.
    colour = frame if frame.ndim == 3 else np.repeat(as_unsigned(frame)[..., None], 3, axis=-1)
    return bytes(imagecodecs.webp_encode(colour, lossless=True, numthreads=1))


def _from_webp(data: bytes, form: PixelFormat) -> Frame:
    colour = np.asarray(imagecodecs.webp_decode(data, hasalpha=False))
    return _fitted(colour if form.samples == 3 else np.ascontiguousarray(colour[..., 0]), form)


def _avif(frame: Frame, form: PixelFormat) -> bytes:
    if int(frame.min()) < 0 or int(frame.max()) >> _AVIF_BITS:
        raise CannotEncode(f"takes {_AVIF_BITS} bits a sample, and no negative ones")
    bits = 8 if form.bits_allocated == 8 else _AVIF_BITS
    return bytes(
        imagecodecs.avif_encode(as_unsigned(frame), level=100, speed=8, bitspersample=bits, numthreads=1)
    )


def _decoder(name: str, **options: int) -> Callable[[bytes, PixelFormat], Frame]:
    """By its name, as imagecodecs loads a codec when it is first asked for it: not here."""

    def decode(data: bytes, form: PixelFormat) -> Frame:
        return _fitted(np.asarray(getattr(imagecodecs, name)(data, **options)), form)

    return decode


def _fitted(samples: Frame, form: PixelFormat) -> Frame:
    """A plain decoder's samples as the frame's: same bits, and the sign that they stood for."""
    return (
        samples.view(form.dtype) if samples.dtype.itemsize == form.dtype.itemsize else fitted(samples, form)
    )


COMPARED: tuple[Compared, ...] = (
    Compared("PNG", refuses=_bits(16), encode=_png, decode=_decoder("png_decode")),
    Compared("WebP lossless", refuses=_bits(8), encode=_webp, decode=_from_webp),
    Compared(
        "AVIF lossless",
        refuses=_bits(16),
        encode=_avif,
        decode=_decoder("avif_decode", numthreads=1),
    ),
)

# Level 11 codes 0.3 MB of CT a second, and comes to xz's size.
BROTLI = ByteCodec(
    "brotli 9",
    encode=lambda data: bytes(imagecodecs.brotli_encode(data, level=9)),
    decode=lambda data: bytes(imagecodecs.brotli_decode(data)),
)
