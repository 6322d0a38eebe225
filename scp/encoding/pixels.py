"""The shape of pixel data (PS3.3 C.7.6.3), and its samples as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scp.encoding.elements import PIXEL_DATA
from scp.errors import CannotDecode, CannotEncode
from scp.spool import Buffer

Frame = NDArray[np.generic]

# What follows the last frame is kept beside the codestream; more than this is not padding.
_LONGEST_TAIL = 1024


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel module's numbers.

    A frame is an array of shape (rows, columns), or (rows, columns, samples) for more than one
    sample a pixel, of :attr:`dtype`.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    frames: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Little endian integers of Bits Allocated."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_size(self) -> int:
        """Bytes of one native frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def pixel_format(attributes: Mapping[str, str]) -> PixelFormat:
    """Read the Image Pixel module.

    Raises CannotEncode for one that is incomplete or that whole-byte samples cannot follow.
    """

    def number(keyword: str, default: int | None = None) -> int:
        text = attributes.get(keyword, "")
        try:
            return int(text) if text or default is None else default
        except ValueError:
            raise CannotEncode(f"{keyword} is {text!r}, not a number") from None

    bits_allocated = number("BitsAllocated")
    bits_stored = number("BitsStored", bits_allocated)
    form = PixelFormat(
        rows=number("Rows"),
        columns=number("Columns"),
        samples=number("SamplesPerPixel", 1),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=number("HighBit", bits_stored - 1),
        signed=number("PixelRepresentation", 0) == 1,
        photometric=attributes.get("PhotometricInterpretation", ""),
        planar=number("PlanarConfiguration", 0),
        frames=number("NumberOfFrames", 1) or 1,
    )
    _check(form)
    return form


def _check(form: PixelFormat) -> None:
    if form.bits_allocated not in (8, 16, 32):
        raise CannotEncode(
            f"Bits Allocated is {form.bits_allocated}; whole samples of 8, 16 or 32 are needed"
        )
    if min(form.rows, form.columns, form.samples, form.frames) < 1 or form.planar not in (0, 1):
        raise CannotEncode("the Image Pixel module describes no image")
    if form.samples > 4:
        raise CannotEncode(f"{form.samples} samples a pixel")
    if not 1 <= form.bits_stored <= form.bits_allocated:
        raise CannotEncode(f"Bits Stored is {form.bits_stored} of {form.bits_allocated} allocated")


def tail_of(value: Buffer, tag: int, form: PixelFormat) -> bytes:
    """The bytes behind the last frame of native pixel data.

    Raises CannotEncode when there are no frames of whole samples, or not as many as the format says.
    """
    if tag != PIXEL_DATA:
        raise CannotEncode("floating point pixel data")
    if form.photometric.endswith("_422") or form.photometric.endswith("_420"):
        raise CannotEncode(f"native {form.photometric} shares samples between pixels")
    total = form.frame_size * form.frames
    if not total <= len(value) <= total + _LONGEST_TAIL:
        raise CannotEncode(f"{len(value)} bytes of pixel data where {total} are described")
    return bytes(value[total:])


def frame_of(value: Buffer, each: int, form: PixelFormat) -> Frame:
    """One frame of native pixel data, numbered from 0; by pixel, whatever its Planar Configuration."""
    samples = np.frombuffer(
        value, form.dtype, form.rows * form.columns * form.samples, offset=each * form.frame_size
    )
    if form.samples == 1 or form.planar == 0:
        return samples.reshape(form.shape)
    planes = samples.reshape(form.samples, form.rows, form.columns)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def native_bytes(frame: Frame, form: PixelFormat, planar: int) -> bytes:
    """A frame as native pixel data, in the given Planar Configuration. Raises CannotDecode."""
    if frame.nbytes != form.frame_size:
        raise CannotDecode(f"a frame of {frame.nbytes} bytes where {form.frame_size} are described")
    return (np.moveaxis(frame, -1, 0) if planar and form.samples > 1 else frame).tobytes()


def unused_bits_are_empty(frame: Frame, form: PixelFormat) -> bool:
    """Whether every sample is what its Bits Stored alone say (sign extended where signed).

    Other bits may hold overlays (retired) or rubbish, which a codestream of Bits Stored would lose.
    """
    if form.bits_stored == form.bits_allocated:
        return True
    if form.high_bit != form.bits_stored - 1:
        return False
    low, high = (
        (-(1 << form.bits_stored - 1), (1 << form.bits_stored - 1) - 1)
        if form.signed
        else (0, (1 << form.bits_stored) - 1)
    )
    return int(frame.min()) >= low and int(frame.max()) <= high
