"""The codecs that ``zscp advise`` compares: zscp's own forms, and others that stand beside for comparison.

Image codecs code frame after frame, byte codecs the whole uncompressed file; nothing here uses a second
thread. zscp's own image codecs are the rows of :mod:`scp.encoding.codecs.table`, so a new one is compared
as soon as it has a row.
"""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, as_unsigned, fitted
from scp.encoding.codecs.jpeg2000 import HTJ2K_CODEC
from scp.encoding.codecs.table import CODECS
from scp.encoding.dataset import inflate
from scp.encoding.pixels import Frame, PixelFormat
from scp.encoding.streams import deflated
from scp.errors import CannotEncode
from scp.objects import part10
from scp.spool import Buffer
from scp.syntaxes import Content, lookup

WITH_DICTIONARY = "+dict"

# JPEG XL's default, and the effort above which the time grows faster than the gain.
_EFFORTS = {"jpegxl": (3, 7)}
_AVIF_BITS = 12  # the most that AV1 codes
_DECIBELS = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """One codec with its parameters, by the name it has in tables.

    ``form`` is the policy's form that keeps objects so, with ``effort`` and ``level`` as in a stage; it is
    empty for what no DICOM archive can store. ``lossy`` candidates are not compared with the frame, but
    measured against it. ``on_line``: what it gives is what a peer is sent. ``dictionary``: its zstd frame
    has one, trained on other objects of the group.
    """

    name: str
    form: str = ""
    effort: int = 0
    level: int = 0
    lossy: bool = False
    on_line: bool = True
    dictionary: bool = False

    @property
    def storable(self) -> bool:
        """Whether a policy can ask for it."""
        return bool(self.form)


@dataclass(frozen=True, slots=True)
class ImageCandidate(Candidate):
    """Codes frames. ``refuses``, ``encode`` and ``decode`` are as those of :class:`Codec`."""

    library: str = ""
    transfer_syntax: str = ""
    refuses: Callable[[PixelFormat], str] = lambda _: ""
    encode: Callable[[Frame, PixelFormat], bytes] = lambda frame, _: frame.tobytes()
    decode: Callable[[bytes, PixelFormat], Frame] = lambda data, form: np.frombuffer(data, form.dtype)


@dataclass(frozen=True, slots=True)
class ByteCandidate(Candidate):
    """Codes bytes: the Part 10 file or, with ``dataset_only``, the dataset behind its meta information."""

    dataset_only: bool = False
    encode: Callable[[Buffer], Buffer] = bytes
    decode: Callable[[Buffer], Buffer] = bytes


def candidates(lossy: bool = False) -> tuple[Candidate, ...]:
    """All that are compared; lossy ones only when asked for."""
    return (*_own_images(), *_BYTES, *_OTHER_IMAGES, *(_LOSSY if lossy else ()))


def _own_images() -> Iterator[Candidate]:
    for codec in CODECS:
        if not codec.writes or lookup(codec.writes).content is not Content.LOSSLESS:
            continue
        for effort in _EFFORTS.get(codec.name, (0,)):
            yield _own(codec, effort)
        if codec is HTJ2K_CODEC:  # one shows what a dictionary does: it codes no pixels
            yield replace(_own(codec, 0), name=f"{codec.name} {WITH_DICTIONARY}", dictionary=True)


def _own(codec: Codec, effort: int) -> ImageCandidate:
    def encode(frame: Frame, form: PixelFormat) -> bytes:
        return codec.encode(frame, form, effort)

    return ImageCandidate(
        name=f"{codec.name} {effort}" if effort else codec.name,
        form=codec.name,
        effort=effort,
        library=codec.library,
        transfer_syntax=codec.writes,
        refuses=codec.refuses,
        encode=encode,
        decode=codec.decode,
    )


def _deflate(data: Buffer) -> Buffer:
    return b"".join(deflated([data]))


def _unbrotli(data: Buffer) -> Buffer:
    return imagecodecs.brotli_decode(bytes(data))


def _zstd(level: int) -> Candidate:
    # The form keeps the received stream: a peer is sent that, as zstd is no transfer syntax.
    encode = partial(part10.wrap, level=level)
    return ByteCandidate(
        f"zstd {level}", "zstd", level=level, on_line=False, encode=encode, decode=part10.unwrap
    )


