"""JPEG (libjpeg-turbo): lossless; baseline, extended 12 bit and progressive are only read."""

from __future__ import annotations

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, as_unsigned, fitted, refuse_unless, version_of
from scp.encoding.codecs.jpeg_colour import Colour, coded_colour, colour_markers
from scp.encoding.codecs.jpeg_data import Decode, check_data
from scp.encoding.codecs.jpeg_structure import structure_of
from scp.encoding.codecs.lengths import check_length, least_of_jpeg, least_of_lossless_jpeg
from scp.encoding.codecs.markers import JPEG_LOSSLESS_FRAME, check_jpeg
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotDecode
from scp.syntaxes import JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1


def _refuses(form: PixelFormat) -> str:
    return refuse_unless(form, bits=(8, 16))


def _precision(form: PixelFormat) -> int:
    """Sample precision P of the frame header (T.81 B.2.2), 2 to 16 bits.

    It is Bits Stored, but for two kinds. Signed samples are two's complement of Bits Allocated, their
    signs extended: differences are modulo 2^16 (T.81 H.1.2.2), so -1 lies next to 0 there; cut off at
    Bits Stored, CT would jump across the whole range at 0. Decoders that know no sign (DCMTK's) then
    give the received words, too. And samples of 8 bits and fewer in 16 would come out of such decoders
    in bytes. WG04's own lossless images are of the same kinds: P is 16 for signed, Bits Stored else.
    """
    if form.signed or form.bits_stored < 2 or form.bits_stored <= 8 < form.bits_allocated:
        return form.bits_allocated
    return form.bits_stored


def _encode_lossless(frame: Frame, form: PixelFormat, _effort: int) -> bytes:
    """Process 14 with predictor 1, the sample to the left (selection value 1: PS3.5 10.2).

    Not imagecodecs' ljpeg: that writes predictor 6, and takes neither colour nor images of one row.
    """
    colour = "RGB" if form.samples == 3 else None  # as they are: no transform
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(as_unsigned(frame)),
            colorspace=colour,
            outcolorspace=colour,
            lossless=True,
            predictor=1,
            bitspersample=_precision(form),
        )
    )


def decode_jpeg(codestream: bytes, form: PixelFormat) -> Frame:
    """A frame in a transfer syntax of lossy JPEG; its colour becomes RGB.

    Raises CannotDecode, and what the library raises.
    """
    return fitted(_decoder(codestream, form, lossless=False)(codestream), form)


def decode_jpeg_strictly(codestream: bytes, form: PixelFormat) -> Frame:
    """As :func:`decode_jpeg`, of a codestream that is whole. Raises DamagedCodestream for another."""
    return _whole(codestream, form, _decoder(codestream, form, lossless=False))


def _decode_lossless(codestream: bytes, form: PixelFormat) -> Frame:
    """A frame in a transfer syntax of lossless JPEG; its colour stays as it is."""
    return fitted(_decoder(codestream, form, lossless=True)(codestream), form)


def _decode_lossless_strictly(codestream: bytes, form: PixelFormat) -> Frame:
    return _whole(codestream, form, _decoder(codestream, form, lossless=True))


def _whole(codestream: bytes, form: PixelFormat, decode: Decode) -> Frame:
    if check_jpeg(codestream, form) == JPEG_LOSSLESS_FRAME:
        check_length(len(codestream), form, least_of_lossless_jpeg(form))
    structure = structure_of(codestream)
    samples = decode(codestream)
    check_data(codestream, structure, samples, decode)
    return fitted(samples, form)


def _decoder(codestream: bytes, form: PixelFormat, lossless: bool) -> Decode:
    """What decodes a codestream, of any process that the library reads, and others with its header.

    What the header says of colour afterwards goes by the transfer syntax, so colour is not decoded where the
    codestream is of the other kind, unless it is RGB either way. Raises CannotDecode.
    """
    check_jpeg(codestream, form)
    if form.samples == 1:
        return lambda data: np.asarray(imagecodecs.jpeg8_decode(data))
    markers = colour_markers(codestream)
    if markers.lossless != lossless and form.photometric != "RGB":
        kinds = ("a lossless", "lossy") if markers.lossless else ("a lossy", "lossless")
        raise CannotDecode(f"{form.photometric} in {kinds[0]} codestream of a {kinds[1]} transfer syntax")
    # Lossless samples are as they were given, YBR_FULL too: DCMTK marks that as JFIF, from which libjpeg
    # would have to make RGB, and refuses.
    colour = Colour.RGB if markers.lossless else coded_colour(markers, form.photometric)
    return lambda data: np.asarray(imagecodecs.jpeg8_decode(data, colorspace=colour, outcolorspace="RGB"))


_LIBRARY = version_of("jpeg8")

JPEG_CODEC = Codec(
    name="jpeg",
    library=_LIBRARY,
    reads=(JPEG_BASELINE, JPEG_EXTENDED),
    decode=decode_jpeg,
    strictly=decode_jpeg_strictly,
    least=least_of_jpeg,
)

JPEG_LOSSLESS_CODEC = Codec(
    name="jpeg-lossless",
    library=_LIBRARY,
    writes=JPEG_LOSSLESS_SV1,
    reads=(JPEG_LOSSLESS_SV1, JPEG_LOSSLESS),
    refuses=_refuses,
    encode=_encode_lossless,
    decode=_decode_lossless,
    strictly=_decode_lossless_strictly,
    least=least_of_jpeg,  # of either kind: both come under this name
)

CODECS = (JPEG_CODEC, JPEG_LOSSLESS_CODEC)
