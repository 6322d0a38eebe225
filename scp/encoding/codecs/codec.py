"""What an image codec is: a row of data and two functions over one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from scp.encoding.pixels import Frame, PixelFormat
from scp.errors import BeyondBitsStored, CannotDecode, CodecError, OutOfResources

_BAND = 1 << 18  # samples

Encode = Callable[[Frame, PixelFormat, int], bytes]


def same_photometric(form: PixelFormat) -> str:
    """For codecs that code samples as they come."""
    return form.photometric


def _takes_all(_form: PixelFormat) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Codec:
    """One image codec.

    ``name`` is that of its form in a policy, where it encodes. ``library`` gives its library's name and
    version, ``reads`` are the transfer syntaxes that it decodes, ``writes`` is the one that it encodes.
    ``refuses`` says why a pixel format cannot be encoded, or nothing. ``encode`` takes a frame and an effort
    (0: the codec's default), and may raise CannotEncode for what only the samples show; where it is None, the
    codec only decodes, and ``writes`` is empty. ``decode`` raises CannotDecode.
    ``strictly`` decodes what others encoded: it raises DamagedCodestream, too, where a forgiving library
    makes up what a codestream does not hold. All may raise whatever their library raises;
    :mod:`scp.encoding.transcode` translates. ``least`` is how many bytes the shortest codestream of a frame
    has (:mod:`scp.encoding.codecs.lengths`). ``photometric`` is what the encoded frame's Photometric
    Interpretation is. ``keeps_all_bits`` is true where the bits above Bits Stored come back too, whatever
    they hold.
    """

    name: str
    library: Callable[[], str]
    reads: tuple[str, ...]
    decode: Callable[[bytes, PixelFormat], Frame]
    strictly: Callable[[bytes, PixelFormat], Frame]
    least: Callable[[PixelFormat], int]
    writes: str = ""
    encode: Encode | None = None
    refuses: Callable[[PixelFormat], str] = _takes_all
    photometric: Callable[[PixelFormat], str] = same_photometric
    keeps_all_bits: bool = False


@contextmanager
def told_as(kind: type[CodecError], who: Callable[[], str]) -> Iterator[None]:
    """What a codec's library raises, each its own kinds, is raised as ``kind``, in its words, by ``who``."""
    try:
        yield
    except (CodecError, MemoryError, OutOfResources):
        raise
    except Exception as error:
        raise kind(f"{who()}: {error}") from error


def version_of(library: str) -> Callable[[], str]:
    """What gives name and version of one of imagecodecs' libraries, which is loaded when that is asked."""
    return lambda: str(getattr(imagecodecs, f"{library}_version")())


def refuse_unless(form: PixelFormat, *, bits: tuple[int, ...], samples: tuple[int, ...] = (1, 3)) -> str:
    """The common refusals: Bits Allocated, Samples per Pixel, signed colour."""
    if form.bits_allocated not in bits:
        return f"Bits Allocated is {form.bits_allocated}"
    if form.samples not in samples:
        return f"Samples per Pixel is {form.samples}"
    if form.samples > 1 and form.signed:
        return "signed colour samples"
    return ""


def fitted(samples: Frame, form: PixelFormat) -> Frame:
    """What a library decoded, in the shape and type that the Image Pixel module describes.

    Codestreams that do not know of signs (JPEG, JPEG-LS, JPEG XL), or that disagree with Pixel
    Representation, hold two's complement of Bits Stored. Raises CannotDecode where shapes disagree.
    """
    if samples.shape != form.shape:
        raise CannotDecode(f"the codestream holds {samples.shape}, the header describes {form.shape}")
    if samples.dtype == form.dtype:
        return samples
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize > form.dtype.itemsize:
        raise CannotDecode(f"the codestream holds {samples.dtype}, the header describes {form.dtype}")
    described = np.empty(form.shape, form.dtype)
    for rows in bands(form.rows, form.columns * form.samples):
        described[rows] = _described(samples[rows], form)
    return described


def bands(rows: int, width: int) -> Iterator[slice]:
    """All rows of a frame, in slices of some 260,000 samples, or a row.

    What is worked out beside a frame is several times as large: of a mammogram of 26 MB it was 180 MB.
    """
    height = max(_BAND // max(width, 1), 1)
    return (slice(at, min(at + height, rows)) for at in range(0, rows, height))


def _described(samples: Frame, form: PixelFormat) -> NDArray[np.signedinteger]:
    wide = samples.astype(f"<i{max(form.dtype.itemsize * 2, 2)}")
    span = 1 << form.bits_stored
    if form.signed and samples.dtype.kind == "u" and form.bits_stored <= samples.dtype.itemsize * 8:
        wide = _signed(wide, span)
    elif not form.signed:
        wide = np.where(wide < 0, wide + span, wide)
    return wide


def _signed(wide: NDArray[np.signedinteger], span: int) -> NDArray[np.signedinteger]:
    """Two's complement read from unsigned samples.

    An encoder may have left the sign extension in the bits above Bits Stored, all of them or some, or cut it
    off; taking only the stored ones and extending them anew is right for all. Raises BeyondBitsStored where
    they hold something else, which would be lost.
    """
    low = wide % span
    negative, above = low >= span // 2, wide - low + span
    if ((above != span) & ~(negative & (above & (above - 1) == 0))).any():
        raise BeyondBitsStored(span.bit_length() - 1)
    return np.where(negative, low - span, low)


def as_unsigned(frame: Frame) -> Frame:
    """The same bits, without a sign."""
    return frame.view(f"<u{frame.dtype.itemsize}") if frame.dtype.kind == "i" else frame
