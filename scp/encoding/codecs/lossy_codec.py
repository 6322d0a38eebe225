"""What a lossy image codec is: a row of data and two functions over one frame.

These rows are no forms and no ways out by themselves: only a rule of a peer or of a stage
(:class:`scp.loss.LossyRule`) leads to them, and each result is decoded and compared before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scp.encoding.pixels import Frame, PixelFormat

# JPEG's quality 50 makes an error of about 10 sample values (root mean square) in MR and of 3 to 4 in CT,
# whatever Bits Stored is: its tables count in sample values. Other codecs are held to the upper figure.
_ERROR_AT_50 = 10.0
_LEAST_SCALE = 0.02


@dataclass(frozen=True, slots=True)
class LossyCodec:
    """One lossy codec.

    ``writes`` is the transfer syntax, ``method`` its term for Lossy Image Compression Method (PS3.3
    C.7.6.1.1.5.1). ``encode`` takes a frame and either the largest error of a sample, if ``bounded``, or a
    quality from 1 to 100. ``refuses`` says why a pixel format cannot be taken, or nothing. ``described`` is
    what the header has to say of the codestreams of a format, ``decode`` reads one by that, for the proof.
    Both may raise CodecError, and whatever the library raises.
    """

    name: str
    library: Callable[[], str]
    writes: str
    method: str
    bounded: bool
    refuses: Callable[[PixelFormat], str]
    described: Callable[[PixelFormat], PixelFormat]
    encode: Callable[[Frame, PixelFormat, float], bytes]
    decode: Callable[[bytes, PixelFormat], Frame]


def error_of(quality: float) -> float:
    """The root mean square error, in sample values, that a quality stands for."""
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    return _ERROR_AT_50 * max(scale, _LEAST_SCALE)


def quality_of(error: float) -> float:
    """The reverse of :func:`error_of`, from 1 to 100."""
    scale = error / _ERROR_AT_50
    return min(max(50 / scale if scale > 1 else 100 - 50 * scale, 1.0), 100.0)


def refuse_picture(form: PixelFormat, *, bits: tuple[int, ...], signed: bool) -> str:
    """The refusals that all lossy codecs share: what is no picture, and what they cannot hold."""
    if form.photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"):
        return f"{form.photometric or 'no Photometric Interpretation'} is not coded with loss"
    if form.samples != (1 if form.photometric.startswith("MONO") else 3):
        return f"Samples per Pixel is {form.samples} of {form.photometric}"
    if form.bits_allocated not in bits:
        return f"Bits Allocated is {form.bits_allocated}"
    if form.samples == 3 and (form.signed or form.bits_allocated != 8):
        return "colour samples that are not of 8 bits without sign"
    if form.signed and not signed:
        return "signed samples"
    return ""