_BYTES: tuple[Candidate, ...] = (
    _zstd(1),
    _zstd(3),
    replace(_zstd(3), name=f"zstd 3 {WITH_DICTIONARY}", dictionary=True),
    _zstd(19),
    ByteCandidate("deflate", "deflate", dataset_only=True, encode=_deflate, decode=inflate),
    ByteCandidate("native", "native", on_line=False, encode=bytearray, decode=bytearray),
    ByteCandidate("gzip 6", encode=partial(gzip.compress, compresslevel=6, mtime=0), decode=gzip.decompress),
    # Level 11 codes 0.3 MB of CT a second, and comes to xz's size.
    ByteCandidate("brotli 9", encode=partial(imagecodecs.brotli_encode, level=9), decode=_unbrotli),
    ByteCandidate("xz 6", encode=partial(lzma.compress, preset=6), decode=lzma.decompress),
)


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


def _decoder(decode: Callable[[bytes], Frame]) -> Callable[[bytes, PixelFormat], Frame]:
    return lambda data, form: _fitted(np.asarray(decode(data)), form)


def _fitted(samples: Frame, form: PixelFormat) -> Frame:
    """A plain decoder's samples as the frame's: same bits, and the sign that they stood for."""
    return (
        samples.view(form.dtype) if samples.dtype.itemsize == form.dtype.itemsize else fitted(samples, form)
    )


_OTHER_IMAGES: tuple[Candidate, ...] = (
    ImageCandidate("PNG", refuses=_bits(16), encode=_png, decode=_decoder(imagecodecs.png_decode)),
    ImageCandidate("WebP lossless", refuses=_bits(8), encode=_webp, decode=_from_webp),
    ImageCandidate(
        "AVIF lossless",
        refuses=_bits(16),
        encode=_avif,
        decode=_decoder(partial(imagecodecs.avif_decode, numthreads=1)),
    ),
)


def _unsigned(frame: Frame) -> Frame:
    if int(frame.min()) < 0:
        raise CannotEncode("takes no negative samples")
    return as_unsigned(frame)


def _jpeg(frame: Frame, _form: PixelFormat) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(_unsigned(frame), level=90))


def _near(frame: Frame, _form: PixelFormat) -> bytes:
    return bytes(imagecodecs.jpegls_encode(_unsigned(frame), level=2))


def _jpeg2000(frame: Frame, form: PixelFormat) -> bytes:
    # The encoder's PSNR is of the largest sample there could be; CT uses a sixteenth of that.
    span = max(int(frame.max()) - int(frame.min()), 1)
    quality = round(_DECIBELS + 20 * math.log10((1 << form.bits_stored) / span))
    bits = form.bits_stored
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame, quality, codecformat="j2k", reversible=False, bitspersample=bits, numthreads=1
        )
    )


def _jpegxl(frame: Frame, form: PixelFormat) -> bytes:
    samples = _unsigned(frame)
    samples = samples.astype("u1") if form.bits_stored <= 8 else samples
    return bytes(
        imagecodecs.jpegxl_encode(
            samples, distance=1.0, bitspersample=form.bits_stored, usecontainer=False, numthreads=1
        )
    )


_LOSSY: tuple[Candidate, ...] = (
    ImageCandidate(
        "JPEG q90", lossy=True, refuses=_bits(8), encode=_jpeg, decode=_decoder(imagecodecs.jpeg8_decode)
    ),
    ImageCandidate(
        "JPEG-LS near 2",
        lossy=True,
        refuses=_bits(16),
        encode=_near,
        decode=_decoder(imagecodecs.jpegls_decode),
    ),
    ImageCandidate(
        f"JPEG 2000 {_DECIBELS} dB",
        lossy=True,
        refuses=_bits(16),
        encode=_jpeg2000,
        decode=_decoder(partial(imagecodecs.jpeg2k_decode, numthreads=1)),
    ),
    ImageCandidate(
        "JPEG XL d1",
        lossy=True,
        refuses=_bits(16),
        encode=_jpegxl,
        decode=_decoder(partial(imagecodecs.jpegxl_decode, numthreads=1)),
    ),
)
