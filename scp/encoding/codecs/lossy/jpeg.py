"""Lossy JPEG (libjpeg-turbo): baseline of 8 bits, and extended of 12."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs

from scp.encoding.codecs.codec import version_of
from scp.encoding.codecs.lossless.jpeg import JPEG_CODEC
from scp.encoding.codecs.lossy_codec import LossyCodec, refuse_picture
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import JPEG_BASELINE, JPEG_EXTENDED


def _refuses_baseline(form: PixelFormat) -> str:
    return refuse_picture(form, bits=(8,), signed=False)


def _refuses_extended(form: PixelFormat) -> str:
    if form.bits_stored > 12:
        return f"Bits Stored is {form.bits_stored}, JPEG has 12"
    return refuse_picture(form, bits=(16,), signed=False)


def _described(form: PixelFormat) -> PixelFormat:
    """PS3.5 table 8.2.1-1: no sign, colour is YBR_FULL_422, Bits Stored the codestream's 8 or 12."""
    bits = 8 if form.bits_allocated == 8 else 12
    photometric = "YBR_FULL_422" if form.samples == 3 else form.photometric
    return replace(form, photometric=photometric, bits_stored=bits, high_bit=bits - 1)


def _encode_baseline(frame: Frame, form: PixelFormat, quality: float) -> bytes:
    level = round(quality)
    if form.samples == 1:
        return bytes(imagecodecs.jpeg8_encode(frame, level=level))
    space = "RGB" if form.photometric == "RGB" else "YCBCR"
    return bytes(
        imagecodecs.jpeg8_encode(
            frame, level=level, colorspace=space, outcolorspace="YCBCR", subsampling="422"
        )
    )


def _encode_extended(frame: Frame, _form: PixelFormat, quality: float) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, level=round(quality), bitspersample=12))


def _codec(name: str, writes: str) -> LossyCodec:
    baseline = writes == JPEG_BASELINE
    return LossyCodec(
        name=name,
        library=version_of("jpeg8"),
        writes=writes,
        method="ISO_10918_1",
        bounded=False,
        refuses=_refuses_baseline if baseline else _refuses_extended,
        described=_described,
        encode=_encode_baseline if baseline else _encode_extended,
        decode=JPEG_CODEC.decode,
    )


LOSSY_JPEG_BASELINE = _codec("JPEG Baseline", JPEG_BASELINE)
LOSSY_JPEG_EXTENDED = _codec("JPEG Extended", JPEG_EXTENDED)
