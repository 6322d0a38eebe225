"""JPEG XL (libjxl), lossless; and what holds a JPEG codestream, which is only read here."""

from __future__ import annotations

import imagecodecs
import numpy as np

from scp.encoding.codecs.codec import Codec, as_unsigned, fitted, refuse_unless, version_of
from scp.encoding.codecs.jpeg_colour import coded_colour, colour_markers, libjxl_colour
from scp.encoding.codecs.jpegxl_structure import check_jpegxl
from scp.encoding.codecs.lengths import any_length, most_bytes
from scp.encoding.codecs.lossless.jpeg import decode_jpeg, decode_jpeg_strictly
from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import CannotDecode, CannotEncode, DamagedCodestream
from scp.syntaxes import JPEGXL, JPEGXL_RECOMPRESSION

# On CT and MR effort 3 has nearly all of effort 7's gain at a tenth of its time. Not where samples are
# negative: their two's complement jumps between -1 and 0, which only higher efforts learn. Of 28 CT with a
# sign effort 3 keeps 21.1 %, JPEG 2000 20.7 and effort 7 18.4 (docs/decisions/0072).
_DEFAULT_EFFORT = 3
_NEGATIVE_EFFORT = 7
_RECONSTRUCTION = b"jbrd"  # the box of what restores a JPEG codestream (ISO/IEC 18181-2 9.2)


def _refuses(form: PixelFormat) -> str:
    if form.samples == 3 and form.photometric != "RGB":
        return f"{form.photometric} would be taken for RGB"
    return refuse_unless(form, bits=(8, 16))


def _encode(frame: Frame, form: PixelFormat, effort: int) -> bytes:
    negative = form.signed and int(frame.min()) < 0
    if (
        negative and form.bits_stored < form.bits_allocated
    ):  # readers may not extend the sign of a shorter word
        raise CannotEncode("JPEG XL encodes negative samples only where Bits Stored is Bits Allocated")
    samples = as_unsigned(frame)
    if form.bits_stored <= 8:  # libjxl takes no 16-bit samples of so few bits
        samples = samples.astype("u1")
    return bytes(
        imagecodecs.jpegxl_encode(
            samples,
            lossless=True,
            effort=effort or (_NEGATIVE_EFFORT if negative else _DEFAULT_EFFORT),
            bitspersample=form.bits_stored,
            usecontainer=False,
            numthreads=1,
        )
    )


def _decode(codestream: bytes, form: PixelFormat) -> Frame:
    check_jpegxl(codestream, form)
    # Index 0: else imagecodecs counts the frames of an animation first, and takes memory for all of them.
    return fitted(np.asarray(imagecodecs.jpegxl_decode(codestream, index=0, numthreads=1)), form)


def recompress_whole_jpeg(codestream: bytes, form: PixelFormat) -> bytes:
    """A JPEG codestream as JPEG XL with what restores it to the byte, what follows its end included.

    Raises DamagedCodestream and CannotDecode for one that is not whole, which is to stay as it came,
    CannotEncode for one whose colour would be mistaken, and what the library raises: it takes 8-bit baseline,
    extended and progressive ones.
    """
    decode_jpeg_strictly(codestream, form)
    if form.samples == 3:
        _check_colour(codestream, form)
    return bytes(imagecodecs.jpegxl_encode_jpeg(codestream, usecontainer=True, numthreads=1))


def _check_colour(jpeg: bytes, form: PixelFormat) -> None:
    """A reader that decodes the JPEG XL itself must see the colours that the JPEG has (invariant 5)."""
    markers = colour_markers(jpeg)
    colour = coded_colour(markers, form.photometric)
    if not markers.lossless and libjxl_colour(markers) is not colour:
        raise CannotEncode(f"the JPEG is {colour}, which JPEG XL would not take it for")


def restore_jpeg(codestream: bytes, most: int | None = None) -> bytes:
    """The JPEG codestream that was recompressed, of ``most`` bytes at most. Raises CannotDecode."""
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(codestream, numthreads=1, out=most))
    except Exception as error:  # the library has its own kinds
        raise CannotDecode(f"no JPEG codestream can be restored from it: {error}") from error


def _decode_recompressed(codestream: bytes, form: PixelFormat) -> Frame:
    """As the JPEG codestream in it decodes: libjxl's own rounding differs from libjpeg's."""
    check_jpegxl(codestream, form)
    try:
        jpeg = restore_jpeg(codestream, most_bytes(form))
    except CannotDecode:  # recompressed without what restores it
        return _decode(codestream, form)
    return decode_jpeg(jpeg, form)


def _recompressed_strictly(codestream: bytes, form: PixelFormat) -> Frame:
    """Of a JPEG codestream that is whole; where there is to be one, it can be restored."""
    check_jpegxl(codestream, form)
    if _RECONSTRUCTION not in codestream:
        return _decode(codestream, form)
    try:
        jpeg = restore_jpeg(codestream, most_bytes(form))
    except CannotDecode as error:
        raise DamagedCodestream(str(error)) from error
    return decode_jpeg_strictly(jpeg, form)


_LIBRARY = version_of("jpegxl")

JPEGXL_CODEC = Codec(
    name="jpegxl",
    library=_LIBRARY,
    writes=JPEGXL,
    reads=(JPEGXL, "1.2.840.10008.1.2.4.112"),
    refuses=_refuses,
    encode=_encode,
    decode=_decode,
    strictly=_decode,
    least=any_length,
)

RECOMPRESSED_CODEC = Codec(
    name="jpegxl-recompression",
    library=_LIBRARY,
    reads=(JPEGXL_RECOMPRESSION,),
    decode=_decode_recompressed,
    strictly=_recompressed_strictly,
    least=any_length,
)

CODECS = (JPEGXL_CODEC, RECOMPRESSED_CODEC)
