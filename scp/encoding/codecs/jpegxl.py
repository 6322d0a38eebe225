"""JPEG XL (libjxl), lossless."""

from __future__ import annotations

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, as_unsigned, fitted, refuse_unless, same_photometric
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotEncode
from scp.syntaxes import JPEGXL

# On CT and MR effort 3 has nearly all of effort 7's gain at a tenth of its time.
_DEFAULT_EFFORT = 3


def _refuses(form: PixelFormat) -> str:
    if form.samples == 3 and form.photometric != "RGB":
        return f"{form.photometric} would be taken for RGB"
    return refuse_unless(form, bits=(8, 16))


def _encode(frame: Frame, form: PixelFormat, effort: int) -> bytes:
    if form.signed and int(frame.min()) < 0:
        raise CannotEncode("JPEG XL codes no negative samples")
    samples = as_unsigned(frame)
    if form.bits_stored <= 8:  # libjxl takes no 16-bit samples of so few bits
        samples = samples.astype("u1")
    return bytes(
        imagecodecs.jpegxl_encode(
            samples,
            lossless=True,
            effort=effort or _DEFAULT_EFFORT,
            bitspersample=form.bits_stored,
            usecontainer=False,
            numthreads=1,
        )
    )


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    return fitted(np.asarray(imagecodecs.jpegxl_decode(codestream, numthreads=1)), form)


JPEGXL_CODEC = Codec(
    name="jpegxl",
    library=imagecodecs.jpegxl_version(),
    writes=JPEGXL,
    reads=(JPEGXL, "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    photometric=same_photometric,
    rank=4,
)
