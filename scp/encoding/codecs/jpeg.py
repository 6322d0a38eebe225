"""JPEG (libjpeg-turbo): baseline, extended 12 bit, progressive and lossless; only read."""

from __future__ import annotations

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, fitted, same_photometric
from scp.encoding.codecs.markers import check_jpeg
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotEncode
from scp.syntaxes import JPEG_LOSSLESS_SV1

_LOSSLESS = 0xC3  # SOF3


def _refuses(_form: PixelFormat) -> str:
    return "no JPEG encoder in this version"


def _encode(_frame: Frame, _form: PixelFormat, _effort: int) -> bytes:
    raise CannotEncode("no JPEG encoder in this version")


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    frame = check_jpeg(codestream, form)
    if form.samples == 1:
        return fitted(np.asarray(imagecodecs.jpeg8_decode(codestream)), form)
    # Lossless samples are as they were given, YBR_FULL too: DCMTK marks that as JFIF, from which libjpeg
    # would have to make RGB, and refuses.
    source = "RGB" if frame == _LOSSLESS or _is_rgb(codestream, form) else None
    samples = imagecodecs.jpeg8_decode(codestream, colorspace=source, outcolorspace="RGB")
    return fitted(np.asarray(samples), form)


def _is_rgb(codestream: bytes, form: PixelFormat) -> bool:
    """Whether the components are RGB as they stand.

    The codestream's own word (a JFIF or Adobe marker) goes before the header's, as in DCMTK and
    libjpeg; without either the header's Photometric Interpretation decides.
    """
    head = codestream[:1024]
    return form.photometric == "RGB" and b"JFIF" not in head and b"Adobe" not in head


JPEG_CODEC = Codec(
    name="jpeg",
    library=imagecodecs.jpeg8_version(),
    writes="",
    reads=("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", JPEG_LOSSLESS_SV1),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    photometric=same_photometric,
)
