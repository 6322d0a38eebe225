"""JPEG XL (libjxl), lossy: VarDCT in the XYB colour space."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs

from scp.encoding.codecs.codec import version_of
from scp.encoding.codecs.lossless.jpegxl import JPEGXL_CODEC
from scp.encoding.codecs.lossy_codec import LossyCodec, error_of, refuse_picture
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import JPEGXL_EITHER

# At distance 1 the error of MR of 12 bits is 21 sample values, of CT 4 to 9. Distances count in parts of the
# samples' range, so that libjxl's own scale would make 12 bits 16 times as coarse as 8.
_ERROR_AT_1 = 20.0 / 4096
_LEAST_DISTANCE = 0.01


def _refuses(form: PixelFormat) -> str:
    if form.photometric == "YBR_FULL":
        return "YBR_FULL would be taken for RGB"
    return refuse_picture(form, bits=(8, 16), signed=False)


def _described(form: PixelFormat) -> PixelFormat:
    photometric = "XYB" if form.samples == 3 else form.photometric
    return replace(form, photometric=photometric, high_bit=form.bits_stored - 1)


def _encode(frame: Frame, form: PixelFormat, quality: float) -> bytes:
    # libjxl takes no 16-bit samples of so few bits.
    samples = frame.astype("u1") if form.bits_stored <= 8 else frame
    return bytes(
        imagecodecs.jpegxl_encode(
            samples,
            lossless=False,
            distance=_distance(form, quality),
            bitspersample=form.bits_stored,
            usecontainer=False,
            numthreads=1,
        )
    )


def _distance(form: PixelFormat, quality: float) -> float:
    """libjxl's own for the quality, or that of the error that the quality stands for, if it is finer."""
    own = 0.1 + (100 - quality) * 0.09
    fine = error_of(quality) / (1 << form.bits_stored) / _ERROR_AT_1
    return max(min(own, fine), _LEAST_DISTANCE)


LOSSY_JPEGXL = LossyCodec(
    name="JPEG XL",
    library=version_of("jpegxl"),
    writes=JPEGXL_EITHER,
    method="ISO_18181_1",
    bounded=False,
    refuses=_refuses,
    described=_described,
    encode=_encode,
    decode=JPEGXL_CODEC.decode,
)
