"""JPEG-LS near-lossless (CharLS): no sample is off by more than NEAR."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs

from scp.encoding.codecs.codec import as_unsigned, version_of
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.codecs.lossy_codec import LossyCodec, refuse_picture
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import JPEGLS_NEAR

_LARGEST_NEAR = 255  # ITU-T T.87 C.2.3


def _refuses(form: PixelFormat) -> str:
    return refuse_picture(form, bits=(8, 16), signed=True)


def _described(form: PixelFormat) -> PixelFormat:
    """imagecodecs codes whole samples: a sample of 12 bits may come back as 4096, and needs its 13th."""
    return replace(form, bits_stored=form.bits_allocated, high_bit=form.bits_allocated - 1)


def _encode(frame: Frame, form: PixelFormat, max_error: float) -> bytes:
    largest = min(_LARGEST_NEAR, ((1 << form.bits_allocated) - 1) // 2)
    return bytes(imagecodecs.jpegls_encode(as_unsigned(frame), level=min(int(max_error), largest)))


LOSSY_JPEGLS = LossyCodec(
    name="JPEG-LS near-lossless",
    library=version_of("jpegls"),
    writes=JPEGLS_NEAR,
    method="ISO_14495_1",
    bounded=True,
    refuses=_refuses,
    described=_described,
    encode=_encode,
    decode=JPEGLS_CODEC.decode,
)
