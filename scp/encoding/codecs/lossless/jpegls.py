"""JPEG-LS (CharLS), lossless; near-lossless is only read."""

from __future__ import annotations

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, as_unsigned, fitted, refuse_unless, version_of
from scp.encoding.codecs.jpeg_structure import structure_of
from scp.encoding.codecs.jpegls_structure import check_parameters
from scp.encoding.codecs.lengths import least_of_jpegls
from scp.encoding.codecs.markers import check_jpeg
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import DamagedCodestream
from scp.syntaxes import JPEGLS

_EOI = b"\xff\xd9"


def _refuses(form: PixelFormat) -> str:
    return refuse_unless(form, bits=(8, 16), samples=(1, 3, 4))


def _encode(frame: Frame, _form: PixelFormat, _effort: int) -> bytes:
    # JPEG-LS knows no sign: two's complement is coded as it stands (PS3.5 8.2.3).
    samples = as_unsigned(frame)
    try:
        return bytes(imagecodecs.jpegls_encode(samples))
    except imagecodecs.JpeglsError:
        # Noise grows by 3 to 17 %, for which imagecodecs' own buffer is too small: one frame of noise would
        # refuse a whole object.
        return bytes(imagecodecs.jpegls_encode(samples, out=bytearray(2 * samples.nbytes + 4096)))


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    """As zscp and imagecodecs write it: with EOI at its end. Without one CharLS looks for it for 5 s."""
    if _EOI not in codestream[-4:]:
        raise DamagedCodestream("the codestream ends before EOI")
    check_jpeg(codestream, form)
    return _decoded(codestream, form)


def _decoded(codestream: bytes, form: PixelFormat) -> Frame:
    return fitted(np.asarray(imagecodecs.jpegls_decode(codestream)), form)


def _strictly(codestream: bytes, form: PixelFormat) -> Frame:
    """CharLS itself refuses data that is too short or too long; but 2.4.3 looks for an end for seconds where
    there is no marker to stop it. From some data it never comes back: that shows only in decoding, and is for
    the time limit of the codec process (docs/codecs-upstream.md).
    """
    check_jpeg(codestream, form)
    check_parameters(structure_of(codestream))
    return _decoded(codestream, form)


JPEGLS_CODEC = Codec(
    name="jpegls",
    library=version_of("jpegls"),
    writes=JPEGLS,
    reads=(JPEGLS, "1.2.840.10008.1.2.4.81"),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    strictly=_strictly,
    least=least_of_jpegls,
)

CODECS = (JPEGLS_CODEC,)
